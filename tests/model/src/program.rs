//! What a random controller does in one run: it reads some objects and ranges, pauses in between, and writes what
//! follows from all that it read.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Random, SeededRandom};
use quadrille_object::{GroupResource, LabelSelector};
use quadrille_registry::{
    Action, Body, DeleteOptions, PatchFormat, Resource, Status, Target, WriteOptions,
};
use quadrille_runtime::{Failure, Outcome, Overlay, ReconcileRequest, Reconciled, Reconciler};
use quadrille_store::{Key, Object, Query, Range, Selection, View};
use serde_json::{Value, json};

use crate::cast::Notes;
use crate::history::{Choice, Read, Run, State};
use crate::world::Plant;

/// How many objects there are; few, so that everybody meets.
pub const NAMES: u64 = 6;

/// A controller whose every run does something else, decided by the seed and the run's number.
pub struct Program {
    pub(crate) seed: u64,
    pub(crate) notes: Arc<Notes>,
    pub(crate) plant: Plant,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Program").field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl Reconciler for Program {
    fn reconcile(
        &self,
        request: ReconcileRequest,
        mut overlay: Overlay,
    ) -> BoxFuture<'_, Reconciled> {
        Box::pin(async move {
            let random = SeededRandom::new(self.seed ^ request.run.wrapping_mul(0x9E37_79B9));
            let at = overlay.reads().at.0;
            let acknowledged = self.notes.acknowledged();
            let (controller, of) = (request.controller.to_string(), request.key.name.to_string());
            let (start, _working) = self.notes.begin(&controller, &of);
            let mut run = Run { controller, of, start, at, acknowledged, ..Run::default() };
            let result = self.work(&request, &mut overlay, &random, &mut run).await;
            run.ended_well = result.is_ok();
            self.notes.ran(request.run, run);
            Reconciled { overlay, result, memory_bytes: 0 }
        })
    }
}

impl Program {
    async fn work(
        &self,
        request: &ReconcileRequest,
        overlay: &mut Overlay,
        random: &SeededRandom,
        run: &mut Run,
    ) -> Result<Outcome, Failure> {
        let old = self.notes.old_snapshot(overlay);
        for _ in 0..=random.below(4) {
            self.pause(random).await;
            let read = if self.plant == Plant::StaleReads && random.below(2) == 0 {
                stale_read(&old, random)
            } else {
                self.read(overlay, random).map_err(transient)?
            };
            run.reads.push(read);
        }
        self.pause(random).await;
        if random.below(10) == 0 {
            return Err(Failure::Transient("by chance".to_owned()));
        }
        if !self.notes.may_write() {
            return Ok(Outcome::Done);
        }
        let mut hasher = DefaultHasher::new();
        format!("{:?}", run.reads).hash(&mut hasher);
        let seen = hasher.finish() & 0xFFFF;
        for number in 0..=random.below(3) {
            let name = name_of(random.below(NAMES));
            let tag = format!("run-{}-{number}-{seen:x}", request.run);
            self.write(overlay, random, run, &name, &tag).map_err(transient)?;
            self.pause(random).await;
        }
        if self.plant == Plant::HalfRuns && run.writes.len() > 1 {
            // As if one of the writes had been forgotten.
            run.writes.insert("forgotten".to_owned(), Some("x".to_owned()));
        }
        Ok(match random.below(8) {
            0 => Outcome::DoneUntil(Duration::from_millis(random.below(20))),
            _ => Outcome::Done,
        })
    }

    async fn pause(&self, random: &SeededRandom) {
        match random.below(4) {
            0 => {}
            1 => self.notes.sleep(Duration::from_micros(random.below(3_000))).await,
            _ => {
                for _ in 0..random.below(5) {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn read(&self, overlay: &mut Overlay, random: &SeededRandom) -> Result<Read, Status> {
        if random.below(2) == 0 {
            let name = name_of(random.below(NAMES));
            let found = overlay.get(&key(&name))?;
            let found = found.map(|object| (object.revision.0, state_of(&object).tag));
            return Ok(Read::Get { name, found });
        }
        let choice = choice_of(random);
        let query = query_of(&choice);
        let found = match self.plant {
            Plant::UncheckedLists => overlay.list_weakly(&query)?,
            Plant::None | Plant::StaleReads | Plant::HalfRuns => overlay.list(&query)?,
        };
        Ok(Read::List { choice, found: found.iter().map(|object| found_of(object)).collect() })
    }

    /// Creates, changes or deletes; the choice depends on what is there, which is read by that.
    fn write(
        &self,
        overlay: &mut Overlay,
        random: &SeededRandom,
        run: &mut Run,
        name: &str,
        tag: &str,
    ) -> Result<(), Status> {
        let found = overlay.get(&key(name))?;
        let own = run.writes.contains_key(name);
        if !own {
            let found = found.as_ref().map(|object| (object.revision.0, state_of(object).tag));
            run.reads.push(Read::Get { name: name.to_owned(), found });
        }
        let noted = run.reads.iter().find_map(|read| match read {
            Read::Get { name: of, found } => (of == name).then_some(found.is_some()),
            Read::List { .. } => None,
        });
        let stood_before = noted.unwrap_or_else(|| found.is_some());
        let resource = Arc::clone(&self.notes.resource);
        let (target, action, left) = change_of(&resource, found.is_some(), random, name, tag);
        overlay.write(target, action, WriteOptions::default())?;
        if left.is_none() && !stood_before {
            // Created and deleted again: nothing of it reaches the store.
            run.writes.remove(name);
        } else {
            run.writes.insert(name.to_owned(), left);
        }
        Ok(())
    }
}

/// A write that fits what is there, and the tag that it leaves.
pub(crate) fn change_of(
    resource: &Arc<Resource>,
    exists: bool,
    random: &SeededRandom,
    name: &str,
    tag: &str,
) -> (Target, Action, Option<String>) {
    let named = |name: Option<&str>| Target {
        resource: Arc::clone(resource),
        namespace: "default".into(),
        name: name.map(Into::into),
        subresource: None,
    };
    if exists && random.below(4) == 0 {
        return (named(Some(name)), Action::Delete(DeleteOptions::default()), None);
    }
    let (label, owner) = (label_of(random), format!("u-{}", random.below(2)));
    let owners = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": owner}]);
    let mut labels = json!({"l": label});
    if name.starts_with('k') {
        labels["of"] = "model".into();
    }
    let content = json!({
        "metadata": {"name": name, "labels": labels, "ownerReferences": owners},
        "data": {"tag": tag},
    });
    let left = Some(tag.to_owned());
    if exists {
        let patch = Action::Patch(PatchFormat::Merge, Body::from(content));
        (named(Some(name)), patch, left)
    } else {
        (named(None), Action::Create(Body::from(content)), left)
    }
}

fn stale_read(old: &quadrille_store::Snapshot, random: &SeededRandom) -> Read {
    let name = name_of(random.below(NAMES));
    let found = old.get(&key(&name)).map(|object| (object.revision.0, state_of(&object).tag));
    Read::Get { name, found }
}

/// The name of an object.
pub fn name_of(number: u64) -> String {
    format!("k{number}")
}

fn label_of(random: &SeededRandom) -> String {
    ["a", "b", "c"][usize::try_from(random.below(3)).unwrap_or(0)].to_owned()
}

/// The key of an object.
pub fn key(name: &str) -> Key {
    Key::new(GroupResource::new("", "configmaps"), "default", name)
}

pub(crate) fn choice_of(random: &SeededRandom) -> Choice {
    match random.below(5) {
        0 => Choice::All,
        1 => Choice::Labels(vec![label_of(random)]),
        2 => Choice::Labels(vec!["a".to_owned(), "b".to_owned()]),
        3 => Choice::Owner(format!("u-{}", random.below(2))),
        _ => {
            let names: BTreeSet<String> = (0..2).map(|_| name_of(random.below(NAMES))).collect();
            Choice::Names(names)
        }
    }
}

/// The same choice, as the host is asked.
pub(crate) fn query_of(choice: &Choice) -> Query {
    let labels = |text: &str| Selection::Labels(LabelSelector::parse(text).expect("a selector"));
    let selection = match choice {
        Choice::All => labels("of=model"),
        Choice::Labels(values) => labels(&format!("l in ({}),of=model", values.join(","))),
        Choice::Owner(uid) => Selection::Owner(uid.as_str().into()),
        Choice::Names(names) => {
            Selection::Names(names.iter().map(|name| name.as_str().into()).collect())
        }
    };
    let resource = GroupResource::new("", "configmaps");
    Query::whole(Range { resource, namespace: Some("default".into()), selection })
}

pub(crate) fn found_of(object: &Object) -> (String, u64, String) {
    let state = state_of(object);
    (object.key.name.as_ref().to_owned(), state.revision, state.tag)
}

/// An object, as the model knows it.
pub fn state_of(object: &Object) -> State {
    let value: Value = serde_json::from_slice(&object.bytes).unwrap_or_default();
    let text = |at: &str| value.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    State {
        revision: object.revision.0,
        tag: text("/data/tag"),
        label: text("/metadata/labels/l"),
        owner: text("/metadata/ownerReferences/0/uid"),
    }
}

fn transient(status: Status) -> Failure {
    Failure::Transient(status.message)
}
