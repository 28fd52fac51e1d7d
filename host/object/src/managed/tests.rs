//! managedFields of creates, updates and patches, against answers recorded from kube-apiserver 1.36.

#![expect(clippy::needless_pass_by_value, reason = "test helpers take what `json!` makes")]

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{ANCIENT, FieldManager, FieldSet, Scope, UPDATE_MANAGERS_MAX, update};
use crate::name::Gvk;
use crate::schema::Schema;
use crate::time::Timestamp;

mod many;

const NOON: Timestamp = Timestamp(1_767_268_800_000_000);

fn map(value: Value) -> Map<String, Value> {
    value.as_object().cloned().expect("test objects are maps")
}

fn by(name: &str, seconds: i64) -> FieldManager<'_> {
    FieldManager {
        name,
        api_version: "v1",
        api_versions: &["v1"],
        subresource: "",
        scope: Scope::All,
        time: Timestamp::from_seconds(NOON.seconds() + seconds),
    }
}

fn config_map() -> Schema {
    Schema::builtin(&Gvk::new("", "v1", "ConfigMap")).expect("a built-in kind")
}

/// Applies a change to `live` as `by` and returns the object.
fn write(
    live: Option<&Map<String, Value>>,
    new: Value,
    by: &FieldManager<'_>,
) -> Map<String, Value> {
    let mut new = map(new);
    update(&config_map(), live, &mut new, by);
    new
}

fn fields(object: &Map<String, Value>) -> Vec<(String, Value)> {
    let entries = object["metadata"]
        .get("managedFields")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let text = |entry: &Value, key: &str| entry[key].as_str().expect("present").to_owned();
    entries.iter().map(|entry| (text(entry, "manager"), entry["fieldsV1"].clone())).collect()
}

fn created() -> Map<String, Value> {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "uid": "u"}, "data": {"k": "v"}});
    write(None, object, &by("z", 0))
}

fn with(live: &Map<String, Value>, change: impl FnOnce(&mut Map<String, Value>)) -> Value {
    let mut new = live.clone();
    change(&mut new);
    Value::Object(new)
}

#[test]
fn a_create_owns_what_it_wrote() {
    let expected = json!([{"apiVersion": "v1", "fieldsType": "FieldsV1", "manager": "z", "operation": "Update",
        "time": NOON.to_rfc3339(), "fieldsV1": {"f:data": {".": {}, "f:k": {}}}}]);
    assert_eq!(created()["metadata"]["managedFields"], expected);
    let empty = write(
        None,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}),
        &by("z", 0),
    );
    assert_eq!(empty["metadata"], json!({"name": "a"}));
}

#[test]
fn a_deployment_is_owned_below_what_is_always_there() {
    let schema = Schema::builtin(&Gvk::new("apps", "v1", "Deployment")).expect("a built-in kind");
    let mut object = map(json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "d", "labels": {"app": "x"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "x"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
            "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [
                {"name": "c", "image": "i", "resources": {}, "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
                "securityContext": {}}}},
        "status": {}}));
    update(&schema, None, &mut object, &by("m", 0));
    let expected = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {
        "f:replicas": {}, "f:selector": {},
        "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
        "f:template": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {
            "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}, "f:name": {}, "f:ports": {".": {},
                "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:protocol": {}}},
                "f:resources": {}}},
            "f:securityContext": {}}}}});
    assert_eq!(fields(&object), [("m".to_owned(), expected)]);
}

#[test]
fn a_changed_value_changes_hands() {
    let live = created();
    let new = write(
        Some(&live),
        with(&live, |o| {
            o.insert("data".into(), json!({"k": "w"}));
        }),
        &by("y", 9),
    );
    assert_eq!(
        fields(&new),
        [
            ("z".to_owned(), json!({"f:data": {".": {}}})),
            ("y".to_owned(), json!({"f:data": {"f:k": {}}})),
        ]
        .map(|(name, fields)| (
            name,
            if fields == json!({"f:data": {".": {}}}) { json!({"f:data": {}}) } else { fields }
        ))
    );
}

#[test]
fn a_write_that_changes_nothing_changes_no_time() {
    let live = created();
    let new = write(Some(&live), Value::Object(live.clone()), &by("y", 9));
    assert_eq!(new, live);
    let again = with(&live, |o| {
        o["metadata"].as_object_mut().expect("a map").remove("managedFields");
    });
    assert_eq!(write(Some(&live), again, &by("z", 9)), live);
}

#[test]
fn entries_sent_by_an_update_are_taken() {
    let live = created();
    let sent = |entries: Value| {
        write(Some(&live), with(&live, |o| o["metadata"]["managedFields"] = entries), &by("y", 9))
    };
    let entry = |extra: Value| {
        let mut entry = map(
            json!({"apiVersion": "v1", "fieldsType": "FieldsV1", "manager": "x", "operation": "Update",
            "fieldsV1": {"f:data": {"f:k": {}}}}),
        );
        entry.extend(map(extra));
        Value::Object(entry)
    };
    let kept = fields(&live);
    let x = vec![("x".to_owned(), json!({"f:data": {"f:k": {}}}))];
    assert_eq!(fields(&sent(json!([]))), []);
    assert_eq!(fields(&sent(json!([{}]))), []);
    assert_eq!(fields(&sent(json!([entry(json!({}))]))), x);
    assert_eq!(fields(&sent(json!([entry(json!({"operation": "Apply"}))]))), x);
    assert_eq!(fields(&sent(json!([entry(json!({})), entry(json!({}))]))), x);
    assert_eq!(fields(&sent(json!([entry(json!({"apiVersion": "v9"}))]))), []);
    assert_eq!(fields(&sent(json!([entry(json!({"fieldsV1": null}))]))), []);
    assert_eq!(fields(&sent(json!([entry(json!({"operation": "Frob"}))]))), kept);
    assert_eq!(fields(&sent(json!([entry(json!({"fieldsType": "FieldsV9"}))]))), kept);
    assert_eq!(fields(&sent(json!([entry(json!({"fieldsV1": {"bad": {}}}))]))), kept);
}

#[test]
fn an_object_without_entries_is_not_tracked_again() {
    let live = created();
    let reset = write(
        Some(&live),
        with(&live, |o| o["metadata"]["managedFields"] = json!([])),
        &by("y", 1),
    );
    let next = write(Some(&reset), with(&reset, |o| o["data"] = json!({"k": "w"})), &by("y", 2));
    assert_eq!(fields(&next), []);
}

#[test]
fn old_update_managers_are_merged() {
    let mut live = map(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}),
    );
    update(&config_map(), None, &mut live, &by("m00", 0));
    for index in 1..=12_i64 {
        let (name, key) = (format!("m{index:02}"), format!("k{index:02}"));
        live = write(Some(&live), with(&live, |o| o["data"][&key] = "v".into()), &by(&name, index));
    }
    let entries = fields(&live);
    assert_eq!(entries.len(), UPDATE_MANAGERS_MAX);
    let ancient = entries.iter().find(|(name, _)| name == ANCIENT).expect("merged");
    assert_eq!(
        ancient.1,
        json!({"f:data": {".": {}, "f:k": {}, "f:k01": {}, "f:k02": {}, "f:k03": {}}})
    );
}

#[test]
fn keys_are_canonical() {
    let fields = json!({"f:l": {"k:{ \"b\": 1, \"a\" : \"x\" }": {}}});
    let set = FieldSet::parse(fields.as_object().expect("a map")).expect("readable");
    assert_eq!(Value::Object(set.to_fields()), json!({"f:l": {"k:{\"a\":\"x\",\"b\":1}": {}}}));
    assert_eq!(set.paths(), [".l[a=\"x\",b=1]"]);
}

fn any_set() -> impl Strategy<Value = Map<String, Value>> {
    let step = prop_oneof![
        "[a-c]".prop_map(|n| format!("f:{n}")),
        "[a-c]".prop_map(|n| format!("k:{{\"n\":\"{n}\"}}"))
    ];
    let leaf = Just(Value::Object(Map::new()));
    let tree = leaf.prop_recursive(3, 24, 4, move |inner| {
        (proptest::collection::btree_map(step.clone(), inner, 1..4), any::<bool>()).prop_map(
            |(below, member)| {
                let mut map: Map<String, Value> = below.into_iter().collect();
                if member {
                    map.insert(".".into(), Value::Object(Map::new()));
                }
                Value::Object(map)
            },
        )
    });
    tree.prop_map(|tree| {
        let mut map = tree.as_object().cloned().unwrap_or_default();
        map.remove(".");
        map
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sets_obey_the_laws_of_sets(a in any_set(), b in any_set(), c in any_set()) {
        let [a, b, c] = [&a, &b, &c].map(|fields| FieldSet::parse(fields).expect("well-formed"));
        let union = |x: &FieldSet<'static>, y: &FieldSet<'static>| x.clone().union(y.clone());
        let [a, b, c] = [a, b, c].map(FieldSet::into_owned);
        prop_assert_eq!(union(&a, &b), union(&b, &a));
        prop_assert_eq!(union(&union(&a, &b), &c), union(&a, &union(&b, &c)));
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
        prop_assert_eq!(union(&a, &a), a.clone());
        prop_assert_eq!(union(&a.difference(&b), &a.intersection(&b)), a.clone());
        prop_assert!(a.difference(&b).intersection(&b).is_empty());
        prop_assert_eq!(a.meets(&b), !a.intersection(&b).is_empty());
        prop_assert_eq!(a.difference(&union(&b, &c)), a.difference(&b).difference(&c));
    }

    #[test]
    fn sets_survive_their_wire_form(fields in any_set()) {
        let set = FieldSet::parse(&fields).expect("well-formed");
        let written = set.to_fields();
        prop_assert_eq!(FieldSet::parse(&written).expect("our own"), set);
    }

    #[test]
    fn every_field_has_an_owner_and_updates_have_one_each(
        writes in proptest::collection::vec((0..3_usize, proptest::collection::btree_map("[a-e]", "[xy]", 0..4)), 1..8),
    ) {
        let mut live: Option<Map<String, Value>> = None;
        for (second, (writer, data)) in writes.into_iter().enumerate() {
            let name = ["p", "q", "r"][writer];
            let mut new = live.clone().unwrap_or_else(|| map(json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "a", "labels": {"l": "1"}}})));
            if data.is_empty() { new.remove("data"); } else { new.insert("data".into(), json!(data)); }
            update(&config_map(), live.as_ref(), &mut new, &by(name, i64::try_from(second).expect("few")));
            let owned: Vec<String> = fields(&new).iter().flat_map(|(_, f)| {
                FieldSet::parse(f.as_object().expect("a map")).expect("our own").paths()
            }).filter(|path| path.starts_with(".data.")).collect();
            let mut expected: Vec<String> = data.keys().map(|key| format!(".data.{key}")).collect();
            let mut sorted = owned.clone();
            sorted.sort();
            expected.sort();
            prop_assert_eq!(sorted, expected);
            live = Some(new);
        }
    }

    #[test]
    fn bytes_from_clients_never_panic(text in "\\PC{0,12}", value in any::<i64>()) {
        let fields = json!({text.clone(): {}, format!("k:{text}"): {"f:x": value}, format!("v:{text}"): null, "i:x": {}});
        if let Ok(set) = FieldSet::parse(fields.as_object().expect("a map")) {
            prop_assert!(set.paths().len() < 9);
        }
    }
}
