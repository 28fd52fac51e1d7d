//! What objects wait for: the reads of their controllers' last runs that came back empty, or found something unready.
//!
//! A run that ended well and whose object is not ready waits for a change of something that it read: it would be run again
//! by it. What it read and did not find is in its record; whether what it found is ready, the object's own conditions tell.
//! Keys that wait for each other, all asleep, will wait forever: that is a deadlock, and it is named.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quadrille_object::GroupResource;
use quadrille_runtime::{RunEnd, RunRecord};
use quadrille_store::{Key, Object, Query, Range, Selection, Snapshot, View};
use serde::Serialize;
use serde_json::Value;

/// The most objects of one range that are looked at for readiness.
const RANGE_MAX: usize = 200;
/// The most things that are named for one run.
const NAMED_MAX: usize = 50;

/// The conditions by which objects say that they can be used; the first that an object has counts.
const READY: [&str; 5] = ["Ready", "Available", "Complete", "Established", "Settled"];

/// The ends of conditions by which objects say that something has failed.
const FAILED: [&str; 4] = ["Failure", "Failed", "Degraded", "Stalled"];

/// Something that a run read, and that is missing or not ready.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Missing {
    /// `absent`, `none` (a list that found nothing) or `unready`.
    pub what: &'static str,
    /// The object, or in words the list.
    pub of: String,
    /// The same, for whoever decides who may know of it.
    #[serde(skip)]
    pub place: Place,
    /// What the object itself says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Where something is missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// One object.
    Object(Key),
    /// Those of a resource in a namespace, or in all.
    List(GroupResource, Option<Arc<str>>),
}

/// What one controller waits for on one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// The object.
    pub object: String,
    /// `plugin/controller`.
    pub controller: String,
    /// The run that read it.
    pub run: u64,
    /// Why the object itself is not ready, in its own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unready: Option<String>,
    /// What the last run failed with, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// What it waits for.
    pub waits_for: Vec<Missing>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AllWaiting {
    /// By object.
    pub waiting: Vec<Waiting>,
    /// Objects that wait for each other, each circle once, from its first key on.
    pub deadlocks: Vec<Vec<String>>,
}

/// What the last runs wait for now; `runs` has the last run of each controller for each object, and `is_awake` tells
/// whether a key is queued, runs, or waits for a time. With `all`, also of objects that are ready.
pub fn waiting(
    snapshot: &Snapshot,
    runs: &[Arc<RunRecord>],
    is_awake: impl Fn(&Key) -> bool,
    all: bool,
) -> AllWaiting {
    let mut answer = AllWaiting::default();
    let mut edges: BTreeMap<Key, BTreeSet<Key>> = BTreeMap::new();
    for record in runs {
        let Some(object) = snapshot.get(&record.object) else { continue };
        let unready = unready(&object);
        let failure = match &record.end {
            RunEnd::Failed { message, .. } => Some(message.clone()),
            RunEnd::Done { .. } | RunEnd::Conflict { .. } | RunEnd::Fenced => None,
        };
        let (waits_for, unready_keys) = missing(snapshot, record);
        if !is_awake(&record.object) {
            edges.entry(record.object.clone()).or_default().extend(unready_keys);
        }
        let is_ready = unready.is_none() && failure.is_none();
        let says_nothing = is_ready && waits_for.is_empty();
        if says_nothing || (is_ready && !all) {
            continue;
        }
        answer.waiting.push(Waiting {
            object: record.object.to_string(),
            controller: format!("{}/{}", record.plugin(), record.controller()),
            run: record.run,
            unready,
            failure,
            waits_for,
        });
    }
    answer.waiting.sort_by(|a, b| (&a.object, &a.controller).cmp(&(&b.object, &b.controller)));
    answer.deadlocks = circles(&edges);
    answer
}

/// What a run read that is not there or not ready now, and the keys of the latter.
fn missing(snapshot: &Snapshot, record: &RunRecord) -> (Vec<Missing>, BTreeSet<Key>) {
    let (mut found, mut keys) = (BTreeSet::new(), BTreeSet::new());
    for key in record.empty.keys.iter().filter(|key| snapshot.get(key).is_none()) {
        let (of, place) = (key.to_string(), Place::Object(key.clone()));
        found.insert(Missing { what: "absent", of, place, message: None });
    }
    for range in &record.empty.ranges {
        if list(snapshot, range, 1).is_empty() {
            let place = Place::List(range.resource.clone(), range.namespace.clone());
            found.insert(Missing { what: "none", of: words(range), place, message: None });
        }
    }
    let single = record.reads.keys.iter().filter_map(|key| snapshot.get(key));
    let ranges = record.reads.ranges.iter().chain(&record.reads.weak);
    let listed = ranges.flat_map(|range| list(snapshot, range, RANGE_MAX));
    for object in single.chain(listed).filter(|object| object.key != record.object) {
        if let Some(message) = unready(&object) {
            let (of, place) = (object.key.to_string(), Place::Object(object.key.clone()));
            found.insert(Missing { what: "unready", of, place, message: Some(message) });
            keys.insert(object.key.clone());
        }
    }
    (found.into_iter().take(NAMED_MAX).collect(), keys)
}

fn list(snapshot: &Snapshot, range: &Range, limit: usize) -> Vec<Arc<Object>> {
    snapshot.list(&Query { range: range.clone(), after: None, limit: Some(limit) })
}

/// A range in words.
fn words(range: &Range) -> String {
    let place = match &range.namespace {
        Some(namespace) => format!(" in {namespace}"),
        None => String::new(),
    };
    let which = match &range.selection {
        Selection::All => String::new(),
        Selection::Owner(uid) => format!(" owned by {uid}"),
        Selection::Labels(selector) => format!(" with {selector}"),
        Selection::Names(names) => format!(" named {}", names.join(", ")),
    };
    format!("{}{place}{which}", range.resource)
}

/// Why an object is not ready, in its own words; `None` when it is, or says nothing of it.
pub fn unready(object: &Object) -> Option<String> {
    let value: Value = serde_json::from_slice(&object.bytes).ok()?;
    let conditions = value.pointer("/status/conditions")?.as_array()?;
    let of = |kind: &str| conditions.iter().find(|condition| condition["type"] == *kind);
    let has_failed = |condition: &&Value| {
        let kind = condition["type"].as_str().unwrap_or_default();
        condition["status"] == "True" && FAILED.iter().any(|end| kind.ends_with(end))
    };
    let failed = conditions.iter().find(has_failed);
    let not_ready = READY.iter().find_map(|kind| of(kind)).filter(|c| c["status"] != "True");
    let condition = failed.or(not_ready)?;
    let text = |field: &str| condition[field].as_str().unwrap_or_default();
    let told =
        format!("{} is {}: {} {}", text("type"), text("status"), text("reason"), text("message"));
    Some(told.trim_end_matches([' ', ':']).to_owned())
}

/// Every circle of keys that wait for each other, found from its least key.
fn circles(edges: &BTreeMap<Key, BTreeSet<Key>>) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut done: BTreeSet<&Key> = BTreeSet::new();
    for start in edges.keys() {
        if done.contains(start) {
            continue;
        }
        let Some(path) = way_back(start, edges) else { continue };
        done.extend(path.iter().copied());
        found.push(path.into_iter().map(Key::to_string).collect());
    }
    found
}

/// The shortest way from a key back to itself.
fn way_back<'e>(start: &'e Key, edges: &'e BTreeMap<Key, BTreeSet<Key>>) -> Option<Vec<&'e Key>> {
    let mut from: BTreeMap<&Key, &Key> = BTreeMap::new();
    let mut open = std::collections::VecDeque::from([start]);
    while let Some(at) = open.pop_front() {
        for next in edges.get(at).into_iter().flatten() {
            if next == start {
                let mut path = vec![at];
                while let Some(before) = from.get(path.last()?) {
                    path.push(before);
                }
                path.reverse();
                return Some(path);
            }
            if edges.contains_key(next) && !from.contains_key(next) {
                from.insert(next, at);
                open.push_back(next);
            }
        }
    }
    None
}
