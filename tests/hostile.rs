//! A host that well-behaved plugins share with hostile ones of every kind, all at once; and one that tries what is
//! forbidden. Counts alone decide: nobody else fails, nothing is missing, the host lives.

#![expect(clippy::disallowed_methods, reason = "a test of a whole process waits in real time")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use quadrille_guests::crowd;
use quadrille_tests::{Client, TestHost, guest, relabelled};
use serde_json::{Value, json};

const HOST: &str = env!("CARGO_BIN_EXE_quadrille");
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PLUGINS: &str = "/apis/quadrille.dev/v1/plugins";

const WELL_BEHAVED: usize = 50;
const PREY: usize = 2;
/// Ten of as many kinds; `QUADRILLE_HOSTILE=all` lets in every one there is.
const TEN: [&str; 10] =
    ["spin", "sleep", "memory", "trap", "names", "values", "logs", "events", "tables", "recursion"];
/// Resident memory that the host may have at most with all of them at work, in a build without optimisation.
const RESIDENT_MAX: u64 = 1 << 30;
/// For a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_mins(5);

#[track_caller]
fn patiently<T>(what: &str, mut check: impl FnMut() -> anyhow::Result<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match check() {
            Ok(value) => return value,
            Err(error) => assert!(Instant::now() < deadline, "never: {what}: {error:#}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn create(client: &Client, name: &str, labels: &Value) {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels}});
    let answer = client.post(MAPS, &object).expect("answered");
    assert_eq!(answer.code, 201, "{name}: {}", answer.body);
}

/// One object for each team.
fn give_work(client: &Client, round: &str) {
    for team in 0..WELL_BEHAVED {
        let labels = json!({"team": format!("t{team}"), "round": round});
        create(client, &format!("work-{round}-{team}"), &labels);
    }
}

fn wait_for_work(client: &Client, round: &str) {
    patiently(&format!("all work of round {round} is done"), || {
        let items = client.items(&format!("{MAPS}?labelSelector=round%3D{round}"))?;
        let is_done = |item: &&Value| item["data"]["done"] == item["metadata"]["labels"]["team"];
        let done = items.iter().filter(is_done).count();
        anyhow::ensure!(done == WELL_BEHAVED, "{done} of {WELL_BEHAVED}");
        Ok(())
    });
}

fn load(client: &Client, plugin: &str, component: &[u8]) {
    let answer = client.upload(plugin, component).expect("answered");
    assert!(answer.code < 300, "{plugin} was refused: {}", answer.body);
}

/// Uploads every hostile plugin; answers each with the words of its failure.
fn let_them_in(client: &Client) -> BTreeMap<String, &'static str> {
    let intruder = std::fs::read(guest("intruder")).expect("readable");
    let all = std::env::var_os("QUADRILLE_HOSTILE").is_some();
    let is_let_in = |attack: &str| all || TEN.contains(&attack);
    let mut hostile = BTreeMap::new();
    // The settings are there before the code, so that it does nothing else first.
    let settings = |attack: &str| {
        let limits = json!({"cpuTime": "100ms", "wallTime": "5s"});
        let object = json!({"apiVersion": "quadrille.dev/v1", "kind": "Plugin",
            "metadata": {"name": format!("bad-{attack}")},
            "spec": {"config": {"attack": attack}, "limits": limits}});
        let answer = client.post(PLUGINS, &object).expect("answered");
        assert_eq!(answer.code, 201, "{}", answer.body);
    };
    for (attack, words) in crowd::ATTACKS.into_iter().filter(|(attack, _)| is_let_in(attack)) {
        let plugin = format!("bad-{attack}");
        settings(attack);
        load(client, &plugin, &relabelled(&intruder, attack));
        hostile.insert(plugin, words);
    }
    for (attack, component, words) in crowd::hostile() {
        if !is_let_in(attack) {
            continue;
        }
        let plugin = format!("bad-{attack}");
        settings(attack);
        load(client, &plugin, &component);
        hostile.insert(plugin, words);
    }
    hostile
}

fn statuses(client: &Client) -> anyhow::Result<BTreeMap<String, Value>> {
    let plugins = client.items(PLUGINS)?.into_iter();
    let named = |plugin: Value| {
        let name = plugin["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        (name, plugin["status"].clone())
    };
    Ok(plugins.map(named).collect())
}

#[test]
fn fifty_plugins_work_on_beside_hostile_ones_of_every_kind() {
    let mut host = TestHost::start(HOST).expect("the host starts");
    let client = host.client().expect("a client");
    for team in 0..WELL_BEHAVED {
        load(&client, &format!("good-{team}"), &crowd::well_behaved(team));
    }
    give_work(&client, "before");
    wait_for_work(&client, "before");
    let quiet = host.resident_bytes().expect("it lives");
    let hostile = let_them_in(&client);
    for at in 0..PREY {
        create(&client, &format!("prey-{at}"), &json!({crowd::PREY.0: crowd::PREY.1}));
    }
    let begun = Instant::now();
    give_work(&client, "beside");
    wait_for_work(&client, "beside");
    eprintln!("beside them: {} ms", begun.elapsed().as_millis());
    for (plugin, words) in hostile.iter().filter(|(_, words)| !words.is_empty()) {
        patiently(&format!("{plugin} fails for {words:?}"), || {
            let status = statuses(&client)?.remove(plugin).unwrap_or_default();
            let said = status["lastError"].as_str().unwrap_or_default();
            anyhow::ensure!(said.contains(words), "{status:#}");
            Ok(())
        });
    }
    let statuses = statuses(&client).expect("listed");
    for team in 0..WELL_BEHAVED {
        let status = &statuses[&format!("good-{team}")];
        assert_eq!(status["failures"], 0, "a neighbour's fault became its own: {status:#}");
        assert_eq!(status["phase"], "Active", "{status:#}");
    }
    let resident = host.resident_bytes().expect("it lives");
    let runs: u64 = hostile.keys().filter_map(|name| statuses[name]["runs"].as_u64()).sum();
    eprintln!(
        "{} hostile plugins, {runs} of their runs; resident {} MiB before, {} MiB with them",
        hostile.len(),
        quiet >> 20,
        resident >> 20
    );
    assert!(resident < RESIDENT_MAX, "{} MiB", resident >> 20);
    assert!(!host.stderr().contains("panicked"), "{}", host.stderr());
    assert_eq!(host.terminate().expect("it ends by itself"), Some(0));
}

fn grant_config_maps_in_default(client: &Client, plugin: &str) {
    let verbs = ["get", "list", "create", "update", "patch", "delete"];
    let grants = json!([{
        "group": "", "resource": "configmaps", "verbs": verbs, "namespaces": ["default"],
    }]);
    let patch = json!({"spec": {"grants": grants}});
    let answer = client.merge(&format!("{PLUGINS}/{plugin}"), &patch).expect("answered");
    assert_eq!(answer.code, 200, "{}", answer.body);
}

fn plant_treasures(client: &Client) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vault"}});
    client.post("/api/v1/namespaces", &namespace).expect("answered");
    let object = |kind: &str, more: Value| {
        let mut object =
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "treasure"}});
        object.as_object_mut().expect("an object").extend(more.as_object().cloned().expect("too"));
        object
    };
    // What it runs for, had it the right to see it.
    let treasure = json!({"name": "treasure", "labels": {crowd::PREY.0: crowd::PREY.1}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "victim"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    for (path, object) in [
        (
            "/api/v1/namespaces/vault/configmaps",
            object("ConfigMap", json!({"data": {"gold": "1"}, "metadata": treasure})),
        ),
        ("/api/v1/namespaces/vault/secrets", object("Secret", json!({"stringData": {"key": "1"}}))),
        (
            "/api/v1/namespaces/default/secrets",
            object("Secret", json!({"stringData": {"key": "1"}})),
        ),
        ("/api/v1/namespaces/default/pods", pod),
    ] {
        let answer = client.post(path, &object).expect("answered");
        assert_eq!(answer.code, 201, "{path}: {}", answer.body);
    }
}

#[test]
fn a_plugin_gets_nothing_that_it_was_not_granted() {
    let host = TestHost::start(HOST).expect("the host starts");
    let client = host.client().expect("a client");
    plant_treasures(&client);
    let intruder = std::fs::read(guest("intruder")).expect("readable");
    let path = format!("{PLUGINS}/intruder/component");
    let answer = client.send("PUT", &path, "application/wasm", &intruder).expect("answered");
    assert!(answer.code < 300, "{}", answer.body);
    grant_config_maps_in_default(&client, "intruder");
    let before = client.items("/api/v1/namespaces/vault/configmaps").expect("listed");
    let token = host.dir().join("admin-token");
    let prey = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "prey", "labels": {crowd::PREY.0: crowd::PREY.1}},
        "data": {"path": token, "address": host.url.trim_start_matches("https://")}});
    assert_eq!(client.post(MAPS, &prey).expect("answered").code, 201);
    let report = patiently("the report is written", || {
        let prey = client.get(&format!("{MAPS}/prey"))?.body;
        let status = client.get(&format!("{PLUGINS}/intruder"))?.body["status"].clone();
        let report = prey["data"]["report"].as_str();
        let report = report.ok_or_else(|| anyhow::anyhow!("{status:#}"))?;
        Ok(serde_json::from_str::<BTreeMap<String, Value>>(report)?)
    });
    let granted: Vec<_> =
        report.iter().filter(|(_, outcome)| outcome["refused"].is_null()).collect();
    assert!(granted.is_empty(), "{granted:#?}");
    assert!(report.len() >= 100, "only {} attempts", report.len());
    assert_eq!(client.items("/api/v1/namespaces/vault/configmaps").expect("listed"), before);
    assert!(token.exists() && !std::path::Path::new("/tmp/intruder").exists());
    let events = client.items("/api/v1/events").expect("listed");
    assert!(events.iter().all(|event| event["reason"] != "Lie"), "{events:#?}");
    assert!(events.iter().all(|event| event["metadata"]["namespace"] != "vault"), "{events:#?}");
    let runs = client.get("/quadrille/runs?plugin=intruder&limit=1000").expect("answered").body;
    let seen: Vec<&str> = runs["runs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|run| run["object"].as_str())
        .collect();
    assert!(seen.contains(&"configmaps/default/prey"), "{runs:#}");
    assert!(seen.iter().all(|object| !object.contains("/vault/")), "{seen:?}");
    eprintln!("{} attempts, granted 0", report.len());
    for (name, outcome) in &report {
        eprintln!("  {name}: {}", outcome["refused"]);
    }
    patiently("denials are counted", || {
        let status = client.get(&format!("{PLUGINS}/intruder"))?.body["status"].clone();
        anyhow::ensure!(status["denials"].as_u64() >= Some(40), "{status:#}");
        Ok(())
    });
}
