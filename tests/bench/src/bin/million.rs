//! A million objects: how fast they come in, what one costs in memory and on disk, how long a start takes, and what GET,
//! LIST and watch are then like, beside the same host with a thousandth of it.
//!
//! `cargo run --release -p quadrille-bench --bin million -- PATH/quadrille [OBJECTS]`; a host of its own is started. The objects
//! are `ConfigMaps` of about 600 bytes in namespaces of a thousand.
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use quadrille_bench::http::{Shared, Target};
use quadrille_bench::{now, percentile, processor_time, say};
use quadrille_tests::TestHost;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Objects of a namespace.
const CROWD: usize = 1_000;
/// Requests in flight.
const WRITERS: usize = 32;
const ROUNDS: usize = 500;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let program = args.next().context("name the quadrille program to test")?;
    let objects: usize = args.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let mut host = TestHost::start(&program)?;
    let empty = host.resident_bytes()?;
    fill(&Target::host(&host)?, 0..1).await?;
    say(&format!("with {CROWD} objects"));
    reads(&Target::host(&host)?).await?;
    let begun = now();
    fill(&Target::host(&host)?, 1..objects / CROWD).await?;
    let took = begun.elapsed().as_secs_f64();
    say(&format!("{objects} objects made at {:.0} a second", (objects - CROWD) as f64 / took));
    host.terminate()?;
    let begun = now();
    host.spawn()?;
    let (start, cpu) = (begun.elapsed(), processor_time(host.pid())?);
    say(&format!("start until ready: {start:.1?}, {cpu:.1?} of processor time"));
    let held = host.resident_bytes()?.saturating_sub(empty) as f64 / objects as f64;
    let stored = bytes_of(host.dir())? as f64 / objects as f64;
    say(&format!("an object: {held:.0} bytes of memory, {stored:.0} on disk with its history"));
    reads(&Target::host(&host)?).await
}

/// Namespaces full of objects.
async fn fill(target: &Target, namespaces: std::ops::Range<usize>) -> anyhow::Result<()> {
    let next = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(namespaces.start));
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let (target, next, end) = (target.clone(), std::sync::Arc::clone(&next), namespaces.end);
        writers.spawn(async move {
            let mut connection = target.connect().await?;
            loop {
                let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if number >= end {
                    return anyhow::Ok(());
                }
                let body = json!({"metadata": {"name": format!("n{number}")}}).to_string();
                let path = "/api/v1/namespaces";
                drain(&target, &mut connection, path, body).await?;
                for object in 0..CROWD {
                    let path = format!("/api/v1/namespaces/n{number}/configmaps");
                    drain(&target, &mut connection, &path, map(object)).await?;
                }
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done??;
    }
    Ok(())
}

fn map(number: usize) -> String {
    let filler = "0123456789".repeat(30);
    let labels = json!({"app": format!("app{}", number % 50)});
    let metadata = json!({"name": format!("m{number}"), "labels": labels});
    json!({"metadata": metadata, "data": {"filler": filler}}).to_string()
}

async fn drain(
    target: &Target,
    connection: &mut quadrille_bench::http::Connection,
    path: &str,
    body: String,
) -> anyhow::Result<()> {
    let answer = target.send(connection, "POST", path, "application/json", Bytes::from(body));
    answer.await?.collect().await?;
    Ok(())
}

/// GET, LIST and watch of one namespace, and the first page of all.
async fn reads(target: &Target) -> anyhow::Result<()> {
    let mut connection = target.connect().await?;
    for (what, path) in [
        ("GET of one", "/api/v1/namespaces/n0/configmaps/m7"),
        ("LIST of a namespace of 1,000", "/api/v1/namespaces/n0/configmaps"),
        ("the same by a label", "/api/v1/namespaces/n0/configmaps?labelSelector=app%3Dapp7"),
        ("first page of 500 of all", "/api/v1/configmaps?limit=500"),
    ] {
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let begun = now();
            target.get(&mut connection, path).await?;
            times.push(begun.elapsed());
        }
        report(what, times);
    }
    watched(target).await
}

/// From a write's start to its event at a watch of all namespaces.
async fn watched(target: &Target) -> anyhow::Result<()> {
    let shared: Shared = target.connect_shared().await?;
    let mut connection = target.connect().await?;
    let page = target.send(&mut connection, "GET", "/api/v1/configmaps?limit=1", "", Bytes::new());
    let page: Value = serde_json::from_slice(&page.await?.collect().await?.to_bytes())?;
    let revision = page["metadata"]["resourceVersion"].as_str().context("a list has a revision")?;
    let path = format!("/api/v1/configmaps?watch=true&resourceVersion={revision}");
    let mut body = target.get_shared(&shared, &path).await?;
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS {
        let begun: Instant = now();
        let path = "/api/v1/namespaces/n0/configmaps/m7";
        let patch = Bytes::from(json!({"data": {"round": round.to_string()}}).to_string());
        let kind = "application/merge-patch+json";
        target.send(&mut connection, "PATCH", path, kind, patch).await?.collect().await?;
        body.frame().await.context("the watch has ended")??;
        times.push(begun.elapsed());
    }
    report("patch and its event at a watch of all", times);
    Ok(())
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let (middle, high) = (percentile(&times, 0.5), percentile(&times, 0.99));
    say(&format!("  {what:<40} p50 {middle:>9.2?}  p99 {high:>9.2?}"));
}

fn bytes_of(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        bytes += if kind.is_dir() { bytes_of(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
