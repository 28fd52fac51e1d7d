//! For tests of what once took minutes: lists of a client's that were compared with themselves item by item.
//!
//! Their sizes are such that the right way takes a second at most where the wrong one takes minutes: the deadline
//! between the two is far from both, so that no slow machine fails.

use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);

/// Does something, and fails when it took minutes.
#[expect(clippy::disallowed_methods, reason = "a test that measures")]
pub(crate) fn promptly<T>(act: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = act();
    let took = begun.elapsed();
    assert!(took < DEADLINE, "took {took:?}");
    done
}
