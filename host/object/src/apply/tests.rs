//! Server-side apply against answers recorded from kube-apiserver 1.36.

#![expect(clippy::needless_pass_by_value, reason = "test helpers take what `json!` makes")]

mod bounds;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{ApplyError, apply};
use crate::managed::{FieldManager, Scope, update};
use crate::name::Gvk;
use crate::schema::Schema;
use crate::time::Timestamp;

type Object = Map<String, Value>;

fn map(value: Value) -> Object {
    value.as_object().cloned().expect("test objects are maps")
}

fn by(name: &str, seconds: i64) -> FieldManager<'_> {
    FieldManager {
        name,
        api_version: "g/v1",
        api_versions: &["g/v1"],
        subresource: "",
        scope: Scope::Except(&["status"]),
        time: Timestamp::from_seconds(1_767_268_800 + seconds),
    }
}

/// The widget of the recordings.
fn widget() -> Schema {
    let keyed = |keys: Value, properties: Value, required: Value| {
        json!({"type": "array",
        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys,
        "items": {"type": "object", "properties": properties, "required": required}})
    };
    let schema = json!({"type": "object", "properties": {
    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    "spec": {"type": "object", "properties": {
        "n": {"type": "integer"}, "def": {"type": "string", "default": "dd"},
        "at": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "atomic"},
        "set": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "gm": {"type": "object", "additionalProperties": {"type": "string"}},
        "om": {"type": "object", "x-kubernetes-map-type": "atomic",
            "properties": {"a": {"type": "string"}, "b": {"type": "string"}}},
        "u": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "m": keyed(json!(["name"]), json!({"name": {"type": "string"}, "v": {"type": "integer"},
            "w": {"type": "string"}}), json!(["name"])),
        "mk": keyed(json!(["port", "proto"]), json!({"port": {"type": "integer"}, "n": {"type": "string"},
            "proto": {"type": "string", "default": "TCP"}}), json!(["port"])),
    }}}});
    Schema::from_crd(&schema, "s").expect("structural")
}

fn config(spec: Value) -> Object {
    map(json!({"apiVersion": "g/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}))
}

fn applied(
    live: Option<&Object>,
    spec: Value,
    by: &FieldManager<'_>,
    force: bool,
) -> Result<Object, ApplyError> {
    apply(&widget(), live, &config(spec), by, force)
}

fn owned(object: &Object) -> Vec<(String, Value)> {
    let entries = object["metadata"]
        .get("managedFields")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let one = |entry: &Value| {
        (entry["manager"].as_str().expect("named").to_owned(), entry["fieldsV1"]["f:spec"].clone())
    };
    let mut owned: Vec<(String, Value)> = entries.iter().map(one).collect();
    owned.sort_by(|a, b| a.0.cmp(&b.0));
    owned
}

fn owners<const N: usize>(expected: [(&str, Value); N]) -> Vec<(String, Value)> {
    expected.into_iter().map(|(name, fields)| (name.to_owned(), fields)).collect()
}

#[test]
fn only_applied_fields_are_owned() {
    let object = applied(
        None,
        json!({"gm": {"q": "r"}, "n": 1, "at": ["x"], "set": ["a"], "u": {"x": [1]}}),
        &by("m1", 0),
        false,
    )
    .expect("nobody else is there");
    assert_eq!(
        owned(&object),
        owners([(
            "m1",
            json!({"f:gm": {"f:q": {}}, "f:n": {}, "f:at": {},
        "f:set": {"v:\"a\"": {}}, "f:u": {"f:x": {}}})
        )])
    );
}

#[test]
fn equal_values_are_shared_and_others_conflict() {
    let one = applied(None, json!({"n": 1, "om": {"a": "x"}}), &by("m1", 0), false).expect("first");
    let two = applied(Some(&one), json!({"n": 1}), &by("m2", 1), false).expect("equal");
    assert_eq!(owned(&two)[1], ("m2".to_owned(), json!({"f:n": {}})));
    let entries = two["metadata"]["managedFields"].as_array().expect("two entries");
    assert_eq!(entries[0].get("time"), None, "what changes no value has no time");
    let refused =
        applied(Some(&two), json!({"n": 2}), &by("m3", 2), false).expect_err("others own it");
    assert_eq!(
        refused.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"m1\":\n- .spec.n\nconflicts with \"m2\":\n- .spec.n"
    );
    let refused =
        applied(Some(&two), json!({"om": {"b": "y"}}), &by("m3", 2), false).expect_err("atomic");
    assert_eq!(refused.to_string(), "Apply failed with 1 conflict: conflict with \"m1\": .spec.om");
    let forced = applied(Some(&two), json!({"n": 2}), &by("m3", 2), true).expect("forced");
    assert_eq!(owned(&forced), owners([("m1", json!({"f:om": {}})), ("m3", json!({"f:n": {}}))]));
    assert_eq!(forced["spec"], json!({"n": 2, "om": {"a": "x"}}));
}

#[test]
fn conflicts_with_updates_name_the_version() {
    let mut live = config(json!({"n": 1}));
    update(&widget(), None, &mut live, &by("u", 0));
    let refused =
        applied(Some(&live), json!({"n": 2}), &by("m1", 1), false).expect_err("u owns it");
    assert_eq!(
        refused.to_string(),
        "Apply failed with 1 conflict: conflict with \"u\" using g/v1: .spec.n"
    );
}

#[test]
fn fields_given_up_go_unless_somebody_else_owns_them() {
    let one = applied(None, json!({"n": 1, "gm": {"a": "1", "b": "2"}}), &by("m1", 0), false)
        .expect("first");
    let two = applied(Some(&one), json!({"gm": {"b": "2"}}), &by("m2", 1), false).expect("shared");
    let three = applied(Some(&two), json!({}), &by("m1", 2), false).expect("gives up");
    assert_eq!(three["spec"], json!({"gm": {"b": "2"}}));
    assert_eq!(owned(&three).last(), Some(&("m2".to_owned(), json!({"f:gm": {"f:b": {}}}))));
    let mut patched = one.clone();
    patched["spec"]["n"] = json!(5);
    update(&widget(), Some(&one), &mut patched, &by("u", 1));
    let four = applied(Some(&patched), json!({}), &by("m1", 2), false).expect("gives up");
    assert_eq!(four["spec"], json!({"n": 5}), "the update's field stays");
}

#[test]
fn list_items_have_owners_of_their_own() {
    let one =
        applied(None, json!({"m": [{"name": "a", "v": 1}, {"name": "b"}]}), &by("m1", 0), false)
            .expect("first");
    let two = applied(
        Some(&one),
        json!({"m": [{"name": "c"}, {"name": "a", "w": "x"}]}),
        &by("m2", 1),
        false,
    )
    .expect("beside");
    assert_eq!(
        two["spec"]["m"],
        json!([{"name": "c"}, {"name": "a", "v": 1, "w": "x"}, {"name": "b"}])
    );
    let three = applied(Some(&two), json!({"m": [{"name": "b"}]}), &by("m1", 2), false)
        .expect("gives up a");
    assert_eq!(three["spec"]["m"], json!([{"name": "c"}, {"name": "a", "w": "x"}, {"name": "b"}]));
    let keyed = applied(
        None,
        json!({"mk": [{"port": 80}, {"port": 80, "proto": "UDP"}]}),
        &by("m1", 0),
        false,
    )
    .expect("two keys");
    assert_eq!(
        owned(&keyed)[0].1["f:mk"],
        json!({
        "k:{\"port\":80,\"proto\":\"TCP\"}": {".": {}, "f:port": {}},
        "k:{\"port\":80,\"proto\":\"UDP\"}": {".": {}, "f:port": {}, "f:proto": {}}})
    );
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let spec = json!({"n": 1, "m": [{"name": "a"}], "set": ["x", "y"], "gm": {"a": "1"}});
    let one = applied(None, spec.clone(), &by("m1", 0), false).expect("first");
    assert_eq!(applied(Some(&one), spec, &by("m1", 99), false).expect("again"), one);
}

#[test]
fn what_does_not_fit_is_refused_in_the_servers_words() {
    for (spec, message) in [
        (json!({"zzz": 1}), ".spec.zzz: field not declared in schema"),
        (json!({"n": "x"}), ".spec.n: expected numeric (int or float), got string"),
        (json!({"gm": ["x"]}), ".spec.gm: expected map, got &{[x]}"),
        (
            json!({"m": [null]}),
            ".spec.m: element 0: associative list with keys may not have a null element",
        ),
        (
            json!({"m": [{"name": "a"}, {"name": "a"}]}),
            ".spec.m: duplicate entries for key [name=\"a\"]",
        ),
    ] {
        let refused = applied(None, spec, &by("m1", 0), false).expect_err("misfit");
        let prefix = "failed to create typed patch object (/w; g/v1, Kind=Widget): ";
        assert_eq!(refused.to_string(), format!("{prefix}{message}"));
    }
    let mut given = config(json!({}));
    given["metadata"]["managedFields"] = json!([]);
    let refused = apply(&widget(), None, &given, &by("m1", 0), false);
    assert_eq!(refused, Err(ApplyError::ManagedFieldsGiven));
}

#[test]
fn status_belongs_to_its_subresource() {
    let mut both = config(json!({"n": 1}));
    both.insert("status".into(), json!({"a": 1}));
    let one = apply(&widget(), None, &both, &by("m1", 0), false).expect("first");
    assert_eq!(one.get("status"), None);
    let status =
        FieldManager { subresource: "status", scope: Scope::Only(&["status"]), ..by("st", 1) };
    let mut other = both.clone();
    other["spec"]["n"] = json!(2);
    let two = apply(&widget(), Some(&one), &other, &status, false).expect("status only");
    assert_eq!((&two["spec"], &two["status"]), (&json!({"n": 1}), &json!({"a": 1})));
    let entry = &two["metadata"]["managedFields"][1];
    assert_eq!(
        (&entry["subresource"], &entry["fieldsV1"]),
        (&json!("status"), &json!({"f:status": {"f:a": {}}}))
    );
    other["status"] = json!({});
    let three = apply(&widget(), Some(&two), &other, &status, false).expect("gives up a");
    assert_eq!(three["status"], json!({}));
}

#[test]
fn an_untracked_object_is_owned_by_those_before() {
    let live = config(json!({"n": 1, "def": "x"}));
    let refused = applied(Some(&live), json!({"n": 2}), &by("m1", 0), false).expect_err("owned");
    assert_eq!(
        refused.to_string(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using g/v1: .spec.n"
    );
    let object = applied(Some(&live), json!({"n": 1}), &by("m1", 0), false).expect("equal");
    assert_eq!(
        owned(&object),
        owners([
            ("before-first-apply", json!({".": {}, "f:def": {}, "f:n": {}})),
            ("m1", json!({"f:n": {}}))
        ])
    );
}

#[test]
fn kubectl_takes_over_what_its_annotation_says() {
    let key = "kubectl.kubernetes.io/last-applied-configuration";
    let mut live = config(json!({"n": 1}));
    live["metadata"]["annotations"] =
        json!({key: Value::Object(config(json!({"n": 1}))).to_string()});
    update(&widget(), None, &mut live, &by("kubectl-client-side-apply", 0));
    let taken =
        applied(Some(&live), json!({"n": 2}), &by("kubectl", 1), false).expect("its own field");
    assert_eq!(taken["spec"]["n"], 2);
    let text = taken["metadata"]["annotations"][key].as_str().expect("a text");
    assert_eq!(serde_json::from_str::<Value>(text).expect("JSON")["spec"]["n"], 2);
    assert!(applied(Some(&live), json!({"n": 2}), &by("other", 1), false).is_err());
}

#[test]
fn ports_of_a_service_have_a_default_key() {
    let schema = Schema::builtin(&Gvk::new("", "v1", "Service")).expect("a built-in kind");
    let by = FieldManager { api_version: "v1", api_versions: &["v1"], ..by("m", 0) };
    let config = map(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"ports": [{"port": 80}]}}));
    let object = apply(&schema, None, &config, &by, false).expect("first");
    assert_eq!(
        owned(&object)[0].1,
        json!({"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}})
    );
}

fn any_spec() -> impl Strategy<Value = Value> {
    let data = proptest::collection::btree_map("[a-d]", Just("v"), 0..4);
    let items = proptest::collection::btree_set("[a-d]", 0..4);
    let set = proptest::collection::btree_set("[a-d]", 0..4);
    (data, items, set).prop_map(|(gm, m, set)| {
        let m: Vec<Value> = m.into_iter().map(|name| json!({"name": name, "v": 1})).collect();
        json!({"gm": gm, "m": m, "set": set})
    })
}

/// The first spec with what only the second has.
fn both(mut a: Value, b: &Value) -> Value {
    for (key, value) in b["gm"].as_object().expect("a map") {
        a["gm"][key] = value.clone();
    }
    for list in ["m", "set"] {
        let items = a[list].as_array_mut().expect("a list");
        let more = b[list].as_array().expect("a list");
        let more: Vec<Value> = more.iter().filter(|item| !items.contains(item)).cloned().collect();
        items.extend(more);
    }
    a
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn managers_who_agree_end_the_same_in_any_order(a in any_spec(), b in any_spec(), c in any_spec()) {
        let all = [("m1", a), ("m2", b), ("m3", c)];
        let run = |order: [usize; 3]| {
            let mut live: Option<Object> = None;
            for at in order {
                let (name, spec) = &all[at];
                live = Some(applied(live.as_ref(), spec.clone(), &by(name, 0), false).expect("all values agree"));
            }
            live.expect("three applied")
        };
        let first = run([0, 1, 2]);
        for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            prop_assert_eq!(owned(&run(order)), owned(&first));
        }
    }

    #[test]
    fn giving_everything_up_leaves_nothing(a in any_spec(), b in any_spec()) {
        let live = applied(None, a, &by("m1", 0), false).expect("first");
        let live = applied(Some(&live), b.clone(), &by("m2", 1), false).expect("all values agree");
        let live = applied(Some(&live), json!({}), &by("m1", 2), false).expect("gives up");
        let alone = applied(None, b, &by("m2", 1), false).expect("first");
        let m2 = |object: &Object| owned(object).into_iter().find(|(name, _)| name == "m2");
        prop_assert_eq!(m2(&live), m2(&alone));
        let live = applied(Some(&live), json!({}), &by("m2", 3), false).expect("gives up");
        let left = |field: &str| live.get("spec").and_then(|spec| spec.get(field)).cloned().unwrap_or_default();
        for field in ["gm", "m", "set"] {
            let left = left(field);
            prop_assert!(left.is_null() || left == json!({}) || left == json!([]), "{} {}", field, left);
        }
    }

    #[test]
    fn who_applies_all_of_the_last_time_again_gives_nothing_up(a in any_spec(), b in any_spec(), c in any_spec()) {
        let live = applied(None, a.clone(), &by("m1", 0), false).expect("first");
        let live = applied(Some(&live), c, &by("m2", 1), false).expect("all values agree");
        let config = config(both(a, &b));
        let (schema, by) = (widget(), by("m1", 2));
        let work = super::Work { schema: &schema, live: &live, config: &config, by: &by };
        let owners = crate::managed::decode(super::entries(&live)).expect("our own entries");
        let last = &owners.iter().find(|owner| owner.manager == "m1").expect("m1 has applied").set;
        let config_set = super::owned::owned(&schema, &config);
        let merged = super::merge(&schema, &live, &config);
        if work.wants_still(last, &config_set) {
            prop_assert_eq!(work.give_up(&merged, last, &owners, &config_set), merged);
        }
    }

    #[test]
    fn a_second_apply_of_the_same_is_a_no_op(a in any_spec()) {
        let live = applied(None, a.clone(), &by("m1", 0), false).expect("first");
        prop_assert_eq!(applied(Some(&live), a, &by("m1", 5), false).expect("again"), live);
    }
}

/// One write of a random history.
#[derive(Clone, Debug)]
enum Act {
    Apply { force: bool },
    Update,
    Patch,
    Reset,
}

fn any_act() -> impl Strategy<Value = (Act, usize, Value, Value)> {
    let act = prop_oneof![
        4 => any::<bool>().prop_map(|force| Act::Apply { force }),
        3 => Just(Act::Update),
        2 => Just(Act::Patch),
        1 => Just(Act::Reset),
    ];
    let value = prop_oneof![Just(json!("v")), Just(json!("w"))];
    (act, 0..4_usize, any_spec(), value)
}

/// The entries: manager, operation and fields.
fn entries(object: &Object) -> Vec<(String, String, Object)> {
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let all = object["metadata"].get("managedFields").and_then(Value::as_array);
    let all = all.into_iter().flatten();
    all.map(|e| (text(e, "manager"), text(e, "operation"), map(e["fieldsV1"].clone()))).collect()
}

/// The values below a spec that an owner can have: a key of `gm`, an item of `m` or of `set`.
fn parts(object: &Object) -> Vec<String> {
    let spec = &object["spec"];
    let of = |field: &str| spec.get(field).cloned().unwrap_or_default();
    let mut parts: Vec<String> = of("gm")
        .as_object()
        .into_iter()
        .flat_map(|m| m.keys())
        .map(|k| format!(".spec.gm.{k}"))
        .collect();
    let (items, set) = (of("m"), of("set"));
    let items = items.as_array().into_iter().flatten();
    parts.extend(items.map(|item| format!(".spec.m[name={}]", item["name"])));
    parts.extend(set.as_array().into_iter().flatten().map(|item| format!(".spec.set[={item}]")));
    parts
}

/// What holds of every object after every write: entries are not empty and not doubled, every part has an owner, and
/// what somebody owns below `gm`, `m` and `set` is there.
fn check_invariants(object: &Object) -> Result<(), TestCaseError> {
    let entries = entries(object);
    let mut seen = Vec::new();
    let mut owned = Vec::new();
    for (manager, operation, fields) in &entries {
        prop_assert!(!fields.is_empty(), "{} owns nothing", manager);
        prop_assert!(
            !seen.contains(&(manager, operation)),
            "{} {} stands twice",
            manager,
            operation
        );
        seen.push((manager, operation));
        let set = crate::managed::FieldSet::parse(fields).expect("our own");
        owned.extend(set.paths());
    }
    let parts = parts(object);
    for part in &parts {
        prop_assert!(owned.contains(part), "nobody owns {} of {:?}", part, owned);
    }
    let is_part = |path: &&String| {
        let below = |start: &str| path.strip_prefix(start).is_some_and(|rest| !rest.is_empty());
        (below(".spec.gm.") || below(".spec.m[") || below(".spec.set[")) && !path.contains("].")
    };
    for path in owned.iter().filter(is_part) {
        prop_assert!(parts.contains(path), "{} is owned and not there", path);
    }
    Ok(())
}

/// Makes one write; conflicts leave the object as it is.
fn write(live: Option<&Object>, step: &(Act, usize, Value, Value), second: i64) -> Option<Object> {
    let (act, who, spec, value) = step;
    let name = ["m1", "m2", "m3", "m4"][*who];
    let mut spec = spec.clone();
    for own in spec["gm"].as_object_mut().expect("a map").values_mut() {
        *own = value.clone();
    }
    let manager = by(name, second);
    match act {
        Act::Apply { force } => match applied(live, spec, &manager, *force) {
            Ok(object) => Some(object),
            Err(ApplyError::Conflicts { told, total }) => {
                assert!(!force && told.len() == total);
                live.cloned()
            }
            Err(other) => unreachable!("{other}"),
        },
        Act::Update => {
            let mut new = config(spec);
            update(&widget(), live, &mut new, &manager);
            Some(new)
        }
        Act::Patch => {
            let mut new = live.cloned().unwrap_or_else(|| config(json!({})));
            let fields = new.entry("spec").or_insert_with(|| json!({})).as_object_mut()?;
            fields.insert("n".to_owned(), json!(second));
            fields.insert("gm".to_owned(), spec["gm"].clone());
            update(&widget(), live, &mut new, &manager);
            Some(new)
        }
        Act::Reset => {
            let mut new = live?.clone();
            new["metadata"].as_object_mut()?.insert("managedFields".to_owned(), json!([{}]));
            update(&widget(), live, &mut new, &manager);
            // Nobody is tracked after a reset; the history goes on with a new object.
            assert!(entries(&new).is_empty());
            None
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_history_keeps_every_part_owned_and_nothing_else(
        steps in proptest::collection::vec(any_act(), 1..12),
    ) {
        let mut live: Option<Object> = None;
        for (second, step) in steps.iter().enumerate() {
            live = write(live.as_ref(), step, i64::try_from(second).expect("few"));
            let Some(object) = &live else { continue };
            if object.get("spec").is_some() {
                check_invariants(object)?;
            }
            // Where everything owned has gone, nobody is tracked from there on, as in kube-apiserver.
            if entries(object).is_empty() {
                live = None;
            }
        }
    }

    #[test]
    fn whoever_forces_has_what_they_asked_for_alone_where_values_differ(
        a in any_spec(), b in any_spec(),
    ) {
        let differing = |mut spec: Value, value: &str| {
            for own in spec["gm"].as_object_mut().expect("a map").values_mut() {
                *own = json!(value);
            }
            spec
        };
        let (a, b) = (differing(a, "x"), differing(b, "y"));
        let live = applied(None, a.clone(), &by("m1", 0), false).expect("first");
        let forced = applied(Some(&live), b.clone(), &by("m2", 1), true).expect("forced");
        let shared: Vec<&String> = b["gm"].as_object().expect("a map").keys().filter(|k| a["gm"].get(*k).is_some()).collect();
        for (name, _, fields) in entries(&forced) {
            for key in &shared {
                let has = fields["f:spec"]["f:gm"].get(format!("f:{key}")).is_some();
                prop_assert_eq!(has, name == "m2", "{} {}", name, key);
            }
        }
        for (key, value) in b["gm"].as_object().expect("a map") {
            prop_assert_eq!(&forced["spec"]["gm"][key], value);
        }
        // Without force there is a conflict exactly where values differ.
        let conflicts = match applied(Some(&live), b.clone(), &by("m2", 1), false) {
            Ok(_) => 0,
            Err(ApplyError::Conflicts { total, .. }) => total,
            Err(other) => unreachable!("{other}"),
        };
        prop_assert_eq!(conflicts, shared.len());
    }
}
