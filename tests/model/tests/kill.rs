//! `never_half_a_run`: a child process runs a controller whose every run writes twenty objects, and is killed without
//! warning at thirty random moments; after each, what is on disk consists of whole runs.
//!
//! The test has no harness because it starts itself as the child.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Clock, Random, Supervisor, SystemClock, SystemRandom};
use quadrille_model::desk::{spec, submit, target};
use quadrille_model::program::key;
use quadrille_registry::{Action, Body, PatchFormat, Reason, Registry, Status, WriteOptions};
use quadrille_runtime::{
    Config, Failure, Outcome, Overlay, ReconcileRequest, Reconciled, Reconciler, Runtime,
};
use quadrille_store::{Cause, ChangeFilter, Revision, Store, View};
use serde_json::json;

const ROUNDS: usize = 30;
/// How many objects one run writes.
const WRITES: usize = 20;

#[expect(clippy::print_stdout, reason = "without a harness the test reports by itself")]
fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("child") => runtime.block_on(run_forever(Path::new(&arguments[2]))),
        Some("--list") => println!("never_half_a_run: test"),
        _ => runtime.block_on(never_half_a_run()),
    }
}

async fn open(dir: &Path) -> Store {
    let config = quadrille_store::Config { dir: Some(dir.to_owned()), ..Default::default() };
    let clock = Arc::new(SystemClock::default());
    Store::open(config, clock, &Supervisor::default()).await.expect("the store opens")
}

/// Copies the number of its object to twenty others.
struct Twenty;

impl fmt::Debug for Twenty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Twenty")
    }
}

fn copy(request: &ReconcileRequest, overlay: &mut Overlay) -> Result<(), Status> {
    for number in 0..WRITES {
        let name = format!("copy{number}");
        let data = json!({"data": {"run": request.run.to_string()}});
        let known = overlay.get(&key(&name))?.is_some();
        let (target, action) = if known {
            let patch = Action::Patch(PatchFormat::Merge, Body::from(data));
            (target(overlay.registry(), Some(&name)), patch)
        } else {
            let object = json!({"metadata": {"name": name}, "data": data["data"]});
            (target(overlay.registry(), None), Action::Create(Body::from(object)))
        };
        overlay.write(target, action, WriteOptions::default())?;
    }
    Ok(())
}

impl Reconciler for Twenty {
    fn reconcile(
        &self,
        request: ReconcileRequest,
        mut overlay: Overlay,
    ) -> BoxFuture<'_, Reconciled> {
        Box::pin(async move {
            let copied = copy(&request, &mut overlay);
            let result = copied.map(|()| Outcome::Done).map_err(|s| Failure::Transient(s.message));
            Reconciled { overlay, result, memory_bytes: 0 }
        })
    }
}

/// The child: changes the object without end, and prints how many runs have committed.
async fn run_forever(dir: &Path) {
    let store = open(dir).await;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let (config, random) =
        (quadrille_registry::Config::default(), Arc::new(SystemRandom::default()));
    let registry = Registry::build(config, store, clock, random).expect("built-in data");
    registry.bootstrap().await.expect("the store takes it");
    let object = json!({"metadata": {"name": "source", "labels": {"run": "yes"}}});
    let created = submit(&registry, None, Action::Create(Body::from(object))).await;
    assert!(created.is_ok() || created.is_err_and(|s| s.reason == Reason::AlreadyExists));
    let config = Config { builtin: false, slots: 2, ..Config::default() };
    let runtime = Runtime::build(config, registry.clone(), Supervisor::default());
    runtime.start();
    runtime.add(spec("twenty", "run=yes", 2), Arc::new(Twenty)).expect("a new name");
    for n in 0_u64.. {
        let patch =
            Action::Patch(PatchFormat::Merge, Body::from(json!({"data": {"n": n.to_string()}})));
        submit(&registry, Some("source"), patch).await.expect("written");
        let line = format!("{}\n", runtime.stats(None)[0].commits);
        std::io::stdout().write_all(line.as_bytes()).expect("the parent reads");
    }
}

#[expect(clippy::print_stdout, reason = "without a harness the test reports by itself")]
async fn never_half_a_run() {
    let dir = tempfile::tempdir().expect("a directory");
    let random = SystemRandom::default();
    let (mut runs, mut told_of) = (0, 0);
    for round in 0..ROUNDS {
        let lines = usize::try_from(1 + random.below(60)).expect("small");
        let told = run_and_kill(dir.path(), lines);
        let store = open(dir.path()).await;
        let whole = check_history(&store, round).await;
        assert!(
            whole >= runs + told,
            "{told} runs were told of after {runs}, and {whole} are there"
        );
        told_of += told;
        runs = whole;
        check_objects(&store, round);
        store.close().await;
    }
    assert!(told_of > ROUNDS, "runs were told of: {told_of}");
    println!("test never_half_a_run ... ok ({runs} runs of {WRITES} writes, {ROUNDS} kills)");
}

/// Starts a child and kills it after so many lines; answers how many runs it said had committed.
fn run_and_kill(dir: &Path, lines: usize) -> usize {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .arg("child")
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    for _ in 0..lines {
        line.clear();
        let read = output.read_line(&mut line).expect("readable");
        assert!(read > 0, "the child ended by itself");
    }
    child.kill().expect("the child was running");
    child.wait().expect("the child has ended");
    line.trim().parse().expect("the number of runs")
}

/// Every run that is in the history is there whole, in one transaction; answers how many there are.
async fn check_history(store: &Store, round: usize) -> usize {
    let mut writes: BTreeMap<u64, (usize, (Revision, Revision))> = BTreeMap::new();
    let mut stream = store.changes(ChangeFilter::default(), store.oldest());
    while stream.position() < store.revision() {
        for change in stream.next().await.expect("history").changes {
            if let Cause::Run(run) = change.cause.as_ref() {
                let (count, txn) = writes.entry(run.run).or_insert((0, change.txn));
                *count += 1;
                assert_eq!(*txn, change.txn, "round {round}: run {} is one transaction", run.run);
            }
        }
    }
    for (run, (count, _)) in &writes {
        assert_eq!(*count, WRITES, "round {round}: half of run {run}");
    }
    writes.len()
}

/// All twenty are of the same run.
fn check_objects(store: &Store, round: usize) {
    let snapshot = store.snapshot();
    let datum = |number: usize| {
        let object = snapshot.get(&key(&format!("copy{number}")))?;
        let value: serde_json::Value = serde_json::from_slice(&object.bytes).expect("JSON");
        Some(value["data"]["run"].clone())
    };
    for number in 1..WRITES {
        assert_eq!(datum(number), datum(0), "round {round}: copy{number}");
    }
}
