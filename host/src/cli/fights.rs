//! `quadrille fights`: fields that controllers change again and again because of each other.

use std::fmt::Write;

use anyhow::Context;
use serde_json::Value;

use super::Common;
use crate::client::resolve;
use crate::output::{self, Format};

/// Arguments of `fights`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Act>,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// End the fights over an object, and let everybody run again for it who was held back.
    Release {
        /// The object: `configmap/settings`, `deployments.apps/web`.
        object: String,
    },
}

/// Lists the fights, or releases an object.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let client = common.client()?;
    let Some(Act::Release { object }) = &args.command else {
        let answer = client.get("/quadrille/fights")?;
        return match common.format {
            Format::Json => output::json(&answer),
            Format::Text => output::line(text(&answer).trim_end()),
        };
    };
    let (kind, name) = object.split_once('/').context("name the object as KIND/NAME")?;
    let endpoint = resolve(&client, kind)?;
    let namespace = if endpoint.namespaced { common.namespace(&client) } else { String::new() };
    let path = format!(
        "/quadrille/fights/release?group={}&resource={}&namespace={namespace}&name={name}",
        endpoint.group, endpoint.resource
    );
    let answer = client.call("POST", &path, None)?;
    match common.format {
        Format::Json => output::json(&answer),
        Format::Text => {
            let released = answer.get("released").and_then(Value::as_u64).unwrap_or(0);
            output::line(format!("{object}: {released} fights released"))
        }
    }
}

/// A paragraph per fight.
fn text(answer: &Value) -> String {
    let none = Vec::new();
    let fights = answer.get("fights").and_then(Value::as_array).unwrap_or(&none);
    if fights.is_empty() {
        return "no fights".to_owned();
    }
    let mut out = String::new();
    for fight in fights {
        let of = |name: &str| fight.get(name).and_then(Value::as_str).unwrap_or_default();
        let rounds = fight.get("rounds").and_then(Value::as_u64).unwrap_or(0);
        let each = |name: &str| fight.get(name).and_then(Value::as_array).unwrap_or(&none).iter();
        let values: Vec<&str> = each("values").filter_map(Value::as_str).collect();
        line(&mut out, format_args!("{} {} ({})", of("object"), of("field"), of("kind")));
        line(&mut out, format_args!("  {}", of("message")));
        line(&mut out, format_args!("  values   {}", values.join(" → ")));
        line(
            &mut out,
            format_args!("  rounds   {rounds} since {}, last {}", of("since"), of("last")),
        );
        for writer in each("writers") {
            let of = |name: &str| writer.get(name).and_then(Value::as_str).unwrap_or_default();
            let digest: String =
                of("digest").trim_start_matches("sha256:").chars().take(12).collect();
            line(
                &mut out,
                format_args!(
                    "  writer   {}/{}@{digest} for {}",
                    of("plugin"),
                    of("controller"),
                    of("runsFor")
                ),
            );
        }
        for link in each("chain") {
            let of = |name: &str| link.get(name).and_then(Value::as_str).unwrap_or_default();
            let at = link.get("revision").and_then(Value::as_u64).unwrap_or(0);
            line(
                &mut out,
                format_args!("  because  {} by {} at revision {at}", of("object"), of("by")),
            );
        }
        line(&mut out, format_args!("  response {}\n", of("response")));
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let written = writeln!(out, "{text}");
    debug_assert!(written.is_ok(), "writing into memory");
}
