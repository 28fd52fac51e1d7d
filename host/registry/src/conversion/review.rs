//! `ConversionReview`: what a conversion webhook is asked, and what its answer must look like.
//!
//! A webhook may change everything but what an object is: its kind, name, namespace and uid stay, and of its metadata
//! only labels and annotations are taken over.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::admission::review::Version;
use crate::metadata;

const KIND: &str = "ConversionReview";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    response: Option<Response>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(default)]
    uid: String,
    #[serde(default)]
    converted_objects: Option<Vec<Value>>,
    #[serde(default)]
    result: Outcome,
}

#[derive(Default, Deserialize)]
struct Outcome {
    #[serde(default)]
    status: String,
    #[serde(default)]
    message: String,
}

fn api_version(version: Version) -> &'static str {
    match version {
        Version::V1 => "apiextensions.k8s.io/v1",
        Version::V1Beta1 => "apiextensions.k8s.io/v1beta1",
    }
}

/// The body of a call about objects in JSON.
pub(super) fn encode<'a>(
    objects: impl Iterator<Item = &'a [u8]>,
    to: &str,
    uid: &str,
    version: Version,
) -> Bytes {
    let raw = |bytes| serde_json::from_slice::<Box<RawValue>>(bytes).ok();
    let objects: Vec<Box<RawValue>> = objects.filter_map(raw).collect();
    let objects = serde_json::to_string(&objects).unwrap_or_default();
    let (uid, to) = (json!(uid), json!(to));
    let review = format!(
        "{{\"kind\":\"{KIND}\",\"apiVersion\":\"{}\",\"request\":{{\"uid\":{uid},\"desiredAPIVersion\":{to},\
         \"objects\":{objects}}}}}",
        api_version(version)
    );
    Bytes::from(review)
}

/// Reads the body of an answer.
///
/// # Errors
/// With what is wrong with it, or what the webhook says is wrong.
pub(super) fn decode(body: &[u8], uid: &str, version: Version) -> Result<Vec<Value>, String> {
    let review: Review = serde_json::from_slice(body)
        .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?;
    let wanted = api_version(version);
    if version == Version::V1 && (review.api_version != wanted || review.kind != KIND) {
        let found = format!("{}, Kind={}", review.api_version, review.kind);
        return Err(format!("expected webhook response of {wanted}, Kind={KIND}, got {found}"));
    }
    let response = review.response.ok_or("no response provided")?;
    if version == Version::V1 && response.uid != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", response.uid));
    }
    if response.result.status != "Success" {
        let Outcome { status, message } = response.result;
        return Err(if message.is_empty() {
            format!("response.result.status was '{status}', not 'Success'")
        } else {
            message
        });
    }
    Ok(response.converted_objects.unwrap_or_default())
}

/// Checks the answer against what was asked, and gives each object the metadata of its original.
///
/// # Errors
/// With what was returned instead of what was asked for.
pub(super) fn check(
    originals: &[Map<String, Value>],
    converted: Vec<Value>,
    to: &str,
) -> Result<Vec<Map<String, Value>>, String> {
    if converted.len() != originals.len() {
        return Err(format!("{} objects, expected {}", converted.len(), originals.len()));
    }
    let pairs = originals.iter().zip(converted).enumerate();
    let checked = pairs.map(|(index, (original, converted))| {
        let invalid = |why| format!("invalid converted object at index {index}: {why}");
        let Value::Object(mut converted) = converted else {
            return Err(invalid("it is no object".to_owned()));
        };
        check_one(original, &converted, to).map_err(invalid)?;
        restore(original, &mut converted)
            .map_err(|why| format!("invalid metadata in object at index {index}: {why}"))?;
        Ok(converted)
    });
    checked.collect()
}

fn check_one(
    original: &Map<String, Value>,
    converted: &Map<String, Value>,
    to: &str,
) -> Result<(), String> {
    let of = |object: &Map<String, Value>, key: &str| {
        object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let found = of(converted, "apiVersion");
    if found != to {
        return Err(format!("invalid groupVersion (expected {to}, received {found})"));
    }
    let (expected, found) = (of(original, "kind"), of(converted, "kind"));
    if expected != found {
        return Err(format!("invalid kind (expected {expected}, received {found})"));
    }
    for (key, shown) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let (old, new) = (metadata::text(original, key), metadata::text(converted, key));
        if old != new {
            return Err(format!("must have the same {shown}: {old} != {new}"));
        }
    }
    Ok(())
}

/// Puts the original's metadata back, but for labels and annotations.
fn restore(
    original: &Map<String, Value>,
    converted: &mut Map<String, Value>,
) -> Result<(), String> {
    let given = match converted.remove("metadata") {
        None => return Err("missing metadata in converted object".to_owned()),
        Some(Value::Object(given)) => given,
        Some(_) => return Err("metadata of the converted object is no object".to_owned()),
    };
    let mut kept = original.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    for key in ["labels", "annotations"] {
        match given.get(key) {
            None | Some(Value::Null) => drop(kept.remove(key)),
            Some(Value::Object(pairs)) if pairs.values().all(Value::is_string) => {
                kept.insert(key.to_owned(), Value::Object(pairs.clone()));
            }
            Some(_) => return Err(format!("metadata.{key} must map texts to texts")),
        }
    }
    converted.insert("metadata".to_owned(), kept.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn original() -> Map<String, Value> {
        let value = json!({
            "apiVersion": "g/v1", "kind": "Widget",
            "metadata": {"name": "a", "uid": "u", "finalizers": ["f"], "labels": {"old": "1"}},
        });
        value.as_object().cloned().expect("an object")
    }

    #[track_caller]
    fn refused(change: impl Fn(&mut Value), why: &str) {
        let mut converted = Value::Object(original());
        converted["apiVersion"] = "g/v2".into();
        change(&mut converted);
        assert_eq!(check(&[original()], vec![converted], "g/v2").expect_err("refused"), why);
    }

    #[test]
    fn an_answer_must_be_about_the_same_objects() {
        let at = "invalid converted object at index 0:";
        refused(
            |o| o["metadata"]["name"] = "b".into(),
            &format!("{at} must have the same name: a != b"),
        );
        refused(
            |o| o["metadata"]["uid"] = "v".into(),
            &format!("{at} must have the same UID: u != v"),
        );
        refused(
            |o| o["metadata"]["namespace"] = "n".into(),
            &format!("{at} must have the same namespace:  != n"),
        );
        refused(
            |o| o["apiVersion"] = "g/v1".into(),
            &format!("{at} invalid groupVersion (expected g/v2, received g/v1)"),
        );
        refused(
            |o| o["kind"] = "Gadget".into(),
            &format!("{at} invalid kind (expected Widget, received Gadget)"),
        );
        refused(
            |o| o["metadata"]["labels"] = json!({"a": 1}),
            "invalid metadata in object at index 0: metadata.labels must map texts to texts",
        );
        assert_eq!(check(&[original()], vec![], "g/v2"), Err("0 objects, expected 1".to_owned()));
    }

    #[test]
    fn of_the_metadata_only_labels_and_annotations_change() {
        let converted = json!({
            "apiVersion": "g/v2", "kind": "Widget",
            "metadata": {"name": "a", "uid": "u", "finalizers": [], "labels": {"new": "2"}, "more": 1},
        });
        let found = check(&[original()], vec![converted], "g/v2").expect("fine");
        let expected =
            json!({"name": "a", "uid": "u", "finalizers": ["f"], "labels": {"new": "2"}});
        assert_eq!(found[0]["metadata"], expected);
    }

    #[test]
    fn an_answer_says_why_it_failed() {
        let answer = |response: Value| {
            let review = json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": KIND, "response": response,
            });
            decode(review.to_string().as_bytes(), "1", Version::V1).expect_err("refused")
        };
        assert_eq!(answer(Value::Null), "no response provided");
        assert_eq!(answer(json!({"uid": "2"})), "expected response.uid=\"1\", got \"2\"");
        let failed = json!({"uid": "1", "result": {"status": "Failed", "message": "no way"}});
        assert_eq!(answer(failed), "no way");
        let failed = json!({"uid": "1", "result": {"status": "Failed"}});
        assert_eq!(answer(failed), "response.result.status was 'Failed', not 'Success'");
    }
}
