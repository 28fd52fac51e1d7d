//! `quadrille plugins` and `quadrille rollback`: what runs, how it is doing, and back to what ran before.

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::Common;
use super::load::short;
use crate::client::Payload;
use crate::output::{self, Format};

const PATH: &str = "/apis/quadrille.dev/v1/plugins";

/// Arguments of `plugins`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this plugin, with everything that is known of it.
    name: Option<String>,
}

/// Arguments of `rollback`.
#[derive(Debug, clap::Args)]
pub(crate) struct RollbackArgs {
    /// The plugin.
    name: String,
    /// The digest (or its first digits) to go back to; default: the version before the active one.
    #[arg(long)]
    to: Option<String>,
}

/// Shows the plugins.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let client = common.client()?;
    if let Some(name) = &args.name {
        let plugin = client.get(&format!("{PATH}/{name}"))?;
        return match common.format {
            Format::Json => output::json(&plugin),
            Format::Text => detail(&plugin),
        };
    }
    let list = client.get(PATH)?;
    if common.format == Format::Json {
        return output::json(&list);
    }
    let plugins = list.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    if plugins.is_empty() {
        return output::line("no plugins; load one with `quadrille load FILE.wasm`");
    }
    let headings =
        ["NAME", "PHASE", "DIGEST", "CONTROLLERS", "QUEUE", "RUNS", "FAILURES", "P50", "P99"];
    output::line(output::table(&headings, &plugins.iter().map(row).collect::<Vec<_>>()))
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("-").to_owned()
}

fn controllers(plugin: &Value) -> impl Iterator<Item = &Value> {
    plugin.pointer("/status/controllers").and_then(Value::as_array).into_iter().flatten()
}

fn row(plugin: &Value) -> Vec<String> {
    let sum = |field: &str| -> String {
        let counts = controllers(plugin).filter_map(|c| c.get(field)?.as_u64());
        counts.sum::<u64>().to_string()
    };
    let slowest = |field: &str| {
        let times = controllers(plugin).filter_map(|c| c.get(field)?.as_u64());
        let slowest = times.max().map(std::time::Duration::from_micros);
        slowest.map_or_else(|| "-".to_owned(), output::duration)
    };
    let names: Vec<String> = controllers(plugin).map(|c| text(c, "/name")).collect();
    vec![
        text(plugin, "/metadata/name"),
        text(plugin, "/status/phase"),
        short(&text(plugin, "/status/digest")),
        names.join(","),
        sum("queueLength"),
        sum("runs"),
        sum("failures"),
        slowest("durationP50Us"),
        slowest("durationP99Us"),
    ]
}

fn detail(plugin: &Value) -> anyhow::Result<()> {
    output::line(format!(
        "{}   {}",
        text(plugin, "/metadata/name"),
        text(plugin, "/status/phase")
    ))?;
    for version in
        plugin.pointer("/status/versions").and_then(Value::as_array).into_iter().flatten()
    {
        let active = version.get("digest") == plugin.pointer("/status/digest");
        let mark = if active { "*" } else { " " };
        output::line(format!(
            "  {mark} {}   loaded {}",
            text(version, "/digest"),
            text(version, "/loadedAt")
        ))?;
    }
    for controller in controllers(plugin) {
        let count = |field: &str| controller.get(field).and_then(Value::as_u64).unwrap_or(0);
        output::line(format!(
            "  controller {} of {}: queue {}, running {}, runs {}, failures {}, conflicts {}",
            text(controller, "/name"),
            text(controller, "/primary"),
            count("queueLength"),
            count("running"),
            count("runs"),
            count("failures"),
            count("conflicts"),
        ))?;
        if let Some(error) = controller.get("lastError").and_then(Value::as_str) {
            output::line(format!("    last error: {error}"))?;
        }
    }
    for (title, field) in [("granted", "grantsGiven"), ("not granted", "grantsMissing")] {
        let list = plugin.pointer(&format!("/status/{field}")).and_then(Value::as_array);
        for capability in list.into_iter().flatten() {
            output::line(format!("  {title}: {}", super::load::capability_text(capability)))?;
        }
    }
    for condition in
        plugin.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten()
    {
        let part = |field: &str| text(condition, field);
        let line = format!(
            "  {} {} {}: {}",
            part("/type"),
            part("/status"),
            part("/reason"),
            part("/message")
        );
        output::line(line)?;
    }
    Ok(())
}

/// Goes back.
pub(crate) fn rollback(args: &RollbackArgs, common: &Common) -> anyhow::Result<()> {
    let client = common.client()?;
    let path = format!("{PATH}/{}", args.name);
    let plugin = client.get(&path)?;
    let digest = wanted_digest(&plugin, args.to.as_deref())?;
    let patch = json!({"spec": {"digest": digest}}).to_string();
    let payload = Payload { content_type: "application/merge-patch+json", bytes: patch.as_bytes() };
    let answer = client.call("PATCH", &path, Some(payload)).context("the rollback was refused")?;
    match common.format {
        Format::Json => output::json(&answer),
        Format::Text => output::line(format!("{} goes back to {digest}", args.name)),
    }
}

fn wanted_digest(plugin: &Value, to: Option<&str>) -> anyhow::Result<String> {
    let versions = plugin.pointer("/status/versions").and_then(Value::as_array);
    let kept: Vec<&str> =
        versions.into_iter().flatten().filter_map(|v| v.get("digest")?.as_str()).collect();
    let active = plugin.pointer("/status/digest").and_then(Value::as_str);
    let Some(to) = to else {
        let at = kept.iter().position(|digest| Some(*digest) == active);
        // The newest is first, so what ran before comes after.
        let before = at.and_then(|at| kept.get(at + 1));
        return before
            .map(|d| (*d).to_owned())
            .context("there is no version before the active one");
    };
    let plain = to.strip_prefix("sha256:").unwrap_or(to);
    let fits = |digest: &&&str| digest.trim_start_matches("sha256:").starts_with(plain);
    match kept.iter().filter(fits).collect::<Vec<_>>().as_slice() {
        [one] => Ok((**one).to_owned()),
        [] => bail!("no kept version starts with {to}; kept are {}", kept.join(", ")),
        _ => bail!("more than one kept version starts with {to}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollback_finds_the_version_before_or_the_named_one() {
        let plugin = json!({"status": {"digest": "sha256:bb", "versions": [
            {"digest": "sha256:aa"}, {"digest": "sha256:bb"}, {"digest": "sha256:cc"},
        ]}});
        assert_eq!(wanted_digest(&plugin, None).expect("one before"), "sha256:cc");
        assert_eq!(wanted_digest(&plugin, Some("c")).expect("named"), "sha256:cc");
        assert!(wanted_digest(&plugin, Some("d")).is_err());
    }
}
