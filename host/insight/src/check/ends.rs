//! Where a way ended: the objects that it changed, without what chance and the clock chose.

use std::collections::BTreeMap;
use std::sync::Arc;

use quadrille_object::Timestamp;
use quadrille_store::{Change, Key, View as _};
use serde_json::Value;

use crate::rehearsal::Rehearsal;

/// The objects that were changed, each as a name and what it says; nothing for one that is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    objects: Vec<(String, String)>,
}

impl End {
    pub(super) fn of(fork: &Rehearsal, changes: &[Arc<Change>]) -> Self {
        let snapshot = fork.registry().store().snapshot();
        let mut keys: BTreeMap<&Key, bool> = BTreeMap::new();
        for change in changes.iter().filter(|change| !is_event(change.key())) {
            keys.entry(change.key()).or_insert_with(|| change.before.is_some());
        }
        // Names of objects that are new here are chance's, where a name was asked for.
        let chosen: Vec<&str> = keys
            .iter()
            .filter(|(key, existed)| !**existed && has_generated_name(changes, key))
            .map(|(key, _)| &*key.name)
            .collect();
        let mut objects: Vec<(String, String)> = Vec::new();
        for (key, existed) in &keys {
            let now = snapshot.get(key);
            let text = now.map(|object| normal(&String::from_utf8_lossy(&object.bytes), &chosen));
            match text {
                // Neither before nor after: it left no trace.
                None if !existed => {}
                text => objects.push((masked(&key.to_string(), &chosen), text.unwrap_or_default())),
            }
        }
        objects.sort();
        Self { objects }
    }

    /// How another end differs from this one, in words.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        if self == other {
            return None;
        }
        let count = |end: &Self, name: &str| end.objects.iter().filter(|(n, _)| n == name).count();
        for (name, text) in &self.objects {
            let (wanted, found) = (count(self, name), count(other, name));
            if wanted != found {
                return Some(format!("there are {found} of {name} at the end instead of {wanted}"));
            }
            if !other.objects.iter().any(|pair| pair.0 == *name && pair.1 == *text) {
                let differing = other.objects.iter().find(|(n, t)| {
                    n == name && !self.objects.iter().any(|pair| pair.0 == *n && pair.1 == *t)
                });
                let found = differing.map(|(_, text)| text.as_str()).unwrap_or_default();
                return Some(format!("{name} ends otherwise\n{}", diff(text, found).trim_end()));
            }
        }
        let odd = other.objects.iter().find(|(name, _)| count(self, name) == 0);
        odd.map(|(name, _)| format!("{name} should not be there"))
    }
}

fn diff(wanted: &str, found: &str) -> String {
    let value = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    crate::diff::between(&value(wanted), &value(found))
}

fn has_generated_name(changes: &[Arc<Change>], key: &Key) -> bool {
    changes.iter().any(|change| {
        change.key() == key
            && String::from_utf8_lossy(&change.object.bytes).contains("generateName")
    })
}

/// Events tell of the way, not of the end.
pub(super) fn is_event(key: &Key) -> bool {
    &*key.resource.resource == "events"
}

/// A text with chosen names replaced.
pub(super) fn masked(text: &str, chosen: &[&str]) -> String {
    chosen.iter().fold(text.to_owned(), |text, name| text.replace(name, "(chosen)"))
}

/// The volume that admission mounts into a Pod; five random characters follow.
const TOKEN_VOLUME: &str = "kube-api-access-";

/// A text without uids and without the names that the host's admission draws.
fn without_chance(text: &str) -> String {
    if text.starts_with(TOKEN_VOLUME) && text.len() == TOKEN_VOLUME.len() + 5 {
        return format!("{TOKEN_VOLUME}(chosen)");
    }
    let is_uid = |at: usize| {
        let window = text.as_bytes().get(at..at + UID_BYTES);
        window.is_some_and(|bytes| {
            bytes.iter().enumerate().all(|(place, byte)| match place {
                8 | 13 | 18 | 23 => *byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            })
        })
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = 0;
    for at in 0..text.len().saturating_sub(UID_BYTES - 1) {
        if at >= rest && is_uid(at) {
            out.push_str(text.get(rest..at).unwrap_or_default());
            out.push_str("(uid)");
            rest = at + UID_BYTES;
        }
    }
    out.push_str(text.get(rest..).unwrap_or_default());
    out
}

/// The length of a uid as text.
const UID_BYTES: usize = 36;

/// An object's JSON without what chance and the clock chose.
pub(super) fn normal(text: &str, chosen: &[&str]) -> String {
    let mut value: Value = serde_json::from_str(text).unwrap_or_default();
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["managedFields", "resourceVersion", "generation", "creationTimestamp"] {
            metadata.remove(field);
        }
    }
    mask(&mut value, chosen);
    value.to_string()
}

fn mask(value: &mut Value, chosen: &[&str]) {
    match value {
        Value::Object(map) => {
            for (field, value) in map.iter_mut() {
                if field == "observedGeneration" {
                    *value = Value::Null;
                }
                mask(value, chosen);
                if field == "conditions"
                    && let Value::Array(items) = value
                {
                    // A set by type; its order tells of the way.
                    items.sort_by_key(|item| item.get("type").map(Value::to_string));
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, chosen)),
        Value::String(text) if Timestamp::parse_rfc3339(text).is_some() => {
            "(time)".clone_into(text);
        }
        Value::String(text) => *text = without_chance(&masked(text, chosen)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
