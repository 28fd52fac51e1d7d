//! The decoders, and what must hold for what they accept.

use std::str::from_utf8;
use std::sync::Arc;

use quadrille_object::managed::{FieldManager, FieldSet, Scope};
use quadrille_object::patch::{self, JsonPatch};
use quadrille_object::selector::FieldSelector;
use quadrille_object::{
    Gvr, JsonPath, LabelSelector, Meta, Quantity, Timestamp, apply, decode, protobuf, strategic,
};
use quadrille_registry::{Catalog, Resource};
use quadrille_server::dissect::{ASKED, dissect};
use serde_json::{Map, Value};

use crate::{expressions, words};

/// Whether an input was accepted; the error says which promise was broken.
pub type Outcome = Result<bool, String>;

/// Tries one input, with what it needs at hand.
pub type TryInput = dyn Fn(&[u8]) -> Outcome;

/// The same without anything at hand.
type Try = fn(&[u8]) -> Outcome;

/// A decoder under test.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// The files of the corpus that it reads.
    pub corpus: &'static [&'static str],
    /// Words of the language that it reads, where that has some.
    pub words: &'static [&'static str],
    /// Tries an input.
    pub try_input: Box<TryInput>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Every target.
pub fn all() -> Vec<Target> {
    let deployments = resource("apps", "deployments");
    let live = example();
    let plain: [(&'static str, &'static [&'static str], Try); 9] = [
        ("json", &["json", "merge-patch", "json-patch", "strategic-patch"], json),
        ("yaml", &["yaml", "apply", "json"], yaml),
        ("protobuf", &["protobuf"], protobuf),
        ("label-selector", &["labels"], label_selector),
        ("field-selector", &["fields"], field_selector),
        ("jsonpath", &["jsonpath"], jsonpath),
        ("fields-v1", &["fieldsv1"], fields_v1),
        ("json-patch", &["json-patch"], json_patch),
        ("merge-patch", &["merge-patch"], merge_patch),
    ];
    let mut targets: Vec<Target> = plain
        .into_iter()
        .map(|(name, corpus, try_input)| Target {
            name,
            corpus,
            words: &[],
            try_input: Box::new(try_input),
        })
        .collect();
    let (of, base) = (Arc::clone(&deployments), live.clone());
    targets.push(Target {
        name: "strategic-patch",
        corpus: &["strategic-patch"],
        words: &[],
        try_input: Box::new(move |input| strategic_patch(&of, &base, input)),
    });
    targets.push(Target {
        name: "apply",
        corpus: &["apply", "json", "strategic-patch"],
        words: &[],
        try_input: Box::new(move |input| applied(&deployments, &live, input)),
    });
    let all = Catalog::builtin().map(|catalog| catalog.resources.into_values().collect());
    let kinds: Vec<Arc<Resource>> = all.unwrap_or_default();
    let asked = [resource("", "pods"), resource("apps", "deployments"), resource("", "nodes")];
    targets.push(Target {
        name: "query",
        corpus: &["query"],
        words: words::QUERY,
        try_input: Box::new(move |input| query(&asked, input)),
    });
    let rules = expressions::Rules::new();
    targets.push(Target {
        name: "cel",
        corpus: &["cel"],
        words: words::CEL,
        try_input: Box::new(move |input| rules.try_input(input)),
    });
    targets.push(Target {
        name: "built-in-kinds",
        corpus: &["json"],
        words: &[],
        try_input: Box::new(move |input| built_in(&kinds, input)),
    });
    targets
}

fn resource(group: &str, name: &str) -> Arc<Resource> {
    let catalog = Catalog::builtin().expect("the built-in data is valid");
    Arc::clone(catalog.by_gvr(&Gvr::new(group, "v1", name)).expect("built in"))
}

/// A Deployment to patch.
fn example() -> Map<String, Value> {
    let value = serde_json::json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "labels": {"a": "b"}},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"app": "x"}},
            "template": {"metadata": {"labels": {"app": "x"}}, "spec": {
                "containers": [
                    {"name": "c1", "image": "i", "args": ["x", "y"], "env": [{"name": "A", "value": "1"}],
                     "ports": [{"containerPort": 80, "protocol": "TCP"}]},
                    {"name": "c2", "image": "j"},
                ],
                "volumes": [{"name": "v", "emptyDir": {}}], "nodeSelector": {"n": "m"},
            }},
        },
    });
    value.as_object().cloned().unwrap_or_default()
}

fn promise(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

fn json(input: &[u8]) -> Outcome {
    let Ok(decoded) = decode::json(input) else { return Ok(false) };
    let text = decoded.value.to_string();
    let again = decode::json(text.as_bytes()).map_err(|error| error.0)?;
    promise(again.value == decoded.value, "JSON that was written reads back differently")?;
    promise(
        serde_json::from_str::<Value>(&text).is_ok(),
        "what was decoded is too deep to be read when it is stored",
    )?;
    // A reader of one field must agree with the whole.
    let name = decoded.value.pointer("/metadata/name").and_then(Value::as_str);
    let found = decode::scalar_at(text.as_bytes(), "metadata.name");
    promise(name.is_none() || found.as_deref() == name, "one field reads differently")?;
    drop(decode::object(input, decode::TextEncoding::Json, "Pod"));
    Ok(true)
}

fn yaml(input: &[u8]) -> Outcome {
    drop(decode::yaml_documents(input));
    drop(decode::object(input, decode::TextEncoding::Yaml, "Pod"));
    let Ok(decoded) = decode::yaml(input) else { return Ok(false) };
    let text = decoded.value.to_string();
    promise(decode::json(text.as_bytes()).is_ok(), "YAML became what is no JSON")?;
    Ok(true)
}

fn protobuf(input: &[u8]) -> Outcome {
    drop(protobuf::object(input, "Pod"));
    let Ok(value) = protobuf::decode(input) else { return Ok(false) };
    let Some(object) = value.as_object() else { return Ok(true) };
    let Some(again) = protobuf::encode(object) else { return Ok(true) };
    let read = protobuf::decode(&again).map_err(|error| error.0)?;
    let twice = read.as_object().and_then(protobuf::encode);
    promise(twice.as_ref() == Some(&again), "protobuf that was written is written differently")?;
    Ok(true)
}

fn label_selector(input: &[u8]) -> Outcome {
    let Ok(text) = from_utf8(input) else { return Ok(false) };
    let Ok(selector) = LabelSelector::parse(text) else { return Ok(false) };
    let shown = selector.to_string();
    let again = LabelSelector::parse(&shown).map_err(|error| format!("{shown:?}: {}", error.0))?;
    promise(again.to_string() == shown, "a selector that was written reads back differently")?;
    let meta = Meta::from_object(&example());
    promise(again.matches(&meta) == selector.matches(&meta), "the selector selects differently")?;
    Ok(true)
}

fn field_selector(input: &[u8]) -> Outcome {
    let Ok(text) = from_utf8(input) else { return Ok(false) };
    let Ok(selector) = FieldSelector::parse(text) else { return Ok(false) };
    let bytes = Value::Object(example()).to_string();
    let selects = selector.matches("d", "default", bytes.as_bytes());
    promise(selects || !selector.is_everything(), "everything does not select an object")?;
    Ok(true)
}

fn jsonpath(input: &[u8]) -> Outcome {
    let Ok(text) = from_utf8(input) else { return Ok(false) };
    if let (Ok(quantity), Some(_)) = (Quantity::parse(text), Timestamp::parse_rfc3339(text)) {
        return Err(format!("{quantity} is a time"));
    }
    let Ok(path) = JsonPath::parse(text) else { return Ok(false) };
    let root = Value::Object(example());
    let found = path.find(&root);
    promise(found.first().copied() == path.first(&root), "the first is not the first")?;
    Ok(true)
}

fn fields_v1(input: &[u8]) -> Outcome {
    let Ok(Value::Object(fields)) = decode::json(input).map(|decoded| decoded.value) else {
        return Ok(false);
    };
    let Ok(set) = FieldSet::parse(&fields) else { return Ok(false) };
    let written = set.to_fields();
    let again = FieldSet::parse(&written).map_err(|error| error.to_string())?;
    promise(again == set, "a set that was written reads back differently")?;
    promise(set.difference(&set).is_empty(), "a set without itself is not empty")?;
    promise(set.intersection(&set) == set, "a set is not what it shares with itself")?;
    promise(set.clone().union(set.clone()) == set, "a set with itself is another")?;
    drop(set.paths());
    Ok(true)
}

fn json_patch(input: &[u8]) -> Outcome {
    let Ok(patch) = JsonPatch::decode(input) else { return Ok(false) };
    let mut target = Value::Object(example());
    if patch.apply(&mut target).is_err() {
        return Ok(false);
    }
    storable(&target)
}

fn merge_patch(input: &[u8]) -> Outcome {
    let Ok(decoded) = patch::decode_merge(input) else { return Ok(false) };
    let mut target = Value::Object(example());
    patch::merge(&mut target, &decoded.value);
    let once = target.clone();
    patch::merge(&mut target, &decoded.value);
    promise(once == target, "merging twice is not merging once")?;
    storable(&target)
}

fn storable(value: &Value) -> Outcome {
    let text = value.to_string();
    promise(serde_json::from_str::<Value>(&text).is_ok(), "the result is too deep to be stored")?;
    Ok(true)
}

fn strategic_patch(of: &Resource, live: &Map<String, Value>, input: &[u8]) -> Outcome {
    let Ok(Value::Object(patch)) = decode::json(input).map(|decoded| decoded.value) else {
        return Ok(false);
    };
    let Ok(patched) = strategic::patch(&of.schema, live.clone(), &patch) else { return Ok(false) };
    storable(&Value::Object(patched))
}

fn manager(name: &str) -> FieldManager<'_> {
    FieldManager {
        name,
        api_version: "apps/v1",
        api_versions: &["apps/v1"],
        subresource: "",
        scope: Scope::Except(&["status"]),
        time: Timestamp::from_seconds(1),
    }
}

fn applied(of: &Resource, live: &Map<String, Value>, input: &[u8]) -> Outcome {
    let Ok(Value::Object(config)) = decode::yaml(input).map(|decoded| decoded.value) else {
        return Ok(false);
    };
    let (first, second) = (manager("a"), manager("b"));
    let schema = &of.schema;
    let Ok(once) = apply::apply(schema, Some(live), &config, &first, true) else {
        return Ok(false);
    };
    let twice = apply::apply(schema, Some(&once), &config, &first, false);
    promise(twice.as_ref() == Ok(&once), "applying twice is not applying once")?;
    let shared = apply::apply(schema, Some(&once), &config, &second, false);
    promise(shared.is_ok(), "another manager of the same wish is in conflict")?;
    storable(&Value::Object(once))
}

/// A path with a query, as every verb takes it. Where the input has a line break, what follows is the `Accept` header.
fn query(resources: &[Arc<Resource>], input: &[u8]) -> Outcome {
    let Ok(text) = from_utf8(input) else { return Ok(false) };
    let (uri, accept) = match text.split_once('\n') {
        Some((uri, accept)) => (uri, Some(accept)),
        None => (text, None),
    };
    let mut accepted = false;
    for resource in resources {
        for asked in ASKED {
            match dissect(resource, asked, uri, accept) {
                Ok(()) => accepted = true,
                Err(status) => {
                    let refused = (400..500).contains(&status.code);
                    promise(refused, "a query is refused as a fault of the server")?;
                    promise(!status.message.is_empty(), "a refusal without a word")?;
                }
            }
        }
    }
    Ok(accepted)
}

/// Everything that a body goes through before rules look at it.
fn built_in(kinds: &[Arc<Resource>], input: &[u8]) -> Outcome {
    let Ok(Value::Object(object)) = decode::json(input).map(|decoded| decoded.value) else {
        return Ok(false);
    };
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    let mut accepted = false;
    for resource in kinds.iter().filter(|resource| *resource.kind.kind == *kind) {
        let mut object = object.clone();
        if resource.schema.check_types(&object).is_err() {
            continue;
        }
        resource.schema.prune(&mut object);
        resource.schema.canonicalize(&mut object);
        let once = object.clone();
        promise(resource.schema.prune(&mut object).is_empty(), "pruning leaves unknown fields")?;
        resource.schema.canonicalize(&mut object);
        promise(once == object, "the canonical form is not canonical")?;
        promise(
            resource.schema.check_types(&object).is_ok(),
            "the canonical form has other types",
        )?;
        let body = protobuf::encode(&object);
        promise(
            body.is_none_or(|body| protobuf::decode(&body).is_ok()),
            "an object that passes its schema cannot be read from protobuf",
        )?;
        accepted = true;
    }
    Ok(accepted)
}
