//! One connection: HTTP/1.1 over TLS, written by hand.
//!
//! A test of crashes must know exactly what went out: this client never sends a request twice, and an answer that was
//! cut is an error of its own and no short answer.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

/// How long nothing may come before a connection counts as dead; longer than any watch of these tests is idle.
const SILENCE_MAX: Duration = Duration::from_mins(1);

/// Where a host is, and by what right it is asked.
#[derive(Clone, Debug)]
pub struct Endpoint {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    token: Arc<str>,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status code.
    pub code: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// `metadata.resourceVersion` of the body, of an object or of a list; 0 when there is none.
    pub fn revision(&self) -> u64 {
        revision(&self.json())
    }
}

/// `metadata.resourceVersion` as a number; 0 when there is none.
pub fn revision(object: &Value) -> u64 {
    let text = object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

impl Endpoint {
    /// The host at a URL whose data directory is `dir`, with its admin's token.
    pub fn of(url: &str, dir: &Path) -> anyhow::Result<Self> {
        let address = url.strip_prefix("https://").context("a URL")?.parse()?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(dir.join("ca.crt"))?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions()?.with_root_certificates(roots);
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let token = std::fs::read_to_string(dir.join("admin-token"))?;
        Ok(Self { address, tls: Arc::new(config), token: token.trim().into() })
    }

    /// Opens a connection.
    pub fn connect(&self) -> io::Result<Connection> {
        let socket = TcpStream::connect(self.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(SILENCE_MAX))?;
        socket.set_write_timeout(Some(SILENCE_MAX))?;
        let name = ServerName::from(self.address.ip());
        let tls = ClientConnection::new(Arc::clone(&self.tls), name).map_err(io::Error::other)?;
        let stream = BufReader::with_capacity(64 * 1024, StreamOwned::new(tls, socket));
        Ok(Connection { stream, address: self.address, token: Arc::clone(&self.token) })
    }

    /// One request on a connection of its own.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> io::Result<Answer> {
        self.connect()?.ask(method, path, body)
    }
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    address: SocketAddr,
    token: Arc<str>,
}

struct Head {
    code: u16,
    length: Option<usize>,
    chunked: bool,
}

impl Connection {
    /// A request with a JSON body, or none for null.
    pub fn ask(&mut self, method: &str, path: &str, body: &Value) -> io::Result<Answer> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, path, "application/json", body.as_bytes())
    }

    /// A merge patch.
    pub fn merge(&mut self, path: &str, patch: &Value) -> io::Result<Answer> {
        self.send("PATCH", path, "application/merge-patch+json", patch.to_string().as_bytes())
    }

    /// GET.
    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send("GET", path, "", b"")
    }

    /// Any request, and its whole answer.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> io::Result<Answer> {
        self.write(method, path, content_type, body)?;
        let head = self.read_head()?;
        let body = self.read_body(&head)?;
        Ok(Answer { code: head.code, body })
    }

    /// GET of a stream; what is no stream of lines is the answer that came instead.
    pub fn lines(mut self, path: &str) -> io::Result<Result<Lines, Answer>> {
        self.write("GET", path, "", b"")?;
        let head = self.read_head()?;
        if head.code != 200 || !head.chunked {
            let body = self.read_body(&head)?;
            return Ok(Err(Answer { code: head.code, body }));
        }
        Ok(Ok(Lines { connection: self, left: 0, begun: false, line: Vec::new() }))
    }

    fn write(
        &mut self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> io::Result<()> {
        let (address, token) = (self.address, &self.token);
        let length = body.len();
        let about_body = match (method, body.is_empty()) {
            ("GET", true) => String::new(),
            (_, true) => "Content-Length: 0\r\n".to_owned(),
            _ => format!("Content-Type: {content_type}\r\nContent-Length: {length}\r\n"),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             {about_body}\r\n"
        );
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        let stream = self.stream.get_mut();
        stream.write_all(&bytes)?;
        stream.flush()
    }

    fn read_head(&mut self) -> io::Result<Head> {
        let status = self.read_line()?;
        let code = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut head = Head { code: code.ok_or_else(broken)?, length: None, chunked: false };
        loop {
            let line = self.read_line()?.to_ascii_lowercase();
            if line.is_empty() {
                return Ok(head);
            }
            match line.split_once(':').map(|(name, value)| (name, value.trim())) {
                Some(("content-length", value)) => head.length = value.parse().ok(),
                Some(("transfer-encoding", "chunked")) => head.chunked = true,
                _ => {}
            }
        }
    }

    fn read_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let ended = line.ends_with('\n');
        line.truncate(line.trim_end().len());
        if ended { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn read_body(&mut self, head: &Head) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if let Some(length) = head.length {
            body.resize(length, 0);
            self.stream.read_exact(&mut body)?;
        }
        if !head.chunked {
            return Ok(body);
        }
        loop {
            let size = self.chunk_size()?;
            let begin = body.len();
            body.resize(begin + size, 0);
            self.stream.read_exact(&mut body[begin..])?;
            self.read_line()?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn chunk_size(&mut self) -> io::Result<usize> {
        let line = self.read_line()?;
        usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16).map_err(|_| broken())
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "this is no HTTP/1.1 answer")
}

/// A stream of lines.
#[derive(Debug)]
pub struct Lines {
    connection: Connection,
    /// Bytes left of the present chunk.
    left: usize,
    begun: bool,
    line: Vec<u8>,
}

impl Lines {
    /// The next whole line; `None` when the host ended the stream. What was cut is an error.
    pub fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        loop {
            if self.left == 0 {
                if std::mem::replace(&mut self.begun, true) {
                    self.connection.read_line()?;
                }
                self.left = self.connection.chunk_size()?;
                if self.left == 0 {
                    let whole = self.line.is_empty();
                    return if whole { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
                }
            }
            let ready = self.connection.stream.fill_buf()?;
            if ready.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let ready = &ready[..ready.len().min(self.left)];
            let end = ready.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(ready.len(), |end| end + 1);
            self.line.extend_from_slice(&ready[..taken]);
            self.connection.stream.consume(taken);
            self.left -= taken;
            if end.is_some() {
                return Ok(Some(&self.line));
            }
        }
    }
}
