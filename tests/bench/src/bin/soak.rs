//! Hours of ordinary life: Deployments come, change and go, with watchers that come and go, and every so often a line of
//! what the host holds. A healthy host's lines stay the same.
//!
//! `cargo run --release -p quadrille-bench --bin soak -- PATH/quadrille [MINUTES]`; a host of its own is started, with a history of
//! 16 MiB, so that compaction is at work all the time. The last line compares the second half with the first.
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use quadrille_bench::{now, percentile, say};
use quadrille_tests::{Client, TestHost, guest};
use serde_json::{Value, json};

/// Lines of the table.
const LINES: u32 = 20;
/// Deployments that live at a time.
const DEPLOYMENTS: usize = 40;
const COLLECTION: &str = "/apis/apps/v1/namespaces/default/deployments";

/// What the host holds at one moment.
#[derive(Clone, Copy, Debug)]
struct Line {
    resident: f64,
    files: f64,
    descriptors: f64,
    threads: f64,
    p99: f64,
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let program = args.next().context("name the quadrille program to test")?;
    let minutes: f64 = args.next().map_or(Ok(5.0), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("config.toml");
    std::fs::write(&config, "[history]\nbytes_max = \"16MiB\"\n")?;
    let host = TestHost::start_with(&program, &["--config", &config.to_string_lossy()])?;
    let client = host.client()?;
    for plugin in ["deployment", "replicaset"] {
        client.load(plugin, &guest(plugin))?;
    }
    let period = Duration::from_secs_f64(minutes * 60.0 / f64::from(LINES));
    say("  minutes   writes/s  RSS MiB  files MiB   fds  threads  write p99 ms");
    let (begun, mut lines, mut round) = (now(), Vec::new(), 0);
    for _ in 0..LINES {
        let (writes, mut times) = live(&client, &mut round, now() + period)?;
        times.sort_unstable();
        let line = look(&host, &times)?;
        let (rate, at) =
            (writes as f64 / period.as_secs_f64(), begun.elapsed().as_secs_f64() / 60.0);
        say(&format!(
            "{at:>9.1} {rate:>10.0} {:>8.1} {:>10.1} {:>5} {:>8} {:>13.2}",
            line.resident, line.files, line.descriptors, line.threads, line.p99
        ));
        lines.push(line);
    }
    compare(&lines);
    Ok(())
}

/// Creates, changes and deletes until the time is over; some of it is watched and left.
fn live(
    client: &Client,
    round: &mut usize,
    until: Instant,
) -> anyhow::Result<(usize, Vec<Duration>)> {
    let (mut writes, mut times) = (0, Vec::new());
    while now() < until {
        let name = format!("d{}", *round % DEPLOYMENTS);
        let path = format!("{COLLECTION}/{name}");
        let begun = now();
        let answer = match *round / DEPLOYMENTS % 4 {
            0 => client.post(COLLECTION, &deployment(&name))?,
            1 => client.merge(&path, &json!({"spec": {"replicas": 5}}))?,
            2 => client.merge(&path, &image(*round))?,
            _ => client.delete(&path)?,
        };
        times.push(begun.elapsed());
        ensure!(answer.code < 300, "{name}: {}", answer.body);
        if round.is_multiple_of(DEPLOYMENTS) {
            client.settled()?;
        }
        if round.is_multiple_of(7) {
            let mut watch = client.lines("/api/v1/pods?watch=true")?;
            let _first = watch.next();
        }
        *round += 1;
        writes += 1;
    }
    Ok((writes, times))
}

fn image(round: usize) -> Value {
    let container = json!({"name": "web", "image": format!("nginx:{round}")});
    json!({"spec": {"template": {"spec": {"containers": [container]}}}})
}

fn deployment(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "replicas": 3, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "web", "image": "nginx:1"}]},
        },
    }})
}

fn look(host: &TestHost, times: &[Duration]) -> anyhow::Result<Line> {
    let process = format!("/proc/{}", host.pid());
    let count = |what: &str| anyhow::Ok(std::fs::read_dir(format!("{process}/{what}"))?.count());
    Ok(Line {
        resident: host.resident_bytes()? as f64 / 1_048_576.0,
        files: bytes_of(host.dir())? as f64 / 1_048_576.0,
        descriptors: count("fd")? as f64,
        threads: count("task")? as f64,
        p99: percentile(times, 0.99).as_secs_f64() * 1_000.0,
    })
}

fn bytes_of(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        // A file may go while it is looked at.
        let Ok(found) = path.symlink_metadata() else { continue };
        bytes += if found.is_dir() { bytes_of(&path)? } else { found.len() };
    }
    Ok(bytes)
}

type Column = fn(&Line) -> f64;

/// Means of the second quarter and of the last one: the first is the way to what a host holds at this load.
fn compare(lines: &[Line]) {
    let quarter = lines.len() / 4;
    let mean =
        |lines: &[Line], of: Column| lines.iter().map(of).sum::<f64>() / lines.len().max(1) as f64;
    let early = lines.get(quarter..quarter * 2).unwrap_or_default();
    let late = lines.get(quarter * 3..).unwrap_or_default();
    let columns: [(&str, Column); 5] = [
        ("RSS MiB", |line| line.resident),
        ("files MiB", |line| line.files),
        ("fds", |line| line.descriptors),
        ("threads", |line| line.threads),
        ("write p99 ms", |line| line.p99),
    ];
    for (name, of) in columns {
        let (early, late) = (mean(early, of), mean(late, of));
        say(&format!("{name:>13}: second quarter {early:.1}, last quarter {late:.1}"));
    }
}
