//! One connection: TLS, then HTTP/2 or HTTP/1.1 as the client chose, each within its bounds.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Waker};

use futures_util::FutureExt as _;
use futures_util::future::Map;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::answer::{Answer, Body};
use crate::app::{App, Caller, Responding};
use crate::certificate::Certified;
use crate::gather::Gather;
use crate::stall;
use crate::strangers::Stranger;
use crate::websocket::{self, Slot};

/// What a client may send ahead on one stream: a whole request body of the usual size.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// What a client may send ahead on one connection.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
/// What is buffered of one answer beyond what the client has asked for.
const SEND_BUFFER: usize = 1024 * 1024;

/// Serves a connection until it ends, or has to make room while nobody on it is known.
pub(crate) async fn serve(
    app: Arc<App>,
    tls: TlsAcceptor,
    socket: TcpStream,
    peer: SocketAddr,
    stranger: Arc<Stranger>,
) {
    tokio::select! {
        biased;
        () = stranger.sent_away() => {
            tracing::debug!(%peer, "nobody is known on the connection; it makes room");
        }
        () = serve_all(app, tls, socket, peer, &stranger) => {}
    }
}

async fn serve_all(
    app: Arc<App>,
    tls: TlsAcceptor,
    socket: TcpStream,
    peer: SocketAddr,
    stranger: &Arc<Stranger>,
) {
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%peer, %error, "cannot turn off delayed sending");
    }
    let handshake = tls.accept(Gather::new(socket));
    let stream = tokio::select! {
        stream = handshake => stream,
        () = app.clock.sleep(app.config.limits.head_timeout) => return,
    };
    let stream = match stream {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%peer, %error, "TLS handshake failed");
            return;
        }
    };
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let certificates = stream.get_ref().1.peer_certificates();
    let certificate = certificates.and_then(|certificates| certificates.first());
    let caller = Caller {
        address: peer.ip().to_string().into(),
        certified: certificate.and_then(|certificate| Certified::read(certificate)),
        stranger: Arc::clone(stranger),
    };
    let slot = Slot::default();
    let service = Service { app: Arc::clone(&app), caller: Arc::new(caller), slot: slot.clone() };
    let io = TokioIo::new(stream);
    let limits = &app.config.limits;
    let result = if is_h2 {
        let mut builder = http2::Builder::new(Streams(Arc::clone(&app)));
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_max)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(limits.header_bytes_max)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(limits.ping_interval)
            .keep_alive_timeout(limits.ping_timeout);
        let connection = builder.serve_connection(io, service);
        drain(&app, connection, http2::Connection::graceful_shutdown).await
    } else {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .half_close(false)
            .max_buf_size(limits.header_bytes_max as usize);
        let connection = builder.serve_connection(io, service).with_upgrades();
        let serving = drain(&app, connection, http1::UpgradeableConnection::graceful_shutdown);
        let (clock, timeout) = (Arc::clone(&app.clock), limits.stall_timeout);
        let served = stall::cut_when_stalled(clock, timeout, serving).await;
        served.unwrap_or_else(|| {
            tracing::debug!(%peer, "client takes nothing of its answer; connection cut");
            Ok(())
        })
    };
    if let Err(error) = result {
        tracing::debug!(%peer, error = %error, "connection ended early");
        return;
    }
    if let Some(socket) = slot.take() {
        socket.run(&app).await;
    }
}

/// Runs a connection; at the shutdown lets its requests finish, but not for ever.
async fn drain<C>(
    app: &App,
    connection: C,
    graceful_shutdown: impl FnOnce(Pin<&mut C>),
) -> Result<(), hyper::Error>
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let mut connection = pin!(connection);
    tokio::select! {
        result = &mut connection => return result,
        () = app.shutdown.started() => {}
    }
    graceful_shutdown(connection.as_mut());
    tokio::select! {
        result = &mut connection => result,
        () = app.clock.sleep(app.config.limits.drain_timeout) => Ok(()),
    }
}

#[derive(Debug)]
struct Service {
    app: Arc<App>,
    caller: Arc<Caller>,
    slot: Slot,
}

type Answering = Map<Responding, fn(Answer) -> Result<Response<Body>, Infallible>>;

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, mut request: Request<Incoming>) -> Answering {
        if request.version() == Version::HTTP_11 && websocket::is_asked(request.headers()) {
            websocket::take_token(request.headers_mut());
            request.extensions_mut().insert(self.slot.clone());
        }
        self.app.handle(request, &self.caller).map(Ok)
    }
}

/// Runs the requests of an HTTP/2 connection. A request whose answer is ready at once is finished inside the
/// connection's own task: a task of its own would cost more than the answer. All others get one.
#[derive(Clone, Debug)]
struct Streams(Arc<App>);

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    #[expect(
        clippy::disallowed_methods,
        reason = "bounded by streams_max, ends with the connection"
    )]
    fn execute(&self, future: F) {
        let (clock, timeout) = (Arc::clone(&self.0.clock), self.0.config.limits.stall_timeout);
        let mut future = Box::pin(async move {
            if stall::cut_when_stalled(clock, timeout, future).await.is_none() {
                tracing::debug!("client takes nothing of its answer; stream cut");
            }
        });
        // Whoever is not ready is polled again by its task at once, so no wake-up is lost here.
        if future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::spawn(future);
        }
    }
}
