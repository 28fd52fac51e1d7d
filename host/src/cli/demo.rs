//! `quadrille demo`: the main job, end to end, on a host of its own.
//!
//! It starts a host, loads the plugins, applies a manifest, waits until nothing is left to follow, prints the
//! objects and why one of them is there; then swaps a plugin again and again while Deployments are created, and
//! counts what was lost or doubled in the store itself.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::{apply, build, load};
use crate::client::{Client, Payload};
use crate::output;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory with `deployment.wasm`, `replicaset.wasm` and `job.wasm`.
    #[arg(long, value_name = "DIR")]
    components: PathBuf,
    /// Another version of the replicaset plugin, to swap to and fro.
    #[arg(long, value_name = "FILE")]
    next: PathBuf,
    /// What to apply.
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
    /// Where the host keeps its files; emptied never, made when missing.
    #[arg(long, default_value = "quadrille-data")]
    data_dir: PathBuf,
    /// The address to serve on.
    #[arg(long, default_value = "127.0.0.1:7443")]
    listen: String,
    /// Leave the host running.
    #[arg(long)]
    keep: bool,
}

const PLUGINS: [&str; 3] = ["deployment", "replicaset", "job"];
/// Deployments that are created while the plugin is swapped.
const DEPLOYMENTS: usize = 100;
const REPLICAS: usize = 3;
/// Between two of them, so that many swaps fall into the writing.
const WRITE_PAUSE: Duration = Duration::from_millis(10);
/// How long the whole of a step may take to settle.
const SETTLE: &str = "/quadrille/settled?wait=60s";

/// Runs the demonstration.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let (mut host, client) = start(args)?;
    let outcome = show(args, &client);
    let config = args.data_dir.join("kubeconfig");
    if outcome.is_ok() && args.keep {
        title("the host keeps running")?;
        output::line(format!("pid {}   {}", host.id(), client.server()))?;
        output::line(format!("kubectl --kubeconfig {} get deployments,pods", config.display()))?;
        return output::line(format!("kill {}   # ends it", host.id()));
    }
    let stopped = stop(&mut host);
    outcome.and(stopped)
}

fn show(args: &Args, client: &Client) -> anyhow::Result<()> {
    title("plugins are loaded into the running host")?;
    for plugin in PLUGINS {
        load_plugin(client, plugin, &args.components.join(format!("{plugin}.wasm")))?;
    }
    title(&format!("{} is applied", args.manifest.display()))?;
    apply_manifest(args, client)?;
    for resource in
        ["/apis/apps/v1/namespaces/default/deployments", "/api/v1/namespaces/default/pods"]
    {
        let table = client.call_as(
            "GET",
            resource,
            None,
            "application/json;as=Table;v=v1;g=meta.k8s.io",
        )?;
        output::line(format!("\n{}", apply::as_text(&table)))?;
    }
    title("why a Pod is there")?;
    why_a_pod(client)?;
    title(&format!("a plugin is swapped while {DEPLOYMENTS} Deployments are created"))?;
    swap_under_writes(args, client)
}

fn title(text: &str) -> anyhow::Result<()> {
    output::line(format!("\n── {text}"))
}

/// Starts a host of our own binary and waits for its ready line.
fn start(args: &Args) -> anyhow::Result<(Child, Client)> {
    let program = std::env::current_exe().context("cannot find the quadrille program")?;
    let begun = build::now();
    let mut command = Command::new(program);
    command.args(["serve", "--listen", &args.listen, "--data-dir"]).arg(&args.data_dir);
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut host = spawned.context("cannot start the host")?;
    let stdout = host.stdout.take().context("the host has no stdout")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).context("cannot read from the host")?;
    if !line.starts_with("ready ") {
        let status = host.wait().context("cannot wait for the host")?;
        bail!("the host did not start: {status}");
    }
    title("the host is ready")?;
    output::line(format!("{}   after {}", line.trim(), output::duration(begun.elapsed())))?;
    let config = crate::kubeconfig::read(&args.data_dir.join("kubeconfig"))?;
    Ok((host, Client::build(config)?))
}

/// Asks the host to end and checks that it ends well.
fn stop(host: &mut Child) -> anyhow::Result<()> {
    let kill = Command::new("kill").args(["-TERM", &host.id().to_string()]).status();
    kill.context("cannot signal the host")?;
    let status = host.wait().context("cannot wait for the host")?;
    if !status.success() {
        bail!("the host ended with {status}");
    }
    output::line("\nthe host has ended; `--keep` leaves it running")
}

fn load_plugin(client: &Client, name: &str, file: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let begun = build::now();
    let plugin = load::upload(client, name, &bytes, true)?;
    let text = |pointer: &str| plugin.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
    let size = output::bytes(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    let took = output::duration(begun.elapsed());
    let digest = load::short(text("/status/digest"));
    output::line(format!("{name:12} {:8} {digest}   {size} in {took}", text("/status/phase")))
}

fn apply_manifest(args: &Args, client: &Client) -> anyhow::Result<()> {
    let begun = build::now();
    for document in apply::documents(std::slice::from_ref(&args.manifest))? {
        let answer = apply::apply(client, "default", &document, true)?;
        let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).unwrap_or("-");
        output::line(format!(
            "{}/{} applied",
            text("/kind").to_lowercase(),
            text("/metadata/name")
        ))?;
    }
    let settled = client.get(SETTLE)?;
    let revision = settled.get("revision").map(Value::to_string).unwrap_or_default();
    let took = output::duration(begun.elapsed());
    output::line(format!("settled at revision {revision}, {took} after the first request"))
}

fn why_a_pod(client: &Client) -> anyhow::Result<()> {
    let pods = client.get("/api/v1/namespaces/default/pods?limit=1")?;
    let name = pods.pointer("/items/0/metadata/name").and_then(Value::as_str);
    let name = name.context("the manifest made no Pod")?;
    let path = format!("/quadrille/why?group=&resource=pods&namespace=default&name={name}");
    let answer = client.get(&path)?;
    output::line(answer.get("text").and_then(Value::as_str).unwrap_or_default().trim_end())
}

/// What the writer and the swapper did.
struct Swaps {
    count: usize,
    longest_us: u128,
}

fn swap_under_writes(args: &Args, client: &Client) -> anyhow::Result<()> {
    let namespace = format!("demo-{}", std::process::id());
    post(
        client,
        "/api/v1/namespaces",
        &json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace},
        }),
    )?;
    let versions = [&args.next, &args.components.join("replicaset.wasm")].map(std::fs::read);
    let [next, first] = versions;
    let versions = [next.context("cannot read the next version")?, first.context("cannot read")?];
    let begun = build::now();
    let swaps = std::thread::scope(|scope| -> anyhow::Result<Swaps> {
        let writer = scope.spawn(|| create_deployments(client, &namespace));
        let swaps = swap_until(client, &versions, || writer.is_finished())?;
        match writer.join() {
            Ok(written) => written.map(|()| swaps),
            Err(_) => bail!("the writer panicked"),
        }
    })?;
    client.get(SETTLE)?;
    let took = output::duration(begun.elapsed());
    let Swaps { count, longest_us } = swaps;
    output::line(format!(
        "{DEPLOYMENTS} Deployments and {count} swaps in {took}; the longest upload and swap took {} ms",
        longest_us / 1000
    ))?;
    count_losses(client, &namespace)
}

fn create_deployments(client: &Client, namespace: &str) -> anyhow::Result<()> {
    for number in 0..DEPLOYMENTS {
        let labels = json!({"app": format!("web-{number}")});
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": format!("web-{number}")},
            "spec": {"replicas": REPLICAS, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "nginx"}]},
            }},
        });
        post(client, &format!("/apis/apps/v1/namespaces/{namespace}/deployments"), &deployment)?;
        build::pause(WRITE_PAUSE);
    }
    Ok(())
}

fn post(client: &Client, path: &str, object: &Value) -> anyhow::Result<Value> {
    let body = object.to_string();
    let payload = Payload { content_type: "application/json", bytes: body.as_bytes() };
    client.call("POST", path, Some(payload))
}

fn swap_until(
    client: &Client,
    versions: &[Vec<u8>; 2],
    finished: impl Fn() -> bool,
) -> anyhow::Result<Swaps> {
    let mut swaps = Swaps { count: 0, longest_us: 0 };
    for version in versions.iter().cycle() {
        let begun: Instant = build::now();
        load::upload(client, "replicaset", version, true)?;
        swaps.longest_us = swaps.longest_us.max(begun.elapsed().as_micros());
        swaps.count += 1;
        if finished() && swaps.count.is_multiple_of(2) {
            break;
        }
    }
    Ok(swaps)
}

/// Counts in the store: every Deployment has one set, every set its Pods, no more and no fewer.
fn count_losses(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let owners = |path: &str| -> anyhow::Result<BTreeMap<String, usize>> {
        let list = client.get(path)?;
        let mut counts = BTreeMap::new();
        for item in list.get("items").and_then(Value::as_array).into_iter().flatten() {
            let owner = item.pointer("/metadata/ownerReferences/0/name").and_then(Value::as_str);
            *counts.entry(owner.unwrap_or("nobody").to_owned()).or_default() += 1;
        }
        Ok(counts)
    };
    let sets = owners(&format!("/apis/apps/v1/namespaces/{namespace}/replicasets"))?;
    let pods = owners(&format!("/api/v1/namespaces/{namespace}/pods"))?;
    let (lost_sets, doubled_sets) = missing_and_extra(&sets, DEPLOYMENTS, 1);
    let (lost_pods, doubled_pods) = missing_and_extra(&pods, DEPLOYMENTS, REPLICAS);
    let total: usize = pods.values().sum();
    output::line(format!("{} ReplicaSets, {total} Pods", sets.len()))?;
    output::line(format!(
        "lost {}   doubled {}",
        lost_sets + lost_pods,
        doubled_sets + doubled_pods
    ))?;
    if lost_sets + lost_pods + doubled_sets + doubled_pods > 0 {
        bail!("something was lost or doubled");
    }
    Ok(())
}

/// How many are missing and how many are too many, when `owners` owners should have `each`.
fn missing_and_extra(
    counts: &BTreeMap<String, usize>,
    owners: usize,
    each: usize,
) -> (usize, usize) {
    let missing_owners = owners.saturating_sub(counts.len()) * each;
    let missing: usize = counts.values().map(|count| each.saturating_sub(*count)).sum();
    let extra: usize = counts.values().map(|count| count.saturating_sub(each)).sum();
    (missing_owners + missing, extra)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_and_doubles_are_counted() {
        let counts =
            BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 2), ("c".to_owned(), 4)]);
        assert_eq!(missing_and_extra(&counts, 4, 3), (4, 1));
    }
}
