//! `quadrille load`: a component, or a project that is built first, becomes a running plugin.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::{Common, build};
use crate::client::{Client, Payload};
use crate::output::{self, Format};

/// Arguments of `load`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A component file (`.wasm`), or a project's directory.
    #[arg(default_value = ".")]
    source: PathBuf,
    /// The plugin's name; default: the file's or the project's name.
    #[arg(long)]
    name: Option<String>,
    /// Grant what the component asks for. Without it the plugin keeps the grants that it has.
    #[arg(long)]
    grant: bool,
    /// First make so many of the plugin's newest runs again with the component, show what it would write otherwise, and
    /// do not load it when that is anything.
    #[arg(long, value_name = "RUNS", num_args = 0..=1, default_missing_value = "100")]
    preflight: Option<u32>,
    /// Load it though a preflight shows differences.
    #[arg(long, requires = "preflight")]
    force: bool,
    /// Try it on so many of a hundred keys before it takes over by itself, or is taken back.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    canary: Option<u8>,
}

/// Loads and says what runs now.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let client = common.client()?;
    let (path, built) = if args.source.is_dir() {
        let built = build::build(&args.source, build::Profile::Delivery)?;
        (built.path, Some(built.name))
    } else {
        (args.source.clone(), None)
    };
    let name = plugin_name(args.name.as_deref().or(built.as_deref()), &path)?;
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    if let Some(runs) = args.preflight {
        preflight(&client, &name, &bytes, runs, args.force)?;
    }
    if let Some(percent) = args.canary {
        put_policy(&client, &name, percent)?;
    }
    let progress = output::progress(format!("loading {name}"));
    let answer = upload(&client, &name, &bytes, args.grant)?;
    progress.finish_and_clear();
    match common.format {
        Format::Json => output::json(&answer),
        Format::Text => report(&name, &answer),
    }
}

/// The plugin's name from a crate's or file's name: dashes for underscores.
pub(crate) fn plugin_name(given: Option<&str>, path: &Path) -> anyhow::Result<String> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let name = given.or(stem).context("give the plugin a name with --name")?.replace('_', "-");
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if name.is_empty() || !name.chars().all(fits) {
        bail!(
            "\"{name}\" is no plugin name: lower-case letters, digits, dashes and dots; use --name"
        );
    }
    Ok(name)
}

/// Uploads a component and answers the Plugin object.
pub(crate) fn upload(
    client: &Client,
    name: &str,
    bytes: &[u8],
    grant: bool,
) -> anyhow::Result<Value> {
    let grant = if grant { "?grant=all" } else { "" };
    let path = format!("/apis/quadrille.dev/v1/plugins/{name}/component{grant}");
    let payload = Payload { content_type: "application/wasm", bytes };
    client.call("PUT", &path, Some(payload)).with_context(|| format!("{name} was not loaded"))
}

/// Makes recorded runs again with the component and shows what it would write otherwise, on standard error so that
/// standard output stays the loaded plugin's.
fn preflight(
    client: &Client,
    name: &str,
    bytes: &[u8],
    runs: u32,
    force: bool,
) -> anyhow::Result<()> {
    let progress = output::progress(format!("making {runs} runs of {name} again"));
    let path = format!("/quadrille/replay?plugin={name}&last={runs}");
    let payload = Payload { content_type: "application/wasm", bytes };
    let answer = client.call("POST", &path, Some(payload));
    progress.finish_and_clear();
    let answer = answer.with_context(|| format!("no preflight of {name}; nothing was loaded"))?;
    let count = |field: &str| answer.pointer(&format!("/summary/{field}")).and_then(Value::as_u64);
    let text = |value: &Value, field: &str| {
        value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    for run in answer.get("runs").and_then(Value::as_array).into_iter().flatten() {
        output::note(format!(
            "run {} of {}",
            run.get("run").unwrap_or(&Value::Null),
            text(run, "object")
        ));
        if run.get("why").is_some() {
            output::note(format!("  cannot be made again: {}", text(run, "why")));
        }
        for difference in run.get("differences").and_then(Value::as_array).into_iter().flatten() {
            output::note(format!("  {}\n{}", text(difference, "object"), text(difference, "diff")));
        }
    }
    let (all, different) = (count("runs").unwrap_or(0), count("different").unwrap_or(0));
    output::note(format!(
        "preflight: {different} of {all} runs would write something else, {} cannot be made again",
        count("impossible").unwrap_or(0)
    ));
    if different > 0 && !force {
        bail!(
            "{name} is not changed; if the differences are meant, load it with --preflight --force"
        );
    }
    Ok(())
}

/// Makes a trial the way in which a plugin's next version takes over.
fn put_policy(client: &Client, name: &str, percent: u8) -> anyhow::Result<()> {
    let rollout = json!({"strategy": "Canary", "canary": {"percent": percent}});
    let patch = json!({"spec": {"rollout": rollout}}).to_string();
    let payload = Payload { content_type: "application/merge-patch+json", bytes: patch.as_bytes() };
    let path = format!("/apis/quadrille.dev/v1/plugins/{name}");
    let patched = client.call("PATCH", &path, Some(payload));
    patched
        .map(drop)
        .with_context(|| format!("{name} must run before a candidate can be tried beside it"))
}

fn report(name: &str, plugin: &Value) -> anyhow::Result<()> {
    let status = plugin.get("status").cloned().unwrap_or_else(|| json!({}));
    let text = |field: &str| status.get(field).and_then(Value::as_str).unwrap_or("-").to_owned();
    output::line(format!("{name}   {}   {}", text("phase"), short(&text("digest"))))?;
    for controller in status.get("controllers").and_then(Value::as_array).into_iter().flatten() {
        let part = |field: &str| controller.get(field).and_then(Value::as_str).unwrap_or("-");
        output::line(format!("  controller {}   of {}", part("name"), part("primary")))?;
    }
    if let Some(rollout) = status.get("rollout") {
        let part = |field: &str| rollout.get(field).and_then(Value::as_str).unwrap_or("-");
        output::line(format!(
            "  {} {}: {} ({})",
            part("strategy").to_lowercase(),
            short(part("candidate")),
            part("phase"),
            part("message")
        ))?;
    }
    let missing =
        status.get("grantsMissing").and_then(Value::as_array).cloned().unwrap_or_default();
    for capability in &missing {
        output::line(format!("  not granted: {}", capability_text(capability)))?;
    }
    if !missing.is_empty() {
        output::line("grant what it asks for: quadrille load … --grant, or edit spec.grants")?;
    }
    Ok(())
}

/// `pods: get, list, create`.
pub(crate) fn capability_text(capability: &Value) -> String {
    let text = |field: &str| capability.get(field).and_then(Value::as_str).unwrap_or_default();
    let verbs = capability.get("verbs").and_then(Value::as_array).into_iter().flatten();
    let verbs: Vec<&str> = verbs.filter_map(Value::as_str).collect();
    let group =
        if text("group").is_empty() { String::new() } else { format!(".{}", text("group")) };
    format!("{}{group}: {}", text("resource"), verbs.join(", "))
}

/// The first twelve digits of a digest.
pub(crate) fn short(digest: &str) -> String {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.chars().take(12).collect()
}
