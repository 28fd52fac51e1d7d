//! Many watchers: 1,000 of them at 500 changes a second; how late events come, what the host and the watchers spend, and
//! what one watcher that does not read does to the others.
//!
//! `cargo run --release -p quadrille-bench --bin watchers -- PATH/quadrille [WATCHERS] [CHANGES_PER_SECOND] [SECONDS]`; a
//! host of its own is started. The reference in the same run is the same load with one watcher. Watchers have a
//! connection each, or share twenty over HTTP/2 as the watches of one client do. They read bytes and count; only every
//! twentieth looks at times.

#![expect(
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "a benchmark paces its load and prints rounded figures"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use quadrille_bench::http::Target;
use quadrille_bench::{now, percentile, processor_time, say};
use quadrille_tests::TestHost;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::task::JoinSet;

const COLLECTION: &str = "/api/v1/namespaces/default/configmaps";
/// Every so many watchers measure; all of them count.
const SAMPLED: usize = 20;
/// How many connections are shared, where they are.
const CONNECTIONS: usize = 20;
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
        "{:>12} {:>9} {:>10} {:>8} {:>8} {:>11} {:>14} {:>7} {:>6}",
        "watchers",
        "changes/s",
        "events/s",
        "p50 ms",
        "p99 ms",
        "CPU of host",
        "of the clients",
        "RSS MiB",
        "missed"
    ));
    let load = Load { rate, seconds };
    let own = |watchers, unread| Crowd { watchers, unread, shared: false };
    let shared = Crowd { watchers, unread: 0, shared: true };
    // The objects exist before anything is measured.
    Load { rate, seconds: 1 }.write(&target, now()).await?;
    for crowd in [own(1, 0), own(100, 0), own(watchers, 0), own(watchers, 1), shared] {
        load.measure(&host, &target, crowd).await?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Load {
    rate: usize,
    seconds: usize,
}

#[derive(Clone, Copy)]
struct Crowd {
    watchers: usize,
    /// Further ones that never read.
    unread: usize,
    /// Whether they share connections.
    shared: bool,
}

impl Crowd {
    fn name(self) -> String {
        match self {
            Self { watchers, shared: true, .. } => format!("{watchers}/{CONNECTIONS}"),
            Self { watchers, unread: 0, .. } => watchers.to_string(),
            Self { watchers, unread, .. } => format!("{watchers}+{unread}"),
        }
    }

    /// Starts the watches, all at the same revision.
    async fn watch(
        self,
        target: &Target,
        path: &str,
        tally: &Arc<Tally>,
    ) -> anyhow::Result<JoinSet<Vec<Duration>>> {
        let mut watching = JoinSet::new();
        let mut connections = Vec::new();
        if self.shared {
            for _ in 0..CONNECTIONS {
                connections.push(target.connect_shared().await?);
            }
        }
        for number in 0..self.watchers {
            let reader = Reader::new(Arc::clone(tally), number % SAMPLED == 0);
            if let Some(connection) = connections.get(number % CONNECTIONS) {
                let body = target.get_shared(connection, path).await?;
                watching.spawn(reader.body(body));
            } else {
                let stream = target.raw_get(path).await?;
                watching.spawn(reader.stream(stream));
            }
        }
        Ok(watching)
    }
}

impl Load {
    async fn measure(self, host: &TestHost, target: &Target, crowd: Crowd) -> anyhow::Result<()> {
        let changes = self.rate * self.seconds;
        let tally = Arc::new(Tally { changes, origin: now(), counted: AtomicUsize::new(0) });
        let mut connection = target.connect().await?;
        let list = target.read(&mut connection, &format!("{COLLECTION}?limit=1")).await?;
        let list: Value = serde_json::from_slice(&list)?;
        let revision = list.pointer("/metadata/resourceVersion").and_then(Value::as_str);
        let (seconds, revision) = (self.seconds * 3 + 30, revision.context("a revision")?);
        let path =
            format!("{COLLECTION}?watch=true&timeoutSeconds={seconds}&resourceVersion={revision}");
        let mut watching = crowd.watch(target, &path, &tally).await?;
        // Connected, and never read: what fills up is the host's side of the connection.
        let mut idle = Vec::new();
        for _ in 0..crowd.unread {
            idle.push(target.raw_get(&path).await?);
        }
        let own = std::process::id();
        let before = (processor_time(host.pid())?, processor_time(own)?);
        let begun = now();
        self.write(target, tally.origin).await?;
        let mut times = Vec::new();
        while let Ok(Some(done)) =
            tokio::time::timeout(Duration::from_secs(20), watching.join_next()).await
        {
            times.append(&mut done?);
        }
        let took = begun.elapsed().as_secs_f64();
        let share = |pid, before| -> anyhow::Result<f64> {
            Ok(processor_time(pid)?.saturating_sub(before).as_secs_f64() / took * 100.0)
        };
        times.sort();
        let events = tally.counted.load(Ordering::Relaxed);
        let missed = (crowd.watchers * changes).saturating_sub(events);
        let ms = |share| percentile(&times, share).as_secs_f64() * 1e3;
        say(&format!(
            "{:>12} {:>9.0} {:>10.0} {:>8.2} {:>8.2} {:>9.0} % {:>12.0} % {:>7} {:>6}",
            crowd.name(),
            changes as f64 / took,
            events as f64 / took,
            ms(0.5),
            ms(0.99),
            share(host.pid(), before.0)?,
            share(own, before.1)?,
            host.resident_bytes()? >> 20,
            missed,
        ));
        drop(idle);
        anyhow::ensure!(missed == 0, "{}: {missed} events were missed", crowd.name());
        Ok(())
    }

    /// Patches a hundred objects in turn at the wanted rate, each with the time of its sending.
    async fn write(self, target: &Target, origin: Instant) -> anyhow::Result<()> {
        let mut connection = target.connect().await?;
        let begun = now();
        for number in 0..self.rate * self.seconds {
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

/// What all watchers of a measurement count together.
struct Tally {
    changes: usize,
    origin: Instant,
    counted: AtomicUsize,
}

/// Counts events in bytes as they come.
struct Reader {
    tally: Arc<Tally>,
    sampled: bool,
    seen: usize,
    rest: Vec<u8>,
    times: Vec<Duration>,
}

impl Reader {
    fn new(tally: Arc<Tally>, sampled: bool) -> Self {
        Self { tally, sampled, seen: 0, rest: Vec::new(), times: Vec::new() }
    }

    async fn stream(mut self, mut stream: impl AsyncRead + Unpin) -> Vec<Duration> {
        let mut buffer = vec![0; 32 * 1024];
        while self.seen < self.tally.changes {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(read) => self.take(buffer.get(..read).unwrap_or_default()),
            }
        }
        self.times
    }

    async fn body(mut self, mut body: Incoming) -> Vec<Duration> {
        while self.seen < self.tally.changes {
            let Some(Ok(frame)) = body.frame().await else { break };
            self.take(frame.data_ref().map_or(b"", |data| data));
        }
        self.times
    }

    /// Counts what is new. An event may be cut in two anywhere, so the end is kept: too short for another mark, or, of
    /// one that measures, everything after the last line.
    fn take(&mut self, data: &[u8]) {
        let at = self.tally.origin.elapsed();
        let joined;
        let all = if self.rest.is_empty() {
            data
        } else {
            self.rest.extend_from_slice(data);
            joined = std::mem::take(&mut self.rest);
            &joined
        };
        let end = if self.sampled {
            memchr::memrchr(b'\n', all).map_or(0, |at| at + 1)
        } else {
            all.len()
        };
        let whole = all.get(..end).unwrap_or_default();
        let (mut found, mut after) = (0, 0);
        for mark in memchr::memmem::find_iter(whole, MARK) {
            found += 1;
            after = mark + MARK.len();
            if self.sampled
                && let Some(sent) = number_at(whole, after)
            {
                self.times.push(at.saturating_sub(Duration::from_micros(sent)));
            }
        }
        let keep = if self.sampled { end } else { after.max(end.saturating_sub(MARK.len() - 1)) };
        self.rest = all.get(keep..).unwrap_or_default().to_vec();
        self.seen += found;
        self.tally.counted.fetch_add(found, Ordering::Relaxed);
    }
}

fn number_at(text: &[u8], at: usize) -> Option<u64> {
    let digits = text.get(at..)?;
    let end = memchr::memchr(b'"', digits)?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}
