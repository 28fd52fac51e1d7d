//! `quadrille bus`: every change of every kind, in one order, as it comes.

use serde_json::Value;

use super::Common;
use super::why::encoded;
use crate::output::{self, Format};

/// Arguments of `bus`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Begin after this revision; default: now.
    #[arg(long)]
    from: Option<u64>,
    /// Only changes of this resource, such as `pods` or `deployments.apps`; may be given more than once.
    #[arg(long)]
    resource: Vec<String>,
    /// End at the newest change instead of going on.
    #[arg(long)]
    no_follow: bool,
}

/// Prints the changes: with `-o json` each as it came, else a line for each.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let client = common.client()?;
    let mut path = format!("/quadrille/bus?follow={}", !args.no_follow);
    if let Some(from) = args.from {
        path.extend(["&from=", &from.to_string()]);
    }
    for resource in &args.resource {
        path.extend(["&resource=", &encoded(resource)]);
    }
    for line in client.lines(&path)? {
        let line = line?;
        match common.format {
            Format::Json => output::line(line)?,
            Format::Text => {
                let change: Value = serde_json::from_str(&line)?;
                if let Some(text) = told(&change) {
                    output::line(text)?;
                }
            }
        }
    }
    Ok(())
}

fn told(change: &Value) -> Option<String> {
    let text = |path: &str| change.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let number = |path: &str| change.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    let kind = text("/type");
    if kind == "bookmark" {
        return None;
    }
    if kind == "error" {
        return Some(format!("ended: {}", text("/status/message")));
    }
    let by = match text("/cause/type") {
        "request" => format!("{} ({})", text("/cause/user"), text("/cause/verb")),
        "run" => format!("controller {}, run {}", text("/cause/controller"), number("/cause/run")),
        _ => format!("the host's {}", text("/cause/part")),
    };
    let (first, last, revision) = (number("/txn/first"), number("/txn/last"), number("/revision"));
    let txn = match (first == last, revision == first, revision == last) {
        (true, _, _) => ' ',
        (false, true, _) => '┌',
        (false, _, true) => '└',
        (false, _, _) => '│',
    };
    Some(format!("{revision:>8} {txn} {kind} {} by {by}", text("/key")))
}
