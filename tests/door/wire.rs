//! Bytes on a TLS connection, as they are: what no well-behaved client library would send.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use quadrille_tests::TestHost;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// How long a wire waits for the other end: the answer of a busy machine, never an expected silence.
const PATIENCE: Duration = Duration::from_mins(1);

/// A connection.
pub(crate) struct Wire {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

/// An answer of HTTP/1.1.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// The address of a host.
pub(crate) fn address(host: &TestHost) -> String {
    host.url.strip_prefix("https://").expect("https").to_owned()
}

/// A TCP connection that waits long.
pub(crate) fn tcp(host: &TestHost) -> TcpStream {
    let stream = TcpStream::connect(address(host)).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream.set_write_timeout(Some(PATIENCE)).expect("set");
    stream
}

/// How clients of a host speak TLS.
pub(crate) fn config(host: &TestHost, protocol: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(host.dir().join("ca.crt")).expect("a certificate");
    roots.add(ca).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().expect("versions");
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Arc::new(config)
}

impl Wire {
    /// Connects with `http/1.1` or `h2`.
    pub(crate) fn open(host: &TestHost, protocol: &str) -> Self {
        Self::with(&config(host, protocol), tcp(host)).expect("a handshake")
    }

    /// Over a connection that is there; ends with the handshake.
    pub(crate) fn with(config: &Arc<ClientConfig>, socket: TcpStream) -> std::io::Result<Self> {
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::clone(config), name).expect("a client");
        let mut stream = StreamOwned::new(connection, socket);
        stream.conn.complete_io(&mut stream.sock)?;
        Ok(Self { stream })
    }

    /// The socket below.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.stream.sock
    }

    /// Sends; false when the other end has closed.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush()).is_ok()
    }

    /// What comes next; `None` at the end.
    pub(crate) fn receive(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => None,
            Ok(read) => {
                buffer.truncate(read);
                Some(buffer)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the other end is silent and does not close")
            }
            Err(_) => None,
        }
    }

    /// Everything up to the end.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(piece) = self.receive() {
            all.extend(piece);
        }
        all
    }

    /// The answers up to the end.
    pub(crate) fn answers(&mut self) -> Vec<Answer> {
        let bytes = self.rest();
        let mut rest = bytes.as_slice();
        let mut answers = Vec::new();
        while let Some((answer, after)) = parse(rest) {
            answers.push(answer);
            rest = after;
        }
        answers
    }

    /// The next answer, of which the body may be going on; `None` when the connection ends first.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let mut bytes = Vec::new();
        loop {
            bytes.extend(self.receive()?);
            if let Some((answer, _)) = parse(&bytes) {
                return Some(answer);
            }
        }
    }

    /// Sends a request and answers the status code; the connection is not used further.
    pub(crate) fn code_of(mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> u16 {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.send(&[head.as_bytes(), body].concat());
        let mut bytes = Vec::new();
        while let Some(piece) = self.receive() {
            bytes.extend(piece);
            if bytes.windows(4).any(|end| end == b"\r\n\r\n") {
                break;
            }
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
    }
}

/// The first whole answer, and what follows it. Interim answers count.
fn parse(bytes: &[u8]) -> Option<(Answer, &[u8])> {
    let end = bytes.windows(4).position(|end| end == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(bytes.get(..end)?).into_owned();
    let rest = bytes.get(end + 4..)?;
    let code: u16 = head.split(' ').nth(1)?.parse().ok()?;
    let mut answer = Answer { code, head, body: Vec::new() };
    if code < 200 || code == 204 || code == 304 {
        return Some((answer, rest));
    }
    if answer.header("transfer-encoding").is_some() {
        let (body, rest) = chunks(rest)?;
        answer.body = body;
        return Some((answer, rest));
    }
    let length: usize = answer.header("content-length").unwrap_or("0").parse().ok()?;
    answer.body = rest.get(..length)?.to_vec();
    Some((answer, rest.get(length..)?))
}

fn chunks(mut bytes: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|end| end == b"\r\n")?;
        let size = std::str::from_utf8(bytes.get(..end)?).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        let chunk = bytes.get(end + 2..)?;
        body.extend_from_slice(chunk.get(..size)?);
        bytes = chunk.get(size + 2..)?;
        if size == 0 {
            return Some((body, bytes));
        }
    }
}
