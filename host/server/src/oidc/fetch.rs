//! Fetching a small JSON document by HTTPS, within bounds of size and time; redirects are not followed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use quadrille_kit::Clock;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a fetch may take, from the first packet to the last.
const TIME_MAX: Duration = Duration::from_secs(10);
/// How large a document may be.
const BYTES_MAX: usize = 1024 * 1024;

/// Why a document cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL is none that can be fetched.
    #[error("{0:?} is no https URL")]
    Url(String),
    /// The authorities cannot be used.
    #[error("cannot read the certificates of the authorities")]
    Authorities,
    /// Nobody answers, or not in HTTPS.
    #[error("cannot reach {url}: {detail}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        detail: String,
    },
    /// The answer is not what it should be.
    #[error("{0}")]
    Senseless(String),
}

/// Checks that a URL can be fetched, and takes it apart: host, port and the path with its query.
pub(super) fn check_url(url: &str) -> Result<(Uri, String, u16), FetchError> {
    let bad = || FetchError::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let host = uri.host().filter(|_| uri.scheme_str() == Some("https")).ok_or_else(bad)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(443);
    Ok((uri, host, port))
}

/// Fetches documents.
#[derive(Debug)]
pub(super) struct Fetcher {
    tls: Arc<rustls::ClientConfig>,
    clock: Arc<dyn Clock>,
}

impl Fetcher {
    pub(super) fn build(authorities: &str, clock: Arc<dyn Clock>) -> Result<Self, FetchError> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authorities.as_bytes()) {
            let certificate = certificate.map_err(|_| FetchError::Authorities)?;
            // A bundle may hold one that this library does not take; the others count.
            if let Err(error) = roots.add(certificate) {
                tracing::debug!(%error, "authority is not usable");
            }
        }
        if roots.is_empty() {
            return Err(FetchError::Authorities);
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| FetchError::Authorities)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(tls), clock })
    }

    pub(super) async fn json(&self, url: &str) -> Result<Value, FetchError> {
        let (uri, host, port) = check_url(url)?;
        let bytes = tokio::select! {
            bytes = self.bytes(&uri, &host, port) => bytes,
            () = self.clock.sleep(TIME_MAX) => Err("no answer in time".to_owned()),
        };
        let unreachable = |detail| FetchError::Unreachable { url: url.to_owned(), detail };
        let bytes = bytes.map_err(unreachable)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| FetchError::Senseless(format!("{url} is not JSON: {error}")))
    }

    async fn bytes(&self, uri: &Uri, host: &str, port: u16) -> Result<Bytes, String> {
        let why = |error: &dyn std::error::Error| error.to_string();
        let socket = TcpStream::connect((host, port)).await.map_err(|e| why(&e))?;
        let name = ServerName::try_from(host.to_owned()).map_err(|e| why(&e))?;
        let tls = TlsConnector::from(Arc::clone(&self.tls));
        let stream = tls.connect(name, socket).await.map_err(|e| why(&e))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|e| why(&e))?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = uri.authority().map_or(host, |authority| authority.as_str());
        let request = Request::get(path)
            .header(http::header::HOST, authority)
            .header(http::header::ACCEPT, "application/json")
            .body(Empty::<Bytes>::new())
            .map_err(|e| why(&e))?;
        let answering = async {
            let answer = sender.send_request(request).await.map_err(|e| why(&e))?;
            if answer.status() != StatusCode::OK {
                return Err(format!("the answer is {}", answer.status()));
            }
            let body = Limited::new(answer.into_body(), BYTES_MAX).collect().await;
            body.map(http_body_util::Collected::to_bytes).map_err(|error| error.to_string())
        };
        // The connection is driven beside the request, and dropped with it.
        tokio::select! {
            answer = answering => answer,
            Err(error) = connection => Err(why(&error)),
        }
    }
}
