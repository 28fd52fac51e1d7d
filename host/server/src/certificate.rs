//! Client certificates: the common name is the user, the organizations are the groups.
//!
//! The TLS library has verified the certificate before anything is read here; this only finds the subject in it. The
//! reading is bounded by the certificate's own length: each step consumes what it reads.

use std::sync::Arc;

use quadrille_registry::access::User;
use quadrille_registry::signing_request::{Names, Reader, SEQUENCE};

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
    let names = Names::read(body.take(SEQUENCE)?)?;
    let name = names.common_name.filter(|name| !name.is_empty())?;
    Some(Arc::new(User::known(name, "", &names.organizations)))
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

    #[test]
    fn a_certificate_names_its_user_and_group() {
        let found = user(&der("alice", "dev")).expect("a user");
        assert_eq!(&*found.name, "alice");
        assert!(found.is_in("dev") && found.is_in("system:authenticated"));
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
