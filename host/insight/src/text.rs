//! The answer to `why` as a tree for people.

use std::fmt::Write;

use quadrille_store::{Cause, RequestCause, RunCause, SystemCause};

use crate::why::{Step, Why};

/// Draws the tree, one change and its maker per step.
pub fn tree(why: &Why) -> String {
    let mut out = String::new();
    for step in &why.steps {
        let lead = match step.depth {
            0 => String::new(),
            depth => format!("{}└ because ", "  ".repeat(depth - 1)),
        };
        let below = "  ".repeat(step.depth);
        // Writing into a String cannot fail.
        let drawn =
            writeln!(out, "{lead}{} {} at revision {}", step.object, step.change, step.revision)
                .and_then(|()| writeln!(out, "{below}  by {}", maker(step)));
        debug_assert!(drawn.is_ok(), "writing into memory");
    }
    if !why.compacted.is_empty() {
        let count = why.compacted.len().to_string();
        out.extend(["(", &count, " earlier changes are compacted)\n"]);
    }
    if why.truncated {
        out.push_str("(the tree goes on; this is as far as it is told)\n");
    }
    out
}

fn maker(step: &Step) -> String {
    match &step.cause {
        Cause::Request(request) => format!("{}, {}", requester(request), step.at),
        Cause::Run(run) => runner(run, step),
        Cause::System(system) => host_part(system),
    }
}

fn requester(request: &RequestCause) -> String {
    let RequestCause { user, client, address, verb } = request;
    let client = client.split(' ').next().unwrap_or_default();
    let from = if address.is_empty() { String::new() } else { format!(" from {address}") };
    format!("{user}: {verb} with {client}{from}")
}

fn runner(run: &RunCause, step: &Step) -> String {
    let digest: String = run.digest.trim_start_matches("sha256:").chars().take(12).collect();
    let code = if digest.is_empty() { String::new() } else { format!("@{digest}") };
    let occasion = match (&run.occasion, step.because.len()) {
        (Some(occasion), _) => format!(", on {occasion}"),
        (None, many @ 2..) => format!(", woken by {many} changes"),
        (None, _) => String::new(),
    };
    format!(
        "controller {}{code}, run {} of {} ({} µs){occasion}",
        run.controller, run.run, run.object, run.duration_us
    )
}

fn host_part(system: &SystemCause) -> String {
    let SystemCause { part, act, .. } = system;
    if act.is_empty() { format!("the host's {part}") } else { format!("the host's {part}: {act}") }
}
