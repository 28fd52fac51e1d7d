//! What clients may cost: the part of the configuration that bounds them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Text;

/// What clients may cost. Whatever is beyond a bound waits or is refused; nothing that was acknowledged is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Open connections; default 16384 (ten thousand watchers, and room for others), and never more than the process may
    /// have files, less what the host needs itself. Connections on which nobody has been recognised make room for new ones.
    pub(crate) connections_max: usize,
    /// Requests that are worked on at once; default 256.
    pub(crate) requests_max: usize,
    /// The same for one user; default 64.
    pub(crate) requests_per_user_max: usize,
    /// Requests of one user that wait; default 512. Further ones are refused with 429.
    pub(crate) queue_per_user_max: usize,
    /// How long a request waits before it is refused with 429; default `"15s"`.
    pub(crate) queue_wait: Text<Duration>,
    /// Time for the TLS handshake, and for the head of an HTTP/1.1 request; default `"30s"`.
    pub(crate) head_timeout: Text<Duration>,
    /// Time for a request's body; default `"1m"`.
    pub(crate) body_timeout: Text<Duration>,
    /// How long a client may leave a piece of a long answer untaken; default `"1m"`.
    pub(crate) stall_timeout: Text<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        let limits = quadrille_server::Limits::default();
        Self {
            connections_max: limits.connections_max,
            requests_max: limits.requests_max,
            requests_per_user_max: limits.requests_per_user_max,
            queue_per_user_max: limits.queue_per_user_max,
            queue_wait: Text(limits.queue_wait),
            head_timeout: Text(limits.head_timeout),
            body_timeout: Text(limits.body_timeout),
            stall_timeout: Text(limits.stall_timeout),
        }
    }
}

impl Limits {
    /// What is wrong.
    pub(super) fn problems(&self, problems: &mut Vec<String>) {
        let counts = [
            ("connections_max", self.connections_max),
            ("requests_max", self.requests_max),
            ("requests_per_user_max", self.requests_per_user_max),
        ];
        for (name, _) in counts.iter().filter(|(_, count)| *count == 0) {
            problems.push(format!("limits.{name} is 0: nobody could ask for anything"));
        }
        let times = [
            ("queue_wait", self.queue_wait),
            ("head_timeout", self.head_timeout),
            ("body_timeout", self.body_timeout),
            ("stall_timeout", self.stall_timeout),
        ];
        for (name, _) in times.iter().filter(|(_, time)| time.0 < Duration::from_millis(100)) {
            problems.push(format!("limits.{name} is below 100ms"));
        }
    }

    /// As the server takes them.
    pub(crate) fn of_server(&self, drain_timeout: Duration) -> quadrille_server::Limits {
        quadrille_server::Limits {
            connections_max: self.connections_max,
            requests_max: self.requests_max,
            requests_per_user_max: self.requests_per_user_max,
            queue_per_user_max: self.queue_per_user_max,
            queue_wait: self.queue_wait.0,
            head_timeout: self.head_timeout.0,
            body_timeout: self.body_timeout.0,
            stall_timeout: self.stall_timeout.0,
            drain_timeout,
            ..quadrille_server::Limits::default()
        }
    }
}
