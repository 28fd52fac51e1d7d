//! What the macros make of a struct: JSON both ways, and a `CustomResourceDefinition`.

use quadrille_sdk::prelude::*;
use serde_json::json;

/// A thing
/// for tests.
///
/// With a second paragraph.
#[resource(
    group = "test.dev", version = "v1beta1", plural = "thingies", status = ThingStatus,
    short("th", "ths"), categories("all"), cluster,
    column("Size" = ".spec.size", "Since" = ".status.since", "Mode" = ".spec.mode")
)]
pub struct ThingSpec {
    /// How large.
    #[field(min = 1, max = 9, default = 3)]
    pub size: i64,
    /// How it works.
    pub mode: Mode,
    /// A name that may change no more.
    #[field(pattern = "^[a-z]+$", immutable)]
    pub short_name: String,
    /// Absent as a rule.
    pub note: Option<String>,
    /// Any number.
    #[field(max_items = 5)]
    pub tags: Vec<String>,
}

/// How a thing works.
#[schema]
pub enum Mode {
    /// At once.
    Fast,
    /// Later.
    Slow,
}

/// What is observed of a thing.
#[schema]
#[derive(Default)]
pub struct ThingStatus {
    /// Since when.
    pub since: Option<quadrille_sdk::Time>,
    /// Observations.
    pub conditions: Conditions,
}

#[test]
fn the_definition_says_what_the_struct_says() {
    let crd = Thing::definition().expect("a kind of our own");
    assert_eq!(crd["metadata"]["name"], "thingies.test.dev");
    assert_eq!(crd["spec"]["scope"], "Cluster");
    assert_eq!(crd["spec"]["names"]["shortNames"], json!(["th", "ths"]));
    let version = &crd["spec"]["versions"][0];
    assert_eq!(version["subresources"], json!({"status": {}}));
    let schema = &version["schema"]["openAPIV3Schema"];
    assert_eq!(schema["description"], "A thing for tests.\n\nWith a second paragraph.");
    let spec = &schema["properties"]["spec"];
    assert_eq!(spec["required"], json!(["mode", "shortName"]));
    let size = json!({
        "type": "integer", "format": "int64", "minimum": 1, "maximum": 9, "default": 3,
        "description": "How large.",
    });
    assert_eq!(spec["properties"]["size"], size);
    assert_eq!(spec["properties"]["mode"]["enum"], json!(["Fast", "Slow"]));
    assert_eq!(spec["properties"]["shortName"]["pattern"], "^[a-z]+$");
    assert_eq!(
        spec["properties"]["shortName"]["x-kubernetes-validations"][0]["rule"],
        "self == oldSelf"
    );
    assert_eq!(spec["properties"]["tags"]["maxItems"], 5);
    assert!(schema["properties"]["status"]["properties"]["observedGeneration"].is_object());
}

#[test]
fn columns_have_the_types_of_their_fields() {
    let crd = Thing::definition().expect("a kind of our own");
    let columns = crd["spec"]["versions"][0]["additionalPrinterColumns"].clone();
    let columns: Vec<(String, String)> = columns
        .as_array()
        .expect("columns")
        .iter()
        .map(|c| (c["name"].as_str().unwrap().to_owned(), c["type"].as_str().unwrap().to_owned()))
        .collect();
    let expected = [("Size", "integer"), ("Since", "date"), ("Mode", "string"), ("Age", "date")];
    assert_eq!(columns, expected.map(|(name, r#type)| (name.to_owned(), r#type.to_owned())));
}

#[test]
fn objects_survive_the_round_trip_and_defaults_apply() {
    let text = r#"{"apiVersion":"test.dev/v1beta1","kind":"Thing","metadata":{"name":"a","labels":null},
        "spec":{"mode":"Slow","shortName":"x","unknown":1}}"#;
    let thing = Thing::from_json(text).expect("a thing");
    assert_eq!((thing.spec.size, thing.spec.mode), (3, Mode::Slow));
    let back: serde_json::Value =
        serde_json::from_str(&thing.to_json().expect("JSON")).expect("JSON");
    let expected = json!({
        "apiVersion": "test.dev/v1beta1", "kind": "Thing", "metadata": {"name": "a"},
        "spec": {"size": 3, "mode": "Slow", "shortName": "x"},
    });
    assert_eq!(back, expected);
}

#[test]
fn conditions_keep_their_time_while_truth_stands() {
    let mut status = ThingStatus::default();
    status.conditions.set("Ready", true, "Up", "all is well");
    let at = quadrille_sdk::Time::from_seconds(5);
    status.conditions.0[0].last_transition_time = Some(at);
    status.conditions.set("Ready", true, "StillUp", "all is well");
    assert_eq!(status.conditions.0[0].last_transition_time, Some(at));
    status.conditions.set("Ready", false, "Down", "all is lost");
    assert_eq!(status.conditions.0[0].last_transition_time, None);
}
