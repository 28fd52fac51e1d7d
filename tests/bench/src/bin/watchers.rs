//! Many watchers: 1,000 of them at 500 changes a second; how late events come, what the host spends, and what one
//! watcher that does not read does to the others.
//!
//! `cargo run --release -p quadrille-bench --bin watchers -- PATH/quadrille [WATCHERS] [CHANGES_PER_SECOND] [SECONDS]`; a
//! host of its own is started. The reference in the same run is the same load with one watcher.

#![expect(
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a benchmark paces its load and prints rounded figures"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use quadrille_bench::http::Target;
use quadrille_bench::{now, percentile, processor_time, say};
use quadrille_tests::TestHost;
use serde_json::json;
use tokio::task::JoinSet;

const COLLECTION: &str = "/api/v1/namespaces/default/configmaps";
/// Every so many watchers measure; all of them count.
const SAMPLED: usize = 20;
const MARK: &[u8] = b"\"sent\":\"";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let program = args.next().context("name the quadrille program to test")?;
    let mut number = |or: usize| args.next().map_or(Ok(or), |text| text.parse());
    let (watchers, rate, seconds) = (number(1000)?, number(500)?, number(10)?);
    let host = TestHost::start(&program)?;
    let target = Target::host(&host)?;
    say(&format!(
        "{:>9} {:>9} {:>10} {:>9} {:>9} {:>11} {:>8} {:>6}",
        "watchers", "changes/s", "events/s", "p50 ms", "p99 ms", "CPU of host", "RSS MiB", "missed"
    ));
    let load = Load { rate, seconds };
    for (watchers, slow) in [(1, 0), (watchers, 0), (watchers, 1)] {
        load.measure(&host, &target, watchers, slow).await?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Load {
    rate: usize,
    seconds: usize,
}

impl Load {
    async fn measure(
        self,
        host: &TestHost,
        target: &Target,
        watchers: usize,
        slow: usize,
    ) -> anyhow::Result<()> {
        let changes = self.rate * self.seconds;
        let origin = now();
        let counted = Arc::new(AtomicUsize::new(0));
        let mut watching = JoinSet::new();
        let path = format!("{COLLECTION}?watch=true&timeoutSeconds={}", self.seconds * 3 + 30);
        for number in 0..watchers {
            let body =
                target.send(&mut target.connect().await?, "GET", &path, "", Bytes::new()).await?;
            let sampled = number % SAMPLED == 0;
            watching.spawn(watch(body, changes, sampled, origin, Arc::clone(&counted)));
        }
        // Connected, and never read: what fills up is the host's side of the connection.
        let mut idle = Vec::new();
        for _ in 0..slow {
            let mut connection = target.connect().await?;
            idle.push(target.send(&mut connection, "GET", &path, "", Bytes::new()).await?);
        }
        let before = processor_time(host.pid())?;
        let begun = now();
        self.write(target, changes, origin).await?;
        let mut times = Vec::new();
        while let Ok(Some(done)) =
            tokio::time::timeout(Duration::from_secs(20), watching.join_next()).await
        {
            times.append(&mut done?);
        }
        let took = begun.elapsed();
        let spent = processor_time(host.pid())?.saturating_sub(before);
        times.sort();
        let events = counted.load(Ordering::Relaxed);
        let ms = |share| percentile(&times, share).as_secs_f64() * 1e3;
        let name = if slow > 0 { format!("{watchers}+{slow}") } else { watchers.to_string() };
        say(&format!(
            "{name:>9} {:>9.0} {:>10.0} {:>9.2} {:>9.2} {:>9.0} % {:>8} {:>6}",
            changes as f64 / took.as_secs_f64(),
            events as f64 / took.as_secs_f64(),
            ms(0.5),
            ms(0.99),
            spent.as_secs_f64() / took.as_secs_f64() * 100.0,
            host.resident_bytes()? >> 20,
            (watchers * changes).saturating_sub(events),
        ));
        drop(idle);
        Ok(())
    }

    /// Patches a hundred objects in turn at the wanted rate, each with the time of its sending.
    async fn write(self, target: &Target, changes: usize, origin: Instant) -> anyhow::Result<()> {
        let mut connection = target.connect().await?;
        let begun = now();
        for number in 0..changes {
            let due = Duration::from_secs_f64(number as f64 / self.rate as f64);
            tokio::time::sleep_until((begun + due).into()).await;
            let name = format!("object-{}", number % 100);
            let object = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
                "data": {"sent": origin.elapsed().as_micros().to_string(), "text": "x".repeat(800)},
            });
            let path = format!("{COLLECTION}/{name}?fieldManager=bench&force=true");
            let kind = "application/apply-patch+yaml";
            let sent =
                target.send(&mut connection, "PATCH", &path, kind, object.to_string().into());
            sent.await?.collect().await?;
        }
        Ok(())
    }
}

/// Reads until every change has come; answers how late each was, for a watcher that measures.
async fn watch(
    mut body: Incoming,
    changes: usize,
    sampled: bool,
    origin: Instant,
    counted: Arc<AtomicUsize>,
) -> Vec<Duration> {
    let (mut seen, mut times) = (0, Vec::new());
    let mut rest: Vec<u8> = Vec::new();
    while seen < changes {
        let Some(Ok(frame)) = body.frame().await else { break };
        let Ok(data) = frame.into_data() else { continue };
        let at = origin.elapsed();
        // An event may be cut in two by the end of a frame: what follows the last line's end is kept.
        rest.extend_from_slice(&data);
        let end = memchr::memrchr(b'\n', &rest).map_or(0, |at| at + 1);
        let whole = rest.get(..end).unwrap_or_default();
        for found in memchr::memmem::find_iter(whole, MARK) {
            seen += 1;
            counted.fetch_add(1, Ordering::Relaxed);
            if sampled && let Some(sent) = number_at(whole, found + MARK.len()) {
                times.push(at.saturating_sub(Duration::from_micros(sent)));
            }
        }
        rest.drain(..end);
    }
    times
}

fn number_at(text: &[u8], at: usize) -> Option<u64> {
    let digits = text.get(at..)?;
    let end = memchr::memchr(b'"', digits)?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}
