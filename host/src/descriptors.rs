//! File descriptors: the process takes all that it may have, and connections never take the last ones.
//!
//! Without a descriptor the store cannot begin a file and the log cannot rotate, so what clients can use up is bounded
//! below what the process may open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that connections leave to the host: the store, journals, components, calls of webhooks.
const RESERVED: u64 = 256;

/// Raises the soft limit to the hard one, and answers how many connections there may be of `wanted`.
pub(crate) fn connections_max(wanted: usize) -> usize {
    let Rlimit { mut current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            Ok(()) => current = maximum,
            Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
        }
    }
    let bounded = within(wanted, current);
    if bounded < wanted {
        tracing::info!(connections = bounded, "the limit of open files bounds connections");
    }
    bounded
}

fn within(wanted: usize, files: Option<u64>) -> usize {
    let Some(files) = files else { return wanted };
    // A process that may open hardly anything still serves somebody.
    let left = files.saturating_sub(RESERVED).max(files / 4).max(1);
    wanted.min(usize::try_from(left).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_host_its_files() {
        assert_eq!(within(10_000, None), 10_000);
        assert_eq!(within(10_000, Some(1 << 20)), 10_000);
        assert_eq!(within(10_000, Some(1_024)), 768);
        assert_eq!(within(10_000, Some(64)), 16);
        assert_eq!(within(10, Some(1_024)), 10);
    }
}
