//! Where the value of a field comes from, as far as can be told from values and paths.
//!
//! A run read the value somewhere when an object that it knew holds the same value: the object that it ran for, or one of
//! those whose change woke it. The best place is the one whose path ends most alike; a value that is met everywhere
//! (`0`, `true`, a short text) counts only under the same name. This is a guess by its nature; what is told besides, who
//! wrote which value when and what woke them, is not.

use std::sync::Arc;

use quadrille_store::{Cause, Change, ChangeKind, Object, Revision, Store};
use serde_json::Value;

use crate::field::{Field, is_telling, places_of};
use crate::why::{FieldChange, WhyError, change_at, parse_key, unreadable};

/// How many changes of one object are looked through for the last one of a field.
const BACK_MAX: usize = 2_000;
/// How many of the changes that woke a run are looked at for a value.
const WAKES_MAX: usize = 64;

/// What a change did to a field.
pub(crate) fn change_of(change: &Change, field: &Field) -> FieldChange {
    let (before, after) = both(change, field);
    FieldChange { path: field.to_string(), before, after }
}

fn value_in(object: &Object, field: &Field) -> Option<Value> {
    let value: Value = serde_json::from_slice(&object.bytes).ok()?;
    field.get(&value).cloned()
}

fn both(change: &Change, field: &Field) -> (Option<Value>, Option<Value>) {
    let before = change.before.as_ref().and_then(|before| value_in(before, field));
    let after = change.after().and_then(|after| value_in(after, field));
    (before, after)
}

/// The last change of an object that changed a field, from `change` on back; `None` where history ends before it, or the
/// object never had the field.
pub(crate) async fn last_change_of(
    store: &Store,
    change: Arc<Change>,
    field: &Field,
) -> Result<Option<Arc<Change>>, WhyError> {
    let mut change = change;
    for _ in 0..BACK_MAX {
        let (before, after) = both(&change, field);
        if before != after {
            return Ok(Some(change));
        }
        let Some(before) = &change.before else { return Ok(None) };
        if change.kind == ChangeKind::Created {
            return Ok(None);
        }
        match change_at(store, before.revision).await? {
            Some(earlier) => change = earlier,
            None => return Ok(None),
        }
    }
    Ok(None)
}

/// The change that brought a value to where the writer of `change` may have read it, and the field there.
pub(crate) async fn source(
    store: &Store,
    change: &Change,
    field: &Field,
    because: &[Revision],
) -> Result<Option<(Arc<Change>, Field)>, WhyError> {
    let Cause::Run(run) = &*change.cause else { return Ok(None) };
    let Some(wanted) = change.after().and_then(|after| value_in(after, field)) else {
        return Ok(None);
    };
    let mut seen: Vec<Arc<Change>> = Vec::new();
    if let Some(key) = parse_key(&run.object) {
        match store.last_change(&key, run.snapshot).await {
            Ok(found) => seen.extend(found),
            Err(quadrille_store::ChangesError::Expired { .. }) => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    for revision in because.iter().rev().take(WAKES_MAX) {
        seen.extend(change_at(store, *revision).await?);
    }
    let mut best: Option<(usize, Arc<Change>, Field)> = None;
    for candidate in seen.into_iter().filter(|seen| seen.revision < change.revision) {
        // What the object itself held before is no source of a value that has just changed.
        let Some(object) = candidate.after().filter(|object| object.key != *change.key()) else {
            continue;
        };
        if let Some((score, place)) = best_place(object, field, &wanted)
            && best.as_ref().is_none_or(|(known, _, _)| score > *known)
        {
            best = Some((score, candidate, place));
        }
    }
    let Some((_, candidate, place)) = best else { return Ok(None) };
    let brought = last_change_of(store, Arc::clone(&candidate), &place).await?;
    Ok(Some((brought.unwrap_or(candidate), place)))
}

/// The place in an object that holds the value under the path most like the field's, and how like it is.
fn best_place(object: &Object, field: &Field, wanted: &Value) -> Option<(usize, Field)> {
    let value: Value = serde_json::from_slice(&object.bytes).ok()?;
    let least = usize::from(!is_telling(wanted));
    let places = places_of(&value, wanted).into_iter();
    let scored = places.map(|place| (field.shared_end(&place), place));
    scored.filter(|(score, _)| *score >= least).max_by_key(|(score, _)| *score)
}
