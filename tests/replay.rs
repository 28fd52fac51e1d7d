//! The record of runs, seen from outside: what ran, the same runs again, and which version changed what it does.

use std::fs;

use quadrille_guests::Guest;
use quadrille_tests::{Client, TestHost, eventually, guest};
use serde_json::{Value, json};

const HOST: &str = env!("CARGO_BIN_EXE_quadrille");
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn deployment(name: &str, replicas: usize) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "web", "image": "nginx:1"}]},
        }},
    })
}

fn runs(client: &Client, query: &str) -> Vec<Value> {
    let answer = client.get(&format!("/quadrille/runs?{query}")).expect("answered");
    assert_eq!(answer.code, 200, "{}", answer.body);
    answer.body["runs"].as_array().cloned().expect("a list")
}

/// Identical, different and impossible ones, in the last line of what a replay prints.
fn counts(printed: &str) -> Vec<usize> {
    let line = printed.lines().last().unwrap_or_default();
    let words = line.split_once(':').map(|(_, rest)| rest).unwrap_or_default();
    words.split(',').filter_map(|part| part.split_whitespace().next()?.parse().ok()).collect()
}

#[test]
fn the_runs_of_real_plugins_are_replayed_identically_before_and_after_a_crash() {
    let mut host = TestHost::start(HOST).expect("the host starts");
    let client = host.client().expect("a client");
    for plugin in ["deployment", "replicaset"] {
        client.load(plugin, &guest(plugin)).expect("the plugin loads");
    }
    for number in 0..60 {
        let name = format!("web-{number}");
        assert_eq!(client.post(DEPLOYMENTS, &deployment(&name, 2)).expect("answered").code, 201);
    }
    client.settled().expect("it settles");
    for number in 0..60 {
        let patch = json!({"spec": {"replicas": number % 4}});
        let path = format!("{DEPLOYMENTS}/web-{number}");
        assert_eq!(client.merge(&path, &patch).expect("answered").code, 200);
        if number % 6 == 0 {
            client.delete(&path).expect("deleted");
        }
    }
    client.settled().expect("it settles");
    let mut replayed = Vec::new();
    for plugin in ["deployment", "replicaset"] {
        let printed = host.cli(&["replay", plugin, "--last", "100000"]).expect("all the same");
        let counts = counts(&printed);
        assert!(counts[0] >= 60 && counts[1..] == [0, 0], "{printed}");
        replayed.push(counts[0]);
    }
    // What was told of the journal had been written, so it is there after a crash and can be replayed by the new process.
    let before = runs(&client, "plugin=replicaset&limit=100000");
    host.kill_and_restart().expect("it starts again");
    let client = host.client().expect("a client");
    let after = runs(&client, "plugin=replicaset&limit=100000");
    let known = |run: &Value| after.iter().any(|other| other["run"] == run["run"]);
    assert!(before.iter().all(known), "{} of {} runs are left", after.len(), before.len());
    let printed = host.cli(&["replay", "replicaset", "--last", "100000"]).expect("all the same");
    assert!(counts(&printed)[0] >= replayed[1] && counts(&printed)[1..] == [0, 0], "{printed}");
}

/// A guest that merges a patch into its primary object; equal patches, different components.
fn stamp(text: &str, mark: u8) -> Vec<u8> {
    let texts = vec![("patch", format!(r#"{{"data":{{"stamp":"{text}"}}}}"#))];
    Guest { texts, mark: Some(vec![b'm', mark]), ..Guest::stamps() }.build()
}

#[test]
fn replays_of_ten_versions_find_the_one_that_changed_what_it_does() {
    let host = TestHost::start(HOST).expect("the host starts");
    let client = host.client().expect("a client");
    let mut digests = Vec::new();
    for version in 0..10_u8 {
        let text = if version < 6 { "one" } else { "two" };
        let active = if version == 0 { "grant=all" } else { "activate=false" };
        let path = format!("/apis/quadrille.dev/v1/plugins/stamp/component?{active}");
        let answer = client.send("PUT", &path, "application/wasm", &stamp(text, version));
        let answer = answer.expect("answered");
        assert!(answer.code < 300, "{}", answer.body);
        digests.push(answer.body["upload"]["digest"].as_str().expect("a digest").to_owned());
    }
    for number in 0..20 {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{number}")}});
        assert_eq!(client.post(MAPS, &object).expect("answered").code, 201);
    }
    client.settled().expect("it settles");
    let mut args = vec!["replay", "stamp", "--last", "1000", "--bisect"];
    args.extend(digests.iter().map(String::as_str));
    let printed = host.cli(&args).expect("it is found");
    let wanted = format!("the first that differs is {}", digests[6]);
    assert!(printed.contains(&wanted), "{digests:?}\n{printed}");
    let args: Vec<&str> = args.iter().copied().take(5 + 6).collect();
    let printed = host.cli(&args).expect("none is found");
    assert!(printed.contains("none of them differs"), "{printed}");

    // One run with other code: the difference is shown as a diff, and the object is as it was.
    let run = runs(&client, "group=&resource=configmaps&namespace=default&name=m3&wrote=true");
    let run = run[0]["run"].to_string();
    let refused = host.cli(&["replay", &run, "--digest", &digests[7]]);
    let printed = format!("{:#}", refused.expect_err("it differs"));
    assert!(printed.contains("-  stamp: one") && printed.contains("+  stamp: two"), "{printed}");
    let object = client.get(&format!("{MAPS}/m3")).expect("read").body;
    assert_eq!(object["data"]["stamp"], "one");
    let file = host.dir().join("other.wasm");
    fs::write(&file, stamp("three", 99)).expect("written");
    let refused = host.cli(&["replay", &run, "--with", &file.to_string_lossy()]);
    assert!(format!("{:#}", refused.expect_err("it differs")).contains("+  stamp: three"));
}

#[test]
fn a_run_is_shown_with_what_woke_it_what_it_read_and_what_was_missing() {
    let host = TestHost::start(HOST).expect("the host starts");
    let client = host.client().expect("a client");
    client.load("deployment", &guest("deployment")).expect("the plugin loads");
    client.post(DEPLOYMENTS, &deployment("web", 1)).expect("answered");
    let run = eventually("the deployment has run", || {
        let runs = runs(&client, "group=apps&resource=deployments&namespace=default&name=web");
        runs.last().cloned().ok_or_else(|| anyhow::anyhow!("no run"))
    });
    client.settled().expect("it settles");
    let number = run["run"].to_string();
    let listed = host.cli(&["runs", "deployment/web"]).expect("a table");
    assert!(
        listed.contains(&number) && listed.contains("deployments.apps/default/web"),
        "{listed}"
    );
    let shown = host.cli(&["runs", "show", &number]).expect("shown");
    for part in
        ["woken by", "replicasets.apps in default", "(nothing there)", "wrote", "created at"]
    {
        assert!(shown.contains(part), "{part} is missing in:\n{shown}");
    }
    let case = host.cli(&["runs", "export", &number]).expect("exported");
    let case: Value = serde_json::from_str(&case).expect("JSON");
    assert_eq!(case["kind"], "quadrille.dev/RunCase/1");
    let refused = host.cli(&["runs", "show", "17"]).expect_err("there is no such run");
    assert!(format!("{refused:#}").contains("no run 17 is in the journal"), "{refused:#}");
}
