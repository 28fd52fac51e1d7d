//! An HTTPS server on loopback that is a webhook: what it was asked is kept.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use quadrille_kit::{Clock as _, SystemClock};
use quadrille_server::identity;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::Host;

/// What a webhook answers.
pub(crate) enum Reply {
    Json(Value),
    /// With a 500.
    Error(Value),
    Never,
}

/// What a webhook answers at a path to a review.
pub(crate) type Answer = Arc<dyn Fn(&str, &Value) -> Reply + Send + Sync>;

/// A webhook server.
pub(crate) struct Hook {
    pub(crate) port: u16,
    pub(crate) ca_bundle: String,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Hook {
    pub(crate) async fn start(host: &Host, answer: Answer) -> Self {
        let now = SystemClock::default().now();
        let authority = identity::make_authority(now).expect("an authority");
        let mut names = identity::loopback_names();
        names.push("hook.shop.svc".to_owned());
        let pair =
            identity::make_server_certificate(&authority, &names, now).expect("a certificate");
        let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM")];
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a usable certificate");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = listener.local_addr().expect("an address").port();
        let asked: Arc<Mutex<Vec<Value>>> = Arc::default();
        let seen = Arc::clone(&asked);
        let supervisor = host.supervisor.clone();
        host.supervisor.spawn_brief("webhook", async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
                let answer = Arc::clone(&answer);
                supervisor.spawn_brief("webhook call", async move {
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let service = service_fn(move |request| {
                        respond(request, Arc::clone(&seen), Arc::clone(&answer))
                    });
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    let _ended: Result<(), hyper::Error> = connection.await;
                });
            }
        });
        Self { port, ca_bundle: STANDARD.encode(&authority.certificate), asked }
    }

    /// Every review so far.
    pub(crate) fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn respond(
    request: Request<Incoming>,
    asked: Arc<Mutex<Vec<Value>>>,
    answer: Answer,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(review.clone());
    let (code, review) = match answer(&path, &review) {
        Reply::Json(review) => (StatusCode::OK, review),
        Reply::Error(review) => (StatusCode::INTERNAL_SERVER_ERROR, review),
        Reply::Never => std::future::pending().await,
    };
    let mut answer = Response::new(Full::new(Bytes::from(review.to_string())));
    *answer.status_mut() = code;
    Ok(answer)
}
