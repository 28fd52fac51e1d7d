//! The record, seen from outside: why, effects, settled, waiting and the bus of a real host with real controllers.

use std::process::Command;

use quadrille_guests::Guest;
use quadrille_tests::{Client, TestHost, eventually, guest};
use serde_json::{Value, json};

const HOST: &str = env!("CARGO_BIN_EXE_quadrille");
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const REPLICA_SETS: &str = "/apis/apps/v1/namespaces/default/replicasets";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn host() -> (TestHost, Client) {
    let host = TestHost::start(HOST).expect("the host starts");
    let client = host.client().expect("a client");
    for plugin in ["deployment", "replicaset"] {
        client.load(plugin, &guest(plugin)).expect("the plugin loads");
    }
    client.settled().expect("it settles");
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

fn revision_of(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str().expect("a resourceVersion");
    text.parse().expect("a number")
}

fn create(client: &Client, path: &str, object: &Value) -> u64 {
    let made = client.post(path, object).expect("answered");
    assert_eq!(made.code, 201, "{}", made.body);
    revision_of(&made.body)
}

/// Runs the command line and answers its exit code and what it printed.
fn cli(host: &TestHost, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(HOST);
    let output = command.args(args).arg("--kubeconfig").arg(host.kubeconfig()).output();
    let output = output.expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_change_settles_when_its_last_pod_is_there_and_why_leads_back() {
    let (host, client) = host();
    let revision = create(&client, DEPLOYMENTS, &deployment("web", 20));
    let (code, said) = cli(&host, &["wait", "--revision", &revision.to_string()]);
    assert_eq!(code, Some(0), "{said}");
    let pods = client.items(PODS).expect("listed");
    assert_eq!(pods.len(), 20);

    let pod = pods[0]["metadata"]["name"].as_str().expect("a name");
    let chain = host.cli(&["why", &format!("pod/{pod}"), "spec.containers[0].image"]);
    let chain = chain.expect("it is told");
    let steps: Vec<&str> = chain.lines().filter(|line| line.contains(" at revision ")).collect();
    let starts = [
        format!("pods/default/{pod} created"),
        "replicasets.apps".into(),
        "deployments.apps".into(),
    ];
    assert_eq!(steps.len(), starts.len(), "{chain}");
    for (step, start) in steps.iter().zip(&starts) {
        let step = step.trim_start().trim_start_matches("└ because ");
        assert!(
            step.starts_with(start.as_str()) && step.contains("(none) → \"nginx:1\""),
            "{chain}"
        );
    }
    assert!(
        chain.contains("controller replicaset-controller@") && chain.contains("admin: create"),
        "{chain}"
    );
    let path = format!("{PODS}/{pod}/why");
    let told = client.get(&path).expect("answered");
    assert_eq!(told.body["object"], format!("pods/default/{pod}"));

    let tree = host.cli(&["effects", &revision.to_string()]).expect("it is told");
    let pods = tree.lines().filter(|line| line.trim_start().starts_with("pods/default/"));
    assert_eq!(pods.filter(|line| line.contains(" created at ")).count(), 20, "{tree}");
}

#[test]
fn wait_says_who_is_busy_and_waiting_says_what_is_missing() {
    let (host, client) = host();
    let plugin = "/apis/quadrille.dev/v1/plugins/replicaset";
    let suspend = |suspended: bool| {
        let answer = client.merge(plugin, &json!({"spec": {"suspended": suspended}}));
        assert_eq!(answer.expect("answered").code, 200);
    };
    suspend(true);
    eventually("the plugin is suspended", || {
        let told = client.get(plugin)?.body;
        anyhow::ensure!(told["status"]["phase"] == "Suspended", "{}", told["status"]);
        Ok(())
    });
    let revision = create(&client, DEPLOYMENTS, &deployment("web", 3));
    eventually("the deployment has made what the suspended plugin would work on", || {
        let made = client.items(REPLICA_SETS)?.len();
        anyhow::ensure!(made == 1, "{made} ReplicaSets");
        Ok(())
    });
    eventually("wait says who is busy", || {
        let (code, said) = cli(&host, &["wait", "deployment/web", "--timeout", "1s"]);
        let busy = said.contains("busy: replicaset/replicaset-controller has 1 to do");
        anyhow::ensure!(code == Some(2) && busy, "{code:?}: {said}");
        Ok(())
    });
    let path = format!("/apis/quadrille.dev/v1/revisions/{revision}");
    let told = client.get(&path).expect("answered").body;
    assert_eq!(told["status"]["conditions"][0]["reason"], "Busy", "{told}");
    suspend(false);
    let (code, said) = cli(&host, &["wait", "deployment/web"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(client.items(PODS).expect("listed").len(), 3);
    let told = client.get(&path).expect("answered").body;
    assert_eq!(told["status"]["conditions"][0]["status"], "True", "{told}");
    // Nobody plays the node's part, so the pods do not become ready.
    let waiting = host.cli(&["waiting", "deployment/web"]).expect("it is told");
    assert!(waiting.contains("deployments.apps/default/web (Available is False"), "{waiting}");
}

#[test]
fn the_bus_gives_every_change_once_wherever_it_is_resumed() {
    let (_host, client) = host();
    let revision = create(&client, DEPLOYMENTS, &deployment("web", 5));
    let path = format!("/quadrille/settled?revision={revision}&wait=60s");
    assert_eq!(client.get(&path).expect("answered").code, 200);
    let read = |from: u64| -> Vec<Value> {
        let path = format!("/quadrille/bus?follow=false&from={from}");
        let lines = client.lines(&path).expect("a stream");
        let lines = lines.map(|line| line.expect("a whole line"));
        lines.map(|line| serde_json::from_str(&line).expect("JSON")).collect()
    };
    let all = read(0);
    let number = |change: &Value| change["revision"].as_u64().expect("a revision");
    let numbers: Vec<u64> = all.iter().map(number).collect();
    let newest = *numbers.last().expect("changes");
    assert!(newest >= revision && numbers.iter().copied().eq(1..=newest), "{numbers:?}");
    for change in &all {
        let (first, last) = (&change["txn"]["first"], &change["txn"]["last"]);
        let within =
            first.as_u64() <= Some(number(change)) && Some(number(change)) <= last.as_u64();
        assert!(within && change["cause"]["type"].is_string(), "{change}");
    }
    for from in [1, newest / 3, revision, newest - 1, newest] {
        let resumed: Vec<u64> = read(from).iter().map(number).filter(|of| *of <= newest).collect();
        assert!(resumed.into_iter().eq(from + 1..=newest), "resumed after {from}");
    }
    let pods = client.lines("/quadrille/bus?follow=false&from=0&resource=pods").expect("a stream");
    assert_eq!(pods.count(), all.iter().filter(|change| change["resource"] == "pods").count());
    let future = client.get(&format!("/quadrille/bus?from={}", newest + 1_000)).expect("answered");
    assert_eq!(future.code, 400, "{}", future.body);
}

#[test]
fn the_bus_speaks_server_sent_events_and_goes_on_after_the_last_one_seen() {
    let (_host, client) = host();
    let newest = create(&client, DEPLOYMENTS, &deployment("web", 2));
    let path = "/quadrille/bus?follow=false&from=0";
    let events = |headers: &[(&str, &str)]| -> Vec<(u64, Value)> {
        let lines = client.lines_with(path, headers).expect("a stream");
        let lines: Vec<String> = lines.map(|line| line.expect("a whole line")).collect();
        let field = |name: &str| -> Vec<&str> {
            lines.iter().filter_map(|line| line.strip_prefix(name)).collect()
        };
        let ids = field("id: ").into_iter().map(|id| id.parse().expect("a revision"));
        let data = field("data: ").into_iter();
        let data = data.map(|data| serde_json::from_str(data).expect("JSON"));
        ids.zip(data).collect()
    };
    let accept = ("Accept", "text/event-stream");
    let all = events(&[accept]);
    assert!(all.len() as u64 >= newest, "{} events", all.len());
    for (id, change) in &all {
        assert_eq!(change["revision"].as_u64(), Some(*id), "{change}");
    }
    let seen = all[all.len() / 2].0;
    let resumed = events(&[accept, ("Last-Event-ID", &seen.to_string())]);
    assert_eq!(resumed.first().map(|(id, _)| *id), Some(seen + 1));
}

#[test]
fn the_bus_shows_an_object_only_to_those_who_may_read_it() {
    let folder = tempfile::tempdir().expect("temporary directories work");
    let tokens = folder.path().join("tokens.csv");
    std::fs::write(
        &tokens,
        "looker-token,looker,looker-uid\nstranger-token,stranger,stranger-uid\n",
    )
    .expect("writable");
    let flags = ["--token-auth-file", &*tokens.to_string_lossy()];
    let host = TestHost::start_with(HOST, &flags).expect("the host starts");
    let admin = host.client().expect("a client");
    let api = "/apis/rbac.authorization.k8s.io/v1";
    let rules = json!([
        {"nonResourceURLs": ["/quadrille/bus"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]},
    ]);
    let role = json!({"metadata": {"name": "looker"}, "rules": rules});
    create(&admin, &format!("{api}/clusterroles"), &role);
    let group = "rbac.authorization.k8s.io";
    let binding = json!({
        "metadata": {"name": "looker"},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "looker"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": "looker"}],
    });
    create(&admin, &format!("{api}/clusterrolebindings"), &binding);
    let named = json!({"metadata": {"name": "one"}, "stringData": {"word": "abracadabra"}});
    create(&admin, "/api/v1/namespaces/default/secrets", &named);
    let map = json!({"metadata": {"name": "one"}, "data": {"word": "open"}});
    create(&admin, "/api/v1/namespaces/default/configmaps", &map);

    let client = |token| Client::new(&host.url, &host.dir().join("ca.crt"), Some(token));
    let path = "/quadrille/bus?follow=false&from=0&resource=secrets,configmaps&namespace=default";
    let lines = client("looker-token").expect("a client").lines(path).expect("a stream");
    let lines: Vec<String> = lines.map(|line| line.expect("a whole line")).collect();
    let shown = |key: &str| -> Value {
        let line = lines.iter().find(|line| line.contains(key));
        let line = line.unwrap_or_else(|| panic!("{key} is not on the bus: {lines:?}"));
        serde_json::from_str::<Value>(line).expect("JSON")["object"].clone()
    };
    assert_eq!(shown("configmaps/default/one")["data"]["word"], "open");
    assert_eq!(shown("secrets/default/one"), Value::Null, "its key is told, not what is in it");
    let stranger = client("stranger-token").expect("a client");
    assert_eq!(stranger.get(path).expect("answered").code, 403);
}

#[test]
fn a_bus_below_the_history_is_expired() {
    let folder = tempfile::tempdir().expect("temporary directories work");
    let file = folder.path().join("quadrille.toml");
    std::fs::write(&file, "[history]\nbytes_max = \"1MiB\"\n").expect("writable");
    let flags = ["--config", &*file.to_string_lossy()];
    let host = TestHost::start_with(HOST, &flags).expect("the host starts");
    let client = host.client().expect("a client");
    let filler = "x".repeat(300_000);
    let mut number = 0;
    let expired = eventually("the history ends above the first revision", || {
        number += 1;
        let map = json!({"metadata": {"generateName": "m-"}, "data": {"filler": filler}});
        create(&client, "/api/v1/namespaces/default/configmaps", &map);
        let told = client.get("/quadrille/bus?follow=false&from=1")?;
        anyhow::ensure!(told.code == 410, "{} after {number}", told.code);
        Ok(told.body)
    });
    assert_eq!(expired["reason"], "Expired", "{expired}");
}

#[test]
fn wait_says_which_controller_cannot_go_on_and_why() {
    let (host, client) = host();
    let trap = Guest { reconcile: "unreachable (i32.const 1024)".into(), ..Guest::default() };
    assert_eq!(client.upload("trap", &trap.build()).expect("answered").code, 200);
    let map = json!({"metadata": {"name": "one"}});
    let revision = create(&client, "/api/v1/namespaces/default/configmaps", &map).to_string();
    // It is tried again, so whoever waits longer may see it mended.
    let said = eventually("a run has failed", || {
        let (code, said) = cli(&host, &["wait", "--revision", &revision, "--timeout", "2s"]);
        anyhow::ensure!(code == Some(3), "{code:?} {said}");
        Ok(said)
    });
    assert!(said.contains("trap/guest") && said.contains("unreachable"), "{said}");
}
