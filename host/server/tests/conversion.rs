//! Claims about custom resources whose versions a webhook converts, each with a real HTTPS server on loopback.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use support::hook::{Hook, Reply};
use support::{Client, Host, body_value};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const V1: &str = "/apis/example.com/v1/namespaces/default/widgets";
const V2: &str = "/apis/example.com/v2/namespaces/default/widgets";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const MERGE: [(&str, &str); 1] = [("content-type", "application/merge-patch+json")];

/// What is wrong with the webhook.
const FINE: u8 = 0;
const REFUSES: u8 = 1;
const RENAMES: u8 = 2;
const LOSES: u8 = 3;

struct World {
    host: Host,
    client: Client,
    hook: Hook,
    mood: Arc<AtomicU8>,
}

/// v1 says `spec.size: "3cm"`, v2 says `spec.length: 3`.
fn convert(mut object: Value, to: &str, mood: u8) -> Value {
    let spec = object["spec"].as_object_mut().expect("a spec");
    if to == "example.com/v2" {
        let size = spec.remove("size").unwrap_or_default();
        let length = size.as_str().and_then(|text| text.trim_end_matches("cm").parse().ok());
        spec.insert("length".to_owned(), Value::from(length.unwrap_or(0_i64)));
    } else {
        let length = spec.remove("length").and_then(|length| length.as_i64()).unwrap_or(0);
        spec.insert("size".to_owned(), format!("{length}cm").into());
    }
    object["apiVersion"] = to.into();
    object["metadata"]["labels"]["converted"] = "yes".into();
    object["metadata"]["finalizers"] = json!(["not/kept"]);
    if mood == RENAMES {
        object["metadata"]["name"] = "other".into();
    }
    object
}

fn answer(review: &Value, mood: u8) -> Reply {
    if review["kind"] == "AdmissionReview" {
        let uid = review["request"]["uid"].clone();
        return Reply::Json(json!({
            "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
            "response": {"uid": uid, "allowed": true},
        }));
    }
    let request = &review["request"];
    let to = request["desiredAPIVersion"].as_str().expect("a version");
    let objects = request["objects"].as_array().cloned().unwrap_or_default();
    let mut converted: Vec<Value> =
        objects.into_iter().map(|object| convert(object, to, mood)).collect();
    if mood == LOSES {
        converted.pop();
    }
    let result = match mood {
        REFUSES => json!({"status": "Failed", "message": "cannot say it in that version"}),
        _ => json!({"status": "Success"}),
    };
    let response = json!({"uid": request["uid"], "convertedObjects": converted, "result": result});
    Reply::Json(json!({
        "kind": "ConversionReview", "apiVersion": review["apiVersion"], "response": response,
    }))
}

fn version(name: &str, storage: bool, spec: &Value) -> Value {
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    json!({
        "name": name, "served": true, "storage": storage,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    })
}

fn versions(stored: &str) -> Value {
    let v1 = json!({"type": "object", "properties": {"size": {"type": "string"}}});
    let v2 = json!({"type": "object", "properties": {
        "length": {"type": "integer", "maximum": 10}, "unit": {"type": "string", "default": "cm"},
    }});
    json!([version("v1", stored == "v1", &v1), version("v2", stored == "v2", &v2)])
}

impl World {
    async fn start() -> Self {
        let host = Host::start().await;
        let client = host.client().await;
        let mood = Arc::new(AtomicU8::new(FINE));
        let seen = Arc::clone(&mood);
        let hook = Hook::start(
            &host,
            Arc::new(move |_path: &str, review: &Value| {
                answer(review, seen.load(Ordering::SeqCst))
            }),
        )
        .await;
        let names = json!({"plural": "widgets", "singular": "widget", "kind": "Widget"});
        let webhook = json!({
            "conversionReviewVersions": ["v7", "v1"],
            "clientConfig": {
                "url": format!("https://127.0.0.1:{}/convert", hook.port), "caBundle": hook.ca_bundle,
            },
        });
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced", "names": names,
                "versions": versions("v1"),
                "conversion": {"strategy": "Webhook", "webhook": webhook},
            },
        });
        let world = Self { host, client, hook, mood };
        let namespace = json!({"metadata": {"name": "default"}});
        let (code, _) = world.send(Method::POST, "/api/v1/namespaces", &namespace).await;
        assert_eq!(code, StatusCode::CREATED);
        let (code, answer) = world.send(Method::POST, DEFINITIONS, &definition).await;
        assert_eq!(code, StatusCode::CREATED, "{answer}");
        world
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        self.send_as(method, path, body, &JSON).await
    }

    async fn send_as(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> (StatusCode, Value) {
        let answer = self.client.send(method, path, headers, body.to_string()).await;
        (answer.status(), body_value(answer).await)
    }

    async fn create(&self, path: &str, name: &str, spec: &Value) -> (StatusCode, Value) {
        let version = if path == V1 { "v1" } else { "v2" };
        let widget = json!({
            "apiVersion": format!("example.com/{version}"), "kind": "Widget",
            "metadata": {"name": name}, "spec": spec,
        });
        self.send(Method::POST, path, &widget).await
    }

    fn asked(&self) -> usize {
        self.hook.asked().len()
    }

    fn is(&self, mood: u8) {
        self.mood.store(mood, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn what_is_stored_in_one_version_is_read_and_written_in_another() {
    let world = World::start().await;
    let (code, made) = world.create(V1, "a", &json!({"size": "3cm"})).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    assert_eq!(world.asked(), 0, "the request spoke the stored version");
    let (code, shown) = world.client.get(&format!("{V2}/a")).await;
    assert_eq!(code, StatusCode::OK, "{shown}");
    assert_eq!(shown["apiVersion"], "example.com/v2");
    assert_eq!(shown["spec"], json!({"length": 3, "unit": "cm"}), "defaults of v2 among it");
    assert_eq!(shown["metadata"]["labels"], json!({"converted": "yes"}));
    assert_eq!(shown["metadata"]["finalizers"], Value::Null);
    assert_eq!(shown["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let mut wanted = shown.clone();
    wanted["spec"]["length"] = 5.into();
    let (code, updated) = world.send(Method::PUT, &format!("{V2}/a"), &wanted).await;
    assert_eq!(code, StatusCode::OK, "{updated}");
    assert_eq!(updated["spec"]["length"], 5);
    assert_eq!(updated["metadata"]["generation"], 2);
    let (_, stored) = world.client.get(&format!("{V1}/a")).await;
    assert_eq!(stored["spec"], json!({"size": "5cm"}));
    assert_eq!(stored["metadata"]["resourceVersion"], updated["metadata"]["resourceVersion"]);
    let patch = json!({"spec": {"length": 7}});
    let (code, patched) = world.send_as(Method::PATCH, &format!("{V2}/a"), &patch, &MERGE).await;
    assert_eq!((code, &patched["spec"]["length"]), (StatusCode::OK, &json!(7)), "{patched}");
    let revision = patched["metadata"]["resourceVersion"].clone();
    let (_, same) = world.send_as(Method::PATCH, &format!("{V2}/a"), &patch, &MERGE).await;
    assert_eq!(same["metadata"]["resourceVersion"], revision, "nothing has changed");
    let too_long = json!({"spec": {"length": 11}});
    let (code, refused) = world.send_as(Method::PATCH, &format!("{V2}/a"), &too_long, &MERGE).await;
    assert_eq!(code, StatusCode::UNPROCESSABLE_ENTITY, "v2 has its own schema: {refused}");
    let (code, gone) = world.send(Method::DELETE, &format!("{V2}/a"), &json!({})).await;
    assert_eq!(code, StatusCode::OK, "{gone}");
}

#[tokio::test]
async fn a_list_is_one_review_and_nothing_is_asked_twice() {
    let world = World::start().await;
    for name in ["a", "b", "c"] {
        assert_eq!(world.create(V1, name, &json!({"size": "3cm"})).await.0, StatusCode::CREATED);
    }
    let (code, list) = world.client.get(V2).await;
    assert_eq!(code, StatusCode::OK, "{list}");
    let lengths: Vec<&Value> =
        list["items"].as_array().expect("items").iter().map(|o| &o["spec"]["length"]).collect();
    assert_eq!(lengths, [3, 3, 3]);
    let asked = world.hook.asked();
    assert_eq!(asked.len(), 1, "one review for the list");
    assert_eq!(asked[0]["request"]["objects"].as_array().map(Vec::len), Some(3));
    assert_eq!(asked[0]["request"]["desiredAPIVersion"], "example.com/v2");
    assert_eq!(asked[0]["apiVersion"], "apiextensions.k8s.io/v1");
    for path in [V2.to_owned(), format!("{V2}/a"), format!("{V2}?limit=2")] {
        assert_eq!(world.client.get(&path).await.0, StatusCode::OK);
    }
    assert_eq!(world.asked(), 1, "what was converted is kept");
    world.create(V1, "d", &json!({"size": "4cm"})).await;
    world.client.get(V2).await;
    assert_eq!(world.hook.asked()[1]["request"]["objects"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_watch_shows_present_and_changed_objects_in_its_version() {
    let world = World::start().await;
    world.create(V1, "a", &json!({"size": "3cm"})).await;
    let mut watch = world.client.watch(&format!("{V2}?watch=1")).await;
    let event = watch.next().await.expect("an event");
    assert_eq!((&event["type"], &event["object"]["spec"]["length"]), (&json!("ADDED"), &json!(3)));
    world.create(V2, "b", &json!({"length": 4})).await;
    let event = watch.next().await.expect("an event");
    assert_eq!((&event["type"], &event["object"]["spec"]["length"]), (&json!("ADDED"), &json!(4)));
    assert_eq!(event["object"]["apiVersion"], "example.com/v2");
    world.send(Method::DELETE, &format!("{V1}/a"), &json!({})).await;
    let event = watch.next().await.expect("an event");
    assert_eq!(
        (&event["type"], &event["object"]["spec"]["length"]),
        (&json!("DELETED"), &json!(3))
    );
}

#[tokio::test]
async fn a_webhook_that_fails_fails_the_request_and_loses_nothing() {
    let world = World::start().await;
    assert_eq!(world.create(V1, "a", &json!({"size": "3cm"})).await.0, StatusCode::CREATED);
    let begin = "conversion webhook for example.com/v1, Kind=Widget";
    for (mood, why) in [
        (REFUSES, "failed: cannot say it in that version"),
        (LOSES, "returned 0 objects, expected 1"),
        (
            RENAMES,
            "returned invalid converted object at index 0: must have the same name: a != other",
        ),
    ] {
        world.is(mood);
        for path in [V2.to_owned(), format!("{V2}/a")] {
            let (code, status) = world.client.get(&path).await;
            assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR, "{status}");
            assert_eq!(status["message"], format!("{begin} {why}"));
        }
    }
    world.is(REFUSES);
    let (code, status) = world.create(V2, "b", &json!({"length": 4})).await;
    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
    let why =
        "conversion webhook for example.com/v2, Kind=Widget failed: cannot say it in that version";
    assert_eq!(status["message"], why);
    assert_eq!(world.client.get(&format!("{V1}/b")).await.0, StatusCode::NOT_FOUND);
    world.is(FINE);
    assert_eq!(world.client.get(&format!("{V2}/a")).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_new_storage_version_shows_old_objects_and_takes_them_over_when_they_are_written() {
    let world = World::start().await;
    let (_, made) = world.create(V1, "a", &json!({"size": "3cm"})).await;
    let patch = json!({"spec": {"versions": versions("v2")}});
    let definition = format!("{DEFINITIONS}/widgets.example.com");
    let (code, answer) = world.send_as(Method::PATCH, &definition, &patch, &MERGE).await;
    assert_eq!(code, StatusCode::OK, "{answer}");
    assert_eq!(answer["status"]["storedVersions"], json!(["v1", "v2"]));
    for (path, spec) in [(V1, json!({"size": "3cm"})), (V2, json!({"length": 3, "unit": "cm"}))] {
        let (code, shown) = world.client.get(&format!("{path}/a")).await;
        assert_eq!((code, &shown["spec"]), (StatusCode::OK, &spec), "{shown}");
    }
    let (_, shown) = world.client.get(&format!("{V2}/a")).await;
    let (code, stored) = world.send(Method::PUT, &format!("{V2}/a"), &shown).await;
    assert_eq!(code, StatusCode::OK, "{stored}");
    let revision = |object: &Value| object["metadata"]["resourceVersion"].clone();
    assert_ne!(revision(&stored), revision(&made), "it is stored anew, in the new version");
    let status = json!({"status": {"storedVersions": ["v2"]}});
    let (code, answer) =
        world.send_as(Method::PATCH, &format!("{definition}/status"), &status, &MERGE).await;
    assert_eq!(code, StatusCode::OK, "{answer}");
    let before = world.asked();
    let (_, shown) = world.client.get(&format!("{V2}/a")).await;
    assert_eq!(shown["spec"]["length"], 3);
    assert_eq!(world.asked(), before, "everything is stored in v2");
}

/// The name, version and spec of an event's object, with the event's type.
fn told(event: Option<&Value>) -> Value {
    let Some(event) = event else { return "END".into() };
    let object = &event["object"];
    json!([event["type"], object["metadata"]["name"], object["apiVersion"], object["spec"]])
}

#[tokio::test]
async fn a_watch_ends_when_its_objects_are_shown_otherwise_and_goes_on_from_there() {
    let world = World::start().await;
    let mut watch = world.client.watch(&format!("{V1}?watch=1")).await;
    world.create(V1, "a", &json!({"size": "3cm"})).await;
    let added = watch.next().await.expect("an event");
    assert_eq!(told(Some(&added)), json!(["ADDED", "a", "example.com/v1", {"size": "3cm"}]));
    let definition = format!("{DEFINITIONS}/widgets.example.com");
    let change = json!({"spec": {"versions": versions("v2")}});
    let (code, answer) = world.send_as(Method::PATCH, &definition, &change, &MERGE).await;
    assert_eq!(code, StatusCode::OK, "{answer}");
    assert_eq!(world.create(V2, "b", &json!({"length": 4})).await.0, StatusCode::CREATED);
    assert_eq!(told(watch.next().await.as_ref()), "END", "what follows is stored in v2");
    let seen = added["object"]["metadata"]["resourceVersion"].as_str().expect("a revision");
    let mut watch = world.client.watch(&format!("{V1}?watch=1&resourceVersion={seen}")).await;
    let added = watch.next().await;
    assert_eq!(told(added.as_ref()), json!(["ADDED", "b", "example.com/v1", {"size": "4cm"}]));
}

#[tokio::test]
async fn a_watch_outlives_what_changes_nothing_of_its_objects() {
    let world = World::start().await;
    let definition = format!("{DEFINITIONS}/widgets.example.com");
    let mut stored = world.client.watch(&format!("{V1}?watch=1")).await;
    let mut converted = world.client.watch(&format!("{V2}?watch=1")).await;
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    let status = json!({"status": {"storedVersions": ["v1"]}});
    for (path, patch) in [(definition.clone(), labels), (format!("{definition}/status"), status)] {
        let (code, answer) = world.send_as(Method::PATCH, &path, &patch, &MERGE).await;
        assert_eq!(code, StatusCode::OK, "{answer}");
    }
    world.create(V1, "a", &json!({"size": "3cm"})).await;
    let in_v1 = |name: &str| json!(["ADDED", name, "example.com/v1", {"size": "3cm"}]);
    assert_eq!(told(stored.next().await.as_ref()), in_v1("a"));
    let in_v2 = json!(["ADDED", "a", "example.com/v2", {"length": 3, "unit": "cm"}]);
    assert_eq!(told(converted.next().await.as_ref()), in_v2);
    let names = json!({"spec": {"names": {"shortNames": ["wd"]}}});
    let (code, answer) = world.send_as(Method::PATCH, &definition, &names, &MERGE).await;
    assert_eq!(code, StatusCode::OK, "{answer}");
    assert_eq!(told(converted.next().await.as_ref()), "END", "another spec may convert otherwise");
    world.create(V1, "b", &json!({"size": "3cm"})).await;
    assert_eq!(told(stored.next().await.as_ref()), in_v1("b"));
}

#[tokio::test]
async fn a_watch_ends_with_its_version_and_with_its_kind() {
    let world = World::start().await;
    let definition = format!("{DEFINITIONS}/widgets.example.com");
    let mut of_v1 = world.client.watch(&format!("{V1}?watch=1")).await;
    let mut of_v2 = world.client.watch(&format!("{V2}?watch=1")).await;
    let mut unserved = versions("v1");
    unserved[1]["served"] = false.into();
    let change = json!({"spec": {"versions": unserved}});
    let (code, answer) = world.send_as(Method::PATCH, &definition, &change, &MERGE).await;
    assert_eq!(code, StatusCode::OK, "{answer}");
    assert_eq!(told(of_v2.next().await.as_ref()), "END", "though nothing was written");
    world.create(V1, "a", &json!({"size": "3cm"})).await;
    assert_eq!(told(of_v1.next().await.as_ref())[1], "a");
    let (code, answer) = world.send(Method::DELETE, &definition, &json!({})).await;
    assert_eq!(code, StatusCode::OK, "{answer}");
    assert_eq!(told(of_v1.next().await.as_ref())[0], "DELETED");
    let end = of_v1.next().await.expect("an event");
    assert_eq!((&end["type"], &end["object"]["code"]), (&json!("ERROR"), &json!(410)), "{end}");
    assert_eq!(told(of_v1.next().await.as_ref()), "END");
}

#[tokio::test]
async fn admission_webhooks_see_the_version_that_they_ask_for() {
    let world = World::start().await;
    let configuration = json!({"metadata": {"name": "v"}, "webhooks": [{
        "name": "v.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {
            "url": format!("https://127.0.0.1:{}/admit", world.hook.port),
            "caBundle": world.hook.ca_bundle,
        },
        "rules": [{
            "apiGroups": ["example.com"], "apiVersions": ["v2"], "resources": ["widgets"],
            "operations": ["CREATE"],
        }],
    }]});
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    assert_eq!(world.send(Method::POST, path, &configuration).await.0, StatusCode::CREATED);
    let (code, made) = world.create(V1, "a", &json!({"size": "3cm"})).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    let admission = world.hook.asked().into_iter().find(|r| r["kind"] == "AdmissionReview");
    let object = admission.expect("it was asked")["request"]["object"].clone();
    assert_eq!(object["apiVersion"], "example.com/v2");
    assert_eq!(object["spec"]["length"], 3);
    drop(world.host);
}
