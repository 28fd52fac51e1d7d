//! Principle checks of real guests, from outside: the careless are caught for their own fault, the shipped pass.

use quadrille_tests::{Client, TestHost, guest, plugins};
use serde_json::{Value, json};

const HOST: &str = env!("CARGO_BIN_EXE_quadrille");
const CHORES: &str = "/apis/careless.quadrille.dev/v1/namespaces/default/chores";

fn card(client: &Client, plugin: &str) -> Value {
    let path = format!("/quadrille/check?plugin={plugin}&objects=2&wall=2m");
    let answer = client.post(&path, &json!({})).expect("answered");
    assert_eq!(answer.code, 200, "{}", answer.body);
    answer.body
}

fn with_verdict(card: &Value, verdict: &str) -> Vec<String> {
    let scores = card["scores"].as_array().expect("scores").iter();
    let of = scores.filter(|score| score["verdict"] == verdict);
    of.map(|score| score["principle"].as_str().expect("a principle").to_owned()).collect()
}

#[test]
fn careless_guests_are_caught_for_their_own_fault() {
    let host = TestHost::start(HOST).expect("the host starts");
    let client = host.client().expect("a client");
    client.load("careless", &guest("careless")).expect("the plugin loads");
    for (how, broken) in [
        ("carefully", None),
        ("stamping", Some("runTwice")),
        ("swallowing", Some("transientErrors")),
    ] {
        let chore = json!({
            "apiVersion": "careless.quadrille.dev/v1", "kind": "Chore",
            "metadata": {"name": how, "labels": {"how": how}}, "spec": {"text": "done"},
        });
        assert_eq!(client.post(CHORES, &chore).expect("answered").code, 201);
        client.settled().expect("it settles");
        let revision = client.get(CHORES).expect("listed").body["items"][0].clone();
        let card = card(&client, "careless");
        let expected: Vec<String> = broken.into_iter().map(str::to_owned).collect();
        assert_eq!(with_verdict(&card, "fail"), expected, "{}", card["text"]);
        assert_eq!(with_verdict(&card, "unknown"), Vec::<String>::new(), "{}", card["text"]);
        assert_eq!(client.get(CHORES).expect("listed").body["items"][0], revision);
        let ended = host.cli(&["check", "careless"]);
        assert_eq!(ended.is_err(), broken.is_some(), "the exit code says it: {ended:?}");
        client.delete(&format!("{CHORES}/{how}")).expect("deleted");
        client.settled().expect("it settles");
    }
    let unknown = card(&client, "careless");
    assert_eq!(with_verdict(&unknown, "unknown").len(), 6, "there is no object left: {unknown}");
}

/// Path, kind and spec of an object for each shipped controller.
fn one_of_each() -> Vec<(&'static str, &'static str, Value)> {
    let template = |app: &str, restart: &str| {
        json!({
            "metadata": {"labels": {"app": app}},
            "spec": {"restartPolicy": restart, "containers": [{"name": "a", "image": "a:1"}]},
        })
    };
    let selector = |app: &str| json!({"matchLabels": {"app": app}});
    vec![
        (
            "/apis/apps/v1/namespaces/default/deployments",
            "Deployment",
            json!({"replicas": 2, "selector": selector("web"), "template": template("web", "Always")}),
        ),
        (
            "/apis/apps/v1/namespaces/default/statefulsets",
            "StatefulSet",
            json!({"replicas": 2, "serviceName": "db", "selector": selector("db"), "template": template("db", "Always")}),
        ),
        (
            "/apis/apps/v1/namespaces/default/daemonsets",
            "DaemonSet",
            json!({"selector": selector("ds"), "template": template("ds", "Always")}),
        ),
        (
            "/apis/batch/v1/namespaces/default/jobs",
            "Job",
            json!({"completions": 2, "parallelism": 2, "template": template("job", "Never")}),
        ),
        (
            "/apis/batch/v1/namespaces/default/cronjobs",
            "CronJob",
            json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template("cj", "Never")}}}),
        ),
        (
            "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
            "PodDisruptionBudget",
            json!({"minAvailable": 1, "selector": selector("web")}),
        ),
        (
            "/api/v1/namespaces/default/services",
            "Service",
            json!({"selector": {"app": "web"}, "ports": [{"port": 80}]}),
        ),
        (
            "/api/v1/namespaces/default/replicationcontrollers",
            "ReplicationController",
            json!({"replicas": 2, "selector": {"app": "old"}, "template": template("old", "Always")}),
        ),
        (
            "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
            "HorizontalPodAutoscaler",
            json!({"minReplicas": 1, "maxReplicas": 5,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "one"}}),
        ),
        ("/api/v1/nodes", "Node", json!({})),
    ]
}

#[test]
fn the_shipped_controllers_keep_to_the_principles() {
    let components = plugins();
    let flags = ["--plugins", &*components.to_string_lossy()];
    let host = TestHost::start_with(HOST, &flags).expect("the host starts");
    let client = host.client().expect("a client");
    for (path, kind, spec) in one_of_each() {
        let group = path.trim_start_matches("/apis/").split("/namespaces").next();
        let version = if path.starts_with("/apis/") { group.unwrap_or_default() } else { "v1" };
        let object =
            json!({"apiVersion": version, "kind": kind, "metadata": {"name": "one"}, "spec": spec});
        let answer = client.post(path, &object).expect("answered");
        assert_eq!(answer.code, 201, "{kind}: {}", answer.body);
    }
    client.settled().expect("it settles");
    for plugin in [
        "deployment",
        "replicaset",
        "statefulset",
        "daemonset",
        "job",
        "cronjob",
        "disruption",
        "endpointslice",
        "replicationcontroller",
        "horizontalpodautoscaler",
        "nodelifecycle",
    ] {
        let card = card(&client, plugin);
        assert_eq!(with_verdict(&card, "pass").len(), 6, "{}", card["text"]);
    }
}
