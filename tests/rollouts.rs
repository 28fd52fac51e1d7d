//! How a new version takes over, seen from outside: preflights over recorded runs, and trials on some of the keys.

use std::process::{Command, Output};

use quadrille_guests::Guest;
use quadrille_tests::{Client, TestHost, eventually, relabelled};
use serde_json::{Value, json};

const HOST: &str = env!("CARGO_BIN_EXE_quadrille");
const PLUGIN: &str = "/apis/quadrille.dev/v1/plugins/stamp";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A guest that sets `data.version` of its config map.
fn stamps(version: &str) -> Vec<u8> {
    let patch = format!(r#"{{"data":{{"version":"{version}"}}}}"#);
    Guest { version: version.to_owned(), texts: vec![("patch", patch)], ..Guest::stamps() }.build()
}

fn host_with_maps(count: usize) -> (TestHost, Client) {
    let host = TestHost::start(HOST).expect("the host starts");
    let client = host.client().expect("a client");
    upload(&client, &stamps("1"));
    for at in 0..count {
        let made = client.post(MAPS, &json!({"metadata": {"name": format!("m{at}")}}));
        assert_eq!(made.expect("answered").code, 201);
    }
    client.settled().expect("it settles");
    (host, client)
}

fn upload(client: &Client, component: &[u8]) -> Value {
    let answer = client.upload("stamp", component).expect("answered");
    assert_eq!(answer.code, 200, "{}", answer.body);
    answer.body
}

fn put_policy(client: &Client, rollout: &Value) {
    let answer = client.merge(PLUGIN, &json!({"spec": {"rollout": rollout}})).expect("answered");
    assert_eq!(answer.code, 200, "{}", answer.body);
}

fn stamped(client: &Client, version: &str) -> usize {
    let maps = client.items(MAPS).expect("listed");
    let ours = maps
        .iter()
        .filter(|map| map["metadata"]["name"].as_str().is_some_and(|name| name.starts_with('m')));
    ours.filter(|map| map["data"]["version"] == version).count()
}

fn load(host: &TestHost, component: &[u8], flags: &[&str]) -> Output {
    let file = host.dir().join("candidate.wasm");
    std::fs::write(&file, component).expect("writable");
    let mut command = Command::new(HOST);
    command.arg("load").arg(&file).args(["--name", "stamp"]).args(flags);
    command.arg("--kubeconfig").arg(host.kubeconfig()).output().expect("it runs")
}

#[test]
fn a_preflight_refuses_what_would_write_something_else_and_shows_what() {
    let (_host, client) = host_with_maps(10);
    put_policy(&client, &json!({"strategy": "Preflight", "preflight": {"runs": 50}}));
    let first = client.get(PLUGIN).expect("answered").body["status"]["digest"].clone();

    let refused = upload(&client, &stamps("2"));
    let rollout = &refused["status"]["rollout"];
    assert_eq!(rollout["phase"], "Refused", "{refused:#}");
    assert!(rollout["differing"].as_u64() >= Some(10), "{rollout:#}");
    let shown = rollout.pointer("/differences/0/differences/0/diff").and_then(Value::as_str);
    let shown = shown.unwrap_or_default();
    assert!(shown.contains("-  version: \"1\"\n+  version: \"2\""), "{rollout:#}");
    assert_eq!((&refused["status"]["digest"], stamped(&client, "1")), (&first, 10));

    let same = relabelled(&stamps("1"), "the same code");
    let passed = upload(&client, &same);
    assert_eq!(passed["status"]["rollout"]["phase"], "Passed", "{passed:#}");
    assert_ne!(passed["status"]["digest"], first);

    put_policy(&client, &json!({"preflight": {"differencesMax": 1000}}));
    upload(&client, &stamps("2"));
    client.settled().expect("it settles");
    assert_eq!(stamped(&client, "2"), 10);
}

#[test]
fn a_preflight_by_hand_loads_nothing_that_differs_unless_it_is_told_to() {
    let (host, client) = host_with_maps(5);
    let output = load(&host, &stamps("2"), &["--preflight", "20"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("would write something else") && said.contains("+  version: \"2\""),
        "{said}"
    );
    client.settled().expect("it settles");
    assert_eq!(stamped(&client, "1"), 5);

    let output = load(&host, &stamps("2"), &["--preflight", "20", "--force"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    client.settled().expect("it settles");
    assert_eq!(stamped(&client, "2"), 5);
}

#[test]
fn a_canary_outlives_a_crash_of_the_host_and_is_taken_back_when_it_breaks() {
    let (mut host, client) = host_with_maps(40);
    let canary = json!({"percent": 25, "duration": "10m", "runsMin": 1});
    put_policy(&client, &json!({"strategy": "Canary", "canary": canary}));
    let begun = upload(&client, &stamps("2"));
    assert_eq!(begun["status"]["rollout"]["phase"], "Canary", "{begun:#}");
    client.settled().expect("it settles");
    let tried = stamped(&client, "2");
    assert!((1..=25).contains(&tried), "{tried} of 40 at 25 %");

    host.kill_and_restart().expect("it comes back");
    let client = host.client().expect("a client");
    eventually("the candidate has the same keys", || {
        let (one, two) = (stamped(&client, "1"), stamped(&client, "2"));
        anyhow::ensure!((one, two) == (40 - tried, tried), "{one} and {two}, {tried} before");
        Ok(())
    });

    let broken = Guest { reconcile: "(unreachable)".to_owned(), ..Guest::default() };
    upload(&client, &broken.build());
    eventually("it is rolled back", || {
        let status = client.get(PLUGIN)?.body["status"].clone();
        anyhow::ensure!(status["rollout"]["phase"] == "RolledBack", "{status:#}");
        anyhow::ensure!(status["version"] == "1", "{status:#}");
        Ok(())
    });
    eventually("the version that runs has all keys again", || {
        let one = stamped(&client, "1");
        anyhow::ensure!(one == 40, "{one} of 40");
        Ok(())
    });
}
