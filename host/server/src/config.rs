//! How a server is set up, and its bounds.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 takes a free one. Loopback unless asked for.
    pub listen: SocketAddr,
    /// The host's own version, added to Kubernetes' in `/version`.
    pub version: String,
    /// The bounds.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7443)),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            limits: Limits::default(),
        }
    }
}

/// What a client may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections; further ones wait in the listen queue.
    pub connections_max: usize,
    /// Requests at the same time on one HTTP/2 connection. client-go opens one stream per watch.
    pub streams_max: u32,
    /// Requests that are worked on at the same time; further ones wait in queues, one per user.
    pub requests_max: usize,
    /// The same for one user: what is beyond it waits even while others leave room.
    pub requests_per_user_max: usize,
    /// Requests of one user that wait; further ones are refused with 429.
    pub queue_per_user_max: usize,
    /// Requests that wait, of all users.
    pub queue_max: usize,
    /// How long a request waits before it is refused with 429.
    pub queue_wait: Duration,
    /// Bytes of a request body; Kubernetes' own limit. Refused with 413 beyond it.
    pub body_bytes_max: usize,
    /// Bytes of an uploaded component.
    pub component_bytes_max: usize,
    /// Bytes of all headers of a request.
    pub header_bytes_max: u32,
    /// Time for the TLS handshake, and for the head of an HTTP/1.1 request, idle time before it included.
    pub head_timeout: Duration,
    /// Time for a request body.
    pub body_timeout: Duration,
    /// How often an idle HTTP/2 connection is asked whether anybody is there.
    pub ping_interval: Duration,
    /// How long the answer to that may take before the connection is closed.
    pub ping_timeout: Duration,
    /// How long a client may leave the next piece of a long answer untaken before the answer is cut.
    pub stall_timeout: Duration,
    /// Bytes of answers in memory that one user has not taken yet; beyond it the user's next requests wait.
    pub untaken_bytes_per_user_max: usize,
    /// The same of all users; beyond it whoever has some wait.
    pub untaken_bytes_max: usize,
    /// How long requests may go on after the shutdown began.
    pub drain_timeout: Duration,
    /// How long a watch lives at least when the client names no time; at most twice as long.
    pub watch_timeout: Duration,
    /// How often a watch gets a bookmark when it asked for them.
    pub bookmark_interval: Duration,
}

impl Limits {
    /// The bounds of questions that wait. They cost little meanwhile, so more may wait than are worked on; but nobody
    /// waits for waiting.
    pub(crate) fn of_waiting(&self) -> Self {
        let requests_max = self.requests_max.saturating_mul(4);
        Self { requests_max, queue_per_user_max: 0, ..self.clone() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            streams_max: 2_000,
            requests_max: 256,
            requests_per_user_max: 64,
            queue_per_user_max: 512,
            queue_max: 8192,
            queue_wait: Duration::from_secs(15),
            body_bytes_max: 3 * 1024 * 1024,
            component_bytes_max: 64 * 1024 * 1024,
            header_bytes_max: 64 * 1024,
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_mins(1),
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_mins(1),
            untaken_bytes_per_user_max: 256 * 1024 * 1024,
            untaken_bytes_max: 1024 * 1024 * 1024,
            drain_timeout: Duration::from_secs(10),
            watch_timeout: Duration::from_mins(30),
            bookmark_interval: Duration::from_mins(1),
        }
    }
}
