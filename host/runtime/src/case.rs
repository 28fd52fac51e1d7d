//! A case: one recorded run with everything that it read, in a document that can be carried elsewhere.
//!
//! It holds the run's request, code and settings, the objects of its read set, what deciding a write looks at besides
//! (namespaces, quotas, limits, policies), the definitions of the kinds, and what the run wrote. Whoever has the code can
//! make the run again from it, without the host that it is from: `quadrille_testing::Case` does it in a unit test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use quadrille_object::{GroupResource, Meta, Timestamp};
use quadrille_registry::{RecordedAnswer, Registry};
use quadrille_store::{ChangeKind, Key, Object, Query, Range, Revision, Snapshot, Store, View};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::reconciler::Reconciler;
use crate::record::{RunCode, RunEnd, RunRecord, RunWake, RunWrite};
use crate::rerun::Rerun;

/// What a case says that it is.
const KIND: &str = "quadrille.dev/RunCase/1";

/// The most objects of a case.
const OBJECTS_MAX: usize = 50_000;

/// What deciding a write looks at in the namespace of the object, whatever the run read.
const IN_NAMESPACE: &[(&str, &str)] =
    &[("", "limitranges"), ("", "resourcequotas"), ("", "serviceaccounts")];

/// And for the whole cluster: classes, policies and webhooks.
const IN_CLUSTER: &[(&str, &str)] = &[
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("node.k8s.io", "runtimeclasses"),
    ("scheduling.k8s.io", "priorityclasses"),
];

const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io", "customresourcedefinitions");

/// Why a document is no case.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// It is not of the form.
    #[error("it is no exported run")]
    Form(#[source] serde_json::Error),
    /// It is something else, or of another version.
    #[error("it is a {0:?}, and not a {KIND:?}")]
    Kind(String),
    /// An object of it cannot be read.
    #[error("object {key} in it cannot be read")]
    Object {
        /// The object.
        key: Box<Key>,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The run read more than a case holds.
    #[error("the run read more than {OBJECTS_MAX} objects")]
    TooLarge,
}

/// One recorded run with all that it needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunCase {
    kind: String,
    /// The run's number.
    pub run: u64,
    /// The object it ran for.
    pub object: Key,
    /// The revision it read.
    pub snapshot: Revision,
    /// The time of the run, in microseconds since 1970.
    now_micros: i64,
    /// The seed of its chance.
    seed: u64,
    /// Failures in a row before it.
    attempt: u32,
    /// The changes that it was shown.
    wakes: Vec<CaseWake>,
    /// The code and how it was set up.
    pub code: RunCode,
    /// What webhooks answered, by the hash of the question.
    answers: BTreeMap<String, Arc<str>>,
    /// Everything that it read, or that its writes are decided by.
    objects: Vec<CaseObject>,
    /// How it ended, in words.
    pub end: String,
    /// What it wrote.
    pub writes: Vec<CaseWrite>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct CaseWake {
    revision: Revision,
    change: CaseChange,
    key: Key,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct CaseObject {
    key: Key,
    revision: Revision,
    /// As it is stored, to the byte.
    object: Box<RawValue>,
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CaseChange {
    /// It is new.
    Created,
    /// It was there before.
    Updated,
    /// It is gone.
    Deleted,
}

/// One change that the run made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CaseWrite {
    /// Where.
    pub key: Key,
    /// What.
    pub change: CaseChange,
    /// The hash of the encoded object without its revision, in hexadecimal digits.
    pub hash: String,
    /// The object as it was stored; `None` for a deletion, and when nothing was committed.
    pub object: Option<serde_json::Value>,
}

impl CaseChange {
    fn of(kind: ChangeKind) -> Self {
        match kind {
            ChangeKind::Created => Self::Created,
            ChangeKind::Updated => Self::Updated,
            ChangeKind::Deleted => Self::Deleted,
        }
    }

    fn kind(self) -> ChangeKind {
        match self {
            Self::Created => ChangeKind::Created,
            Self::Updated => ChangeKind::Updated,
            Self::Deleted => ChangeKind::Deleted,
        }
    }
}

impl RunCase {
    /// Makes a case of a run and the snapshot that it read.
    ///
    /// # Errors
    /// When it read too much.
    pub async fn export(
        record: &RunRecord,
        snapshot: &Snapshot,
        registry: &Registry,
    ) -> Result<Self, CaseError> {
        let objects = objects_of(record, snapshot, registry)?;
        let mut writes = Vec::with_capacity(record.writes.len());
        for write in &record.writes {
            writes.push(CaseWrite::of(write, registry.store()).await);
        }
        let answers = record.answers.iter();
        Ok(Self {
            kind: KIND.to_owned(),
            run: record.run,
            object: record.object.clone(),
            snapshot: snapshot.revision(),
            now_micros: record.now.0,
            seed: record.seed,
            attempt: record.attempt,
            wakes: record.wakes.iter().map(CaseWake::of).collect(),
            code: RunCode::clone(&record.code),
            answers: answers
                .map(|known| (format!("{:032x}", known.question), Arc::clone(&known.answer)))
                .collect(),
            objects,
            end: end_text(&record.end),
            writes,
        })
    }

    /// Reads a case.
    ///
    /// # Errors
    /// When the text is none.
    pub fn read(text: &str) -> Result<Self, CaseError> {
        let case: Self = serde_json::from_str(text).map_err(CaseError::Form)?;
        if case.kind != KIND {
            return Err(CaseError::Kind(case.kind));
        }
        Ok(case)
    }

    /// The keys of the objects that it holds.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.objects.iter().map(|object| &object.key)
    }

    /// The snapshot that the run read, as far as it is in the case.
    ///
    /// # Errors
    /// When an object is damaged.
    pub fn to_snapshot(&self) -> Result<Snapshot, CaseError> {
        let read = |held: &CaseObject| {
            let bytes = Bytes::copy_from_slice(held.object.get().as_bytes());
            let bad = |source| CaseError::Object { key: Box::new(held.key.clone()), source };
            let meta = Meta::parse(&bytes).map_err(bad)?;
            Ok(Object { key: held.key.clone(), revision: held.revision, meta, bytes })
        };
        let objects = self.objects.iter().map(read).collect::<Result<Vec<_>, CaseError>>()?;
        Ok(Snapshot::of(self.snapshot, objects))
    }

    /// The run again, with this code.
    pub fn rerun(&self, reconciler: Arc<dyn Reconciler>) -> Rerun {
        let wakes = self.wakes.iter().map(|wake| RunWake {
            revision: wake.revision,
            kind: wake.change.kind(),
            key: wake.key.clone(),
        });
        let answers = self.answers.iter().filter_map(|(question, answer)| {
            let question = u128::from_str_radix(question, 16).ok()?;
            Some(RecordedAnswer { question, answer: Arc::clone(answer) })
        });
        Rerun {
            spec: Arc::clone(&self.code.spec),
            reconciler,
            limits: self.code.limits.clone(),
            run: self.run,
            key: self.object.clone(),
            wakes: wakes.collect(),
            attempt: self.attempt,
            now: Timestamp(self.now_micros),
            seed: self.seed,
            answers: answers.collect(),
        }
    }
}

impl CaseWake {
    fn of(wake: &RunWake) -> Self {
        let (revision, change) = (wake.revision, CaseChange::of(wake.kind));
        Self { revision, change, key: wake.key.clone() }
    }
}

impl CaseWrite {
    async fn of(write: &RunWrite, store: &Store) -> Self {
        let stored = match write.revision {
            Some(revision) => store.change(revision).await.ok().flatten(),
            None => None,
        };
        let stored = stored.filter(|_| write.kind != ChangeKind::Deleted);
        Self {
            key: write.key.clone(),
            change: CaseChange::of(write.kind),
            hash: format!("{:032x}", write.hash),
            object: stored.and_then(|change| serde_json::from_slice(&change.object.bytes).ok()),
        }
    }

    /// Whether this is the same write.
    pub fn is(&self, write: &RunWrite) -> bool {
        self.key == write.key
            && self.change.kind() == write.kind
            && self.hash == format!("{:032x}", write.hash)
    }
}

fn objects_of(
    record: &RunRecord,
    snapshot: &Snapshot,
    registry: &Registry,
) -> Result<Vec<CaseObject>, CaseError> {
    let reads = &record.reads;
    let mut found: BTreeMap<Key, Arc<Object>> = BTreeMap::new();
    let written = record.writes.iter().map(|write| &write.key);
    for key in reads.keys.iter().chain(written.clone()).chain([&record.object]) {
        found.extend(snapshot.get(key).map(|object| (key.clone(), object)));
    }
    let mut ranges: Vec<Range> = reads.ranges.iter().chain(&reads.weak).cloned().collect();
    let keys: Vec<Key> = found.keys().chain(written).cloned().collect();
    let namespaces: BTreeSet<&Arc<str>> = keys.iter().map(|key| &key.namespace).collect();
    for namespace in namespaces.into_iter().filter(|namespace| !namespace.is_empty()) {
        let key = Key::new(GroupResource::new("", "namespaces"), "", Arc::clone(namespace));
        found.extend(snapshot.get(&key).map(|object| (key, object)));
        ranges.extend(IN_NAMESPACE.iter().map(|(group, resource)| Range {
            namespace: Some(Arc::clone(namespace)),
            ..Range::all(GroupResource::new(*group, *resource))
        }));
    }
    ranges.extend(
        IN_CLUSTER.iter().map(|(group, name)| Range::all(GroupResource::new(*group, *name))),
    );
    ranges.extend(definitions(&keys, reads, registry));
    for range in ranges {
        for object in snapshot.list(&Query::whole(range)) {
            found.insert(object.key.clone(), object);
        }
        if found.len() > OBJECTS_MAX {
            return Err(CaseError::TooLarge);
        }
    }
    Ok(found.values().filter_map(|object| held(object)).collect())
}

/// The definitions of the custom kinds that a run met.
fn definitions(
    keys: &[Key],
    reads: &quadrille_store::ReadSet,
    registry: &Registry,
) -> Option<Range> {
    let catalog = registry.catalog();
    let of_ranges = reads.ranges.iter().chain(&reads.weak).map(|range| &range.resource);
    let of_keys = reads.keys.iter().chain(keys).map(|key| &key.resource);
    let custom: BTreeSet<&GroupResource> = of_keys
        .chain(of_ranges)
        .filter(|of| catalog.by_group_resource(of).is_some_and(|resource| resource.custom))
        .collect();
    let names: Vec<Arc<str>> = custom.iter().map(|of| of.to_string().into()).collect();
    let (group, resource) = DEFINITIONS;
    let selection = quadrille_store::Selection::Names(names);
    (!custom.is_empty())
        .then(|| Range { selection, ..Range::all(GroupResource::new(group, resource)) })
}

fn held(object: &Object) -> Option<CaseObject> {
    let text = std::str::from_utf8(&object.bytes).ok()?.to_owned();
    let raw = RawValue::from_string(text).ok()?;
    Some(CaseObject { key: object.key.clone(), revision: object.revision, object: raw })
}

/// How a run ended, in words.
pub fn end_text(end: &RunEnd) -> String {
    match end {
        RunEnd::Done { requeue: None } => "done".to_owned(),
        RunEnd::Done { requeue: Some(wait) } => format!("done, again after {wait:?}"),
        RunEnd::Failed { kind, message } => format!("{kind}: {message}"),
        RunEnd::Conflict { key: Some(key) } => format!("thrown away: {key} changed"),
        RunEnd::Conflict { key: None } => "thrown away: too old".to_owned(),
        RunEnd::Fenced => "thrown away: its controller was replaced".to_owned(),
    }
}
