//! A client over TLS and HTTP/1.1 that costs little, and the bare server that answers are compared with.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, ensure};
use axum::Router;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use quadrille_tests::TestHost;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Where requests go, and by what right.
#[derive(Clone)]
pub struct Target {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    tls: TlsConnector,
    token: Arc<str>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("address", &self.address).finish_non_exhaustive()
    }
}

/// One connection.
pub type Connection = SendRequest<Full<Bytes>>;

/// One connection that many requests share.
pub type Shared = http2::SendRequest<Full<Bytes>>;

const HTTP1: &str = "http/1.1";

/// The same cryptography as the host's: two providers are linked into the benchmarks.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn connector(certificate: CertificateDer<'static>, protocol: &str) -> anyhow::Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate)?;
    let config = rustls::ClientConfig::builder_with_provider(provider());
    let config = config.with_safe_default_protocol_versions()?.with_root_certificates(roots);
    let mut config = config.with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Target {
    /// A host with its admin's token.
    ///
    /// # Errors
    /// When the host's files cannot be read.
    pub fn host(host: &TestHost) -> anyhow::Result<Self> {
        let certificate = CertificateDer::from_pem_file(host.dir().join("ca.crt"))?;
        let token = std::fs::read_to_string(host.dir().join("admin-token"))?;
        let address = host.url.strip_prefix("https://").context("a URL")?.parse()?;
        let tls = connector(certificate.clone(), HTTP1)?;
        Ok(Self { address, certificate, tls, token: token.trim().into() })
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let stream = self.stream(&self.tls).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        #[expect(clippy::disallowed_methods, reason = "a benchmark has no supervisor")]
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn stream(&self, tls: &TlsConnector) -> anyhow::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(tls.connect(ServerName::from(self.address.ip()), stream).await?)
    }

    /// A GET on a connection of its own, whose answer is left as the bytes that come, head and chunk sizes included.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn raw_get(&self, path: &str) -> anyhow::Result<TlsStream<TcpStream>> {
        let mut stream = self.stream(&self.tls).await?;
        let (address, token) = (self.address, &self.token);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        Ok(stream)
    }

    /// A connection for many requests at once, with the windows of a Go client.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn connect_shared(&self) -> anyhow::Result<Shared> {
        let tls = connector(self.certificate.clone(), "h2")?;
        let io = TokioIo::new(self.stream(&tls).await?);
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(4 << 20).initial_connection_window_size(1 << 30);
        let (sender, connection) = builder.handshake(io).await?;
        #[expect(clippy::disallowed_methods, reason = "a benchmark has no supervisor")]
        tokio::spawn(connection);
        Ok(sender)
    }

    /// A GET among others on a connection.
    ///
    /// # Errors
    /// When the answer is no success.
    pub async fn get_shared(&self, connection: &Shared, path: &str) -> anyhow::Result<Incoming> {
        let request = Request::builder()
            .uri(format!("https://{}{path}", self.address))
            .header("Authorization", format!("Bearer {}", self.token))
            .body(Full::default())?;
        let answer = connection.clone().send_request(request).await?;
        ensure!(answer.status().is_success(), "GET {path}: {}", answer.status());
        Ok(answer.into_body())
    }

    /// Sends a request and answers the body as a stream.
    ///
    /// # Errors
    /// When the answer is no success.
    pub async fn send(
        &self,
        connection: &mut Connection,
        method: &str,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> anyhow::Result<Incoming> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", self.address.to_string())
            .header("Authorization", format!("Bearer {}", self.token))
            .header("Content-Type", content_type)
            .body(Full::new(body))?;
        connection.ready().await?;
        let answer = connection.send_request(request).await?;
        ensure!(answer.status().is_success(), "{method} {path}: {}", answer.status());
        Ok(answer.into_body())
    }

    /// GET, read to its end; answers the number of bytes and the last 4 KiB frame seen.
    ///
    /// # Errors
    /// When the answer is no success.
    pub async fn get(&self, connection: &mut Connection, path: &str) -> anyhow::Result<usize> {
        let mut body = self.send(connection, "GET", path, "", Bytes::new()).await?;
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(bytes)
    }

    /// GET of a whole body.
    ///
    /// # Errors
    /// When the answer is no success.
    pub async fn read(&self, connection: &mut Connection, path: &str) -> anyhow::Result<Bytes> {
        let body = self.send(connection, "GET", path, "", Bytes::new()).await?;
        Ok(body.collect().await?.to_bytes())
    }
}

/// A server that copies the same bytes for every GET and does nothing else: the reference.
///
/// # Errors
/// When no port is free.
pub async fn bare(routes: Router) -> anyhow::Result<Target> {
    let key = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    let certificate = key.cert.der().clone();
    let private = PrivateKeyDer::try_from(key.signing_key.serialize_der())
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    let config = rustls::ServerConfig::builder_with_provider(provider());
    let config = config.with_safe_default_protocol_versions()?.with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.clone()], private)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let serving = async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(routes.clone()));
            let one = async move {
                stream.set_nodelay(true)?;
                let stream = TokioIo::new(acceptor.accept(stream).await?);
                let serving = hyper::server::conn::http1::Builder::new();
                serving.serve_connection(stream, service).await?;
                anyhow::Ok(())
            };
            #[expect(clippy::disallowed_methods, reason = "a benchmark has no supervisor")]
            tokio::spawn(one);
        }
    };
    #[expect(clippy::disallowed_methods, reason = "a benchmark has no supervisor")]
    tokio::spawn(serving);
    let tls = connector(certificate.clone(), HTTP1)?;
    Ok(Target { address, certificate, tls, token: "none".into() })
}
