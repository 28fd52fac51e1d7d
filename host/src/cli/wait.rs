//! `quadrille wait [OBJECT]`: until everything that follows from a change has happened, or cannot.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use super::Common;
use super::why::parameters;
use crate::client::Client;
use crate::config::Text;
use crate::output::{self, Format};

/// How long the host lets one question wait.
const ASK_MAX: Duration = Duration::from_mins(1);

/// Exit codes, besides 0 for settled and 1 for errors.
const BUSY: u8 = 2;
const STUCK: u8 = 3;

/// Arguments of `wait`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Wait for what follows from the last request that led to this object as it is; without it and without a revision,
    /// until nobody is at work at all.
    #[arg(conflicts_with = "revision")]
    object: Option<String>,
    /// Wait for what follows from this revision: a write's answer has it as `metadata.resourceVersion` and as header
    /// `Quadrille-Revision`.
    #[arg(long)]
    revision: Option<u64>,
    /// How long to wait at most; 0s only asks how it stands.
    #[arg(long, default_value = "30s")]
    timeout: Text<Duration>,
}

/// Waits; 0 when it has settled, 2 when somebody is still at work, 3 when something is stuck.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let client = common.client()?;
    let revision = match (&args.object, args.revision) {
        (Some(object), _) => Some(revision_of(&client, common, object)?),
        (None, given) => given.map(|revision| revision.to_string()),
    };
    let answer = ask(&client, revision.as_deref(), args.timeout.0)?;
    let state = answer.get("state").and_then(Value::as_str).unwrap_or_default().to_owned();
    match common.format {
        Format::Json => output::json(&answer)?,
        Format::Text => output::line(told(&answer, revision.as_deref()))?,
    }
    Ok(match state.as_str() {
        "settled" => ExitCode::SUCCESS,
        "stuck" if answer.get("settled") == Some(&Value::Bool(true)) => ExitCode::SUCCESS,
        "stuck" => ExitCode::from(STUCK),
        _ => ExitCode::from(BUSY),
    })
}

/// The newest request that an object's last change leads back to; the change itself where none is in the history.
fn revision_of(client: &Client, common: &Common, object: &str) -> anyhow::Result<String> {
    let object = parameters(client, common, object)?;
    let answer = client.get(&format!("/quadrille/why?{object}"))?;
    let steps = answer.get("steps").and_then(Value::as_array).context("the answer has no steps")?;
    let revision = |step: &Value| step.get("revision").and_then(Value::as_u64);
    let requests = steps.iter().filter(|step| step["cause"]["type"] == "request");
    let newest = requests.filter_map(revision).max().or_else(|| steps.first().and_then(revision));
    Ok(newest.context("no change of the object is known")?.to_string())
}

/// Asks until it is settled, nothing more will happen, or the time is over.
#[expect(clippy::disallowed_methods, reason = "the command line measures real time")]
fn ask(client: &Client, revision: Option<&str>, timeout: Duration) -> anyhow::Result<Value> {
    let revision = revision.map(|of| format!("&revision={of}")).unwrap_or_default();
    let begun = Instant::now();
    loop {
        let left = timeout.saturating_sub(begun.elapsed());
        let wait = left.min(ASK_MAX).as_millis();
        let path = format!("/quadrille/settled?wait={wait}ms&onTimeout=answer{revision}");
        let asked = Instant::now();
        let answer = client.get(&path)?;
        let is_settled = answer.get("settled") == Some(&Value::Bool(true));
        // An answer before its time says that nothing more will happen by itself.
        let is_final = asked.elapsed() + Duration::from_millis(5) < left.min(ASK_MAX);
        if is_settled || is_final || begun.elapsed() >= timeout {
            return Ok(answer);
        }
    }
}

fn told(answer: &Value, revision: Option<&str>) -> String {
    let text = |value: &Value, key: &str| {
        value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let count = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64).unwrap_or(0);
    let what = revision.map_or_else(|| "the host".to_owned(), |of| format!("revision {of}"));
    let state = text(answer, "state");
    let changes = count(answer, "changes");
    let followed = if changes > 1 { format!(" after {changes} changes") } else { String::new() };
    let mut lines = vec![format!("{what}: {state}{followed}")];
    let list = |key: &str| answer.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    for busy in list("busy") {
        let left = count(&busy, "queued") + count(&busy, "running");
        let objects = busy.get("objects").and_then(Value::as_array).cloned().unwrap_or_default();
        let objects: Vec<&str> = objects.iter().filter_map(Value::as_str).collect();
        let line =
            format!("  busy: {} has {left} to do {}", text(&busy, "controller"), objects.join(" "));
        lines.push(line.trim_end().to_owned());
    }
    for stuck in list("stuck") {
        let tries = match count(&stuck, "failures") {
            0 => "not tried again".to_owned(),
            tries => format!("{tries} failures"),
        };
        let (controller, object) = (text(&stuck, "controller"), text(&stuck, "object"));
        let message = text(&stuck, "message");
        lines.push(format!("  stuck: {controller} on {object} ({tries}): {message}"));
    }
    lines.join("\n")
}
