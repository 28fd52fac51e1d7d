//! `acknowledged_writes_survive_kill_nine`: a child process commits and prints what was acknowledged, and is
//! killed without warning, twenty times; after each time everything it printed must be there.
//!
//! The test has no harness because it starts itself as the child.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use quadrille_kit::{Random, Supervisor, SystemClock, SystemRandom};
use quadrille_object::{GroupResource, Meta, Template};
use quadrille_store::{
    Cause, Change, ChangeFilter, Config, Expect, Key, Revision, Store, SystemCause, Txn, View,
    Write,
};
use serde_json::json;

const ROUNDS: usize = 20;
const WRITERS: usize = 8;

#[expect(clippy::print_stdout, reason = "without a harness the test reports by itself")]
fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("child") => runtime.block_on(commit_forever(Path::new(&arguments[2]))),
        Some("--list") => println!("acknowledged_writes_survive_kill_nine: test"),
        _ => runtime.block_on(acknowledged_writes_survive_kill_nine()),
    }
}

async fn open(dir: &Path) -> Store {
    // A small history, so that compaction is met by the kills, too.
    let config =
        Config { dir: Some(dir.to_owned()), history_bytes_max: 300_000, ..Config::default() };
    let clock = Arc::new(SystemClock::default());
    Store::open(config, clock, &Supervisor::default()).await.expect("the store opens")
}

fn key(writer: usize, n: u64) -> Key {
    Key::new(GroupResource::new("", "things"), format!("writer-{writer}"), format!("{}", n % 50))
}

fn txn(writer: usize, n: u64) -> Txn {
    let writes = (0..2).map(|part| {
        let key = key(writer, 2 * n + part);
        let value = json!({"data": n, "pad": "x".repeat(500), "metadata": {"name": &*key.name}});
        let map = value.as_object().expect("a map");
        let (meta, object) = (Meta::from_object(map), Template::encode(map));
        Write::Put { key, meta, object, expect: Expect::Any }
    });
    let cause = Cause::System(SystemCause::default());
    Txn { writes: writes.collect(), requires: Vec::new(), reads: None, fence: None, cause }
}

async fn commit_forever(dir: &Path) {
    let store = open(dir).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for n in 0_u64.. {
                let committed = store.commit(txn(writer, n)).await.expect("commits");
                let line = format!("{writer} {n} {}\n", committed.revision);
                std::io::stdout().write_all(line.as_bytes()).expect("the parent reads");
            }
        });
    }
    writers.join_all().await;
}

#[expect(clippy::print_stdout, reason = "without a harness the test reports by itself")]
async fn acknowledged_writes_survive_kill_nine() {
    let dir = tempfile::tempdir().expect("a directory");
    let random = SystemRandom::default();
    let (mut newest, mut total) = (0, 0);
    for round in 0..ROUNDS {
        let lines = 20 + random.below(1_500);
        let acknowledged = run_and_kill(dir.path(), usize::try_from(lines).expect("small"));
        total += acknowledged.len();
        let store = open(dir.path()).await;
        let last = acknowledged.iter().map(|(.., revision)| *revision).max().expect("some");
        assert!(last > newest, "revisions grow over restarts");
        assert!(store.revision().0 >= last, "round {round}: {last} was acknowledged");
        check_objects(&store, &acknowledged);
        check_history(&store).await;
        newest = store.revision().0;
        store.close().await;
    }
    println!("test acknowledged_writes_survive_kill_nine ... ok ({total} acknowledged, 0 lost)");
}

/// Starts a child, reads so many lines, kills it, and gives all it had printed.
fn run_and_kill(dir: &Path, lines: usize) -> Vec<(usize, u64, u64)> {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .arg("child")
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut found = Vec::new();
    let mut line = String::new();
    // After the kill the rest of the pipe is read, too: it was acknowledged before.
    while output.read_line(&mut line).expect("readable") > 0 {
        let complete = line.ends_with('\n');
        let mut numbers =
            line.split_whitespace().map(|part| part.parse::<u64>().expect("a number"));
        let mut next = || numbers.next().expect("three numbers");
        if complete {
            found.push((usize::try_from(next()).expect("small"), next(), next()));
        }
        if found.len() == lines {
            child.kill().expect("the child was running");
        }
        line.clear();
    }
    child.wait().expect("the child has ended");
    assert!(found.len() >= lines, "the child ended by itself after {} lines", found.len());
    found
}

/// Each object has the last state that was acknowledged, or a newer one.
fn check_objects(store: &Store, acknowledged: &[(usize, u64, u64)]) {
    let snapshot = store.snapshot();
    let mut last = BTreeMap::new();
    for (writer, n, revision) in acknowledged {
        last.insert(key(*writer, 2 * n), revision - 1);
        last.insert(key(*writer, 2 * n + 1), *revision);
    }
    for (key, revision) in last {
        let object = snapshot.get(&key).expect("acknowledged objects exist");
        assert!(object.revision.0 >= revision, "{key} is older than acknowledged");
    }
}

/// The history has no gap and no half transaction.
async fn check_history(store: &Store) {
    let mut stream = store.changes(ChangeFilter::default(), store.oldest());
    let mut expected = store.oldest();
    let mut open: Option<Arc<Change>> = None;
    while stream.position() < store.revision() {
        for change in stream.next().await.expect("history").changes {
            expected = expected.next();
            assert_eq!(change.revision, expected);
            assert_eq!(change.txn.1.0, change.txn.0.0 + 1);
            open = (change.revision < change.txn.1).then_some(change);
        }
    }
    assert!(open.is_none() && expected == store.revision() && expected > Revision(0));
}
