//! More managers than anybody has, as a client may send them: how many are kept, and what a write beside them takes.

use std::time::{Duration, Instant};

use super::*;
use crate::apply::apply;

/// As many entries, each with a field of its own from `first` on, as a request has room for beside some content.
fn entries(count: usize, operation: &str, first: usize) -> Value {
    let entry = |n: usize| {
        let (manager, field) = (format!("m{n:06}"), format!("f:k{:06}", first + n));
        json!({"manager": manager, "operation": operation, "apiVersion": "v1",
            "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {field: {}}}})
    };
    (0..count).map(entry).collect()
}

/// A config map with so many keys.
fn keys(count: usize, value: &str) -> Map<String, Value> {
    let data: Map<String, Value> = (0..count).map(|n| (format!("k{n:06}"), value.into())).collect();
    map(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}))
}

fn managed_by(mut object: Map<String, Value>, entries: Value) -> Map<String, Value> {
    object["metadata"]["managedFields"] = entries;
    object
}

/// Does what would take minutes if each manager were held against all there is.
#[expect(clippy::disallowed_methods, reason = "a test that measures")]
fn promptly(write: impl FnOnce() -> Map<String, Value>) -> Map<String, Value> {
    let begun = Instant::now();
    let written = write();
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(30), "took {took:?}");
    written
}

#[test]
fn very_many_update_managers_are_merged_promptly_and_lose_no_field() {
    let live = keys(1, "v");
    let new = Value::Object(managed_by(keys(1, "w"), entries(12_000, "Update", 0)));
    let written = promptly(|| write(Some(&live), new, &by("z", 1)));
    let kept = fields(&written);
    assert_eq!(kept.last().map(|(name, _)| name.as_str()), Some("z"), "who writes is the youngest");
    assert_eq!(kept.len(), UPDATE_MANAGERS_MAX);
    let owned = |fields: &Value| fields["f:data"].as_object().map_or(0, Map::len);
    assert_eq!(kept.iter().map(|(_, fields)| owned(fields)).sum::<usize>(), 12_000);
    let ancient = kept.iter().find(|(name, _)| name == ANCIENT).expect("merged");
    assert_eq!(owned(&ancient.1), 12_000 - (UPDATE_MANAGERS_MAX - 1));
}

#[test]
fn more_update_managers_than_are_kept_do_not_stay_where_nothing_else_changes() {
    let live = keys(1, "v");
    let new =
        Value::Object(managed_by(live.clone(), entries(UPDATE_MANAGERS_MAX + 1, "Update", 0)));
    let written = write(Some(&live), new, &by("z", 1));
    assert_eq!(fields(&written).len(), UPDATE_MANAGERS_MAX);
    // Nor where an earlier version let them be stored.
    let live = managed_by(keys(1, "v"), entries(UPDATE_MANAGERS_MAX + 1, "Update", 0));
    let written = write(Some(&live), Value::Object(live.clone()), &by("z", 1));
    assert_eq!(fields(&written).len(), UPDATE_MANAGERS_MAX);
}

#[test]
fn a_write_of_very_many_fields_beside_very_many_managers_that_apply_is_prompt() {
    let live = managed_by(keys(40_000, "v"), entries(8_000, "Apply", 32_000));
    let new = Value::Object(managed_by(keys(40_000, "w"), entries(8_000, "Apply", 32_000)));
    let written = promptly(|| write(Some(&live), new, &by("z", 1)));
    assert_eq!(fields(&written).len(), 1, "all fields have a new owner");
    let config = keys(40_000, "x");
    let applied =
        promptly(|| apply(&config_map(), Some(&live), &config, &by("z", 1), true).expect("forced"));
    assert_eq!(fields(&applied).len(), 1);
    let refused = promptly(|| {
        let refused = apply(&config_map(), Some(&live), &config, &by("z", 1), false);
        assert!(refused.expect_err("8,000 own them").to_string().contains("8000 conflicts"));
        Map::new()
    });
    assert!(refused.is_empty());
}

#[test]
fn what_is_given_up_beside_very_many_managers_is_given_up_promptly() {
    let live = managed_by(keys(12_000, "v"), entries(12_000, "Apply", 0));
    let config = map(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}));
    let applied = promptly(|| {
        apply(&config_map(), Some(&live), &config, &by("m000007", 1), false).expect("no conflict")
    });
    let data = applied["data"].as_object().expect("a map");
    assert_eq!((data.len(), data.contains_key("k000007")), (11_999, false));
    assert_eq!(fields(&applied).len(), 11_999);
}
