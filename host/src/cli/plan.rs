//! `quadrille plan`: what would follow from a change, without making it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::apply::{documents, percent};
use super::load::plugin_name;
use super::{Common, build};
use crate::client::{Client, Payload, resolve};
use crate::output::{self, Format};

/// Arguments of `plan`. Ends with 0, with 1 when the change would be refused, and with 2 when a bound ended the plan
/// before everything that follows had happened.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// Plan the apply of files, directories of `.yaml`, `.yml` and `.json` files, or `-` for stdin.
    #[arg(short = 'f', long = "filename")]
    files: Vec<PathBuf>,
    /// Take over fields that others manage.
    #[arg(long)]
    force: bool,
    /// How much virtual time is followed, such as 10s.
    #[arg(long = "for", value_name = "DURATION", global = true)]
    time: Option<String>,
    /// How long it may take, such as 30s.
    #[arg(long, value_name = "DURATION", global = true)]
    wall: Option<String>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Plan the deletion of objects.
    Delete {
        /// The objects: `deployment/web`.
        #[arg(required = true)]
        objects: Vec<String>,
        /// What becomes of what they own: background, foreground or orphan.
        #[arg(long)]
        cascade: Option<String>,
    },
    /// Plan the upload of a component (or of a project, which is built first).
    Load {
        /// A component file (`.wasm`), or a project's directory.
        source: PathBuf,
        /// The plugin; default: the file's or the project's name.
        #[arg(long)]
        plugin: Option<String>,
        /// Grant what the component asks for.
        #[arg(long)]
        grant: bool,
    },
}

/// Plans and prints.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let client = common.client()?;
    let answer = match &args.what {
        None if args.files.is_empty() => bail!("say what to plan: -f FILE, delete, or load"),
        None => plan_files(args, common, &client)?,
        Some(What::Delete { objects, cascade }) => {
            let act = |object: &String| delete_act(&client, common, object, cascade.as_deref());
            let acts = objects.iter().map(act).collect::<anyhow::Result<Vec<_>>>()?;
            ask(&client, args, &json!({"acts": acts}))?
        }
        Some(What::Load { source, plugin, grant }) => {
            plan_load(&client, args, (source, plugin.as_deref(), *grant))?
        }
    };
    report(&answer, common)
}

fn plan_files(args: &Args, common: &Common, client: &Client) -> anyhow::Result<Value> {
    let acts: Vec<Value> =
        documents(&args.files)?.into_iter().map(|object| json!({"apply": object})).collect();
    let namespace = common.namespace(client);
    ask(client, args, &json!({"acts": acts, "namespace": namespace, "force": args.force}))
}

fn delete_act(
    client: &Client,
    common: &Common,
    object: &str,
    cascade: Option<&str>,
) -> anyhow::Result<Value> {
    let (kind, name) = object.split_once('/').context("name the object as KIND/NAME")?;
    let endpoint = resolve(client, kind)?;
    let namespace = if endpoint.namespaced { common.namespace(client) } else { String::new() };
    let propagation = match cascade {
        None => None,
        Some("background") => Some("Background"),
        Some("foreground") => Some("Foreground"),
        Some("orphan") => Some("Orphan"),
        Some(other) => bail!("--cascade {other:?}: wanted background, foreground or orphan"),
    };
    Ok(json!({"delete": {
        "group": endpoint.group, "resource": endpoint.resource, "namespace": namespace,
        "name": name, "propagation": propagation,
    }}))
}

fn plan_load(
    client: &Client,
    args: &Args,
    (source, plugin, grant): (&Path, Option<&str>, bool),
) -> anyhow::Result<Value> {
    let (path, built) = if source.is_dir() {
        let built = build::build(source, build::Profile::Delivery)?;
        (built.path, Some(built.name))
    } else {
        (source.to_owned(), None)
    };
    let name = plugin_name(plugin.or(built.as_deref()), &path)?;
    let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let grant = if grant { "&grant=all" } else { "" };
    let path = format!("{}&plugin={name}{grant}", path_of(args));
    send(client, &path, Payload { content_type: "application/wasm", bytes: &bytes })
}

fn ask(client: &Client, args: &Args, body: &Value) -> anyhow::Result<Value> {
    let body = body.to_string();
    let payload = Payload { content_type: "application/json", bytes: body.as_bytes() };
    send(client, &path_of(args), payload)
}

fn send(client: &Client, path: &str, payload: Payload<'_>) -> anyhow::Result<Value> {
    let progress = output::progress("planning");
    let answer = client.call("POST", path, Some(payload));
    progress.finish_and_clear();
    answer.context("the change would be refused")
}

fn path_of(args: &Args) -> String {
    let given = [("for", &args.time), ("wall", &args.wall)];
    let given = given.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let pairs: Vec<String> =
        given.map(|(name, value)| format!("{name}={}", percent(value))).collect();
    format!("/quadrille/plan?{}", pairs.join("&"))
}

fn report(answer: &Value, common: &Common) -> anyhow::Result<ExitCode> {
    match common.format {
        Format::Json => output::json(answer)?,
        Format::Text => {
            let text = answer.get("text").and_then(Value::as_str);
            output::line(text.context("the host's answer has no text")?.trim_end())?;
        }
    }
    let ended = answer.get("ended").and_then(Value::as_str).unwrap_or_default();
    let complete = matches!(ended, "quiet" | "virtualTime");
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(2) })
}
