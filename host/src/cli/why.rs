//! `quadrille why OBJECT`: the causes of an object's last change, back to the first request.

use anyhow::Context;
use serde_json::Value;

use super::Common;
use crate::client::resolve;
use crate::output::{self, Format};

/// Arguments of `why`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The object: `pod/web-0`, `deployments.apps/web`.
    object: String,
}

/// Prints the chain.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let client = common.client()?;
    let (kind, name) = args.object.split_once('/').context("name the object as KIND/NAME")?;
    let endpoint = resolve(&client, kind)?;
    let namespace = if endpoint.namespaced { common.namespace(&client) } else { String::new() };
    let path = format!(
        "/quadrille/why?group={}&resource={}&namespace={namespace}&name={name}",
        endpoint.group, endpoint.resource
    );
    let answer = client.get(&path)?;
    match common.format {
        Format::Json => output::json(&answer),
        Format::Text => {
            let text = answer.get("text").and_then(Value::as_str);
            output::line(text.context("the host's answer has no text")?.trim_end())
        }
    }
}
