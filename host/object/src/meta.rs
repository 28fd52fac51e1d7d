//! The parsed envelope of an object: the metadata that the store, the queues and the indexes work with.
//!
//! Everything else of an object stays bytes. `managedFields` and annotations are left in the bytes on purpose:
//! they are large and nothing below the registry needs them.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::time::Timestamp;

/// An owner reference, as far as deletion and lookup need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerReference {
    /// The owner's `apiVersion`.
    pub api_version: Box<str>,
    /// The owner's kind.
    pub kind: Box<str>,
    /// The owner's name, in the same namespace or cluster-scoped.
    pub name: Box<str>,
    /// The owner's uid.
    pub uid: Arc<str>,
    /// Whether this owner is the managing controller; at most one is.
    pub controller: bool,
    /// Whether foreground deletion of the owner waits for this object.
    pub block_owner_deletion: bool,
}

/// The metadata of one stored object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The uid: one incarnation of a name.
    pub uid: Arc<str>,
    /// Count of changes to what is wanted; 0 where the kind does not count.
    pub generation: i64,
    /// Labels, sorted by key.
    pub labels: Box<[(Box<str>, Box<str>)]>,
    /// Owners, in the object's order.
    pub owners: Box<[OwnerReference]>,
    /// Names that hold deletion, in the object's order.
    pub finalizers: Box<[Box<str>]>,
    /// When the object was created, to the second.
    pub created_at: Option<Timestamp>,
    /// When deletion was asked for; the object is then only waiting for its finalizers.
    pub deleted_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    metadata: RawMeta<'a>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawMeta<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
    generation: i64,
    #[serde(borrow)]
    labels: Option<std::collections::BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
    #[serde(borrow)]
    owner_references: Option<Vec<RawOwner<'a>>>,
    #[serde(borrow)]
    finalizers: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow)]
    creation_timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    deletion_timestamp: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawOwner<'a> {
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    uid: Cow<'a, str>,
    controller: Option<bool>,
    block_owner_deletion: Option<bool>,
}

impl Meta {
    /// Parses the envelope of an encoded object and skips the rest of it.
    ///
    /// # Errors
    /// When `bytes` are not JSON, or the metadata has a field of the wrong type.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice::<Envelope<'_>>(bytes).map(|envelope| envelope.metadata.into())
    }

    /// The same for an object that is stored already: fields of the wrong type count as absent, so that one odd object
    /// never keeps the others from being read.
    ///
    /// # Errors
    /// When `bytes` are not a JSON object.
    pub fn parse_stored(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        Self::parse(bytes)
            .or_else(|_| serde_json::from_slice(bytes).map(|map| Self::from_object(&map)))
    }

    /// The same from a decoded object that is about to be stored; what it accepts, [`Self::parse`] accepts.
    ///
    /// # Errors
    /// When the metadata has a field of the wrong type.
    pub fn of(object: &Map<String, Value>) -> Result<Self, serde_json::Error> {
        let Some(metadata) = object.get("metadata") else { return Ok(Self::default()) };
        RawMeta::deserialize(metadata).map(Into::into)
    }

    /// The same from a decoded object; fields of the wrong type count as absent.
    pub fn from_object(object: &Map<String, Value>) -> Self {
        let metadata = object.get("metadata");
        let text = |field: &str| metadata.and_then(|m| m.get(field)).and_then(Value::as_str);
        let list = |field: &str| metadata.and_then(|m| m.get(field)).and_then(Value::as_array);
        let labels = metadata.and_then(|m| m.get("labels")).and_then(Value::as_object);
        let mut labels: Vec<(Box<str>, Box<str>)> = labels
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into())))
            .collect();
        labels.sort();
        Self {
            uid: text("uid").unwrap_or_default().into(),
            generation: metadata
                .and_then(|m| m.get("generation"))
                .and_then(Value::as_i64)
                .unwrap_or(0),
            labels: labels.into(),
            owners: list("ownerReferences").into_iter().flatten().map(owner_from_value).collect(),
            finalizers: list("finalizers")
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(Into::into)
                .collect(),
            created_at: text("creationTimestamp").and_then(Timestamp::parse_rfc3339),
            deleted_at: text("deletionTimestamp").and_then(Timestamp::parse_rfc3339),
        }
    }

    /// The value of one label.
    pub fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(k, _)| k.as_ref().cmp(key)).ok()?;
        self.labels.get(at).map(|(_, value)| value.as_ref())
    }

    /// The owner that is its managing controller.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owners.iter().find(|owner| owner.controller)
    }
}

fn owner_from_value(value: &Value) -> OwnerReference {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    let flag = |field: &str| value.get(field).and_then(Value::as_bool).unwrap_or(false);
    OwnerReference {
        api_version: text("apiVersion").into(),
        kind: text("kind").into(),
        name: text("name").into(),
        uid: text("uid").into(),
        controller: flag("controller"),
        block_owner_deletion: flag("blockOwnerDeletion"),
    }
}

impl From<RawMeta<'_>> for Meta {
    fn from(raw: RawMeta<'_>) -> Self {
        let owner = |raw: RawOwner<'_>| OwnerReference {
            api_version: raw.api_version.into(),
            kind: raw.kind.into(),
            name: raw.name.into(),
            uid: raw.uid.into(),
            controller: raw.controller.unwrap_or(false),
            block_owner_deletion: raw.block_owner_deletion.unwrap_or(false),
        };
        Self {
            uid: raw.uid.into(),
            generation: raw.generation,
            labels: raw.labels.into_iter().flatten().map(|(k, v)| (k.into(), v.into())).collect(),
            owners: raw.owner_references.into_iter().flatten().map(owner).collect(),
            finalizers: raw.finalizers.into_iter().flatten().map(Into::into).collect(),
            created_at: raw.creation_timestamp.and_then(|t| Timestamp::parse_rfc3339(&t)),
            deleted_at: raw.deletion_timestamp.and_then(|t| Timestamp::parse_rfc3339(&t)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_may_be_stored_can_be_read_and_what_is_odd_is_refused() {
        for (metadata, is_sound) in [
            (json!({"uid": "u", "labels": {"a": "b"}, "finalizers": ["x/y"]}), true),
            (json!({"labels": null, "finalizers": null, "ownerReferences": null}), true),
            (json!({"finalizers": [null]}), false),
            (json!({"finalizers": ["x/y", 1]}), false),
            (json!({"labels": {"a": null}}), false),
            (json!({"labels": {"a": {}}}), false),
            (json!({"ownerReferences": [null]}), false),
            (json!({"generation": "1"}), false),
        ] {
            let object = json!({"metadata": metadata});
            let map = object.as_object().expect("a map");
            let bytes = object.to_string();
            assert_eq!(Meta::of(map).is_ok(), is_sound, "{object}");
            assert_eq!(Meta::parse(bytes.as_bytes()).is_ok(), is_sound, "{object}");
            let stored = Meta::parse_stored(bytes.as_bytes()).expect("it can be read");
            assert_eq!(stored, Meta::from_object(map), "{object}");
        }
    }

    #[test]
    fn parsing_bytes_and_reading_a_value_agree() {
        let object = json!({"kind": "A", "metadata": {
            "name": "x", "uid": "u-1", "generation": 3, "labels": {"b": "2", "a": "quo\"ted"},
            "finalizers": ["f/g"], "creationTimestamp": "2026-01-02T03:04:05Z",
            "ownerReferences": [{"apiVersion": "v1", "kind": "B", "name": "o", "uid": "u-0", "controller": true}],
        }, "spec": {"big": [1, 2, 3]}});
        let parsed = Meta::parse(object.to_string().as_bytes()).expect("valid");
        let map = object.as_object().expect("a map");
        assert_eq!(parsed, Meta::from_object(map));
        assert_eq!(parsed, Meta::of(map).expect("sound"));
        assert_eq!(parsed.label("a"), Some("quo\"ted"));
        assert_eq!(parsed.controller().map(|o| o.uid.as_ref()), Some("u-0"));
    }
}
