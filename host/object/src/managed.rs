//! `metadata.managedFields`: who set which fields, kept for every write.
//!
//! It owns the entries, their order, their merging and what ordinary writes (create, update, patch) do to them.
//! Server-side apply, in [`crate::apply`], builds on it. It must not know of requests: who writes, through what and
//! when is handed in as a [`FieldManager`].

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::apply::compare;
use crate::schema::Schema;
use crate::time::Timestamp;

mod entry;
pub(crate) mod set;

pub(crate) use self::entry::{Operation, Owner, decode, encode};
pub use self::set::{FieldSet, FieldsError, Step};

/// More managers than this with operation `Update` are merged, the oldest first.
pub const UPDATE_MANAGERS_MAX: usize = 10;

/// Who old entries are merged under.
pub(crate) const ANCIENT: &str = "ancient-changes";

/// Fields that nobody owns.
const NEVER_OWNED: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "metadata.creationTimestamp",
    "metadata.generation",
    "metadata.managedFields",
    "metadata.name",
    "metadata.namespace",
    "metadata.resourceVersion",
    "metadata.selfLink",
    "metadata.uid",
];

/// Which fields a way of writing may own; the others it does not change.
#[derive(Clone, Debug, Default)]
pub enum Scope {
    /// All.
    #[default]
    All,
    /// All but these and what is below them, as dotted names: `status` for a resource with a status subresource.
    Except(&'static [&'static str]),
    /// Only these and what is below them.
    Only(&'static [&'static str]),
}

impl Scope {
    /// The part of a configuration that this way of writing may change.
    pub(crate) fn cut_config<'a>(
        &self,
        config: &'a Map<String, Value>,
    ) -> Cow<'a, Map<String, Value>> {
        match self {
            Self::All => Cow::Borrowed(config),
            Self::Except(paths) if !paths.iter().any(|path| has(config, path)) => {
                Cow::Borrowed(config)
            }
            Self::Except(paths) => {
                let mut config = config.clone();
                paths.iter().for_each(|path| remove(&mut config, path));
                Cow::Owned(config)
            }
            Self::Only(paths) => {
                let mut config = config.clone();
                let first = |path: &str| path.split('.').next().unwrap_or_default().to_owned();
                let kept: Vec<String> = paths.iter().map(|path| first(path)).collect();
                config.retain(|key, _| {
                    kept.contains(key) || matches!(key.as_str(), "apiVersion" | "kind" | "metadata")
                });
                if let Some(metadata) = config.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.retain(|key, _| matches!(key.as_str(), "name" | "namespace"));
                }
                Cow::Owned(config)
            }
        }
    }

    pub(crate) fn cut<'a>(&self, set: FieldSet<'a>) -> FieldSet<'a> {
        match self {
            Self::All => set,
            Self::Except(paths) => set.without_subtrees(&FieldSet::of_fields(paths)),
            Self::Only(paths) => set.only_subtrees(&FieldSet::of_fields(paths)),
        }
    }
}

fn has(object: &Map<String, Value>, path: &str) -> bool {
    match path.split_once('.') {
        None => object.contains_key(path),
        Some((first, rest)) => {
            object.get(first).and_then(Value::as_object).is_some_and(|inner| has(inner, rest))
        }
    }
}

fn remove(object: &mut Map<String, Value>, path: &str) {
    match path.split_once('.') {
        None => {
            object.remove(path);
        }
        Some((first, rest)) => {
            if let Some(Value::Object(inner)) = object.get_mut(first) {
                remove(inner, rest);
            }
        }
    }
}

/// Who writes, through what and when.
#[derive(Clone, Debug)]
pub struct FieldManager<'a> {
    /// The manager's name; empty counts as `unknown`.
    pub name: &'a str,
    /// The apiVersion of the request.
    pub api_version: &'a str,
    /// Every apiVersion in which the kind is served; entries of others are dropped. Empty means all are known.
    pub api_versions: &'a [&'a str],
    /// Such as `status` or `scale`; empty for the object itself.
    pub subresource: &'a str,
    /// What this way of writing may own.
    pub scope: Scope,
    /// Now.
    pub time: Timestamp,
}

impl FieldManager<'_> {
    pub(crate) fn name(&self) -> &str {
        if self.name.is_empty() { "unknown" } else { self.name }
    }

    pub(crate) fn knows(&self, api_version: &str) -> bool {
        self.api_versions.is_empty()
            || self.api_version == api_version
            || self.api_versions.contains(&api_version)
    }
}

/// Computes `metadata.managedFields` of `new` after a create, update or patch of the whole object or a subresource.
///
/// `live` is the state before, `None` for a create. `new` may carry managedFields of its own: a create ignores them, an
/// update takes them (`[]` and `[{}]` reset them all; what cannot be read counts as not sent).
pub fn update(
    schema: &Schema,
    live: Option<&Map<String, Value>>,
    new: &mut Map<String, Value>,
    by: &FieldManager<'_>,
) {
    let sent = new.get_mut("metadata").and_then(Value::as_object_mut);
    let sent = sent.and_then(|metadata| metadata.remove("managedFields"));
    let kept =
        live.and_then(|live| live.get("metadata")?.get("managedFields")).and_then(Value::as_array);
    let source = match (&sent, kept) {
        _ if live.is_none() => Source::Nothing,
        (_, kept) if !by.subresource.is_empty() => Source::of(kept),
        (Some(Value::Array(sent)), _) if is_reset(sent) => Source::Nothing,
        (Some(Value::Array(sent)), Some(kept)) if sent == kept => Source::Same(sent),
        (Some(Value::Array(sent)), kept) => match decode(sent) {
            Some(owners) if !owners.is_empty() => Source::Entries(sent),
            _ => Source::of(kept),
        },
        (_, kept) => Source::of(kept),
    };
    let is_tracked = live.is_none() || !source.entries().is_empty();
    let next = if is_tracked {
        next_entries(schema, live, new, source.entries(), by)
    } else {
        Some(Vec::new())
    };
    // Nothing changed: what is there is what stays, without writing it anew.
    let next = match (next, source.is_same()) {
        (None, true) => sent.unwrap_or_default(),
        (None, false) => Value::Array(source.entries().to_vec()),
        (Some(entries), _) => Value::Array(entries),
    };
    store(new, next);
}

/// Where the entries before the write come from.
enum Source<'a> {
    Nothing,
    /// The live object's.
    Live(&'a [Value]),
    /// The request's, which differ from the live object's.
    Entries(&'a [Value]),
    /// The request's, which are the live object's.
    Same(&'a [Value]),
}

impl<'a> Source<'a> {
    fn of(kept: Option<&'a Vec<Value>>) -> Self {
        kept.map_or(Self::Nothing, |kept| Self::Live(kept))
    }

    fn entries(&self) -> &'a [Value] {
        match self {
            Self::Nothing => &[],
            Self::Live(entries) | Self::Entries(entries) | Self::Same(entries) => entries,
        }
    }

    fn is_same(&self) -> bool {
        matches!(self, Self::Same(_))
    }
}

/// The entries after the write; `None` when they are those before it.
fn next_entries(
    schema: &Schema,
    live: Option<&Map<String, Value>>,
    new: &Map<String, Value>,
    entries: &[Value],
    by: &FieldManager<'_>,
) -> Option<Vec<Value>> {
    let nothing = smallest(schema, new);
    let changes = compare::compare(schema, live.unwrap_or(&nothing), new);
    let changes =
        compare::Changes { set: by.scope.cut(changes.set), removed: by.scope.cut(changes.removed) };
    if changes.is_empty() && entry::is_canonical(entries, by) {
        return None;
    }
    let mut owners = decode(entries).unwrap_or_default();
    take_over(&mut owners, &changes, by);
    let own = never_owned_cut(changes.set);
    if !own.is_empty() {
        add(&mut owners, own, by);
    }
    cap(&mut owners);
    Some(encode(owners))
}

/// The object before it exists: of a custom resource only its type is known then.
pub(crate) fn smallest(schema: &Schema, new: &Map<String, Value>) -> Map<String, Value> {
    let envelope = ["apiVersion", "kind"].into_iter();
    let mut nothing: Map<String, Value> =
        envelope.filter_map(|key| Some((key.to_owned(), new.get(key)?.clone()))).collect();
    if !schema.is_custom() {
        nothing.insert("metadata".to_owned(), Value::Object(Map::new()));
    }
    nothing
}

/// Takes what changed from its owners, and drops owners that have nothing left or speak an unknown version.
fn take_over(owners: &mut Vec<Owner<'_>>, changes: &compare::Changes<'_>, by: &FieldManager<'_>) {
    owners.retain_mut(|owner| {
        if !by.knows(&owner.api_version) {
            return false;
        }
        if owner.set.meets(&changes.set) {
            owner.replace(owner.set.difference(&changes.set));
        }
        if owner.set.meets(&changes.removed) {
            owner.replace(owner.set.difference(&changes.removed));
        }
        !owner.set.is_empty()
    });
}

pub(crate) fn never_owned_cut(set: FieldSet<'_>) -> FieldSet<'_> {
    static CUT: std::sync::LazyLock<FieldSet<'static>> =
        std::sync::LazyLock::new(|| FieldSet::of_fields(NEVER_OWNED));
    if set.meets(&CUT) { set.difference(&CUT) } else { set }
}

fn add<'a>(owners: &mut Vec<Owner<'a>>, own: FieldSet<'a>, by: &FieldManager<'_>) {
    let time = Some(Cow::Owned(by.time.to_rfc3339()));
    let known = owners.iter_mut().find(|owner| {
        owner.operation == Operation::Update
            && owner.manager == by.name()
            && owner.api_version == by.api_version
            && owner.subresource == by.subresource
    });
    if let Some(owner) = known {
        let before = std::mem::take(&mut owner.set);
        owner.replace(before.union(own));
        owner.time = time;
        return;
    }
    owners.push(Owner {
        manager: by.name().to_owned().into(),
        operation: Operation::Update,
        api_version: by.api_version.to_owned().into(),
        subresource: by.subresource.to_owned().into(),
        time,
        set: own,
        written: None,
    });
}

/// Merges the oldest entries of operation `Update` until no more than [`UPDATE_MANAGERS_MAX`] are left.
fn cap(owners: &mut Vec<Owner<'_>>) {
    let mut updaters: Vec<usize> = Vec::new();
    updaters
        .extend((0..owners.len()).filter(|at| {
            owners.get(*at).is_some_and(|owner| owner.operation == Operation::Update)
        }));
    let mut over = updaters.len().saturating_sub(UPDATE_MANAGERS_MAX);
    if over == 0 {
        return;
    }
    updaters.sort_by_cached_key(|at| owners.get(*at).map(Owner::age));
    let mut ordered: Vec<Option<Owner<'_>>> =
        std::mem::take(owners).into_iter().map(Some).collect();
    let mut ancient: Vec<Bucket<'_>> = Vec::new();
    let mut firsts: Vec<Owner<'_>> = Vec::new();
    for at in updaters {
        let Some(owner) = ordered.get_mut(at).filter(|_| over > 0).and_then(Option::take) else {
            continue;
        };
        let same = |other: &Owner<'_>| other.api_version == owner.api_version;
        if let Some(bucket) = ancient.iter_mut().find(|bucket| same(&bucket.owner)) {
            bucket.add(owner);
            over -= 1;
        } else if let Some(at) = firsts.iter().position(same) {
            let mut bucket = Bucket::of(firsts.swap_remove(at));
            bucket.add(owner);
            ancient.push(bucket);
            over -= 1;
        } else {
            firsts.push(owner);
        }
    }
    owners.extend(ordered.into_iter().flatten().chain(firsts));
    for bucket in ancient.into_iter().map(Bucket::merged) {
        match owners.iter_mut().find(|owner| owner.is(&bucket)) {
            Some(known) => known.absorb(bucket),
            None => owners.push(bucket),
        }
    }
}

/// Old entries that become one.
struct Bucket<'a> {
    owner: Owner<'a>,
    sets: Vec<FieldSet<'a>>,
}

impl<'a> Bucket<'a> {
    fn of(mut owner: Owner<'a>) -> Self {
        owner.manager = ANCIENT.into();
        owner.subresource = "".into();
        let sets = vec![std::mem::take(&mut owner.set)];
        Self { owner, sets }
    }

    /// Takes in one that is younger than all before.
    fn add(&mut self, other: Owner<'a>) {
        self.owner.time = other.time;
        self.sets.push(other.set);
    }

    fn merged(mut self) -> Owner<'a> {
        self.owner.replace(FieldSet::union_all(self.sets));
        self.owner
    }
}

fn is_reset(sent: &[Value]) -> bool {
    match sent {
        [] => true,
        [only] => only.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

/// Puts the entries in their place; none is written as no field.
pub(crate) fn store(object: &mut Map<String, Value>, entries: Value) {
    let is_empty = entries.as_array().is_none_or(Vec::is_empty);
    if is_empty && !object.contains_key("metadata") {
        return;
    }
    let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    let Some(metadata) = metadata.as_object_mut() else { return };
    if is_empty {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), entries);
    }
}

#[cfg(test)]
mod tests;
