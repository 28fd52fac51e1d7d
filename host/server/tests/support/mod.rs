//! A server on port 0 over a store in memory, and a client that speaks real HTTP over TLS with it.
#![expect(dead_code, reason = "each test file uses its part of it")]

pub(crate) mod hook;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Clock, Random, SeededRandom, Supervisor, SystemClock};
use quadrille_object::{GroupResource, Meta, Template, Timestamp};
use quadrille_registry::Registry;
use quadrille_server::{Config, Limits, Parts, Server, Tokens, User, identity};
use quadrille_store::{Cause, Committed, Expect, Key, Store, SystemCause, Txn, Write};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long anything may take that ought to happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const ADMIN: &str = "admin-token";

pub(crate) struct Host {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) supervisor: Supervisor,
    pub(crate) authority: identity::PemPair,
}

impl Host {
    pub(crate) async fn start() -> Self {
        Self::start_with(Limits::default(), quadrille_store::Config::default()).await
    }

    pub(crate) async fn start_with(limits: Limits, store: quadrille_store::Config) -> Self {
        Self::equipped(limits, store, Arc::new(SystemClock::default()), |_, _| {}).await
    }

    /// A host with a clock.
    pub(crate) async fn start_by(clock: Arc<dyn Clock>) -> Self {
        let store = quadrille_store::Config::default();
        Self::equipped(Limits::default(), store, clock, |_, _| {}).await
    }

    /// A host as it is after its first start, with the default roles, `alice` and `bob`, and what `equip` adds.
    pub(crate) async fn bootstrapped(
        limits: Limits,
        clock: Arc<dyn Clock>,
        equip: impl FnOnce(&mut Parts, &identity::PemPair),
    ) -> Self {
        let host = Self::equipped(limits, quadrille_store::Config::default(), clock, equip).await;
        host.registry.bootstrap().await.expect("starts");
        host
    }

    async fn equipped(
        limits: Limits,
        store: quadrille_store::Config,
        clock: Arc<dyn Clock>,
        equip: impl FnOnce(&mut Parts, &identity::PemPair),
    ) -> Self {
        let random: Arc<dyn Random> = Arc::new(SeededRandom::new(7));
        let supervisor = Supervisor::default();
        let store = Store::open(store, Arc::clone(&clock), &supervisor).await.expect("opens");
        let registry = Registry::build(
            quadrille_registry::Config::default(),
            store.clone(),
            Arc::clone(&clock),
            Arc::clone(&random),
        );
        let registry = registry.expect("builds");
        let authority = identity::make_authority(clock.now()).expect("an authority");
        let names = identity::loopback_names();
        let certificate = identity::make_server_certificate(&authority, &names, clock.now());
        let mut tokens = Tokens::default();
        tokens.insert(ADMIN, User::known("admin", "", &["system:masters"]));
        tokens.insert("alice-token", User::known("alice", "", &["dev"]));
        tokens.insert("bob-token", User::known("bob", "", &[]));
        let config = Config { listen: ([127, 0, 0, 1], 0).into(), limits, ..Config::default() };
        let mut parts = Parts::new(registry.clone(), certificate.expect("a certificate"), tokens);
        equip(&mut parts, &authority);
        let server = Server::build(config, parts, &supervisor).await.expect("binds");
        let address = server.address();
        supervisor.spawn("server", server.run());
        Self { address, store, registry, supervisor, authority }
    }

    /// Commits one object as the registry would; `object` names its namespace.
    pub(crate) async fn put(&self, resource: &str, object: Value) -> u64 {
        let key = key_of(resource, &object);
        let object = object.as_object().expect("an object").clone();
        let write = Write::Put {
            key,
            meta: Meta::from_object(&object),
            object: Template::encode(&object),
            expect: Expect::Any,
        };
        self.commit(write).await.revision.0
    }

    pub(crate) async fn delete(&self, resource: &str, name: &str) -> u64 {
        let key = Key::new(GroupResource::new("", resource), "shop", name);
        self.commit(Write::Delete { key, expect: Expect::Any }).await.revision.0
    }

    async fn commit(&self, write: Write) -> Committed {
        let txn = Txn {
            writes: vec![write],
            requires: Vec::new(),
            reads: None,
            fence: None,
            cause: Cause::System(SystemCause::default()),
        };
        self.store.commit(txn).await.expect("commits")
    }

    /// A TLS connection that has agreed on a protocol.
    pub(crate) async fn tls(&self, protocol: &[u8]) -> TlsStream<TcpStream> {
        self.tls_as(protocol, None).await
    }

    async fn tls_as(
        &self,
        protocol: &[u8],
        certificate: Option<&identity::PemPair>,
    ) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        let authority =
            CertificateDer::from_pem_slice(self.authority.certificate.as_bytes()).expect("PEM");
        roots.add(authority).expect("a certificate authority");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match certificate {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::from_pem_slice(pair.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
                config.with_client_auth_cert(vec![chain.expect("PEM")], key).expect("they fit")
            }
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        let socket = TcpStream::connect(self.address).await.expect("connects");
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, socket).await.expect("shakes hands")
    }

    pub(crate) async fn client(&self) -> Client {
        self.client_as(None).await
    }

    pub(crate) async fn client_as(&self, certificate: Option<&identity::PemPair>) -> Client {
        self.client_with_room(certificate, None).await
    }

    /// A client that has no room for the body of any answer.
    pub(crate) async fn client_without_room(&self) -> Client {
        self.client_with_room(None, Some(0)).await
    }

    async fn client_with_room(
        &self,
        certificate: Option<&identity::PemPair>,
        window: Option<u32>,
    ) -> Client {
        let io = TokioIo::new(self.tls_as(b"h2", certificate).await);
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        if window.is_some() {
            builder.initial_stream_window_size(window);
        }
        let (sender, connection) = builder.handshake(io).await.expect("HTTP/2");
        self.supervisor.spawn_brief("client", async move {
            let _ended: Result<(), hyper::Error> = connection.await;
        });
        Client { sender }
    }
}

/// The clock of a machine that is always late: between any two looks at it a second goes by.
#[derive(Debug, Default)]
pub(crate) struct LateClock {
    machine: SystemClock,
    looks: AtomicU64,
}

impl Clock for LateClock {
    fn now(&self) -> Timestamp {
        self.machine.now()
    }

    fn monotonic(&self) -> Duration {
        let late = Duration::from_secs(self.looks.fetch_add(1, Ordering::SeqCst));
        self.machine.monotonic() + late
    }

    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        self.machine.sleep(wait)
    }
}

fn key_of(resource: &str, object: &Value) -> Key {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    Key::new(GroupResource::new("", resource), namespace, name)
}

/// A `ConfigMap` in namespace `shop`.
#[expect(clippy::needless_pass_by_value, reason = "callers write `json!` in place")]
pub(crate) fn config_map(name: &str, labels: Value, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": value}, "metadata": {
        "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "labels": labels,
        "creationTimestamp": Timestamp::from_seconds(0).to_rfc3339(),
    }})
}

#[derive(Clone)]
pub(crate) struct Client {
    sender: hyper::client::conn::http2::SendRequest<Full<Bytes>>,
}

impl Client {
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Incoming> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"))
            .header("authorization", format!("Bearer {ADMIN}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        within(self.sender.clone().send_request(request)).await.expect("an answer")
    }

    /// Asks with these headers alone.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(format!("https://localhost{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let answer = within(self.sender.clone().send_request(request)).await.expect("an answer");
        (answer.status(), body_value(answer).await)
    }

    pub(crate) async fn send_as(&self, authorization: &str, path: &str) -> Response<Incoming> {
        let request = Request::builder()
            .uri(format!("https://localhost{path}"))
            .header("authorization", authorization)
            .body(Full::default())
            .expect("a request");
        within(self.sender.clone().send_request(request)).await.expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        let answer = self.send(Method::GET, path, &[], "").await;
        let code = answer.status();
        (code, body_value(answer).await)
    }

    pub(crate) async fn watch(&self, path: &str) -> Lines {
        self.watch_as(path, "application/json").await
    }

    pub(crate) async fn watch_as(&self, path: &str, accept: &str) -> Lines {
        let answer = self.send(Method::GET, path, &[("accept", accept)], "").await;
        assert_eq!(answer.status(), StatusCode::OK);
        Lines { body: answer.into_body(), rest: Vec::new() }
    }
}

pub(crate) async fn body_bytes(answer: Response<Incoming>) -> Bytes {
    within(answer.into_body().collect()).await.expect("a whole body").to_bytes()
}

pub(crate) async fn body_value(answer: Response<Incoming>) -> Value {
    let bytes = body_bytes(answer).await;
    serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Whatever ought to happen, with a deadline.
#[expect(clippy::disallowed_methods, reason = "tests run in real time")]
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it happens in time")
}

/// The lines of a watch.
pub(crate) struct Lines {
    body: Incoming,
    rest: Vec<u8>,
}

impl Lines {
    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("a JSON line"));
            }
            let frame = within(self.body.frame()).await?.expect("the stream is whole");
            self.rest.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
    }

    /// Reads to the end; whether the stream was cut rather than ended.
    pub(crate) async fn is_cut(&mut self) -> bool {
        while let Some(frame) = within(self.body.frame()).await {
            if frame.is_err() {
                return true;
            }
        }
        false
    }

    /// The next event as `TYPE name@revision`.
    pub(crate) async fn short(&mut self) -> String {
        let Some(event) = self.next().await else { return "END".to_owned() };
        let text = |path: &str| event.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let (name, revision) =
            (text("/object/metadata/name"), text("/object/metadata/resourceVersion"));
        format!("{} {name}@{revision}", text("/type"))
    }
}
