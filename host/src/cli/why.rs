//! `quadrille why OBJECT [FIELD]` and `quadrille effects REVISION`: from a change up to the first request, and down to
//! what followed.

use anyhow::Context;
use serde_json::Value;

use super::Common;
use crate::client::{Client, resolve};
use crate::output::{self, Format};

/// Arguments of `why`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The object: `pod/web-0`, `deployments.apps/web`.
    object: String,
    /// A field of it, such as `spec.replicas` or `.spec.containers[0].image`: the causes of its value.
    field: Option<String>,
}

/// Arguments of `effects`.
#[derive(Debug, clap::Args)]
pub(crate) struct EffectsArgs {
    /// The revision: a write's answer has it as `metadata.resourceVersion` and as header `Quadrille-Revision`.
    revision: u64,
}

/// An object as it is named on the command line, as the parameters of a question.
pub(crate) fn parameters(client: &Client, common: &Common, object: &str) -> anyhow::Result<String> {
    let (kind, name) = object.split_once('/').context("name the object as KIND/NAME")?;
    let endpoint = resolve(client, kind)?;
    let namespace = if endpoint.namespaced { common.namespace(client) } else { String::new() };
    let (group, resource) = (&endpoint.group, &endpoint.resource);
    let (namespace, name) = (encoded(&namespace), encoded(name));
    Ok(format!("group={group}&resource={resource}&namespace={namespace}&name={name}"))
}

/// A text as the value of a parameter.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.extend(["%", &format!("{byte:02X}")]);
        }
    }
    out
}

/// Prints the chain.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let client = common.client()?;
    let object = parameters(&client, common, &args.object)?;
    let field = args.field.as_deref().map(|field| format!("&field={}", encoded(field)));
    let path = format!("/quadrille/why?{object}{}", field.unwrap_or_default());
    print(&client.get(&path)?, common)
}

/// Prints the tree.
pub(crate) fn effects(args: &EffectsArgs, common: &Common) -> anyhow::Result<()> {
    let client = common.client()?;
    print(&client.get(&format!("/quadrille/effects?revision={}", args.revision))?, common)
}

/// An answer as it is, or its text.
pub(crate) fn print(answer: &Value, common: &Common) -> anyhow::Result<()> {
    match common.format {
        Format::Json => output::json(answer),
        Format::Text => {
            let text = answer.get("text").and_then(Value::as_str);
            output::line(text.context("the host's answer has no text")?.trim_end())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_a_query_is_encoded() {
        assert_eq!(encoded("a.b-c"), "a.b-c");
        assert_eq!(encoded("labels['a/b']&x=1 ü"), "labels%5B%27a%2Fb%27%5D%26x%3D1%20%C3%BC");
    }
}
