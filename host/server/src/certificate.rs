//! Client certificates: the common name is the user, the organizations are the groups.
//!
//! The TLS library has verified the certificate before anything is read here; this only finds the subject in it. The
//! reading is bounded by the certificate's own length: each step consumes what it reads.

use std::sync::Arc;

use quadrille_registry::access::User;

/// The object identifiers 2.5.4.3 and 2.5.4.10 in DER.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

pub(crate) const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const BIT_STRING: u8 = 0x03;
/// The explicit tag of the version, which the first form of certificates does not have.
pub(crate) const VERSION: u8 = 0xa0;

/// The user that a certificate names; `None` when it names none.
pub(crate) fn user(certificate: &[u8]) -> Option<Arc<User>> {
    let mut certificate = Reader(certificate);
    let mut certificate = Reader(certificate.take(SEQUENCE)?);
    let mut body = Reader(certificate.take(SEQUENCE)?);
    if body.0.first() == Some(&VERSION) {
        body.any()?;
    }
    // Serial number, algorithm, issuer, validity.
    for _ in 0..4 {
        body.any()?;
    }
    let mut subject = Reader(body.take(SEQUENCE)?);
    let (mut name, mut groups) = (None, Vec::new());
    while !subject.0.is_empty() {
        let mut set = Reader(subject.take(SET)?);
        while !set.0.is_empty() {
            let mut pair = Reader(set.take(SEQUENCE)?);
            let kind = pair.take(OBJECT_IDENTIFIER)?;
            let (_, value) = pair.any()?;
            match (kind, std::str::from_utf8(value)) {
                (COMMON_NAME, Ok(text)) => name = Some(text),
                (ORGANIZATION, Ok(text)) => groups.push(text),
                _ => {}
            }
        }
    }
    let name = name.filter(|name| !name.is_empty())?;
    Some(Arc::new(User::known(name, "", &groups)))
}

/// What is left to read.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// The content of the next element, which must have a tag.
    pub(crate) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, content) = self.any()?;
        (found == tag).then_some(content)
    }

    /// The whole next element, with its tag and length.
    pub(crate) fn element(&mut self) -> Option<&'a [u8]> {
        let before = self.0;
        self.any()?;
        before.get(..before.len() - self.0.len())
    }

    /// The tag and content of the next element.
    pub(crate) fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let length = if first < 0x80 {
            usize::from(first)
        } else {
            let size = usize::from(first & 0x7f);
            let (digits, after) = rest.split_at_checked(size).filter(|_| size <= 4)?;
            rest = after;
            digits.iter().fold(0_usize, |length, byte| (length << 8) | usize::from(*byte))
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }
}

#[cfg(test)]
mod tests {
    use quadrille_object::Timestamp;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;
    use crate::identity;

    fn der(name: &str, group: &str) -> CertificateDer<'static> {
        let now = Timestamp::from_seconds(1_767_225_600);
        let authority = identity::make_authority(now).expect("an authority");
        let pair = identity::make_client_certificate(&authority, name, Some(group), now);
        let pair = pair.expect("a certificate");
        CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM")
    }

    /// An element of up to 255 bytes.
    fn element(tag: u8, content: &[&[u8]]) -> Vec<u8> {
        let content = content.concat();
        let length = u8::try_from(content.len()).expect("short");
        [&[tag, 0x81, length], content.as_slice()].concat()
    }

    #[test]
    fn a_certificate_names_its_user_and_group() {
        let found = user(&der("alice", "dev")).expect("a user");
        assert_eq!(&*found.name, "alice");
        assert!(found.is_in("dev") && found.is_in("system:authenticated"));
    }

    #[test]
    fn every_organization_is_a_group() {
        let pair = |kind: &[u8], text: &str| {
            let kind = element(OBJECT_IDENTIFIER, &[kind]);
            element(SEQUENCE, &[&kind, &element(0x0c, &[text.as_bytes()])])
        };
        let subject = element(
            SEQUENCE,
            &[
                &element(SET, &[&pair(ORGANIZATION, "a"), &pair(ORGANIZATION, "b")]),
                &element(SET, &[&pair(COMMON_NAME, "zoe")]),
                &element(SET, &[&pair(ORGANIZATION, "c")]),
            ],
        );
        let other = element(0x02, &[&[1]]);
        let body = element(SEQUENCE, &[&other, &other, &other, &other, &subject]);
        let found = user(&element(SEQUENCE, &[&body])).expect("a user");
        assert_eq!(*found, User::known("zoe", "", &["a", "b", "c"]));
    }

    #[test]
    fn a_broken_certificate_names_nobody() {
        let whole = der("alice", "dev");
        for cut in 0..whole.len() {
            if let Some(found) = user(&whole[..cut]) {
                assert_eq!(&*found.name, "alice", "cut at {cut}");
            }
        }
        for at in 0..whole.len() {
            let mut bent = whole.to_vec();
            bent[at] ^= 0xff;
            drop(user(&bent));
        }
        assert!(user(&[]).is_none() && user(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]).is_none());
    }
}
