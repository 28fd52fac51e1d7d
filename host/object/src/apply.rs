//! Server-side apply: a manager hands in the fields it wants, and gets them unless others own other values.
//!
//! It owns merging by schema, conflicts and giving up fields. It must not know of requests or defaults: what it returns
//! goes through defaulting, admission and validation like every other object.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::error::CAUSES_MAX;
use crate::managed::{self, FieldManager, FieldSet, Operation, Owner};
use crate::schema::Schema;

mod check;
pub(crate) mod compare;
mod last_applied;
mod merge;
mod owned;
mod shape;

/// Who owns the fields of an object that nobody tracked before it was first applied to.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// The manager that takes over from client-side apply.
const KUBECTL: &str = "kubectl";

/// A field that somebody else owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The field's path: `.spec.replicas`.
    pub field: String,
    /// The owner, as messages name it: `"m1"`, or `"m1" using apps/v1` for one that did not apply.
    pub manager: String,
}

impl Conflict {
    /// The message of the Status cause (its reason is `FieldManagerConflict`).
    pub fn message(&self) -> String {
        format!("conflict with {}", self.manager)
    }
}

/// Why a configuration is not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// 409 with one cause for each that is told, unless forced.
    #[error("{}", conflict_message(.told, *.total))]
    Conflicts {
        /// The first of them, as many as a list of errors takes.
        told: Vec<Conflict>,
        /// How many there are.
        total: usize,
    },
    /// 500, as kube-apiserver has it: the configuration does not fit the schema.
    #[error("failed to create typed patch object ({object}): {message}")]
    Misfit {
        /// The configuration: `NAMESPACE/NAME; apps/v1, Kind=Deployment`.
        object: String,
        /// What is wrong where.
        message: String,
    },
    /// 400: the configuration carries managedFields.
    #[error("metadata.managedFields must be nil")]
    ManagedFieldsGiven,
}

/// Applies `config` as the wish of the manager `by`. The result holds the merged object with its new managedFields;
/// it is `live` with nothing changed when there was nothing to do. `live` is `None` when the object is to be created.
///
/// # Errors
/// See [`ApplyError`].
pub fn apply(
    schema: &Schema,
    live: Option<&Map<String, Value>>,
    config: &Map<String, Value>,
    by: &FieldManager<'_>,
    force: bool,
) -> Result<Map<String, Value>, ApplyError> {
    if config.get("metadata").and_then(|m| m.get("managedFields")).is_some_and(|m| !m.is_null()) {
        return Err(ApplyError::ManagedFieldsGiven);
    }
    check::check(schema, config)
        .map_err(|message| ApplyError::Misfit { object: object_name(config), message })?;
    let config = &*by.scope.cut_config(config);
    let smallest = managed::smallest(schema, config);
    let base = live.unwrap_or(&smallest);
    let first = live.filter(|_| entries(base).is_empty()).map(|live| tracked(schema, live, by));
    let base = first.as_ref().unwrap_or(base);
    let work = Work { schema, live: base, config, by };
    let applied = match work.apply(force, &FieldSet::default()) {
        Err(ApplyError::Conflicts { .. }) if by.name == KUBECTL => {
            work.apply(force, &last_applied::accounted_for(schema, base))
        }
        result => result,
    };
    let mut applied = applied?;
    if by.name == KUBECTL {
        last_applied::refresh(&mut applied, config);
    }
    Ok(applied)
}

/// `config` laid over `live` by schema, as an apply does it, whoever owns what.
pub fn merge(
    schema: &Schema,
    live: &Map<String, Value>,
    config: &Map<String, Value>,
) -> Map<String, Value> {
    merge::merge(schema, live, config)
}

struct Work<'a> {
    schema: &'a Schema,
    live: &'a Map<String, Value>,
    config: &'a Map<String, Value>,
    by: &'a FieldManager<'a>,
}

impl<'a> Work<'a> {
    /// Conflicts about what is `excused` are none.
    fn apply(&self, force: bool, excused: &FieldSet<'_>) -> Result<Map<String, Value>, ApplyError> {
        let mut owners = managed::decode(entries(self.live)).unwrap_or_default();
        let config_set = self.by.scope.cut(owned::owned(self.schema, self.config));
        let own = managed::never_owned_cut(config_set.clone());
        let (at, last) = self.enter(&mut owners, own);
        let merged = merge::merge(self.schema, self.live, self.config);
        let merged = match &last {
            Some(last) if !last.is_empty() && !self.wants_still(last, &config_set) => {
                self.give_up(&merged, last, &owners, &config_set)
            }
            _ => merged,
        };
        let changes = compare::compare(self.schema, self.live, &merged);
        let changed = !changes.is_empty();
        let set = self.by.scope.cut(changes.set);
        let removed = self.by.scope.cut(changes.removed);
        if !force {
            self.refuse_conflicts(&owners, at, &set, excused)?;
        }
        let owners = self.settle(owners, at, &set, &removed, changed);
        let entries = managed::encode(owners);
        let mut result = if changed { merged } else { self.live.clone() };
        managed::store(&mut result, Value::Array(entries));
        Ok(result)
    }

    /// Makes the configuration's set the manager's; returns the entry's place and what it held before.
    fn enter(
        &self,
        owners: &mut Vec<Owner<'a>>,
        set: FieldSet<'a>,
    ) -> (usize, Option<FieldSet<'a>>) {
        let mine = Owner {
            manager: self.by.name().to_owned().into(),
            operation: Operation::Apply,
            api_version: self.by.api_version.to_owned().into(),
            subresource: self.by.subresource.to_owned().into(),
            time: None,
            set,
            written: None,
        };
        if let Some(at) = owners.iter().position(|owner| owner.is(&mine)) {
            let known = owners.get_mut(at).map(|known| {
                let before = std::mem::replace(known, mine);
                known.time = before.time;
                known.written = before.written.filter(|_| known.set == before.set);
                before.set
            });
            (at, known)
        } else {
            owners.push(mine);
            (owners.len() - 1, None)
        }
    }

    /// Whether the configuration has everything that was applied last time: then nothing is given up. What a null
    /// stands for depends on the schema, so it is left to the long way.
    fn wants_still(&self, last: &FieldSet<'_>, config_set: &FieldSet<'_>) -> bool {
        last.is_within(config_set) && !self.config.values().any(has_null)
    }

    /// Takes away what the manager applied last time, does not apply now, and nobody else owns.
    fn give_up(
        &self,
        merged: &Map<String, Value>,
        last: &FieldSet<'_>,
        owners: &[Owner<'_>],
        config_set: &FieldSet<'_>,
    ) -> Map<String, Value> {
        let schema = self.schema;
        let last = owned::with_named(schema, last);
        let pruned = owned::remove(schema, merged, &last);
        let sets = std::iter::once(config_set).chain(owners.iter().map(|owner| &owner.set));
        let sets = sets.map(|set| owned::with_named(schema, set)).collect();
        let owned_now = FieldSet::union_all(sets);
        let all = owned::with_named(schema, &owned::owned(schema, merged));
        let kept = owned::with_named(schema, &owned::owned(schema, &pruned)).union(owned_now);
        let pruned = owned::remove(schema, merged, &all.difference(&kept));
        let kept = owned::with_named(schema, &owned::owned(schema, &pruned));
        let gone = all.difference(&kept).intersection(&last);
        owned::remove(self.schema, merged, &gone)
    }

    fn refuse_conflicts(
        &self,
        owners: &[Owner<'_>],
        mine: usize,
        set: &FieldSet<'_>,
        excused: &FieldSet<'_>,
    ) -> Result<(), ApplyError> {
        let mut others: Vec<&Owner<'_>> = owners
            .iter()
            .enumerate()
            .filter(|(at, owner)| *at != mine && self.by.knows(&owner.api_version))
            .map(|(_, owner)| owner)
            .collect();
        others.sort_by_cached_key(|owner| owner.identity());
        let (mut told, mut total) = (Vec::new(), 0);
        for owner in others {
            let contested = owner.set.intersection(set).difference(excused);
            if contested.is_empty() {
                continue;
            }
            total += contested.count();
            let manager = owner.describe();
            let paths = contested.first_paths(CAUSES_MAX - told.len()).into_iter();
            told.extend(paths.map(|field| Conflict { field, manager: manager.clone() }));
        }
        if total == 0 { Ok(()) } else { Err(ApplyError::Conflicts { told, total }) }
    }

    fn settle(
        &self,
        mut owners: Vec<Owner<'a>>,
        mine: usize,
        set: &FieldSet<'_>,
        removed: &FieldSet<'_>,
        changed: bool,
    ) -> Vec<Owner<'a>> {
        for (at, owner) in owners.iter_mut().enumerate() {
            if at == mine {
                if changed {
                    owner.time = Some(Cow::Owned(self.by.time.to_rfc3339()));
                }
                continue;
            }
            if owner.set.meets(set) {
                owner.replace(owner.set.difference(set));
            }
            if owner.set.meets(removed) {
                owner.replace(owner.set.difference(removed));
            }
        }
        owners.retain(|owner| !owner.set.is_empty() && self.by.knows(&owner.api_version));
        owners
    }
}

/// The object as it would be, had it been tracked from its creation.
fn tracked(
    schema: &Schema,
    live: &Map<String, Value>,
    by: &FieldManager<'_>,
) -> Map<String, Value> {
    let mut object = live.clone();
    let before = FieldManager { name: BEFORE_FIRST_APPLY, ..by.clone() };
    managed::update(schema, None, &mut object, &before);
    object
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(map) => map.values().any(has_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn entries(object: &Map<String, Value>) -> &[Value] {
    let entries = object.get("metadata").and_then(|m| m.get("managedFields"));
    entries.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn object_name(config: &Map<String, Value>) -> String {
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default();
    let meta = |key: &str| {
        config.get("metadata").and_then(|m| m.get(key)).and_then(Value::as_str).unwrap_or_default()
    };
    let version = match text("apiVersion") {
        core if !core.contains('/') => format!("/{core}"),
        other => other.to_owned(),
    };
    format!("{}/{}; {version}, Kind={}", meta("namespace"), meta("name"), text("kind"))
}

fn conflict_message(conflicts: &[Conflict], total: usize) -> String {
    if let [one] = conflicts {
        return format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            one.manager, one.field
        );
    }
    let mut lines: Vec<String> = Vec::new();
    let mut manager = "";
    for conflict in conflicts {
        if conflict.manager != manager {
            manager = &conflict.manager;
            lines.push(format!("conflicts with {manager}:"));
        }
        lines.push(format!("- {}", conflict.field));
    }
    if total > conflicts.len() {
        lines.push(format!("and {} more", total - conflicts.len()));
    }
    format!("Apply failed with {total} conflicts: {}", lines.join("\n"))
}

#[cfg(test)]
mod tests;
