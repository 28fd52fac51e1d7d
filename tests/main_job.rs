//! The main job, seen from outside: load controllers into a running host, and watch what follows.

#![expect(
    clippy::disallowed_methods,
    reason = "a test of a whole process has no supervisor and waits in real time"
)]

use std::path::Path;

use quadrille_tests::{Client, TestHost, eventually, guest, relabelled, workspace};
use serde_json::{Value, json};

const HOST: &str = env!("CARGO_BIN_EXE_quadrille");

fn with_plugins(plugins: &[&str]) -> (TestHost, Client) {
    let host = TestHost::start(HOST).expect("the host starts");
    let client = host.client().expect("a client");
    for plugin in plugins {
        client.load(plugin, &guest(plugin)).expect("the plugin loads");
    }
    (host, client)
}

fn deployment(name: &str, replicas: usize) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "web", "image": "nginx:1"}]},
        }},
    })
}

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const REPLICA_SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// How many objects each owner has.
fn per_owner(items: &[Value]) -> std::collections::BTreeMap<String, usize> {
    let mut counts = std::collections::BTreeMap::new();
    for item in items {
        let owner = item["metadata"]["ownerReferences"][0]["name"].as_str().unwrap_or("nobody");
        *counts.entry(owner.to_owned()).or_default() += 1;
    }
    counts
}

#[test]
fn a_deployment_becomes_replica_sets_and_pods() {
    let (_host, client) = with_plugins(&["deployment", "replicaset"]);
    assert_eq!(client.post(DEPLOYMENTS, &deployment("web", 3)).expect("answered").code, 201);
    client.settled().expect("it settles");
    assert_eq!(client.items(REPLICA_SETS).expect("listed").len(), 1);
    assert_eq!(client.items(PODS).expect("listed").len(), 3);
    let deployment = client.get(&format!("{DEPLOYMENTS}/web")).expect("read").body;
    let status = deployment["status"].clone();
    assert_eq!(status["replicas"], 3, "{status}");
    assert_eq!(status["observedGeneration"], deployment["metadata"]["generation"], "{status}");
    client.delete(&format!("{DEPLOYMENTS}/web")).expect("deleted");
    client.settled().expect("it settles");
    eventually("the garbage collector follows the owner", || {
        let left = client.items(PODS)?.len() + client.items(REPLICA_SETS)?.len();
        anyhow::ensure!(left == 0, "{left} objects are left");
        Ok(())
    });
}

#[test]
fn a_real_manifest_settles_and_why_leads_back_to_the_request() {
    let (host, client) = with_plugins(&["deployment", "replicaset"]);
    let manifest = workspace().join("examples/demo/guestbook.yaml");
    host.cli(&["apply", "-f", &manifest.to_string_lossy()]).expect("applied");
    client.settled().expect("it settles");
    let pods = client.items(PODS).expect("listed");
    assert_eq!(pods.len(), 6, "frontend 3, redis-master 1, redis-replica 2");
    let name = pods[0]["metadata"]["name"].as_str().expect("a name").to_owned();
    let why = host.cli(&["why", &format!("pod/{name}")]).expect("a chain");
    for part in ["replicaset", "deployment", "admin"] {
        assert!(why.contains(part), "{part} is missing in:\n{why}");
    }
}

#[test]
fn swaps_under_writes_lose_and_double_nothing() {
    let (_host, client) = with_plugins(&["deployment", "replicaset"]);
    let component = std::fs::read(guest("replicaset")).expect("readable");
    let versions = [relabelled(&component, "a"), relabelled(&component, "b")];
    let writer = client.clone();
    let written = std::thread::spawn(move || {
        for number in 0..60 {
            let answer = writer.post(DEPLOYMENTS, &deployment(&format!("web-{number}"), 2));
            assert_eq!(answer.expect("answered").code, 201);
        }
    });
    let mut swaps = 0;
    while !written.is_finished() || swaps < 10 {
        let answer = client.upload("replicaset", &versions[swaps % 2]).expect("answered");
        assert!(answer.code < 300, "{}", answer.body);
        swaps += 1;
    }
    written.join().expect("all were created");
    client.settled().expect("it settles");
    let sets = client.items(REPLICA_SETS).expect("listed");
    assert!(per_owner(&sets).values().all(|count| *count == 1), "{:?}", per_owner(&sets));
    let pods = per_owner(&client.items(PODS).expect("listed"));
    assert_eq!((sets.len(), pods.len()), (60, 60));
    assert!(pods.values().all(|count| *count == 2), "{pods:?}");
}

#[test]
fn controllers_and_objects_survive_a_crash() {
    let (mut host, client) = with_plugins(&["deployment", "replicaset"]);
    client.post(DEPLOYMENTS, &deployment("before", 2)).expect("answered");
    client.settled().expect("it settles");
    host.kill_and_restart().expect("it starts again");
    let client = host.client().expect("a client");
    assert_eq!(client.items(PODS).expect("listed").len(), 2);
    assert_eq!(client.post(DEPLOYMENTS, &deployment("after", 1)).expect("answered").code, 201);
    eventually("the controllers run again", || {
        let pods = client.items(PODS)?.len();
        anyhow::ensure!(pods == 3, "{pods} pods");
        Ok(())
    });
    assert_eq!(host.terminate().expect("it ends"), Some(0));
}

#[test]
fn every_acknowledged_create_is_found_after_a_crash() {
    let mut host = TestHost::start(HOST).expect("the host starts");
    let path = "/api/v1/namespaces/default/configmaps";
    for round in 0..3 {
        let client = host.client().expect("a client");
        let (sender, acknowledged) = std::sync::mpsc::sync_channel::<String>(100_000);
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (client, sender) = (client.clone(), sender.clone());
                std::thread::spawn(move || {
                    for number in 0.. {
                        let name = format!("cm-{round}-{writer}-{number}");
                        let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
                            "metadata": {"name": name}, "data": {"x": "y".repeat(500)}});
                        match client.post(path, &object) {
                            Ok(answer) if answer.code == 201 => drop(sender.send(name)),
                            _ => return,
                        }
                    }
                })
            })
            .collect();
        let mut names: Vec<String> = acknowledged.iter().take(300).collect();
        host.kill().expect("it was running");
        drop(sender);
        names.extend(acknowledged.iter());
        for writer in writers {
            writer.join().expect("a writer ends when the host is gone");
        }
        host.spawn().expect("it starts again");
        let found = host.client().expect("a client").items(path).expect("listed");
        let found: std::collections::BTreeSet<&str> =
            found.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect();
        let lost: Vec<_> = names.iter().filter(|name| !found.contains(name.as_str())).collect();
        assert!(lost.is_empty(), "{} acknowledged creates were lost: {lost:?}", lost.len());
    }
}

#[test]
fn a_bad_component_is_refused_and_the_old_one_goes_on() {
    let (_host, client) = with_plugins(&["deployment", "replicaset"]);
    let before = client.get("/apis/quadrille.dev/v1/plugins/replicaset").expect("read").body;
    let good = std::fs::read(guest("replicaset")).expect("readable");
    let truncated = &good[..good.len() / 2];
    let cases: [(&str, &[u8]); 4] = [
        ("text", b"this is not Wasm"),
        ("empty", b" "),
        ("truncated", truncated),
        ("core module", b"\0asm\x01\0\0\0"),
    ];
    for (name, bytes) in cases {
        let answer = client.upload("replicaset", bytes).expect("answered");
        assert!((400..500).contains(&answer.code), "{name}: {} {}", answer.code, answer.body);
        let message = answer.body["message"].as_str().unwrap_or_default();
        assert!(message.len() > 20, "{name} gives no clear error: {}", answer.body);
    }
    let after = client.get("/apis/quadrille.dev/v1/plugins/replicaset").expect("read").body;
    assert_eq!(before["status"]["digest"], after["status"]["digest"]);
    client.post(DEPLOYMENTS, &deployment("still", 2)).expect("answered");
    client.settled().expect("it settles");
    assert_eq!(client.items(PODS).expect("listed").len(), 2);
}

#[test]
fn a_plugin_can_be_rolled_back_suspended_and_deleted() {
    let (host, client) = with_plugins(&["deployment", "replicaset"]);
    let path = "/apis/quadrille.dev/v1/plugins/replicaset";
    let digest = |client: &Client| client.get(path).map(|a| a.body["status"]["digest"].clone());
    let first = digest(&client).expect("read");
    let next = relabelled(&std::fs::read(guest("replicaset")).expect("readable"), "next");
    assert!(client.upload("replicaset", &next).expect("answered").code < 300);
    assert_ne!(digest(&client).expect("read"), first);
    host.cli(&["rollback", "replicaset"]).expect("it goes back");
    eventually("the first version runs again", || {
        anyhow::ensure!(digest(&client)? == first, "not yet");
        Ok(())
    });
    client.merge(path, &json!({"spec": {"suspended": true}})).expect("suspended");
    eventually("it is suspended", || {
        let phase = client.get(path)?.body["status"]["phase"].clone();
        anyhow::ensure!(phase == "Suspended", "{phase}");
        Ok(())
    });
    client.post(DEPLOYMENTS, &deployment("waits", 2)).expect("answered");
    eventually("the deployment plugin runs", || {
        anyhow::ensure!(client.items(REPLICA_SETS)?.len() == 1, "no ReplicaSet yet");
        Ok(())
    });
    assert_eq!(client.items(PODS).expect("listed").len(), 0);
    client.merge(path, &json!({"spec": {"suspended": false}})).expect("resumed");
    eventually("what waited is done", || {
        let pods = client.items(PODS)?.len();
        anyhow::ensure!(pods == 2, "{pods} pods");
        Ok(())
    });
    assert_eq!(client.delete(path).expect("answered").code, 200);
    eventually("the plugin is gone", || {
        anyhow::ensure!(client.get(path)?.code == 404, "still there");
        Ok(())
    });
}

#[test]
fn hello_reacts_to_its_custom_resource() {
    let (host, client) = with_plugins(&["hello"]);
    let example = workspace().join("examples/hello/example.yaml");
    assert!(Path::new(&example).is_file());
    host.cli(&["apply", "-f", &example.to_string_lossy()]).expect("applied");
    client.settled().expect("it settles");
    let made = client.get("/api/v1/namespaces/default/configmaps/world").expect("answered");
    assert_eq!(made.body["data"]["text"], "Hello, world!", "{}", made.body);
    let greeting = "/apis/hello.quadrille.dev/v1/namespaces/default/greetings/world";
    let status = client.get(greeting).expect("answered").body["status"].clone();
    assert_eq!(status["text"], "Hello, world!", "{status}");
    host.cli(&["logs", "hello"]).expect("the log can be read");
}
