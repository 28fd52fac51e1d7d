//! Watches over WebSocket (RFC 6455), for browsers and clients that cannot read a long answer piece by piece.
//!
//! A GET that asks for an upgrade and is a watch is answered with 101; what then travels are the same events, one
//! message each. A token may come as a sub-protocol, since browsers cannot send an `Authorization` header. The socket
//! stays in the task of its connection, so that the bound on connections counts it: the request leaves its stream of
//! events in the connection's [`Slot`], and the connection goes on with it when HTTP has ended.
//!
//! What a client sends is read and thrown away, but for pings, pongs and its farewell. Whoever takes nothing for the
//! server's stall time, or answers no ping, is cut.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::{
    AUTHORIZATION, CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{Method, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use quadrille_registry::{Reason, Status};
use sha1::{Digest as _, Sha1};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::answer::{Answer, Body, Pieces};
use crate::app::App;

mod frame;

use frame::{Frame, Frames};
pub(crate) use frame::{Opcode, header};

/// What RFC 6455 appends to the client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The sub-protocol whose messages are base64 text.
const BASE64: &str = "base64.binary.k8s.io";
/// A sub-protocol that is a token in base64.
const BEARER: &str = "base64url.bearer.authorization.k8s.io.";
/// Credentials that are nobody's: tokens are text, and this is none.
const NO_TOKEN: &[u8] = b"Bearer \xff";

/// Where a request leaves what its connection shall become.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<Mutex<Option<Socket>>>);

/// A connection to be, and what is to be sent on it.
pub(crate) struct Socket {
    upgrade: OnUpgrade,
    messages: Pieces,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

impl Slot {
    fn put(&self, socket: Socket) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
    }

    /// What the last request has left.
    pub(crate) fn take(&self) -> Option<Socket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A request that asks to become a WebSocket, and may.
pub(crate) struct Handshake {
    accept: HeaderValue,
    protocol: Option<HeaderValue>,
    upgrade: OnUpgrade,
    slot: Slot,
    /// Whether messages are base64 text.
    pub(crate) base64: bool,
}

/// Whether the headers ask for a WebSocket.
pub(crate) fn is_asked(headers: &HeaderMap) -> bool {
    let names = |name, wanted: &str| {
        headers.get_all(name).iter().any(|value| {
            let text = value.to_str().unwrap_or_default();
            text.split(',').any(|part| part.trim().eq_ignore_ascii_case(wanted))
        })
    };
    names(UPGRADE, "websocket") && names(CONNECTION, "upgrade")
}

/// Moves a token from the sub-protocols into the header where it is looked for.
pub(crate) fn take_token(headers: &mut HeaderMap) {
    let protocols = protocols(headers);
    let Some(token) = protocols.iter().find_map(|protocol| protocol.strip_prefix(BEARER)) else {
        return;
    };
    let token = URL_SAFE_NO_PAD.decode(token).ok().and_then(|token| String::from_utf8(token).ok());
    let rest: Vec<&str> =
        protocols.iter().map(String::as_str).filter(|p| !p.starts_with(BEARER)).collect();
    match HeaderValue::from_str(&rest.join(", ")) {
        Ok(rest) if !rest.is_empty() => headers.insert(SEC_WEBSOCKET_PROTOCOL, rest),
        _ => headers.remove(SEC_WEBSOCKET_PROTOCOL),
    };
    // A token that cannot be read, or is none, must not turn the client into nobody: it is refused like any other wrong one.
    let token = token.filter(|token| !token.trim().is_empty());
    let bearer = token.and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
    let bearer = bearer.unwrap_or_else(|| {
        HeaderValue::from_bytes(NO_TOKEN).expect("visible characters and bytes above them")
    });
    if !headers.contains_key(AUTHORIZATION) {
        headers.insert(AUTHORIZATION, bearer);
    }
}

fn protocols(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(|part| part.trim().to_owned()).collect()
}

/// The handshake of a request; `None` when it asks for none or came where there is none (HTTP/2).
///
/// # Errors
/// 400 when it is malformed.
pub(crate) fn handshake(parts: &Parts) -> Result<Option<Handshake>, Status> {
    if !is_asked(&parts.headers) || parts.method != Method::GET {
        return Ok(None);
    }
    let (Some(upgrade), Some(slot)) =
        (parts.extensions.get::<OnUpgrade>(), parts.extensions.get::<Slot>())
    else {
        return Ok(None);
    };
    let bad = |what: &str| Status::new(Reason::BadRequest, format!("websocket: {what}"));
    if parts.headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(bad("only version 13 is spoken"));
    }
    let key = parts.headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| bad("the key is missing"))?;
    if STANDARD.decode(key.as_bytes()).map_or(0, |key| key.len()) != 16 {
        return Err(bad("the key is not 16 bytes in base64"));
    }
    let digest = Sha1::new().chain_update(key.as_bytes()).chain_update(GUID).finalize();
    let accept = HeaderValue::from_str(&STANDARD.encode(digest))
        .map_err(|_| bad("the key cannot be answered"))?;
    let offered = protocols(&parts.headers);
    let chosen = offered.iter().find(|protocol| *protocol == BASE64).or_else(|| offered.first());
    let base64 = chosen.is_some_and(|protocol| protocol == BASE64);
    let protocol = chosen.and_then(|protocol| HeaderValue::from_str(protocol).ok());
    let (upgrade, slot) = (upgrade.clone(), slot.clone());
    Ok(Some(Handshake { accept, protocol, upgrade, slot, base64 }))
}

impl Handshake {
    /// Answers 101 and leaves the messages to the connection.
    pub(crate) fn accept(self, messages: Pieces) -> Answer {
        self.slot.put(Socket { upgrade: self.upgrade, messages });
        let mut answer = Answer::new(Body::Whole(Bytes::new()));
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(protocol) = self.protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        answer
    }
}

/// What happens next on a socket.
enum Step {
    Received(Frame),
    Message(Option<Bytes>),
    Quiet,
}

impl Socket {
    /// Sends until the messages or the client end.
    pub(crate) async fn run(self, app: &App) {
        let Ok(upgraded) = self.upgrade.await else { return };
        let (read, write) = tokio::io::split(TokioIo::new(upgraded));
        let mut link = Link { app, write, frames: Frames::new(read) };
        link.converse(self.messages).await;
    }
}

struct Link<'a, R, W> {
    app: &'a App,
    write: W,
    frames: Frames<R>,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Link<'_, R, W> {
    async fn converse(&mut self, mut messages: Pieces) {
        let mut pinged = false;
        loop {
            let step = tokio::select! {
                biased;
                frame = self.frames.next() => Step::Received(frame),
                message = messages.next() => Step::Message(message),
                () = self.app.clock.sleep(self.app.config.limits.ping_interval) => Step::Quiet,
            };
            let sent = match step {
                Step::Received(Frame::Ping(payload)) => self.control(Opcode::Pong, &payload).await,
                Step::Received(Frame::Data) => true,
                Step::Received(Frame::Pong) => {
                    pinged = false;
                    true
                }
                Step::Received(Frame::Close(code)) => return self.close(code).await,
                Step::Received(Frame::Gone) => return,
                Step::Message(Some(message)) => self.send(&message).await,
                Step::Message(None) => return self.close(1000).await,
                Step::Quiet if pinged => false,
                Step::Quiet => {
                    pinged = true;
                    self.control(Opcode::Ping, b"").await
                }
            };
            if !sent {
                tracing::debug!("client of a websocket takes nothing; connection cut");
                return;
            }
        }
    }

    async fn close(&mut self, code: u16) {
        // Were it not taken, the connection would end all the same.
        let _taken: bool = self.control(Opcode::Close, &code.to_be_bytes()).await;
        let _ended: Result<(), std::io::Error> = self.write.shutdown().await;
    }

    async fn control(&mut self, opcode: Opcode, payload: &[u8]) -> bool {
        let mut message = header(opcode, payload.len());
        message.extend_from_slice(payload);
        self.send(&message).await
    }

    /// Whether the bytes were taken in time.
    async fn send(&mut self, bytes: &[u8]) -> bool {
        let limits = &self.app.config.limits;
        let writing = async {
            self.write.write_all(bytes).await?;
            self.write.flush().await
        };
        tokio::select! {
            written = writing => written.is_ok(),
            () = self.app.clock.sleep(limits.stall_timeout) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_among_the_protocols_becomes_the_header() {
        let mut headers = HeaderMap::new();
        let offered = "base64.binary.k8s.io, base64url.bearer.authorization.k8s.io.YWRtaW4";
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(offered));
        take_token(&mut headers);
        assert_eq!(headers[AUTHORIZATION], "Bearer admin");
        assert_eq!(headers[SEC_WEBSOCKET_PROTOCOL], "base64.binary.k8s.io");
        for unread in ["!", "", "IA", "Cg", "_w"] {
            let protocol = HeaderValue::try_from(format!("{BEARER}{unread}")).expect("a value");
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
            headers.remove(AUTHORIZATION);
            take_token(&mut headers);
            assert_eq!(headers[AUTHORIZATION].as_bytes(), NO_TOKEN, "{unread:?}");
            assert!(!headers.contains_key(SEC_WEBSOCKET_PROTOCOL));
        }
    }
}
