//! Reads beside a bare axum route that copies the same bytes: GET of one object, LIST of 10,000 whole and in pages of
//! 500; and what a LIST without pause does to a writer.
//!
//! `cargo run --release -p quadrille-bench --bin reads -- PATH/quadrille [OBJECTS]`; a host of its own is started, the
//! reference runs in this process. Both speak TLS and HTTP/1.1 on one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use quadrille_bench::http::{Target, bare};
use quadrille_bench::{now, percentile, say};
use quadrille_tests::TestHost;
use serde_json::json;

const COLLECTION: &str = "/api/v1/namespaces/default/configmaps";
const PAGE: usize = 500;
const GETS: usize = 20_000;
const LISTS: usize = 21;
const WRITES: usize = 1000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let program = args.next().context("name the quadrille program to test")?;
    let objects: usize = args.next().map_or(Ok(10_000), |text| text.parse())?;
    let host = TestHost::start(&program)?;
    let target = Target::host(&host)?;
    fill(&target, objects).await?;
    let mut connection = target.connect().await?;
    let one = format!("{COLLECTION}/object-0");
    let whole = target.read(&mut connection, COLLECTION).await?;
    let page = target.read(&mut connection, &format!("{COLLECTION}?limit={PAGE}")).await?;
    let single = target.read(&mut connection, &one).await?;
    let reference = reference(&whole, &page, &single).await?;
    say(&format!("{:<34} {:>10} {:>12} {:>12}", "", "MB", "quadrille", "bare axum"));
    let ours = gets(&target, &one).await?;
    let theirs = gets(&reference, "/single").await?;
    say(&format!("{:<34} {:>10} {ours:>10}/s {theirs:>10}/s", "GET, one in flight", ""));
    let ours = lists(&target, COLLECTION, false).await?;
    let theirs = lists(&reference, "/whole", false).await?;
    line(&format!("LIST of {objects}, median of {LISTS}"), whole.len(), ours, theirs);
    let ours = lists(&target, COLLECTION, true).await?;
    let pages = format!("/page?pages={}", objects.div_ceil(PAGE));
    let theirs = lists(&reference, &pages, true).await?;
    line(&format!("the same in pages of {PAGE}"), whole.len(), ours, theirs);
    writers(&target).await
}

fn line(what: &str, bytes: usize, ours: Duration, theirs: Duration) {
    #[expect(clippy::cast_precision_loss, reason = "a size in MB is small")]
    let mb = bytes as f64 / 1e6;
    let (ours, theirs) = (ours.as_secs_f64() * 1e3, theirs.as_secs_f64() * 1e3);
    say(&format!("{what:<34} {mb:>10.1} {ours:>9.1} ms {theirs:>9.1} ms"));
}

fn object(name: &str) -> Bytes {
    json!({"metadata": {"name": name}, "data": {"text": "x".repeat(1000)}}).to_string().into()
}

/// Creates the objects over 16 connections.
async fn fill(target: &Target, objects: usize) -> anyhow::Result<()> {
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..16 {
        let target = target.clone();
        workers.spawn(async move {
            let mut connection = target.connect().await?;
            for number in (worker..objects).step_by(16) {
                let body = object(&format!("object-{number}"));
                let sent =
                    target.send(&mut connection, "POST", COLLECTION, "application/json", body);
                drain(sent.await?).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(())
}

async fn drain(mut body: hyper::body::Incoming) -> anyhow::Result<()> {
    use http_body_util::BodyExt as _;
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}

/// Routes that answer with bytes that were read before.
async fn reference(whole: &Bytes, page: &Bytes, single: &Bytes) -> anyhow::Result<Target> {
    let copy = |bytes: &Bytes| {
        // What a server does that keeps a document as bytes: one copy per answer.
        let bytes = bytes.clone();
        get(move || async move { Bytes::copy_from_slice(&bytes) })
    };
    bare(
        Router::new()
            .route("/whole", copy(whole))
            .route("/page", copy(page))
            .route("/single", copy(single)),
    )
    .await
}

async fn gets(target: &Target, path: &str) -> anyhow::Result<usize> {
    let mut connection = target.connect().await?;
    let begun = now();
    for _ in 0..GETS {
        target.get(&mut connection, path).await?;
    }
    let per_second = GETS as u128 * 1_000_000 / begun.elapsed().as_micros().max(1);
    Ok(usize::try_from(per_second)?)
}

/// The median time of a whole list; in pages, the host's continue tokens are followed.
async fn lists(target: &Target, path: &str, paged: bool) -> anyhow::Result<Duration> {
    let mut connection = target.connect().await?;
    let mut times = Vec::new();
    for _ in 0..LISTS {
        let begun = now();
        if !paged {
            target.get(&mut connection, path).await?;
        } else if let Some((page, count)) = path.split_once("?pages=") {
            for _ in 0..count.parse()? {
                let bytes = target.read(&mut connection, page).await?;
                std::hint::black_box(continue_token(&bytes));
            }
        } else {
            let mut next = String::new();
            loop {
                let query = format!("{path}?limit={PAGE}{next}");
                let bytes = target.read(&mut connection, &query).await?;
                let Some(token) = continue_token(&bytes) else { break };
                next = format!("&continue={token}");
            }
        }
        times.push(begun.elapsed());
    }
    times.sort();
    Ok(percentile(&times, 0.5))
}

/// The continue token of a list, found without parsing its items: `metadata` comes first or last.
fn continue_token(list: &Bytes) -> Option<String> {
    let at = memchr::memmem::find(list, b"\"continue\":\"")? + 12;
    let rest = list.get(at..)?;
    let end = memchr::memchr(b'"', rest)?;
    let token = String::from_utf8(rest.get(..end)?.to_vec()).ok()?;
    (!token.is_empty()).then_some(token)
}

/// Creates one after the other: alone, and while another connection lists without pause.
async fn writers(target: &Target) -> anyhow::Result<()> {
    let alone = creates(target, "alone").await?;
    let stop = Arc::new(AtomicBool::new(false));
    let lister = {
        let (target, stop) = (target.clone(), Arc::clone(&stop));
        let listing = async move {
            let mut connection = target.connect().await?;
            let mut lists = 0_usize;
            while !stop.load(Ordering::Relaxed) {
                target.get(&mut connection, COLLECTION).await?;
                lists += 1;
            }
            anyhow::Ok(lists)
        };
        #[expect(clippy::disallowed_methods, reason = "a benchmark has no supervisor")]
        tokio::spawn(listing)
    };
    let beside = creates(target, "beside").await?;
    stop.store(true, Ordering::Relaxed);
    let lists = lister.await??;
    let text = |(p50, p99): (Duration, Duration)| {
        format!("p50 {:.2} p99 {:.2} ms", p50.as_secs_f64() * 1e3, p99.as_secs_f64() * 1e3)
    };
    say(&format!("create, alone: {}", text(alone)));
    say(&format!("create, beside {lists} LISTs without pause: {}", text(beside)));
    Ok(())
}

async fn creates(target: &Target, prefix: &str) -> anyhow::Result<(Duration, Duration)> {
    let mut connection = target.connect().await?;
    let mut times = Vec::with_capacity(WRITES);
    for number in 0..WRITES {
        let body = object(&format!("{prefix}-{number}"));
        let begun = now();
        let sent = target.send(&mut connection, "POST", COLLECTION, "application/json", body);
        drain(sent.await?).await?;
        times.push(begun.elapsed());
    }
    times.sort();
    Ok((percentile(&times, 0.5), percentile(&times, 0.99)))
}
