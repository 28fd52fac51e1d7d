//! Facts from recordings of kube-apiserver, and properties of patches.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn patched(target: Value, patch: Value) -> Result<Value, PatchError> {
    let mut target = target;
    JsonPatch::from_value(patch)?.apply(&mut target)?;
    Ok(target)
}

#[track_caller]
fn refused(patch: Value) {
    let target = json!({"data": {"k": "v"}, "list": [{"name": "a"}, {"name": "b"}]});
    let error = patched(target, patch).expect_err("refused");
    assert_eq!(error.to_string(), "the server rejected our request due to an error in our request");
}

#[test]
fn operations_apply_as_recorded() {
    let target = json!({"data": {"k": "v"}, "list": [1, 2], "meta": {"a/b": "1", "c~d": "2"}});
    let patch = json!([
        {"op": "test", "path": "/data/k", "value": "v"},
        {"op": "test", "path": "/data/nope", "value": null},
        {"op": "copy", "from": "/data/k", "path": "/data/copy"},
        {"op": "move", "from": "/data/k", "path": "/data/moved"},
        {"op": "replace", "path": "/meta/a~1b", "value": "3"},
        {"op": "remove", "path": "/meta/c~0d"},
        {"op": "add", "path": "/list/-", "value": 4},
        {"op": "add", "path": "/list/2", "value": 3},
        {"op": "add", "path": "/list/4", "value": 5},
        {"op": "remove", "path": "/list/-1"},
        {"op": "add", "path": "data/top", "value": true},
        {"op": "add", "path": "/none"},
    ]);
    assert_eq!(
        patched(target, patch),
        Ok(json!({
            "data": {"copy": "v", "moved": "v"}, "list": [1, 2, 3, 4], "meta": {"a/b": "3"},
            "top": true, "none": null,
        }))
    );
}

#[test]
fn operations_that_do_not_apply_are_refused() {
    refused(json!([{"op": "add", "path": "/annotations/x/y", "value": "1"}]));
    refused(json!([null]));
    refused(json!([{"op": "frob", "path": "/data/k"}]));
    refused(json!([{"path": "/data/k"}]));
    refused(json!([{"op": "move", "from": "/data/nope", "path": "/data/moved"}]));
    refused(json!([{"op": "add", "path": "/list/5", "value": 1}]));
    refused(json!([{"op": "add", "path": "/list/x", "value": 1}]));
    refused(json!([{"op": "remove", "path": "/list/7"}]));
    refused(json!([{"op": "remove", "path": "/data/nope"}]));
    refused(json!([{"op": "replace", "path": "/data/nope", "value": 1}]));
    refused(json!([{"op": "test", "path": "/list", "value": [{"name": "b"}, {"name": "a"}]}]));
    refused(json!([{"op": "move", "from": "/data", "path": "/data/k"}]));
}

#[test]
fn malformed_patches_get_the_recorded_messages() {
    let decoded = |text: &str| JsonPatch::decode(text.as_bytes()).expect_err(text).to_string();
    assert_eq!(decoded("[{"), "error decoding patch: unexpected end of JSON input");
    assert_eq!(
        decoded(r#"{"op":"add"}"#),
        "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
    );
    let many = format!("[{}{{}}]", "{},".repeat(10_000));
    assert_eq!(
        decoded(&many),
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
    );
    let merge = |text: &str| decode_merge(text.as_bytes()).expect_err(text).to_string();
    assert_eq!(
        merge("data:\n  k: w\n"),
        "error decoding patch: invalid character 'd' looking for beginning of value"
    );
    assert_eq!(
        merge("\"x\""),
        "error decoding patch: json: cannot unmarshal string into Go value of type map[string]interface {}"
    );
}

#[test]
fn copies_cannot_grow_an_object_without_bound() {
    let double = json!({"op": "copy", "from": "/a", "path": "/a/-"});
    let deeper = patched(json!({"a": []}), Value::Array(vec![double; 10_000]));
    assert!(deeper.is_err());
    let mut wider = Vec::new();
    for at in 0..60 {
        wider.push(json!({"op": "copy", "from": "/a", "path": "/b"}));
        wider.push(json!({"op": "add", "path": "/c", "value": []}));
        wider.push(json!({"op": "move", "from": "/a", "path": "/c/0"}));
        wider.push(json!({"op": "move", "from": "/b", "path": "/c/1"}));
        wider.push(json!({"op": "move", "from": "/c", "path": "/a"}));
        wider.push(json!({"op": "add", "path": format!("/n{at}"), "value": 1}));
    }
    let bomb = patched(json!({"a": ["x"]}), Value::Array(wider));
    assert_eq!(bomb, Err(PatchError::TooMuchWork));
}

#[test]
fn merge_patches_follow_the_rfc() {
    let merged = |mut target: Value, patch: Value| {
        merge(&mut target, &patch);
        target
    };
    assert_eq!(
        merged(
            json!({"spec": {"a": [1, 2], "o": {"x": 1}, "s": "t"}}),
            json!({"spec": {"a": [3], "o": {"x": null, "y": {"q": 2, "r": null}}, "s": null}}),
        ),
        json!({"spec": {"a": [3], "o": {"y": {"q": 2}}}})
    );
    assert_eq!(merged(json!({"a": "b"}), json!({"a": {"c": 1}})), json!({"a": {"c": 1}}));
    assert_eq!(merged(json!({}), json!({"data": {"zz": null}})), json!({"data": {}}));
}

proptest! {
    #[test]
    fn any_patch_applies_or_is_refused(
        patch in "\\[(\\{\"op\":\"(add|remove|copy|move|replace|test)\",\"path\":\"[/a-c0-2~-]{0,6}\",\"from\":\"[/a-c0-2]{0,4}\",\"value\":(1|\\[\\]|null)\\},){0,6}\\{\\}\\]",
    ) {
        if let Ok(patch) = JsonPatch::decode(patch.as_bytes()) {
            drop(patch.apply(&mut json!({"a": {"b": [1, {"c": 2}]}, "b": []})));
        }
    }
}
