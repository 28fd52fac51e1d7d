//! One call into a guest: a fresh instance under its limits, and how the call ended.
//!
//! A call ends badly in five ways that are never merged: the guest trapped, said so itself, ran out of time, met
//! another limit, or the host failed. Limits come first in what is shown: a guest that was refused memory traps
//! with `unreachable`, and that is not the reason.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quadrille_kit::Clock;
use quadrille_runtime::Failure;
use wasmtime::{Store, Trap, WasmBacktrace};

use crate::engine::ComponentEngine;
use crate::limit::{LimitHit, arm};
use crate::link::bindings::ControllerPluginPre;
use crate::link::bindings::exports::quadrille::controller::controller as wit;
use crate::link::state::{CallStart, CallState};
use crate::load::one_line;

/// How a call into a guest ended badly. `Display` continues a sentence: "describe …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The guest trapped: a panic, an overflow of its stack, unreachable code.
    #[error("trapped: {0}")]
    Trap(String),
    /// The guest says that it failed, for now.
    #[error("failed: {0}")]
    Guest(String),
    /// The guest says that no retry helps.
    #[error("failed for good: {0}")]
    GuestPermanent(String),
    /// Time ran out.
    #[error("{0}")]
    Deadline(String),
    /// Another limit was met.
    #[error("{0}")]
    Limit(String),
    /// The host failed.
    #[error("failed in the host: {0}")]
    Host(String),
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Trap(text) => Self::Trap(text),
            CallError::Guest(text) => Self::Transient(text),
            CallError::GuestPermanent(text) => Self::Permanent(text),
            CallError::Deadline(text) => Self::Deadline(text),
            CallError::Limit(text) => Self::Limit(text),
            CallError::Host(text) => Self::Host(text),
        }
    }
}

/// A component that is ready to be instantiated.
pub(crate) struct Caller {
    pub(crate) engine: ComponentEngine,
    pub(crate) pre: ControllerPluginPre<CallState>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

/// A call that ended, with what is left of its state.
pub(crate) struct Called<T> {
    pub(crate) result: Result<T, CallError>,
    pub(crate) state: CallState,
}

impl Caller {
    /// Asks a component what it contains.
    pub(crate) async fn describe(&self, start: CallStart) -> Called<wit::Description> {
        let wall_max = start.limits.wall_max;
        let mut store = self.store(start);
        let work = async {
            let plugin = self.pre.instantiate_async(&mut store).await?;
            plugin.quadrille_controller_controller().call_describe(&mut store).await
        };
        let outcome = self.bounded(wall_max, work).await;
        end(store, outcome)
    }

    /// Runs a reconcile.
    pub(crate) async fn reconcile(
        &self,
        start: CallStart,
        request: &wit::Request,
    ) -> Called<wit::Outcome> {
        let wall_max = start.limits.wall_max;
        let mut store = self.store(start);
        let work = async {
            let plugin = self.pre.instantiate_async(&mut store).await?;
            plugin.quadrille_controller_controller().call_reconcile(&mut store, request).await
        };
        let outcome = self.bounded(wall_max, work).await;
        let called = end(store, outcome);
        let result = called.result.and_then(|answer| {
            answer.map_err(|failure| match failure {
                wit::Failure::Transient(text) => CallError::Guest(shorten(&text)),
                wit::Failure::Permanent(text) => CallError::GuestPermanent(shorten(&text)),
            })
        });
        Called { result, state: called.state }
    }

    fn store(&self, start: CallStart) -> Store<CallState> {
        let fuel = usize::try_from(start.limits.host_bytes_max).unwrap_or(usize::MAX);
        let mut store = Store::new(self.engine.inner(), CallState::new(start));
        arm(&mut store, fuel.min(HOSTCALL_FUEL), |state| &mut state.meter);
        store
    }

    /// The work's outcome, or `None` when its time on the wall is over. CPU time is the epoch's; this one ends guests
    /// that wait (on a WASI timer) instead of computing.
    async fn bounded<T>(
        &self,
        wall_max: Duration,
        work: impl Future<Output = wasmtime::Result<T>>,
    ) -> Option<wasmtime::Result<T>> {
        tokio::select! {
            biased;
            outcome = work => Some(outcome),
            () = self.clock.sleep(wall_max) => None,
        }
    }
}

/// Bytes that one host call may lift out of the guest: wasmtime's meter, against a single giant argument.
const HOSTCALL_FUEL: usize = 8 << 20;

fn end<T>(store: Store<CallState>, outcome: Option<wasmtime::Result<T>>) -> Called<T> {
    let mut state = store.into_data();
    let result = match outcome {
        None => {
            let wall_max = state.meter.limits().wall_max;
            Err(CallError::Deadline(LimitHit::Wall(wall_max).to_string()))
        }
        Some(outcome) => verdict(&mut state, outcome),
    };
    state.log.finish();
    Called { result, state }
}

/// The limit that was met, else the trap with the guest's last words before it.
fn verdict<T>(state: &mut CallState, outcome: wasmtime::Result<T>) -> Result<T, CallError> {
    if let Some(hit) = state.meter.take_hit() {
        let trace = outcome.err().map(|error| trace(&error)).unwrap_or_default();
        let text = with_words(&hit.to_string(), &state.log.last_output(), &trace);
        return Err(if hit.is_deadline() {
            CallError::Deadline(text)
        } else {
            CallError::Limit(text)
        });
    }
    outcome.map_err(|error| {
        let words = state.log.last_output();
        let reason = root(&error);
        if reason.contains("fuel allocated for hostcalls") {
            let text = format!("hit its limit of {} MiB in one host call", HOSTCALL_FUEL >> 20);
            return CallError::Limit(text);
        }
        let is_trap = error.downcast_ref::<Trap>().is_some() || error.is::<WasmBacktrace>();
        if is_trap
            || words.contains("panicked at")
            || error.downcast_ref::<wasmtime_wasi::I32Exit>().is_some()
        {
            let first = if words.is_empty() { reason } else { format!("{words}; {reason}") };
            return CallError::Trap(shorten(&with_words(&first, "", &trace(&error))));
        }
        if capacity(&reason) { CallError::Host(reason) } else { CallError::Trap(shorten(&reason)) }
    })
}

/// Whether the engine had no room for another instance, which is nobody's fault but ours.
fn capacity(reason: &str) -> bool {
    reason.contains("maximum concurrent")
}

fn root(error: &wasmtime::Error) -> String {
    one_line(&error.root_cause().to_string())
}

/// `what: last words (in a < b < c)`.
fn with_words(what: &str, words: &str, trace: &str) -> String {
    let mut text = what.to_owned();
    if !words.is_empty() {
        text.push_str(": ");
        text.push_str(words);
    }
    if !trace.is_empty() {
        text.push_str(" (in ");
        text.push_str(trace);
        text.push(')');
    }
    shorten(&text)
}

/// Frames shown at most; repeated ones are folded.
const FRAMES_MAX: usize = 8;

/// The functions on the stack, innermost first, repetitions folded.
fn trace(error: &wasmtime::Error) -> String {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return String::new() };
    let mut folded: Vec<(String, usize)> = Vec::new();
    for frame in backtrace.frames() {
        let name = frame
            .func_name()
            .map_or_else(|| format!("function {}", frame.func_index()), short_name);
        match folded.last_mut() {
            Some((last, count)) if *last == name => *count += 1,
            _ => folded.push((name, 1)),
        }
    }
    let hidden = folded.len().saturating_sub(FRAMES_MAX);
    let shown = folded.into_iter().take(FRAMES_MAX).map(|(name, count)| match count {
        1 => name,
        n => format!("{name} ×{n}"),
    });
    let mut text = shown.collect::<Vec<_>>().join(" < ");
    if hidden > 0 {
        text.push_str(" < ");
        text.push_str(&hidden.to_string());
        text.push_str(" more");
    }
    text
}

/// A function's name without the hash that Rust appends.
fn short_name(name: &str) -> String {
    let name = name.rsplit_once("::h").map_or(name, |(path, hash)| {
        let is_hash = hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        if is_hash { path } else { name }
    });
    name.chars().take(120).collect()
}

fn shorten(text: &str) -> String {
    text.chars().take(2_000).collect()
}
