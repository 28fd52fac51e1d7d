//! Writing a client certificate (X.509), signed by the host's authority.
//!
//! Subject and key are the request's own bytes: whatever order and encoding its names have, they stay. So the
//! certificate is written here, element by element, and not by a library that would name the subject anew.

use quadrille_object::Timestamp;
use quadrille_registry::signing_request::{BIT_STRING, OBJECT_IDENTIFIER, Reader, SEQUENCE};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey as _};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::request::Request;
use crate::certificate::VERSION;
use crate::identity::PemPair;

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const EXTENSIONS: u8 = 0xa3;
/// ECDSA with SHA-256, as an algorithm in DER.
const ALGORITHM: &[u8] =
    &[SEQUENCE, 0x0a, OBJECT_IDENTIFIER, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// 2.5.29.15, 2.5.29.37, 2.5.29.19 and 1.3.6.1.5.5.7.3.2.
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
/// Certificates begin to be valid this long before now, for clocks that disagree.
const BACKDATE_SECONDS: i64 = 300;
/// The first year that two digits cannot tell.
const TWO_DIGITS_END: i64 = 2_524_608_000;

/// Why an authority cannot sign.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// Its certificate cannot be read.
    #[error("cannot read the authority's certificate")]
    Certificate,
    /// Its key cannot be read.
    #[error("cannot read the authority's key")]
    Key(#[source] rcgen::Error),
    /// Its key is of a kind that nothing is signed with here.
    #[error("the authority's key is no ECDSA key on P-256")]
    KeyKind,
}

/// An authority that can sign.
pub(super) struct Authority {
    /// Its name, in DER.
    name: Vec<u8>,
    key: KeyPair,
}

/// The key is a secret, so it is not shown.
impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    pub(super) fn read(pair: &PemPair) -> Result<Self, SignerError> {
        let der = CertificateDer::from_pem_slice(pair.certificate.as_bytes());
        let der = der.map_err(|_| SignerError::Certificate)?;
        let name = subject(&der).ok_or(SignerError::Certificate)?.to_vec();
        let key = KeyPair::from_pem(&pair.key).map_err(SignerError::Key)?;
        if key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(SignerError::KeyKind);
        }
        Ok(Self { name, key })
    }

    /// A certificate for a request, in DER.
    ///
    /// # Errors
    /// When the crypto library cannot sign.
    pub(super) fn issue(
        &self,
        request: &Request,
        usages: &[&str],
        serial: [u64; 2],
        now: Timestamp,
        lives_seconds: i64,
    ) -> Result<Vec<u8>, String> {
        let begins = now.seconds().saturating_sub(BACKDATE_SECONDS);
        let ends = now.seconds().saturating_add(lives_seconds);
        let validity = element(SEQUENCE, &[&time(begins), &time(ends)]);
        let body = element(
            SEQUENCE,
            &[
                // Version 3.
                &element(VERSION, &[&element(INTEGER, &[&[2]])]),
                &serial_number(serial),
                ALGORITHM,
                &self.name,
                &validity,
                &request.subject,
                &request.public_key,
                &element(EXTENSIONS, &[&extensions(usages)]),
            ],
        );
        let signature = self.key.sign(&body).map_err(|error| error.to_string())?;
        let signature = element(BIT_STRING, &[&[0], &signature]);
        Ok(element(SEQUENCE, &[&body, ALGORITHM, &signature]))
    }
}

/// The name of whom a certificate is for, in DER.
fn subject(certificate: &[u8]) -> Option<&[u8]> {
    let mut body = Reader(Reader(Reader(certificate).take(SEQUENCE)?).take(SEQUENCE)?);
    // Version, serial number, algorithm, issuer, validity.
    for _ in 0..5 {
        body.any()?;
    }
    body.element()
}

/// A number that is positive and never zero.
fn serial_number([high, low]: [u64; 2]) -> Vec<u8> {
    let mut bytes = [high.to_be_bytes(), low.to_be_bytes()].concat();
    if let Some(first) = bytes.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    element(INTEGER, &[&bytes])
}

fn extensions(usages: &[&str]) -> Vec<u8> {
    let bit = |usage: &str, bit: u8| if usages.contains(&usage) { bit } else { 0 };
    let bits = bit("digital signature", 0x80) | bit("key encipherment", 0x20);
    let usage = element(BIT_STRING, &[&[if bits & 0x20 == 0 { 7 } else { 5 }, bits]]);
    let purpose = element(SEQUENCE, &[&element(OBJECT_IDENTIFIER, &[CLIENT_AUTH])]);
    let mut all = Vec::new();
    if bits != 0 {
        all.extend(extension(KEY_USAGE, true, &usage));
    }
    all.extend(extension(EXTENDED_KEY_USAGE, false, &purpose));
    all.extend(extension(BASIC_CONSTRAINTS, true, &element(SEQUENCE, &[])));
    element(SEQUENCE, &[&all])
}

fn extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    let id = element(OBJECT_IDENTIFIER, &[id]);
    let critical = if critical { element(BOOLEAN, &[&[0xff]]) } else { Vec::new() };
    element(SEQUENCE, &[&id, &critical, &element(OCTET_STRING, &[value])])
}

fn time(seconds: i64) -> Vec<u8> {
    let text = Timestamp::from_seconds(seconds).to_rfc3339();
    let digits: String = text.chars().filter(char::is_ascii_digit).take(14).collect();
    if seconds < TWO_DIGITS_END {
        let short = digits.get(2..).unwrap_or_default();
        return element(UTC_TIME, &[short.as_bytes(), b"Z"]);
    }
    element(GENERALIZED_TIME, &[digits.as_bytes(), b"Z"])
}

/// An element in DER.
fn element(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let content = content.concat();
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let digits: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    match (content.len(), u8::try_from(digits.len())) {
        (short @ 0..=0x7f, _) => out.extend(u8::try_from(short)),
        (_, count) => {
            out.extend(count.map(|count| 0x80 | count));
            out.extend(digits);
        }
    }
    out.extend(content);
    out
}

/// A certificate as PEM.
pub(super) fn pem(der: &[u8]) -> String {
    const LINE: usize = 64;
    let text = STANDARD.encode(der);
    let lines = text.as_bytes().chunks(LINE).map(|line| String::from_utf8_lossy(line));
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in lines {
        out.push_str(&line);
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}
