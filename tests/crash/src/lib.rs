//! Clients of a host that is killed again and again: each keeps a journal of what it asked, heard and saw, and a judge
//! reads the journals.
//!
//! [`wire`] is one connection, [`stage`] tells all clients where the host is now; [`writer`], [`watcher`] and [`referee`]
//! are the clients; [`journal`] is what they write down, and the only thing that [`check`] knows. [`run`] puts them
//! together around a real process. Nothing here reaches into the host.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "clients of a real process have no supervisor, wait in real time and print figures"
)]

mod backup;
pub mod check;
pub mod journal;
pub mod referee;
pub mod run;
pub mod stage;
pub mod watcher;
pub mod wire;
pub mod writer;

pub use check::{Found, Record, check};
pub use run::{Plan, Report};
pub use stage::Stage;
pub use wire::{Connection, Endpoint};

/// A number from the environment: how long the long forms run, and their seed.
pub fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The program under test: `QUADRILLE_PROGRAM`, or the one that was built with the tests.
pub fn program(built: &str) -> String {
    std::env::var("QUADRILLE_PROGRAM").unwrap_or_else(|_| built.to_owned())
}

/// Prints one line of a report.
pub fn say(line: &str) {
    eprintln!("{line}");
}

/// The value below which a share of the sorted values lies.
pub fn percentile<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}
