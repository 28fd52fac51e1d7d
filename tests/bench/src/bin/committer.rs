//! Durable creates of 1 KiB per second in process: the store on files, the store in memory, and raw redb with
//! the same batch shapes, in the same run on the same disk.
//!
//! `committer [SECONDS]`: how long each cell runs; 3 when not given. Files lie in the current directory.

use std::sync::Arc;
use std::time::Duration;

use quadrille_bench::say;
use quadrille_kit::{Clock, Supervisor, SystemClock};
use quadrille_object::{GroupResource, Meta, Template};
use quadrille_store::{Cause, Config, Expect, Key, Store, SystemCause, Txn, Write};
use redb::{Database, TableDefinition};
use serde_json::json;

const CLIENTS: [usize; 4] = [1, 16, 64, 256];
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const INDEX: TableDefinition<'_, &[u8], u64> = TableDefinition::new("index");

fn main() -> anyhow::Result<()> {
    let seconds = std::env::args().nth(1).map_or(Ok(3), |text| text.parse())?;
    let wait = Duration::from_secs(seconds);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut rows = vec![
        ("store on files", Vec::new()),
        ("store in memory", Vec::new()),
        ("raw redb, one batch per flush", Vec::new()),
    ];
    for clients in CLIENTS {
        let files = runtime.block_on(store(true, clients, wait))?;
        let memory = runtime.block_on(store(false, clients, wait))?;
        let raw = raw_redb(clients, wait)?;
        for ((_, cells), cell) in rows.iter_mut().zip([files, memory, raw]) {
            cells.push(cell);
        }
    }
    print_table(&rows);
    runtime.block_on(reopen())
}

/// How long a store with 100,000 objects takes to open, with warm files.
async fn reopen() -> anyhow::Result<()> {
    const OBJECTS: u64 = 100_000;
    let dir = tempfile::tempdir_in(".")?;
    let config = Config { dir: Some(dir.path().to_owned()), ..Config::default() };
    let clock = Arc::new(SystemClock::default());
    let supervisor = Supervisor::default();
    let open = || Store::open(config.clone(), Arc::<SystemClock>::clone(&clock), &supervisor);
    let store = open().await?;
    for batch in 0..OBJECTS / 1_000 {
        let mut whole = create(0, batch * 1_000, object("client-0"));
        for n in 1..1_000 {
            whole.writes.extend(create(0, batch * 1_000 + n, object("client-0")).writes);
        }
        store.commit(whole).await?;
    }
    store.close().await;
    let (start, cpu) = (clock.monotonic(), cpu_seconds());
    let store = open().await?;
    let took = clock.monotonic().saturating_sub(start);
    let cpu = cpu_seconds() - cpu;
    say(&format!("opening {} objects: {took:.0?}, {cpu:.2} s of processor time", store.revision()));
    store.close().await;
    Ok(())
}

/// Creates per second, and the processor time of one.
#[derive(Clone, Copy)]
struct Cell {
    per_second: f64,
    cpu_us: f64,
}

fn print_table(rows: &[(&str, Vec<Cell>)]) {
    say("durable creates of 1 KiB per second (processor time of one in µs)");
    say(&format!("| clients in process | {} |", CLIENTS.map(|n| n.to_string()).join(" | ")));
    say("| --- | --- | --- | --- | --- |");
    for (name, cells) in rows {
        let cells = cells.iter().map(|c| format!("{:.0} ({:.1})", c.per_second, c.cpu_us));
        say(&format!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | ")));
    }
}

fn object(name: &str) -> (Meta, Template) {
    let filler = "x".repeat(800);
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"filler": filler},
        "metadata": {"name": name, "namespace": "default", "uid": name}});
    let map = value.as_object().cloned().unwrap_or_default();
    (Meta::from_object(&map), Template::encode(&map))
}

fn create(client: usize, n: u64, (meta, object): (Meta, Template)) -> Txn {
    let name = format!("client-{client:03}-{n:09}");
    let key = Key::new(GroupResource::new("", "configmaps"), "default", name);
    let cause = Cause::System(SystemCause { part: "bench".to_owned(), ..SystemCause::default() });
    let writes = vec![Write::Put { key, meta, object, expect: Expect::Absent }];
    Txn { writes, requires: Vec::new(), reads: None, fence: None, cause }
}

async fn store(files: bool, clients: usize, wait: Duration) -> anyhow::Result<Cell> {
    let dir = tempfile::tempdir_in(".")?;
    let config = Config { dir: files.then(|| dir.path().to_owned()), ..Config::default() };
    let clock = Arc::new(SystemClock::default());
    let store =
        Store::open(config, Arc::<SystemClock>::clone(&clock), &Supervisor::default()).await?;
    let (start, cpu) = (clock.monotonic(), cpu_seconds());
    let mut running = tokio::task::JoinSet::new();
    for client in 0..clients {
        let (store, clock) = (store.clone(), Arc::clone(&clock));
        let encoded = object(&format!("client-{client}"));
        running.spawn(async move {
            let mut done = 0;
            while clock.monotonic().saturating_sub(start) < wait {
                store.commit(create(client, done, encoded.clone())).await?;
                done += 1;
                // The memory engine never waits, and the other clients want to run, too.
                tokio::task::yield_now().await;
            }
            anyhow::Ok(done)
        });
    }
    let mut total = 0;
    while let Some(done) = running.join_next().await {
        total += done??;
    }
    let cell = cell(total, clock.monotonic().saturating_sub(start), cpu_seconds() - cpu);
    store.close().await;
    Ok(cell)
}

/// What redb itself can do when each flush carries one create per client.
fn raw_redb(clients: usize, wait: Duration) -> anyhow::Result<Cell> {
    let dir = tempfile::tempdir_in(".")?;
    let database = Database::create(dir.path().join("raw.redb"))?;
    let clock = SystemClock::default();
    let value = vec![7_u8; 1_100];
    let (start, cpu, mut revision) = (clock.monotonic(), cpu_seconds(), 0_u64);
    while clock.monotonic().saturating_sub(start) < wait {
        let mut txn = database.begin_write()?;
        txn.set_quick_repair(true);
        {
            let (mut log, mut index) = (txn.open_table(LOG)?, txn.open_table(INDEX)?);
            for client in 0..clients {
                revision += 1;
                log.insert(revision, value.as_slice())?;
                let key = format!("\0configmaps\0default\0client-{client:03}-{revision:09}");
                index.insert(key.as_bytes(), revision)?;
            }
        }
        txn.commit()?;
    }
    Ok(cell(revision, clock.monotonic().saturating_sub(start), cpu_seconds() - cpu))
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn cell(total: u64, took: Duration, cpu: f64) -> Cell {
    Cell { per_second: total as f64 / took.as_secs_f64(), cpu_us: cpu * 1e6 / total as f64 }
}

/// Processor time of this process so far, user and system, from the kernel's 100 Hz counters.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}
