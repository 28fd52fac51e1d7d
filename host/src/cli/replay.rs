//! `quadrille replay`: recorded runs made again, and what they would write otherwise.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;

use super::Common;
use super::load::short;
use super::runs::parameters;
use crate::client::{Client, Payload};
use crate::output::{self, Format};

/// Arguments of `replay`. Ends with 0 when all runs write what they wrote, with 1 when some do not, and with 2 when some
/// could not be made.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A run's number; or a plugin (`deployment`) or an object (`deployment/web`), for its newest runs.
    of: String,
    /// How many of the newest runs.
    #[arg(long, default_value_t = 100)]
    last: u32,
    /// Run this component instead of the code that ran.
    #[arg(long = "with", value_name = "FILE", conflicts_with_all = ["digest", "bisect"])]
    component: Option<PathBuf>,
    /// Run the component with this digest, which a plugin keeps, instead.
    #[arg(long, conflicts_with = "bisect")]
    digest: Option<String>,
    /// Find the first of these digests, from the oldest to the newest, that does not do what is recorded.
    #[arg(long, value_name = "DIGEST", num_args = 1..)]
    bisect: Vec<String>,
}

/// Replays and prints.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let client = common.client()?;
    let mut path = match args.of.parse::<u64>() {
        Ok(run) => format!("/quadrille/replay?run={run}"),
        Err(_) => format!(
            "/quadrille/replay?{}&last={}",
            parameters(&args.of, common, &client)?,
            args.last
        ),
    };
    if !args.bisect.is_empty() {
        path.push_str("&bisect=");
        path.push_str(&args.bisect.join(","));
        return bisect(&client, &path, common);
    }
    if let Some(digest) = &args.digest {
        path.push_str("&digest=");
        path.push_str(digest);
    }
    let component = args.component.as_ref().map(std::fs::read).transpose();
    let component = component.context("cannot read the component")?.unwrap_or_default();
    replay(&client, &path, &component, common)
}

fn replay(
    client: &Client,
    path: &str,
    component: &[u8],
    common: &Common,
) -> anyhow::Result<ExitCode> {
    let progress = output::progress("replaying");
    let payload = Payload { content_type: "application/wasm", bytes: component };
    let (mut done, mut summary) = (0_u64, Value::Null);
    let mut told = Vec::new();
    for line in client.post_lines(path, payload)? {
        let line: Value = serde_json::from_str(&line.context("the answer broke off")?)
            .context("the answer is not JSON")?;
        if let Some(found) = line.get("summary") {
            summary = found.clone();
            continue;
        }
        done += 1;
        progress.set_message(format!("replayed {done}"));
        match common.format {
            Format::Json => told.push(line),
            Format::Text => progress.suspend(|| print(&line))?,
        }
    }
    progress.finish_and_clear();
    let count = |name: &str| summary.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (different, impossible) = (count("different"), count("impossible"));
    match common.format {
        Format::Json => output::json(&serde_json::json!({"summary": summary, "runs": told}))?,
        Format::Text => output::line(format!(
            "{} runs with {} writes: {} identical, {different} different, {impossible} impossible",
            count("runs"),
            count("writes"),
            count("identical")
        ))?,
    }
    Ok(match (different, impossible) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    })
}

/// What differs; a run that does what it did is not told.
fn print(run: &Value) -> anyhow::Result<()> {
    let text = |name: &str| run.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = run.get("run").and_then(Value::as_u64).unwrap_or_default();
    let head = format!("run {number} of {} for {}", text("controller"), text("object"));
    match text("verdict") {
        "identical" => return Ok(()),
        "impossible" => return output::line(format!("{head}: {}", text("why"))),
        _ => {}
    }
    let (was, is) = (short(text("recordedDigest")), short(text("digest")));
    output::line(format!("{head}: {was} and {is} differ"))?;
    if let Some([was, is]) = run.get("ends").and_then(Value::as_array).map(Vec::as_slice) {
        let plain = |end: &Value| end.as_str().unwrap_or_default().to_owned();
        output::line(format!("  it ended: {}; now: {}", plain(was), plain(is)))?;
    }
    for difference in run.get("differences").and_then(Value::as_array).into_iter().flatten() {
        let side =
            |name: &str| difference.get(name).and_then(Value::as_str).unwrap_or("not written");
        let field = |name: &str| difference.get(name).and_then(Value::as_str).unwrap_or_default();
        let (was, is) = (side("recorded"), side("replayed"));
        output::line(format!("  {} {was}; now: {is}", field("object")))?;
        for line in field("diff").lines() {
            output::line(format!("    {line}"))?;
        }
    }
    Ok(())
}

fn bisect(client: &Client, path: &str, common: &Common) -> anyhow::Result<ExitCode> {
    let progress = output::progress("replaying");
    let payload = Payload { content_type: "application/wasm", bytes: &[] };
    let answer = client.call("POST", path, Some(payload))?;
    progress.finish_and_clear();
    if common.format == Format::Json {
        output::json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    for step in answer.get("steps").and_then(Value::as_array).into_iter().flatten() {
        let digest = step.get("digest").and_then(Value::as_str).unwrap_or_default();
        let different = step.pointer("/summary/different").and_then(Value::as_u64);
        output::line(format!("{}: {} differ", short(digest), different.unwrap_or_default()))?;
    }
    match answer.get("first").and_then(Value::as_str) {
        Some(digest) => output::line(format!("the first that differs is {digest}"))?,
        None => output::line("none of them differs from what is recorded")?,
    }
    Ok(ExitCode::SUCCESS)
}
