//! Reading a request for a certificate (PKCS #10): what is taken over from it, once its signature holds.

use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject as _;

use crate::certificate::{BIT_STRING, Reader, SEQUENCE};

/// The parts of a request that its certificate repeats, each a whole element in DER.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    pub(super) subject: Vec<u8>,
    pub(super) public_key: Vec<u8>,
}

/// Reads a request in PEM and checks that its sender has the key.
///
/// # Errors
/// With what is wrong with it.
pub(super) fn read(pem: &[u8]) -> Result<Request, String> {
    let der = CertificateSigningRequestDer::from_pem_slice(pem);
    let der = der.map_err(|error| format!("the request is not PEM: {error}"))?;
    let (request, signed) = parse(&der).ok_or("the request is not a PKCS #10 structure")?;
    signed.verify(&request)?;
    Ok(request)
}

/// What is signed, with which algorithm, and the signature.
struct Signed<'a> {
    information: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

fn parse(der: &[u8]) -> Option<(Request, Signed<'_>)> {
    let mut whole = Reader(Reader(der).take(SEQUENCE)?);
    let information = whole.element()?;
    let algorithm = whole.take(SEQUENCE)?;
    let signature = bits(whole.take(BIT_STRING)?)?;
    let mut inner = Reader(Reader(information).take(SEQUENCE)?);
    inner.any()?;
    let request =
        Request { subject: inner.element()?.to_vec(), public_key: inner.element()?.to_vec() };
    (request.subject.first() == Some(&SEQUENCE)).then_some(())?;
    Some((request, Signed { information, algorithm, signature }))
}

/// The bytes of a bit string, which has no odd bits in keys and signatures.
fn bits(content: &[u8]) -> Option<&[u8]> {
    content.split_first().filter(|(unused, _)| **unused == 0).map(|(_, bits)| bits)
}

impl Signed<'_> {
    fn verify(&self, request: &Request) -> Result<(), String> {
        let unreadable = "the request's public key cannot be read";
        let mut key = Reader(Reader(&request.public_key).take(SEQUENCE).ok_or(unreadable)?);
        let kind = key.take(SEQUENCE).ok_or(unreadable)?;
        let key = key.take(BIT_STRING).and_then(bits).ok_or(unreadable)?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let known = provider.signature_verification_algorithms.all;
        let mut fitting = known.iter().filter(|algorithm| {
            algorithm.public_key_alg_id().as_ref() == kind
                && algorithm.signature_alg_id().as_ref() == self.algorithm
        });
        if fitting.clone().next().is_none() {
            return Err("the request is signed with an algorithm that is not known".to_owned());
        }
        let holds = fitting.any(|algorithm| {
            algorithm.verify_signature(key, self.information, self.signature).is_ok()
        });
        if holds { Ok(()) } else { Err("the request's signature does not hold".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(name: &str) -> String {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.serialize_request(&key).expect("a request").pem().expect("PEM")
    }

    #[test]
    fn a_request_is_read_when_its_signature_holds() {
        let request = read(pem("alice").as_bytes()).expect("it is fine");
        assert!(request.subject.windows(5).any(|window| window == b"alice"));
    }

    #[test]
    fn a_changed_request_is_refused() {
        let whole = CertificateSigningRequestDer::from_pem_slice(pem("alice").as_bytes());
        let whole = whole.expect("PEM");
        for at in 0..whole.len() {
            let mut bent = whole.to_vec();
            bent[at] ^= 0x01;
            let read = parse(&bent).map(|(request, signed)| signed.verify(&request));
            assert!(!matches!(read, Some(Ok(()))), "bent at {at}");
            drop(parse(&whole[..at]));
        }
    }
}
