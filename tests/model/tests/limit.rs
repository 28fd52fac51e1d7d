//! Two controllers that each keep "at most N children" while sixteen writers take children away and give reasons to
//! make new ones: the bound holds at every revision, in memory and on disk.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Clock, Random, SeededRandom, Supervisor, SystemClock, SystemRandom};
use quadrille_model::desk::{spec, submit, target};
use quadrille_model::program::key;
use quadrille_object::GroupResource;
use quadrille_object::selector::LabelSelector;
use quadrille_registry::{
    Action, Body, DeleteOptions, PatchFormat, Registry, Status, WriteOptions,
};
use quadrille_runtime::{
    Config, Failure, Outcome, Overlay, ReconcileRequest, Reconciled, Reconciler, Runtime,
};
use quadrille_store::{ChangeFilter, Query, Range, Revision, Selection, Store, View};
use serde_json::json;

/// The most children.
const CHILDREN_MAX: usize = 5;
const WRITERS: u64 = 16;
const WRITES: u64 = 60;

/// Lists the children and fills up what is missing, each controller with names of its own.
struct Filler(&'static str);

impl fmt::Debug for Filler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

fn children() -> Query {
    let labels = LabelSelector::parse("child=yes").expect("a selector");
    let resource = GroupResource::new("", "configmaps");
    let (namespace, selection) = (Some("default".into()), Selection::Labels(labels));
    Query::whole(Range { resource, namespace, selection })
}

fn fill(who: &str, run: u64, overlay: &mut Overlay) -> Result<(), Status> {
    for number in overlay.list(&children())?.len()..CHILDREN_MAX {
        let name = format!("{who}-{run}-{number}");
        let child = json!({"metadata": {"name": name, "labels": {"child": "yes"}}});
        let target = target(overlay.registry(), None);
        overlay.write(target, Action::Create(Body::from(child)), WriteOptions::default())?;
    }
    Ok(())
}

impl Reconciler for Filler {
    fn reconcile(
        &self,
        request: ReconcileRequest,
        mut overlay: Overlay,
    ) -> BoxFuture<'_, Reconciled> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            let filled = fill(self.0, request.run, &mut overlay);
            tokio::task::yield_now().await;
            let result = filled.map(|()| Outcome::Done).map_err(|s| Failure::Transient(s.message));
            Reconciled { overlay, result, memory_bytes: 0 }
        })
    }
}

/// Deletes children, and touches the parents.
async fn writer(registry: Registry, number: u64) {
    let random = SeededRandom::new(number);
    for write in 0..WRITES {
        let found = registry.store().snapshot().list(&children());
        let at = usize::try_from(random.below(found.len() as u64)).unwrap_or(0);
        // Somebody else may have taken the child by now.
        let _gone: Result<Revision, Status> = match found.get(at) {
            Some(child) if random.below(3) > 0 => {
                let delete = Action::Delete(DeleteOptions::default());
                submit(&registry, Some(&child.key.name), delete).await
            }
            _ => {
                let patch = json!({"data": {format!("w{number}"): write.to_string()}});
                let patch = Action::Patch(PatchFormat::Merge, Body::from(patch));
                submit(&registry, Some(&format!("parent{}", random.below(3))), patch).await
            }
        };
    }
}

async fn the_bound_holds(dir: Option<&Path>) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let supervisor = Supervisor::default();
    let config = quadrille_store::Config { dir: dir.map(Path::to_owned), ..Default::default() };
    let store = Store::open(config, Arc::clone(&clock), &supervisor).await.expect("opens");
    let random = Arc::new(SystemRandom::default());
    let config = quadrille_registry::Config::default();
    let registry = Registry::build(config, store.clone(), clock, random).expect("built-in data");
    registry.bootstrap().await.expect("an empty store takes it");
    for number in 0..3 {
        let name = format!("parent{number}");
        let object = json!({"metadata": {"name": name, "labels": {"parent": "yes"}}});
        submit(&registry, None, Action::Create(Body::from(object))).await.expect("a new name");
    }
    let begin = store.revision();
    let runtime = Runtime::build(
        Config { builtin: false, slots: 4, ..Config::default() },
        registry.clone(),
        supervisor.clone(),
    );
    runtime.start();
    for name in ["left", "right"] {
        runtime.add(spec(name, "parent=yes", 4), Arc::new(Filler(name))).expect("a new name");
    }
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..WRITERS {
        writers.spawn(writer(registry.clone(), number));
    }
    writers.join_all().await;
    let settled = runtime.at_rest(store.revision(), Duration::from_mins(1)).await;
    assert!(settled.settled, "{settled:?}");
    let most = most_children(&store, begin).await;
    assert_eq!(most, CHILDREN_MAX, "never more, and filled up");
    assert_eq!(store.snapshot().list(&children()).len(), CHILDREN_MAX);
    assert!(store.snapshot().get(&key("parent0")).is_some());
    let stats = runtime.stats(None);
    let (commits, conflicts): (Vec<u64>, Vec<u64>) =
        stats.iter().map(|stats| (stats.commits, stats.conflicts)).unzip();
    // One of them may find the other always quicker, so it is their sum that tells.
    assert!(commits.iter().sum::<u64>() > 0 && conflicts.iter().sum::<u64>() > 0, "{stats:?}");
    assert!(stats.iter().all(|stats| stats.failures == 0), "{stats:?}");
    supervisor.stop(Duration::from_secs(20)).await;
    store.close().await;
}

/// The most children that there ever were after a revision, counted change by change.
async fn most_children(store: &Store, begin: Revision) -> usize {
    let newest = store.revision();
    let mut stream = store.changes(ChangeFilter::default(), begin);
    let (mut now, mut most) = (0_usize, 0);
    while stream.position() < newest {
        for change in stream.next().await.expect("the history is kept").changes {
            let is_child = |object: &quadrille_store::Object| children().range.contains(object);
            now += usize::from(change.after().is_some_and(|object| is_child(object)));
            now -= usize::from(change.before.as_ref().is_some_and(|object| is_child(object)));
            most = most.max(now);
        }
    }
    most
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_most_n_children_in_memory() {
    the_bound_holds(None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_most_n_children_on_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    the_bound_holds(Some(dir.path())).await;
}
