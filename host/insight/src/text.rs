//! Answers as trees for people.

use std::fmt::Write;

use quadrille_store::{Cause, RequestCause, RunCause, SystemCause};
use serde_json::Value;

use crate::effects::{Effect, Effects};
use crate::why::{FieldChange, Step, Why};

/// The longest value that is shown whole, in characters.
const VALUE_CHARS_MAX: usize = 120;

/// Draws the answer to `why`, one change and its maker per step.
pub fn tree(why: &Why) -> String {
    let mut out = String::new();
    for step in &why.steps {
        draw(&mut out, step);
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

fn draw(out: &mut String, step: &Step) {
    let lead = match step.depth {
        0 => String::new(),
        depth => format!("{}└ because ", "  ".repeat(depth - 1)),
    };
    let below = "  ".repeat(step.depth);
    let field = step.field.as_ref().map(field).unwrap_or_default();
    let made_by = maker(&step.cause, step.because.len(), &step.at);
    let line = format!("{} {} at revision {}{field}", step.object, step.change, step.revision);
    put(out, format_args!("{lead}{line}\n{below}  by {made_by}\n"));
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let drawn = out.write_fmt(text);
    debug_assert!(drawn.is_ok(), "writing into memory");
}

fn field(field: &FieldChange) -> String {
    let FieldChange { path, before, after } = field;
    format!(": {path} {} → {}", value(before.as_ref()), value(after.as_ref()))
}

fn value(value: Option<&Value>) -> String {
    let text = value.map_or_else(|| "(none)".to_owned(), Value::to_string);
    if text.chars().count() <= VALUE_CHARS_MAX {
        return text;
    }
    let cut: String = text.chars().take(VALUE_CHARS_MAX).collect();
    format!("{cut}…")
}

/// Who made a change, in a line.
pub fn maker(cause: &Cause, because: usize, at: &str) -> String {
    match cause {
        Cause::Request(request) => format!("{}, {at}", requester(request)),
        Cause::Run(run) => runner(run, because),
        Cause::System(system) => host_part(system),
    }
}

fn requester(request: &RequestCause) -> String {
    let RequestCause { user, client, address, verb } = request;
    let client = client.split(' ').next().unwrap_or_default();
    let from = if address.is_empty() { String::new() } else { format!(" from {address}") };
    format!("{user}: {verb} with {client}{from}")
}

fn runner(run: &RunCause, because: usize) -> String {
    let digest = short_digest(&run.digest);
    let code = if digest.is_empty() { String::new() } else { format!("@{digest}") };
    let occasion = match (&run.occasion, because) {
        (Some(occasion), _) => format!(", on {occasion}"),
        (None, many @ 2..) => format!(", woken by {many} changes"),
        (None, _) => String::new(),
    };
    let more = match run.unlisted {
        0 => String::new(),
        more => format!(" and {more} earlier ones"),
    };
    format!(
        "controller {}{code}, run {} of {} ({} µs){occasion}{more}",
        run.controller, run.run, run.object, run.duration_us
    )
}

/// The first digits of a digest.
pub fn short_digest(digest: &str) -> String {
    digest.trim_start_matches("sha256:").chars().take(12).collect()
}

fn host_part(system: &SystemCause) -> String {
    let SystemCause { part, act, .. } = system;
    if act.is_empty() { format!("the host's {part}") } else { format!("the host's {part}: {act}") }
}

/// Draws what followed from a change; the writes of one run stand below one line that names it.
pub fn effects(effects: &Effects) -> String {
    let mut out = String::new();
    let mut last: Option<(usize, u64)> = None;
    for effect in &effects.changes {
        let indent = "  ".repeat(effect.depth);
        let run = match &effect.cause {
            Cause::Run(run) => Some((effect.depth, run.run)),
            Cause::Request(_) | Cause::System(_) => None,
        };
        if run.is_none() || run != last {
            let made_by = maker(&effect.cause, effect.because.len(), &effect.at);
            put(&mut out, format_args!("{indent}{made_by}\n"));
        }
        last = run;
        let Effect { object, change, revision, .. } = effect;
        put(&mut out, format_args!("{indent}  {object} {change} at revision {revision}\n"));
    }
    if effects.truncated {
        let through = effects.through;
        put(&mut out, format_args!("(cut at revision {through}; there may be more after it)\n"));
    }
    out
}
