//! `quadrille apply` and `quadrille get`: what a demo and a first session need without kubectl.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use super::Common;
use crate::client::{Client, Endpoint, Payload, discover, resolve};
use crate::output::{self, Format};

/// Arguments of `apply`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files, directories of `.yaml`, `.yml` and `.json` files, or `-` for stdin.
    #[arg(short = 'f', long = "filename", required = true)]
    files: Vec<PathBuf>,
    /// Take over fields that others manage.
    #[arg(long)]
    force: bool,
}

/// Arguments of `get`.
#[derive(Debug, clap::Args)]
pub(crate) struct GetArgs {
    /// Resources, separated by commas: `deploy,rs,pods`.
    resources: String,
    /// Only this object.
    name: Option<String>,
    /// Only objects with these labels.
    #[arg(short = 'l', long)]
    selector: Option<String>,
    /// In all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
}

/// Applies every document of every file, in order.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let client = common.client()?;
    let mut answers = Vec::new();
    for document in documents(&args.files)? {
        let answer = apply(&client, &common.namespace(&client), &document, args.force)?;
        if common.format == Format::Text {
            let text =
                |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
            output::line(format!(
                "{}/{} applied",
                text("/kind").to_lowercase(),
                text("/metadata/name")
            ))?;
        }
        answers.push(answer);
    }
    if common.format == Format::Json { output::json(&Value::Array(answers)) } else { Ok(()) }
}

/// Applies one object, server-side.
pub(crate) fn apply(
    client: &Client,
    namespace: &str,
    object: &Value,
    force: bool,
) -> anyhow::Result<Value> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let kind = text("/kind").context("a document has no kind")?;
    let api_version = text("/apiVersion").with_context(|| format!("a {kind} has no apiVersion"))?;
    let name = text("/metadata/name").with_context(|| format!("a {kind} has no metadata.name"))?;
    let endpoint = endpoint_of(client, api_version, kind)?;
    let namespace = text("/metadata/namespace").unwrap_or(namespace);
    let path = endpoint.path(namespace, Some(name));
    let path = format!("{path}?fieldManager=quadrille&fieldValidation=Strict&force={force}");
    let body = object.to_string();
    let payload = Payload { content_type: "application/apply-patch+yaml", bytes: body.as_bytes() };
    client
        .call("PATCH", &path, Some(payload))
        .with_context(|| format!("{kind} {name} was not applied"))
}

fn endpoint_of(client: &Client, api_version: &str, kind: &str) -> anyhow::Result<Endpoint> {
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    let all = discover(client)?;
    let fits = |e: &Endpoint| e.group == group && e.version == version && e.kind == kind;
    let found = all.into_iter().find(fits);
    found.with_context(|| format!("the host serves no {kind} in {api_version}: load its CRD first"))
}

/// All documents of the files.
pub(crate) fn documents(files: &[PathBuf]) -> anyhow::Result<Vec<Value>> {
    let mut found = Vec::new();
    for file in files {
        for path in expand(file)? {
            let text = read(&path)?;
            let parsed = quadrille_object::decode::yaml_documents(text.as_bytes())
                .map_err(|error| anyhow!("{}: {error}", path.display()))?;
            let values = parsed.into_iter().map(|decoded| decoded.value);
            found.extend(values.filter(|document| !document.is_null()));
        }
    }
    if found.is_empty() {
        bail!("there is no object in the files");
    }
    Ok(found)
}

fn expand(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = path.read_dir().with_context(|| format!("cannot read {}", path.display()))?;
    let known = |file: &PathBuf| {
        file.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known))
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(known).collect();
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> anyhow::Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read stdin")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// Shows objects as tables.
pub(crate) fn get(args: &GetArgs, common: &Common) -> anyhow::Result<()> {
    let client = common.client()?;
    for (at, resource) in args.resources.split(',').enumerate() {
        let endpoint = resolve(&client, resource)?;
        let namespace = if args.all_namespaces { String::new() } else { common.namespace(&client) };
        let mut path = endpoint.path(&namespace, args.name.as_deref());
        if let Some(selector) = &args.selector {
            path = format!("{path}?labelSelector={}", percent(selector));
        }
        if common.format == Format::Json {
            output::json(&client.get(&path)?)?;
            continue;
        }
        if at > 0 {
            output::line("")?;
        }
        output::line(as_text(&client.call_as("GET", &path, None, TABLE)?))?;
    }
    Ok(())
}

/// The columns of priority 0 of a Table.
pub(crate) fn as_text(table: &Value) -> String {
    let list = |pointer: &str| {
        table.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let columns = list("/columnDefinitions");
    let shown: Vec<usize> = columns
        .iter()
        .enumerate()
        .filter(|(_, column)| column.get("priority").and_then(Value::as_i64).unwrap_or(0) == 0)
        .map(|(at, _)| at)
        .collect();
    let heading = |at: &usize| columns.get(*at)?.get("name")?.as_str().map(str::to_uppercase);
    let headings: Vec<String> = shown.iter().filter_map(heading).collect();
    let rows: Vec<Vec<String>> = list("/rows").iter().map(|row| cells(row, &shown)).collect();
    if rows.is_empty() {
        return "no objects".to_owned();
    }
    output::table(&headings.iter().map(String::as_str).collect::<Vec<_>>(), &rows)
}

fn cells(row: &Value, shown: &[usize]) -> Vec<String> {
    let cell = |at: &usize| match row.get("cells").and_then(|cells| cells.get(*at)) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "<none>".to_owned(),
        Some(other) => other.to_string(),
    };
    shown.iter().map(cell).collect()
}

/// Percent-encodes a query value (RFC 3986).
pub(crate) fn percent(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let encode = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    text.bytes().map(encode).collect()
}
