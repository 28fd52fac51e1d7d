//! Requests for certificates (PKCS #10) and the names in certificates, read as DER and nothing looser.
//!
//! Whoever judges a request and whoever signs it must read the same in it. So validation, admission, the signer and the
//! reader of client certificates share this file, and it knows one form alone: one PEM block, each length in its
//! shortest form, nothing left over. What is not of that form is refused, not guessed at. Every step consumes what it
//! reads, so the reading is bounded by the request's own length.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The tag of a sequence.
pub const SEQUENCE: u8 = 0x30;
/// The tag of a bit string.
pub const BIT_STRING: u8 = 0x03;
/// The tag of an object identifier.
pub const OBJECT_IDENTIFIER: u8 = 0x06;
const INTEGER: u8 = 0x02;
const SET: u8 = 0x31;
const ATTRIBUTES: u8 = 0xa0;

/// The object identifiers 2.5.4.3 and 2.5.4.10.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

const MARK: &str = "-----BEGIN ";
const BEGIN: &str = "-----BEGIN CERTIFICATE REQUEST-----";
const END: &str = "-----END CERTIFICATE REQUEST-----";

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The content of the next element, which must have a tag.
    pub fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, content) = self.any()?;
        (found == tag).then_some(content)
    }

    /// The whole next element, with its tag and length.
    pub fn element(&mut self) -> Option<&'a [u8]> {
        let before = self.0;
        self.any()?;
        before.get(..before.len() - self.0.len())
    }

    /// The tag and content of the next element; `None` also where its tag or length could be written shorter.
    pub fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let length = if first < 0x80 {
            usize::from(first)
        } else {
            let size = usize::from(first & 0x7f);
            let (digits, after) = rest.split_at_checked(size).filter(|_| size <= 4)?;
            rest = after;
            let shorter = size == 1 && digits.first().is_some_and(|digit| *digit < 0x80);
            if shorter || digits.first().is_none_or(|digit| *digit == 0) {
                return None;
            }
            digits.iter().fold(0_usize, |length, byte| (length << 8) | usize::from(*byte))
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// Nothing, if nothing is left.
    pub fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// Whom a subject names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names<'a> {
    /// The common name.
    pub common_name: Option<&'a str>,
    /// The organizations.
    pub organizations: Vec<&'a str>,
}

impl<'a> Names<'a> {
    /// Reads the content of a subject; `None` when it is none.
    pub fn read(subject: &'a [u8]) -> Option<Self> {
        let mut subject = Reader(subject);
        let mut names = Self::default();
        while !subject.0.is_empty() {
            let mut set = Reader(subject.take(SET)?);
            while !set.0.is_empty() {
                let mut pair = Reader(set.take(SEQUENCE)?);
                let kind = pair.take(OBJECT_IDENTIFIER)?;
                let (_, value) = pair.any()?;
                pair.end()?;
                match (kind, std::str::from_utf8(value)) {
                    (COMMON_NAME, Ok(text)) => names.common_name = Some(text),
                    (ORGANIZATION, Ok(text)) => names.organizations.push(text),
                    _ => {}
                }
            }
        }
        Some(names)
    }
}

/// A request, taken apart; that its signature holds is for the signer to find out.
#[derive(Clone, Debug)]
pub struct SigningRequest<'a> {
    /// What is signed: a whole element.
    pub information: &'a [u8],
    /// Who wants the certificate: a whole element.
    pub subject: &'a [u8],
    /// The key that it is for: a whole element.
    pub public_key: &'a [u8],
    /// What it is signed with: the content of a sequence.
    pub algorithm: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
    /// Whom the subject names.
    pub names: Names<'a>,
}

impl<'a> SigningRequest<'a> {
    /// Takes a request in DER apart; `None` when it is none.
    pub fn read(der: &'a [u8]) -> Option<Self> {
        let mut outer = Reader(der);
        let mut whole = Reader(outer.take(SEQUENCE)?);
        outer.end()?;
        let information = whole.element()?;
        let algorithm = whole.take(SEQUENCE)?;
        let signature = bits(whole.take(BIT_STRING)?)?;
        whole.end()?;
        let mut inner = Reader(Reader(information).take(SEQUENCE)?);
        inner.take(INTEGER)?;
        let subject = inner.element()?;
        let names = Names::read(Reader(subject).take(SEQUENCE)?)?;
        let public_key = inner.element()?;
        Reader(public_key).take(SEQUENCE)?;
        if !inner.0.is_empty() {
            inner.take(ATTRIBUTES)?;
        }
        inner.end()?;
        Some(Self { information, subject, public_key, algorithm, signature, names })
    }
}

/// The bytes of a bit string, which has no odd bits in keys and signatures.
pub fn bits(content: &[u8]) -> Option<&[u8]> {
    content.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bits)| bits)
}

/// The DER of a request in PEM: of the one block that there is, with nothing behind it. Text may stand in lines before
/// it, as tools write what a request holds.
pub fn der_of(pem: &[u8]) -> Option<Vec<u8>> {
    let pem = std::str::from_utf8(pem).ok()?;
    let (before, rest) = pem.split_once(BEGIN)?;
    let (body, after) = rest.split_once(END)?;
    let own_line = before.is_empty() || before.ends_with('\n');
    if !own_line || [before, body].iter().any(|of| of.contains(MARK)) || !after.trim().is_empty() {
        return None;
    }
    let text: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[&[u8]]) -> Vec<u8> {
        let content = content.concat();
        let length = u8::try_from(content.len()).expect("short");
        let long: &[u8] = if length < 0x80 { &[] } else { &[0x81] };
        [&[tag], long, &[length], content.as_slice()].concat()
    }

    fn subject(pairs: &[&[u8]]) -> Vec<u8> {
        let sets: Vec<Vec<u8>> = pairs.iter().map(|pair| element(SET, &[pair])).collect();
        sets.concat()
    }

    fn pair(kind: &[u8], text: &str) -> Vec<u8> {
        let kind = element(OBJECT_IDENTIFIER, &[kind]);
        element(SEQUENCE, &[&kind, &element(0x0c, &[text.as_bytes()])])
    }

    fn request(subject: &[u8]) -> Vec<u8> {
        let key = element(SEQUENCE, &[&element(BIT_STRING, &[&[0, 1]])]);
        let version = element(INTEGER, &[&[0]]);
        let subject = element(SEQUENCE, &[subject]);
        let information = element(SEQUENCE, &[&version, &subject, &key]);
        let signature = element(BIT_STRING, &[&[0, 2]]);
        element(SEQUENCE, &[&information, &element(SEQUENCE, &[]), &signature])
    }

    #[test]
    fn every_organization_is_read_and_nothing_that_is_left_over() {
        let both = subject(&[&pair(ORGANIZATION, "a"), &pair(COMMON_NAME, "zoe")]);
        let more = element(SET, &[&pair(ORGANIZATION, "b"), &pair(ORGANIZATION, "c")]);
        let whole = request(&[both, more].concat());
        let read = SigningRequest::read(&whole).expect("a request");
        let expected = Names { common_name: Some("zoe"), organizations: vec!["a", "b", "c"] };
        assert_eq!(read.names, expected);
        assert!(SigningRequest::read(&[whole.as_slice(), &[0]].concat()).is_none());
        for cut in 0..whole.len() {
            assert!(SigningRequest::read(&whole[..cut]).is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn a_name_that_hides_behind_a_longer_form_makes_no_request() {
        let hidden = |kind: &[u8], text: &[u8]| {
            let pair = element(SEQUENCE, &[kind, text]);
            SigningRequest::read(&request(&subject(&[&pair])))
                .map(|read| read.names.organizations.len())
        };
        let (kind, text) = (element(OBJECT_IDENTIFIER, &[ORGANIZATION]), element(0x0c, &[b"x"]));
        assert_eq!(hidden(&kind, &text), Some(1));
        for text in [
            &[0x0c, 0x81, 1, b'x'][..],
            &[0x0c, 0x82, 0, 1, b'x'],
            &[0x0c, 0x80],
            &[0x1f, 0x0c, 1, b'x'],
        ] {
            assert_eq!(hidden(&kind, text), None, "{text:?}");
        }
        assert_eq!(hidden(&[&[0x06, 0x81, 3], ORGANIZATION].concat(), &text), None);
        assert_eq!(hidden(&kind, &[text.as_slice(), &text].concat()), None);
    }

    #[test]
    fn pem_is_one_block_that_begins_its_line() {
        let block = format!("{BEGIN}\nAAEC\n{END}\n");
        assert_eq!(der_of(block.as_bytes()).as_deref(), Some(&[0, 1, 2][..]));
        assert!(der_of(format!("Subject: zoe\n{block}\n").as_bytes()).is_some());
        for pem in [
            String::new(),
            format!("x{block}"),
            format!("x{block}{block}"),
            format!("{block}{block}"),
            format!("{block}x"),
            format!("-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n{block}"),
            format!("{BEGIN}\n{block}"),
            block.replace("AAEC", "Proc-Type: 4\n\nAAEC"),
            block.replace(END, ""),
        ] {
            assert!(der_of(pem.as_bytes()).is_none(), "{pem}");
        }
    }
}
