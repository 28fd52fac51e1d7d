//! Client certificates: the common name is the user, the organizations are the groups.
//!
//! The TLS library has verified the certificate before anything is read here; this only finds the subject in it, and
//! its end: connections outlive certificates, and sessions that are resumed are not verified again. The reading is
//! bounded by the certificate's own length: each step consumes what it reads.

use std::sync::Arc;

use quadrille_object::Timestamp;
use quadrille_registry::access::User;
use quadrille_registry::signing_request::{Names, Reader, SEQUENCE};

/// The explicit tag of the version, which the first form of certificates does not have.
pub(crate) const VERSION: u8 = 0xa0;

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Who has shown a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certified {
    user: Arc<User>,
    /// The last second in which it counts.
    ends: Timestamp,
}

impl Certified {
    /// Reads a certificate; `None` when it names no user.
    pub(crate) fn read(certificate: &[u8]) -> Option<Self> {
        let (mut validity, subject) = parts(certificate)?;
        validity.any()?;
        let (tag, ends) = validity.any()?;
        Some(Self { user: named(subject)?, ends: time(tag, ends)? })
    }

    /// Whom it stands for while it counts.
    pub(crate) fn user(&self, now: Timestamp) -> Option<&Arc<User>> {
        (now.seconds() <= self.ends.seconds()).then_some(&self.user)
    }
}

/// The user that a certificate names; `None` when it names none.
pub(crate) fn user(certificate: &[u8]) -> Option<Arc<User>> {
    named(parts(certificate)?.1)
}

/// The validity and the subject of a certificate.
fn parts(certificate: &[u8]) -> Option<(Reader<'_>, &[u8])> {
    let mut certificate = Reader(certificate);
    let mut certificate = Reader(certificate.take(SEQUENCE)?);
    let mut body = Reader(certificate.take(SEQUENCE)?);
    if body.0.first() == Some(&VERSION) {
        body.any()?;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        body.any()?;
    }
    Some((Reader(body.take(SEQUENCE)?), body.take(SEQUENCE)?))
}

fn named(subject: &[u8]) -> Option<Arc<User>> {
    let names = Names::read(subject)?;
    let name = names.common_name.filter(|name| !name.is_empty())?;
    Some(Arc::new(User::known(name, "", &names.organizations)))
}

/// A time: `YYMMDDhhmmssZ`, of the years from 1950 on, or with all four digits of the year.
fn time(tag: u8, content: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(content).ok().filter(|text| text.is_ascii())?;
    let digits = text.strip_suffix('Z')?;
    let (century, digits) = match tag {
        UTC_TIME => (if digits < "50" { "20" } else { "19" }, digits),
        GENERALIZED_TIME => digits.split_at_checked(2)?,
        _ => return None,
    };
    let pair = |at: usize| digits.get(2 * at..2 * at + 2);
    let (year, month, day) = (pair(0)?, pair(1)?, pair(2)?);
    let (hour, minute, second) = (pair(3)?, pair(4)?, pair(5)?);
    let text = format!("{century}{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    Timestamp::parse_rfc3339(&text).filter(|_| digits.len() == 12)
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_certificate_names_its_user_and_group() {
        let found = user(&der("alice", "dev")).expect("a user");
        assert_eq!(&*found.name, "alice");
        assert!(found.is_in("dev") && found.is_in("system:authenticated"));
    }

    #[test]
    fn a_certificate_counts_to_its_last_second() {
        let found = Certified::read(&der("alice", "dev")).expect("a user");
        let ends = found.ends.seconds();
        assert_eq!(found.ends.to_rfc3339(), "2028-04-05T00:00:00Z");
        assert!(found.user(Timestamp::from_seconds(ends)).is_some());
        assert!(found.user(Timestamp::from_seconds(ends + 1)).is_none());
    }

    #[test]
    fn times_are_read_in_both_forms() {
        for (tag, text, expected) in [
            (UTC_TIME, "491231235959Z", Some("2049-12-31T23:59:59Z")),
            (UTC_TIME, "500101000000Z", Some("1950-01-01T00:00:00Z")),
            (GENERALIZED_TIME, "20500101000000Z", Some("2050-01-01T00:00:00Z")),
            (GENERALIZED_TIME, "99991231235959Z", Some("9999-12-31T23:59:59Z")),
            (GENERALIZED_TIME, "500101000000Z", None),
            (UTC_TIME, "491331000000Z", None),
            (UTC_TIME, "4912312359Z", None),
            (UTC_TIME, "491231235959", None),
            (0x0c, "491231235959Z", None),
        ] {
            let found = time(tag, text.as_bytes()).map(Timestamp::to_rfc3339);
            assert_eq!(found.as_deref(), expected, "{text}");
        }
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
