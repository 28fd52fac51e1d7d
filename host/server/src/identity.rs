//! The host's own identity: a self-made certificate authority, the certificate it serves with, the admin's
//! token and the kubeconfig that names them.
//!
//! Only contents are made here; which files hold them is the caller's business. The authority is kept for the
//! life of a data directory (clients pin it), the server's certificate is made anew at each start from it.

use std::sync::Arc;

use base64::Engine as _;
use quadrille_kit::Random;
use quadrille_object::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

/// How long the authority is valid: it is replaced with the data directory.
const AUTHORITY_DAYS: i64 = 3650;
/// How long a server certificate is valid: it is made anew at each start.
const SERVER_DAYS: i64 = 825;
/// Certificates begin to be valid this long before now, for clocks that disagree.
const BACKDATE_DAYS: i64 = 1;

/// Why an identity cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Making a key or a certificate failed.
    #[error("cannot make {what}")]
    Make {
        /// What was to be made.
        what: &'static str,
        /// What the library said.
        #[source]
        source: rcgen::Error,
    },
    /// A PEM text does not hold what it should.
    #[error("cannot read {what}: {detail}")]
    Read {
        /// What was to be read.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The certificate and the key do not go together, or the TLS library refuses them.
    #[error("cannot use the server's certificate")]
    Use(#[source] rustls::Error),
}

/// A certificate and its private key as PEM texts.
#[derive(Clone)]
pub struct PemPair {
    /// The certificate, or a chain with the own one first.
    pub certificate: String,
    /// The private key; a secret.
    pub key: String,
}

/// The key is a secret, so it is not shown.
impl std::fmt::Debug for PemPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PemPair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Makes a new certificate authority.
///
/// # Errors
/// When the crypto library has no randomness.
pub fn make_authority(now: Timestamp) -> Result<PemPair, IdentityError> {
    let make = |source| IdentityError::Make { what: "the certificate authority", source };
    let key = KeyPair::generate().map_err(make)?;
    let certificate = authority_params(now).self_signed(&key).map_err(make)?;
    Ok(PemPair { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// Makes a server certificate for names and addresses, signed by the authority.
///
/// # Errors
/// When the authority's key is not readable, or a name is not a DNS name or address.
pub fn make_server_certificate(
    authority: &PemPair,
    names: &[String],
    now: Timestamp,
) -> Result<PemPair, IdentityError> {
    let make = |source| IdentityError::Make { what: "the server's certificate", source };
    let authority_key = KeyPair::from_pem(&authority.key).map_err(|error| IdentityError::Read {
        what: "the certificate authority's key",
        detail: error.to_string(),
    })?;
    let issuer = Issuer::new(authority_params(now), authority_key);
    let key = KeyPair::generate().map_err(make)?;
    let mut params = CertificateParams::new(names.to_vec()).map_err(make)?;
    params.distinguished_name = distinguished_name("quadrille");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = validity(now, SERVER_DAYS);
    let certificate = params.signed_by(&key, &issuer).map_err(make)?;
    Ok(PemPair { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// Makes a certificate for a client, signed by the authority: `name` is the user, who may be in one group.
///
/// # Errors
/// When the authority's key is not readable.
pub fn make_client_certificate(
    authority: &PemPair,
    name: &str,
    group: Option<&str>,
    now: Timestamp,
) -> Result<PemPair, IdentityError> {
    let make = |source| IdentityError::Make { what: "a client's certificate", source };
    let authority_key = KeyPair::from_pem(&authority.key).map_err(|error| IdentityError::Read {
        what: "the certificate authority's key",
        detail: error.to_string(),
    })?;
    let issuer = Issuer::new(authority_params(now), authority_key);
    let key = KeyPair::generate().map_err(make)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(name);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = validity(now, SERVER_DAYS);
    let certificate = params.signed_by(&key, &issuer).map_err(make)?;
    Ok(PemPair { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// The names a loopback server is called by.
pub fn loopback_names() -> Vec<String> {
    ["localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default"]
        .map(str::to_owned)
        .to_vec()
}

/// A fresh bearer token of 256 random bits.
pub fn make_token(random: &dyn Random) -> String {
    let words: [u64; 4] = std::array::from_fn(|_| random.next_u64());
    let [a, b, c, d] = words;
    format!("{a:016x}{b:016x}{c:016x}{d:016x}")
}

/// A kubeconfig with one cluster, one user and one context, ready to use.
pub fn kubeconfig(url: &str, authority_certificate: &str, token: &str) -> String {
    let authority = base64::engine::general_purpose::STANDARD.encode(authority_certificate);
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: quadrille\nclusters:\n- name: quadrille\n  \
         cluster:\n    server: {url}\n    certificate-authority-data: {authority}\ncontexts:\n\
         - name: quadrille\n  context:\n    cluster: quadrille\n    user: admin\nusers:\n\
         - name: admin\n  user:\n    token: {token}\n"
    )
}

/// The TLS set-up of the server: TLS 1.2 and 1.3, `h2` before `http/1.1`. Clients may show a certificate of
/// `client_authorities` (PEM), and need not.
///
/// # Errors
/// When the texts hold no certificate and key that go together, or no authorities.
pub fn tls_config(
    pair: &PemPair,
    client_authorities: Option<&str>,
) -> Result<Arc<rustls::ServerConfig>, IdentityError> {
    let read = |what, error: rustls::pki_types::pem::Error| IdentityError::Read {
        what,
        detail: error.to_string(),
    };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect();
    let chain = chain.map_err(|error| read("the server's certificate", error))?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())
        .map_err(|error| read("the server's key", error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(IdentityError::Use)?;
    let builder = match client_authorities {
        Some(authorities) => {
            builder.with_client_cert_verifier(client_verifier(authorities, provider)?)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(IdentityError::Use)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn client_verifier(
    authorities: &str,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, IdentityError> {
    let what = "the authorities of clients";
    let bad = |detail: String| IdentityError::Read { what, detail };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|error| bad(error.to_string()))
}

fn authority_params(now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name("quadrille-ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = validity(now, AUTHORITY_DAYS);
    params
}

fn distinguished_name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn validity(now: Timestamp, days: i64) -> (rcgen_time::Date, rcgen_time::Date) {
    (rcgen_time::date(now, -BACKDATE_DAYS), rcgen_time::date(now, days))
}

/// Dates in the form the certificate library wants them.
mod rcgen_time {
    use quadrille_object::Timestamp;

    pub(super) type Date = time::OffsetDateTime;

    pub(super) fn date(now: Timestamp, days: i64) -> Date {
        let seconds = now.seconds().saturating_add(days * 86_400);
        Date::from_unix_timestamp(seconds).unwrap_or(Date::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_authority_signs_new_certificates_that_tls_accepts() {
        let now = Timestamp::from_seconds(1_767_225_600);
        let authority = make_authority(now).expect("an authority");
        let pair = make_server_certificate(&authority, &loopback_names(), now).expect("a pair");
        assert!(tls_config(&pair, Some(&authority.certificate)).is_ok());
        let other = make_authority(now).expect("an authority");
        let mixed = PemPair { certificate: pair.certificate, key: other.key };
        assert!(tls_config(&mixed, None).is_err());
    }

    #[test]
    fn a_kubeconfig_names_server_authority_and_token() {
        let text = kubeconfig("https://127.0.0.1:7443", "CERT", "t0ken");
        assert!(text.contains("server: https://127.0.0.1:7443\n"));
        assert!(text.contains("certificate-authority-data: Q0VSVA==\n"));
        assert!(text.ends_with("token: t0ken\n"));
    }
}
