//! `quadrille check`: whether a plugin's controllers stand what a host may do to them.

use std::process::ExitCode;

use anyhow::Context;
use serde_json::Value;

use super::Common;
use super::apply::percent;
use crate::client::Payload;
use crate::output::{self, Format};

/// Arguments of `check`. Ends with 0, or with 1 when a principle is broken.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The plugin.
    plugin: String,
    /// How many objects of each controller are tried.
    #[arg(long)]
    objects: Option<u64>,
    /// How long it may take, such as 1m.
    #[arg(long, value_name = "DURATION")]
    wall: Option<String>,
}

/// Checks and prints the card.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let client = common.client()?;
    let mut path = format!("/quadrille/check?plugin={}", percent(&args.plugin));
    if let Some(objects) = args.objects {
        path = format!("{path}&objects={objects}");
    }
    if let Some(wall) = &args.wall {
        path = format!("{path}&wall={}", percent(wall));
    }
    let progress = output::progress(format!("checking {}", args.plugin));
    let payload = Payload { content_type: "application/json", bytes: b"{}" };
    let answer = client.call("POST", &path, Some(payload));
    progress.finish_and_clear();
    let card = answer.with_context(|| format!("{} was not checked", args.plugin))?;
    match common.format {
        Format::Json => output::json(&card)?,
        Format::Text => {
            let text = card.get("text").and_then(Value::as_str);
            output::line(text.context("the host's answer has no text")?.trim_end())?;
        }
    }
    let scores = card.get("scores").and_then(Value::as_array).into_iter().flatten();
    let mut verdicts = scores.filter_map(|score| score.get("verdict")?.as_str());
    Ok(if verdicts.any(|verdict| verdict == "fail") {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
