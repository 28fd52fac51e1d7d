//! No update is lost: many writers count one number up, each way of writing with a precondition in its own object.

use std::sync::atomic::{AtomicU64, Ordering};

use quadrille_crash::wire::{Answer, revision};
use quadrille_crash::{Connection, Endpoint, say, setting};
use quadrille_tests::TestHost;
use serde_json::{Value, json};

use crate::program;

const WRITERS: u64 = 64;
const COLLECTION: &str = "/api/v1/namespaces/default/configmaps";

/// Writes a number over the one that was read.
type Way = fn(&mut Connection, &str, &Value, u64) -> std::io::Result<Answer>;

const WAYS: [(&str, Way); 4] =
    [("replace", replace), ("merge-patch", merge), ("json-patch", json_patch), ("apply", apply)];

fn path(name: &str) -> String {
    format!("{COLLECTION}/{name}")
}

/// PUT of what was read.
fn replace(
    connection: &mut Connection,
    name: &str,
    read: &Value,
    next: u64,
) -> std::io::Result<Answer> {
    let mut object = read.clone();
    object["data"]["n"] = next.to_string().into();
    connection.ask("PUT", &path(name), &object)
}

/// A merge patch that names the version that was read.
fn merge(
    connection: &mut Connection,
    name: &str,
    read: &Value,
    next: u64,
) -> std::io::Result<Answer> {
    let version = revision(read).to_string();
    let patch = json!({"metadata": {"resourceVersion": version}, "data": {"n": next.to_string()}});
    connection.merge(&path(name), &patch)
}

/// A JSON patch that tests the number first.
fn json_patch(
    connection: &mut Connection,
    name: &str,
    _: &Value,
    next: u64,
) -> std::io::Result<Answer> {
    let patch = json!([
        {"op": "test", "path": "/data/n", "value": (next - 1).to_string()},
        {"op": "replace", "path": "/data/n", "value": next.to_string()},
    ]);
    let patch = patch.to_string();
    connection.send("PATCH", &path(name), "application/json-patch+json", patch.as_bytes())
}

/// A server-side apply that names the version that was read.
fn apply(
    connection: &mut Connection,
    name: &str,
    read: &Value,
    next: u64,
) -> std::io::Result<Answer> {
    let version = revision(read).to_string();
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "resourceVersion": version}, "data": {"n": next.to_string()},
    });
    let path = format!("{}?fieldManager=counter&force=true", path(name));
    let apply = "application/apply-patch+yaml";
    connection.send("PATCH", &path, apply, object.to_string().as_bytes())
}

fn number(object: &Value) -> u64 {
    let text = object["data"]["n"].as_str().expect("a number");
    text.parse().expect("a number")
}

#[derive(Default)]
struct Counts {
    successes: AtomicU64,
    conflicts: AtomicU64,
}

/// Counts up `times` times, however often somebody else is first.
fn count_up(endpoint: &Endpoint, name: &str, way: Way, times: u64, counts: &Counts) {
    let mut connection = endpoint.connect().expect("connected");
    let mut left = times;
    while left > 0 {
        let read = connection.get(&path(name)).expect("answered").json();
        let answer = way(&mut connection, name, &read, number(&read) + 1).expect("answered");
        match answer.code {
            200 => {
                left -= 1;
                counts.successes.fetch_add(1, Ordering::Relaxed);
            }
            // 422 is Kubernetes' answer to a test of a JSON patch that fails.
            409 | 422 => drop(counts.conflicts.fetch_add(1, Ordering::Relaxed)),
            429 => {}
            code => unreachable!("{name}: {code} {}", answer.json()),
        }
    }
}

#[test]
fn sixty_four_writers_of_one_field_lose_no_update_in_four_ways() {
    let times = setting("QUADRILLE_CRASH_UPDATES").unwrap_or(1);
    let host = TestHost::start(&program()).expect("the host starts");
    let endpoint = Endpoint::of(&host.url, host.dir()).expect("an endpoint");
    for (name, way) in WAYS {
        let object = json!({"metadata": {"name": name}, "data": {"n": "0"}});
        assert_eq!(endpoint.ask("POST", COLLECTION, &object).expect("answered").code, 201);
        let counts = Counts::default();
        std::thread::scope(|scope| {
            for _ in 0..WRITERS {
                scope.spawn(|| count_up(&endpoint, name, way, times, &counts));
            }
        });
        let last = endpoint.ask("GET", &path(name), &Value::Null).expect("answered").json();
        let (successes, conflicts) = (counts.successes.into_inner(), counts.conflicts.into_inner());
        say(&format!(
            "B2: {name}: {successes} successes, {conflicts} conflicts, {}",
            number(&last)
        ));
        assert_eq!((number(&last), successes), (WRITERS * times, WRITERS * times), "{name}");
    }
}
