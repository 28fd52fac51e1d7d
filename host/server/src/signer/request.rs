//! Reading a request for a certificate (PKCS #10): what is taken over from it, once its signature holds.

use quadrille_registry::signing_request::{self, BIT_STRING, Reader, SEQUENCE, SigningRequest};

/// The parts of a request that its certificate repeats, each a whole element in DER.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    pub(super) subject: Vec<u8>,
    pub(super) public_key: Vec<u8>,
}

/// Reads a request in PEM, as validation and admission have read it, and checks that its sender has the key.
///
/// # Errors
/// With what is wrong with it.
pub(super) fn read(pem: &[u8]) -> Result<Request, String> {
    let der = signing_request::der_of(pem).ok_or("the request is not one block of PEM")?;
    let request = SigningRequest::read(&der).ok_or("the request is not a PKCS #10 structure")?;
    verify(&request)?;
    Ok(Request { subject: request.subject.to_vec(), public_key: request.public_key.to_vec() })
}

fn verify(request: &SigningRequest<'_>) -> Result<(), String> {
    let unreadable = "the request's public key cannot be read";
    let mut key = Reader(Reader(request.public_key).take(SEQUENCE).ok_or(unreadable)?);
    let kind = key.take(SEQUENCE).ok_or(unreadable)?;
    let key = key.take(BIT_STRING).and_then(signing_request::bits).ok_or(unreadable)?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let known = provider.signature_verification_algorithms.all;
    let mut fitting = known.iter().filter(|algorithm| {
        algorithm.public_key_alg_id().as_ref() == kind
            && algorithm.signature_alg_id().as_ref() == request.algorithm
    });
    if fitting.clone().next().is_none() {
        return Err("the request is signed with an algorithm that is not known".to_owned());
    }
    let holds = fitting.any(|algorithm| {
        algorithm.verify_signature(key, request.information, request.signature).is_ok()
    });
    if holds { Ok(()) } else { Err("the request's signature does not hold".to_owned()) }
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
        let whole = signing_request::der_of(pem("alice").as_bytes()).expect("PEM");
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 0x01;
            let read = SigningRequest::read(&bent).map(|request| verify(&request));
            assert!(!matches!(read, Some(Ok(()))), "bent at {at}");
        }
    }
}
