//! A plan beside what then happens: the same writes, and nothing of the plan in the live store.

use std::collections::{BTreeMap, BTreeSet};

use quadrille_tests::{Client, TestHost, eventually, guest};
use serde_json::{Value, json};

const HOST: &str = env!("CARGO_BIN_EXE_quadrille");
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/shop/deployments";

/// A host with controllers, and a namespace with a Deployment of three Pods.
fn shop() -> (TestHost, Client) {
    let host = TestHost::start(HOST).expect("the host starts");
    let client = host.client().expect("a client");
    for plugin in ["deployment", "replicaset"] {
        client.load(plugin, &guest(plugin)).expect("the plugin loads");
    }
    let namespace = json!({"metadata": {"name": "shop"}});
    assert_eq!(client.post("/api/v1/namespaces", &namespace).expect("answered").code, 201);
    for name in ["web", "other"] {
        assert_eq!(client.post(DEPLOYMENTS, &deployment(name, "nginx:1")).expect("ok").code, 201);
    }
    client.settled().expect("it settles");
    (host, client)
}

fn deployment(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "web", "image": image}]},
        }},
    })
}

/// Everything in the namespace by kind and name, with the namespace itself, and without what differs between two objects
/// that are made alike: the text of a Pod is what it was made from.
fn everything(client: &Client) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let places = [
        ("pods", "/api/v1/namespaces/shop/pods"),
        ("events", "/api/v1/namespaces/shop/events"),
        ("serviceaccounts", "/api/v1/namespaces/shop/serviceaccounts"),
        ("configmaps", "/api/v1/namespaces/shop/configmaps"),
        ("deployments.apps", DEPLOYMENTS),
        ("replicasets.apps", "/apis/apps/v1/namespaces/shop/replicasets"),
    ];
    for (resource, path) in places {
        for item in client.items(path).expect("listed") {
            let name = item["metadata"]["name"].as_str().expect("a name");
            all.insert(format!("{resource}/shop/{name}"), item.clone());
        }
    }
    if client.get("/api/v1/namespaces/shop").expect("answered").code == 200 {
        all.insert("namespaces/shop".to_owned(), Value::Null);
    }
    all
}

fn revision(client: &Client) -> String {
    let list = client.get("/api/v1/namespaces").expect("listed").body;
    list["metadata"]["resourceVersion"].as_str().expect("a revision").to_owned()
}

/// The size of the store's files.
fn store_bytes(host: &TestHost) -> u64 {
    let files = std::fs::read_dir(host.dir().join("store")).expect("the store's directory");
    files.flatten().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum()
}

fn plan(host: &TestHost, args: &[&str]) -> Value {
    let all = [&["plan"], args, &["-o", "json", "-n", "shop"]].concat();
    let answer: Value = serde_json::from_str(&host.cli(&all).expect("a plan")).expect("JSON");
    assert_ne!(answer["steps"].as_array().map(Vec::len), Some(0), "{answer}");
    answer
}

fn planned(answer: &Value, change: &str) -> BTreeSet<String> {
    let objects = answer["objects"].as_array().expect("objects").iter();
    let of = objects.filter(|object| object["change"] == change);
    of.map(|object| object["object"].as_str().expect("a key").to_owned()).collect()
}

#[test]
fn a_planned_delete_names_exactly_what_the_delete_then_removes() {
    let (host, client) = shop();
    let before = everything(&client);
    // The host itself writes how its plugins are, now and then; a plan adds nothing to that.
    let (answer, of_namespace) = eventually("plans without a write between them", || {
        let at = (revision(&client), store_bytes(&host));
        let plans = (
            plan(&host, &["delete", "deployment/web"]),
            plan(&host, &["delete", "namespace/shop"]),
        );
        let now = (revision(&client), store_bytes(&host));
        anyhow::ensure!(at == now, "the store has moved from {at:?} to {now:?}");
        Ok(plans)
    });
    assert_eq!(everything(&client), before);
    assert_eq!(answer["ended"], "virtualTime", "the other Deployment has a deadline: {answer}");

    client.delete(&format!("{DEPLOYMENTS}/web")).expect("deleted");
    client.settled().expect("it settles");
    let after = everything(&client);
    let removed: BTreeSet<String> =
        before.keys().filter(|key| !after.contains_key(*key)).cloned().collect();
    assert_eq!(planned(&answer, "deleted"), removed);
    assert_eq!(removed.len(), 5, "a Deployment, a ReplicaSet and three Pods");
    let others: BTreeSet<String> = planned(&answer, "updated");
    assert!(others.is_empty(), "{others:?}");

    // Planned before the Deployment went: all of it, and what the namespace itself has.
    client.delete("/api/v1/namespaces/shop").expect("deleted");
    client.settled().expect("it settles");
    assert_eq!(everything(&client).len(), 0);
    let all: BTreeSet<String> = before.into_keys().collect();
    assert_eq!(planned(&of_namespace, "deleted"), all);
    // A batch that deletes thousands would else name each of them with each of them.
    let steps = of_namespace["steps"].as_array().expect("steps");
    let names_all =
        |step: &Value| step["cause"]["because"].as_array().is_some_and(|b| !b.is_empty());
    assert!(!steps.iter().any(names_all), "{steps:#?}");
    assert!(steps[1..].iter().all(|step| step["because"] != json!([])), "{steps:#?}");
}

/// An object without names, moments and uids that chance or the clock chose.
fn without_chance(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let fields = map.iter().filter(|(key, _)| {
                !matches!(key.as_str(), "uid" | "resourceVersion" | "managedFields" | "name")
            });
            fields.map(|(key, value)| (key.clone(), without_chance(value))).collect()
        }
        Value::Array(items) => items.iter().map(without_chance).collect(),
        Value::String(text) if text.len() >= 20 && text.ends_with('Z') => "some time".into(),
        plain @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            plain.clone()
        }
    }
}

#[test]
fn a_planned_change_of_an_image_is_what_then_happens() {
    let (host, client) = shop();
    let before = everything(&client);
    let file = host.dir().join("web.json");
    std::fs::write(&file, deployment("web", "nginx:2").to_string()).expect("written");
    let file = file.to_string_lossy().into_owned();
    let answer = plan(&host, &["--force", "-f", &file]);
    assert_eq!(everything(&client), before);

    host.cli(&["apply", "--force", "-f", &file]).expect("applied");
    client.settled().expect("it settles");
    let after = everything(&client);
    let created: Vec<&String> = after.keys().filter(|key| !before.contains_key(*key)).collect();
    let kinds = |keys: &[&String]| {
        let mut kinds: Vec<String> =
            keys.iter().map(|key| key.split('/').next().unwrap_or_default().to_owned()).collect();
        kinds.sort();
        kinds
    };
    let planned_keys = planned(&answer, "created");
    assert_eq!(kinds(&planned_keys.iter().collect::<Vec<_>>()), kinds(&created));
    let sets = |keys: &BTreeSet<String>| -> BTreeSet<String> {
        keys.iter().filter(|key| key.starts_with("replicasets")).cloned().collect()
    };
    assert_eq!(sets(&planned_keys), sets(&created.into_iter().cloned().collect()));
    let changed: BTreeSet<String> = after
        .iter()
        .filter(|(key, value)| {
            before.get(*key).is_some_and(|old| without_chance(old) != without_chance(value))
        })
        .map(|(key, _)| key.clone())
        .collect();
    assert_eq!(planned(&answer, "updated"), changed);
    let objects = answer["objects"].as_array().expect("objects");
    let web = objects.iter().find(|o| o["object"] == "deployments.apps/shop/web");
    let diff = web.expect("it is planned")["diff"].as_str().expect("a diff");
    for line in ["-      - image: \"nginx:1\"", "+      - image: \"nginx:2\""] {
        assert!(diff.contains(line), "{line} is missing in\n{diff}");
    }
    // Each write of the plan leads to the change, and each but the first follows from another.
    let steps = answer["steps"].as_array().expect("steps");
    assert_eq!(steps[0]["object"], "deployments.apps/shop/web");
    assert!(steps[1..].iter().all(|step| step["because"] != json!([])), "{steps:?}");
}

#[test]
fn a_plan_of_new_code_runs_it_and_leaves_the_old_code_running() {
    let (host, client) = shop();
    let component = std::fs::read(guest("replicaset")).expect("readable");
    let file = host.dir().join("replicaset.wasm");
    std::fs::write(&file, quadrille_tests::relabelled(&component, "next")).expect("written");
    let digest = |client: &Client| {
        let plugin = client.get("/apis/quadrille.dev/v1/plugins/replicaset").expect("read").body;
        plugin["status"]["digest"].as_str().expect("a digest").to_owned()
    };
    let before = (digest(&client), everything(&client));
    let answer = plan(&host, &["load", &file.to_string_lossy()]);
    assert_eq!(answer["steps"][0]["object"], "plugins.quadrille.dev/replicaset");
    let updated = planned(&answer, "updated");
    assert_eq!(updated.len(), 1, "the same code writes nothing but the plugin: {updated:?}");
    assert!(answer["runs"].as_u64().is_some_and(|runs| runs >= 2), "{answer}");
    assert_eq!((digest(&client), everything(&client)), before);
}

#[test]
fn a_refused_change_is_no_plan_and_a_bound_is_told() {
    let (host, _client) = shop();
    let refused = host.cli(&["plan", "delete", "namespace/default"]).expect_err("it is refused");
    assert!(refused.to_string().contains("may not be deleted"), "{refused}");
    let cut = host.cli(&["plan", "delete", "namespace/shop", "--wall", "0s"]);
    let cut = cut.expect_err("it ends with 2").to_string();
    assert!(cut.contains("the bound of real time is met"), "{cut}");
}
