//! Swaps of a plugin under load: what is lost, what is doubled, how long the longest wait is.
//!
//! `cargo run --release -p quadrille-bench --bin swaps -- PATH/quadrille [SWAPS]`; a host of its own is started.
//! One client creates Deployments without pause while another swaps the replicaset plugin to and fro; the time
//! from a Deployment's creation to its first Pod is measured by a watch, once without swaps and once with them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use quadrille_bench::{now, pause, say, spawn};
use quadrille_tests::{Client, TestHost, guest, relabelled};
use serde_json::{Value, json};

const REPLICAS: usize = 2;
/// Between two Deployments: a load that the host bears easily, so that a wait shows.
const PAUSE: Duration = Duration::from_millis(20);
type Times = Arc<Mutex<HashMap<String, Instant>>>;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let program = args.next().context("name the quadrille program to test")?;
    let swaps: usize = args.next().map_or(Ok(1000), |text| text.parse())?;
    let host = TestHost::start(&program)?;
    let client = host.client()?;
    for plugin in ["deployment", "replicaset"] {
        client.load(plugin, &guest(plugin))?;
    }
    let component = std::fs::read(guest("replicaset"))?;
    let versions = [relabelled(&component, "a"), relabelled(&component, "b")];
    say(&format!(
        "{:>10} {:>8} {:>8} {:>6} {:>8} {:>10} {:>10}",
        "", "swaps", "objects", "lost", "doubled", "p50 ms", "longest ms"
    ));
    let still = || {
        pause(Duration::from_secs(5));
        Ok(())
    };
    phase(&client, "still", still, 0)?;
    let mut longest_swap = Duration::ZERO;
    let swapping = || -> anyhow::Result<()> {
        for version in versions.iter().cycle().take(swaps) {
            let begun = now();
            let answer = client.upload("replicaset", version)?;
            ensure!(answer.code < 300, "a swap was refused: {}", answer.body);
            longest_swap = longest_swap.max(begun.elapsed());
        }
        Ok(())
    };
    phase(&client, "swapping", swapping, swaps)?;
    say(&format!("longest upload and swap: {} ms", longest_swap.as_millis()));
    Ok(())
}

/// Creates Deployments while `work` runs, then counts.
fn phase(
    client: &Client,
    name: &str,
    work: impl FnOnce() -> anyhow::Result<()>,
    swaps: usize,
) -> anyhow::Result<()> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    client.post("/api/v1/namespaces", &namespace)?;
    let (created, seen) = (Times::default(), Times::default());
    watch_pods(client, name, &seen)?;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (client, created, stop) = (client.clone(), Arc::clone(&created), Arc::clone(&stop));
        let path = format!("/apis/apps/v1/namespaces/{name}/deployments");
        spawn(move || write(&client, &path, &created, &stop))
    };
    work()?;
    stop.store(true, Ordering::Relaxed);
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    client.settled()?;
    report(client, name, swaps, &created, &seen)
}

fn write(client: &Client, path: &str, created: &Times, stop: &AtomicBool) -> anyhow::Result<()> {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let app = format!("web-{number}");
        let labels = json!({"app": app});
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": app},
            "spec": {"replicas": REPLICAS, "selector": {"matchLabels": labels}, "template": {
                "metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]},
            }},
        });
        let begun = now();
        let answer = client.post(path, &deployment)?;
        ensure!(answer.code == 201, "{}", answer.body);
        created.lock().expect("no panic").insert(app, begun);
        pause(PAUSE);
    }
    Ok(())
}

/// Notes when the first Pod of each Deployment is seen.
fn watch_pods(client: &Client, namespace: &str, seen: &Times) -> anyhow::Result<()> {
    let path = format!("/api/v1/namespaces/{namespace}/pods?watch=true");
    let (lines, seen) = (client.lines(&path)?, Arc::clone(seen));
    spawn(move || {
        for line in lines.map_while(Result::ok) {
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            let app = event.pointer("/object/metadata/labels/app").and_then(Value::as_str);
            if let Some(app) = app {
                let mut seen = seen.lock().expect("no panic");
                seen.entry(app.to_owned()).or_insert_with(now);
            }
        }
    });
    Ok(())
}

fn report(
    client: &Client,
    namespace: &str,
    swaps: usize,
    created: &Times,
    seen: &Times,
) -> anyhow::Result<()> {
    let created = created.lock().expect("no panic").clone();
    let mut pods: HashMap<String, usize> = HashMap::new();
    for pod in client.items(&format!("/api/v1/namespaces/{namespace}/pods"))? {
        let app = pod["metadata"]["labels"]["app"].as_str().unwrap_or_default().to_owned();
        *pods.entry(app).or_default() += 1;
    }
    let lost: usize = created
        .keys()
        .map(|app| REPLICAS.saturating_sub(pods.get(app).copied().unwrap_or(0)))
        .sum();
    let doubled: usize = pods.values().map(|count| count.saturating_sub(REPLICAS)).sum();
    let seen = seen.lock().expect("no panic");
    let mut waits: Vec<Duration> = created
        .iter()
        .filter_map(|(app, begun)| Some(seen.get(app)?.saturating_duration_since(*begun)))
        .collect();
    waits.sort();
    let millis = |wait: Option<&Duration>| wait.map_or(0.0, |wait| wait.as_secs_f64() * 1e3);
    say(&format!(
        "{namespace:>10} {swaps:>8} {:>8} {lost:>6} {doubled:>8} {:>10.1} {:>10.1}",
        created.len(),
        millis(waits.get(waits.len() / 2)),
        millis(waits.last()),
    ));
    ensure!((lost, doubled) == (0, 0), "{namespace}: {lost} Pods lost, {doubled} doubled");
    ensure!(
        waits.len() == created.len(),
        "{namespace}: {} of {} were seen by the watch",
        waits.len(),
        created.len()
    );
    Ok(())
}
