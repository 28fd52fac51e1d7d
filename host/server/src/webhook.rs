//! Calls to admission webhooks over HTTPS: the registry says what to ask, here it is sent.
//!
//! Each call has a connection of its own, which ends with it: nothing is kept that a webhook could hold on to. The
//! trust in a webhook is its configuration's `caBundle`, or the system's authorities where there is none. Time, answer
//! and kept settings are bounded. It must not know what is asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use quadrille_kit::Clock;
use quadrille_kit::clock::BoxFuture;
use quadrille_registry::{WebhookEndpoint, WebhookReply, Webhooks};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The longest answer that is read: an object of the largest size as a patch in base64, and some more.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// How many TLS settings are kept; one per `caBundle`.
const SETTINGS_MAX: usize = 64;
/// How much of an answer that is no 200 is quoted.
const QUOTED_BYTES_MAX: usize = 1024;
const PORT_DEFAULT: u16 = 443;

/// Why there is no answer to follow.
enum Failure {
    /// Nobody answered, or nothing that can be read.
    Unreached(String),
    /// The webhook's server answered with another status than 200.
    Refused(String),
}

impl<T: std::fmt::Display> From<T> for Failure {
    fn from(why: T) -> Self {
        Self::Unreached(why.to_string())
    }
}

/// Calls webhooks.
#[derive(Debug)]
pub struct WebhookCaller {
    clock: Arc<dyn Clock>,
    settings: Mutex<HashMap<Arc<[u8]>, Arc<ClientConfig>>>,
    system: OnceLock<Arc<ClientConfig>>,
}

impl WebhookCaller {
    /// One that has called nobody yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, settings: Mutex::default(), system: OnceLock::new() }
    }

    async fn call(&self, endpoint: &WebhookEndpoint, body: Bytes) -> Result<Bytes, Failure> {
        let uri: Uri = endpoint.url.parse()?;
        let host = uri.host().ok_or("no host in request URL")?;
        let port = uri.port_u16().unwrap_or(PORT_DEFAULT);
        let (to, at) = match &endpoint.connect {
            Some((host, port)) => (host.as_str(), *port),
            None => (host.trim_start_matches('[').trim_end_matches(']'), port),
        };
        let stream = TcpStream::connect((to, at)).await;
        let stream = stream.map_err(|error| format!("dial tcp {to}:{at}: connect: {error}"))?;
        stream.set_nodelay(true)?;
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name)?;
        let settings = self.settings(&endpoint.ca_bundle)?;
        let stream = TlsConnector::from(settings).connect(name, stream).await;
        let stream = stream.map_err(|error| format!("tls: {error}"))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let exchange = Box::pin(exchange(sender, &uri, body));
        match select(exchange, Box::pin(connection)).await {
            Either::Left((reply, _)) => reply,
            // The connection has ended in order; what arrived is still to be read.
            Either::Right((Ok(()), exchange)) => exchange.await,
            Either::Right((Err(error), _)) => Err(error.into()),
        }
    }

    fn settings(&self, ca_bundle: &Arc<[u8]>) -> Result<Arc<ClientConfig>, String> {
        if ca_bundle.is_empty() {
            return Ok(Arc::clone(self.system.get_or_init(|| {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                settings(roots)
            })));
        }
        let mut kept = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.get(ca_bundle) {
            return Ok(Arc::clone(known));
        }
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_bundle) {
            let added = certificate.map_err(|error| error.to_string());
            let added = added.and_then(|c| roots.add(c).map_err(|error| error.to_string()));
            added.map_err(|error| format!("unable to load root certificates: {error}"))?;
        }
        if roots.is_empty() {
            return Err("unable to load root certificates: no certificate in caBundle".to_owned());
        }
        let made = settings(roots);
        if kept.len() >= SETTINGS_MAX {
            kept.clear();
        }
        kept.insert(Arc::clone(ca_bundle), Arc::clone(&made));
        Ok(made)
    }
}

fn settings(roots: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows the default versions of TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

async fn exchange(
    mut sender: http1::SendRequest<Full<Bytes>>,
    uri: &Uri,
    body: Bytes,
) -> Result<Bytes, Failure> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, authority)
        .header(USER_AGENT, "quadrille")
        .header(ACCEPT, "application/json, */*")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body?.to_bytes();
    if status == StatusCode::OK {
        return Ok(body);
    }
    Err(Failure::Refused(refusal(status, &body)))
}

/// What a status says, in the words of Kubernetes' clients.
fn refusal(status: StatusCode, body: &[u8]) -> String {
    let told = serde_json::from_slice::<serde_json::Value>(body).ok();
    let told = told.as_ref().filter(|v| v.get("kind").is_some_and(|kind| kind == "Status"));
    if let Some(message) = told.and_then(|v| v.get("message")).and_then(|m| m.as_str()) {
        return message.to_owned();
    }
    let quoted = body.get(..body.len().min(QUOTED_BYTES_MAX)).unwrap_or_default();
    let quoted = String::from_utf8_lossy(quoted);
    match status.as_u16() {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 => "forbidden".to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => "the server was unable to return a response in the time allotted, but may still be \
                processing the request"
            .to_owned(),
        500..=599 => format!(
            "an error on the server ({:?}) has prevented the request from succeeding",
            quoted.trim()
        ),
        code => format!(
            "the server responded with the status code {code} but did not return more information"
        ),
    }
}

impl Webhooks for WebhookCaller {
    fn post<'a>(
        &'a self,
        endpoint: &'a WebhookEndpoint,
        body: Bytes,
    ) -> BoxFuture<'a, WebhookReply> {
        Box::pin(async move {
            let call = Box::pin(self.call(endpoint, body));
            let reply = match select(call, self.clock.sleep(endpoint.timeout)).await {
                Either::Left((reply, _)) => reply,
                Either::Right(_) => Err("context deadline exceeded".into()),
            };
            reply.map_err(|failure| match failure {
                Failure::Unreached(why) => format!("Post {:?}: {why}", endpoint.url),
                Failure::Refused(why) => why,
            })
        })
    }
}
