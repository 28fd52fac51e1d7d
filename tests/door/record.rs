//! What is written down of everybody: each write in the history has its line in the audit log, and the record tells nobody of
//! what they may not get.

use std::collections::BTreeMap;

use quadrille_tests::{Client, eventually, plugins};
use serde_json::{Value, json};

use crate::wire::Wire;
use crate::{CONFIG_MAPS, Target};

const USERS: &str =
    "t-writer,writer,1\nt-podder,podder,2\nt-actor,actor,3\nt-deployer,deployer,4\n";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn user_file() -> tempfile::NamedTempFile {
    let users = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(users.path(), USERS).expect("written");
    users
}

fn client(target: &Target, token: &str) -> Client {
    let ca = target.host.dir().join("ca.crt");
    Client::new(&target.host.url, &ca, Some(token)).expect("a client")
}

fn made(target: &Target, path: &str, object: &Value) {
    let answer = target.admin.post(path, object).expect("answered");
    assert_eq!(answer.code, 201, "{path}: {}", answer.body);
}

/// A role and its binding to a user, everywhere.
fn allow(target: &Target, user: &str, rules: &Value) {
    let metadata = json!({"name": user});
    made(target, &format!("{RBAC}/clusterroles"), &json!({"metadata": metadata, "rules": rules}));
    let binding = json!({"metadata": metadata, "subjects": [{"kind": "User", "name": user}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user}});
    made(target, &format!("{RBAC}/clusterrolebindings"), &binding);
}

/// Writes of all kinds by two users, some of which are refused.
fn write_all_over(admin: &Client, writer: &Client) {
    for n in 0..40 {
        let by = if n % 2 == 0 { admin } else { writer };
        let path = format!("{CONFIG_MAPS}/w{n}");
        by.post(CONFIG_MAPS, &json!({"metadata": {"name": format!("w{n}"), "labels": {"n": "1"}}}))
            .expect("answered");
        by.merge(&path, &json!({"data": {"a": n.to_string()}})).expect("answered");
        let json_patch =
            json!([{"op": "add", "path": "/metadata/labels/b", "value": "c"}]).to_string();
        by.send("PATCH", &path, "application/json-patch+json", json_patch.as_bytes())
            .expect("answered");
        let whole = json!({"metadata": {"name": format!("w{n}")}, "data": {"z": "y"}}).to_string();
        by.send("PUT", &path, "application/json", whole.as_bytes()).expect("answered");
        let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("w{n}")}, "data": {"q": "r"}});
        let apply = format!("{path}?fieldManager=test&force=true");
        by.send("PATCH", &apply, "application/apply-patch+yaml", applied.to_string().as_bytes())
            .expect("answered");
        // Nothing changes, nothing is allowed, or nothing is meant: no line of these belongs to a write.
        by.merge(&path, &json!({"data": {"q": "r"}})).expect("answered");
        writer
            .post("/api/v1/namespaces/default/secrets", &json!({"metadata": {"name": "no"}}))
            .expect("answered");
        by.merge(&format!("{path}?dryRun=All"), &json!({"data": {"dry": "run"}}))
            .expect("answered");
        if n % 3 == 0 {
            by.delete(&path).expect("answered");
        }
    }
    admin.post("/api/v1/namespaces", &json!({"metadata": {"name": "short"}})).expect("answered");
    admin
        .merge("/api/v1/namespaces/short/status", &json!({"status": {"conditions": []}}))
        .expect("answered");
    admin.post(&format!("{RBAC}/roles"), &json!({})).expect("answered");
    admin.send("DELETE", &format!("{CONFIG_MAPS}?labelSelector=b=c"), "", b"").expect("answered");
    admin.delete(&format!("{CONFIG_MAPS}/w1")).expect("answered");
}

#[test]
fn every_write_of_the_history_has_its_line_in_the_audit_log() {
    let users = user_file();
    let folder = tempfile::tempdir().expect("a folder");
    let (log, policy) = (folder.path().join("audit.log"), folder.path().join("policy.yaml"));
    std::fs::write(&policy, "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- level: RequestResponse\n").expect("written");
    let text = format!("[audit]\nlog_path = {log:?}\npolicy_file = {policy:?}\n");
    let target =
        Target::configured(&text, &["--token-auth-file", &users.path().display().to_string()]);
    let maps = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]);
    allow(&target, "writer", &maps);
    write_all_over(&target.admin, &client(&target, "t-writer"));
    let bus = target.admin.lines("/quadrille/bus?from=0&follow=false").expect("the history");
    let changes: Vec<Value> = bus
        .map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON"))
        .filter(|change: &Value| change["cause"]["type"] == "request")
        .collect();
    assert!(changes.len() > 200, "{} changes by requests", changes.len());
    let unmatched = eventually("the log is written", || {
        let lines = std::fs::read_to_string(&log)?;
        let events: Vec<Value> =
            lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let unmatched = unmatched(&changes, &events);
        anyhow::ensure!(
            unmatched.is_empty(),
            "{} without a line: {}",
            unmatched.len(),
            unmatched[0]
        );
        Ok((changes.len(), events.len()))
    });
    eprintln!("{} writes of requests, each with its line among {}", unmatched.0, unmatched.1);
    target.assert_unharmed(64 << 20);
}

/// The changes that no line tells of. A line tells of one change, but for that of a collection's deletion.
fn unmatched<'a>(changes: &'a [Value], events: &[Value]) -> Vec<&'a Value> {
    let mut by_revision: BTreeMap<String, &Value> = BTreeMap::new();
    let mut deletions: BTreeMap<String, usize> = BTreeMap::new();
    for event in events
        .iter()
        .filter(|event| event["responseStatus"]["code"].as_u64().is_some_and(|code| code < 300))
    {
        let of = &event["objectRef"];
        let place = format!("{} {} {}", event["user"]["username"], of["resource"], of["namespace"]);
        match event["verb"].as_str() {
            Some("delete") => *deletions.entry(format!("{place} {}", of["name"])).or_default() += 1,
            Some("deletecollection") => *deletions.entry(place).or_default() += usize::MAX / 4,
            _ => {
                if let Some(revision) =
                    event["responseObject"]["metadata"]["resourceVersion"].as_str()
                {
                    by_revision.entry(revision.to_owned()).or_insert(event);
                }
            }
        }
    }
    let is_unmatched = |change: &&Value| {
        let request = &change["cause"];
        let revision = change["revision"]
            .as_u64()
            .map(|revision| revision.to_string())
            .or_else(|| change["revision"].as_str().map(str::to_owned));
        if let Some(event) = revision.and_then(|revision| by_revision.get(&revision)) {
            return event["user"]["username"] != request["user"]
                || event["objectRef"]["resource"] != change["resource"];
        }
        let namespace =
            if change["namespace"] == "" { Value::Null } else { change["namespace"].clone() };
        let place = format!("{} {} {namespace}", request["user"], change["resource"]);
        // A Namespace is its own namespace.
        let own = format!("{} {} {}", request["user"], change["resource"], change["name"]);
        let named = format!("{place} {}", change["name"]);
        for key in [named, format!("{own} {}", change["name"]), place] {
            if let Some(left) = deletions.get_mut(&key).filter(|left| **left > 0) {
                *left -= 1;
                return false;
            }
        }
        true
    };
    let mut is_unmatched = is_unmatched;
    changes.iter().filter(|change| is_unmatched(change)).collect()
}

fn deployment(image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
        "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": image}]}}}})
}

/// Asserts that a path tells the admin of the first of some texts, and somebody else of none.
#[track_caller]
fn hides(admin: &Client, asker: &Client, path: &str, hidden: &[&str]) {
    let (all, some) = (admin.get(path).expect("answered"), asker.get(path).expect("answered"));
    assert_eq!((all.code, some.code), (200, 200), "{path}: {}", some.body);
    let (all, some) = (all.body.to_string(), some.body.to_string());
    assert!(all.contains(hidden[0]), "{path}: {all}");
    for hidden in hidden {
        assert!(!some.contains(hidden), "{path} tells of {hidden}: {some}");
    }
}

#[test]
fn the_record_hides_objects_and_values_from_those_who_may_not_get_them() {
    let users = user_file();
    let folder = plugins();
    let target = Target::start(&["--token-auth-file", &users.path().display().to_string()]);
    for plugin in ["deployment", "replicaset"] {
        target.admin.load(plugin, &folder.join(format!("{plugin}.wasm"))).expect("it loads");
    }
    allow(
        &target,
        "podder",
        &json!([
            {"apiGroups": [""], "resources": ["pods", "pods/why", "events"], "verbs": ["get", "list"]},
            {"apiGroups": ["quadrille.dev"], "resources": ["plugins", "revisions"], "verbs": ["get"]},
            {"nonResourceURLs": ["/quadrille/*"], "verbs": ["*"]},
        ]),
    );
    allow(
        &target,
        "deployer",
        &json!([
            {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]},
            {"nonResourceURLs": ["/quadrille/*"], "verbs": ["*"]},
        ]),
    );
    made(&target, DEPLOYMENTS, &deployment("canary-before"));
    target.admin.settled().expect("settled");
    let change = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "canary-after"}]}}}});
    let answer = target.admin.send(
        "PATCH",
        &format!("{DEPLOYMENTS}/web"),
        "application/strategic-merge-patch+json",
        change.to_string().as_bytes(),
    );
    let revision = answer.expect("answered").body["metadata"]["resourceVersion"]
        .as_str()
        .expect("text")
        .to_owned();
    target.admin.settled().expect("settled");
    let pods = target.admin.items("/api/v1/namespaces/default/pods").expect("pods");
    let is_new = |pod: &&Value| pod["spec"]["containers"][0]["image"] == "canary-after";
    let pod = &pods.iter().find(is_new).expect("a new pod")["metadata"];
    let (pod, uid) = (pod["name"].as_str().expect("text"), pod["uid"].as_str().expect("text"));
    let image = "spec.containers%5B0%5D.image";
    let told = [
        format!("/api/v1/namespaces/default/pods/{pod}/why"),
        format!("/api/v1/namespaces/default/pods/{pod}/why?field={image}"),
        format!("/quadrille/why?resource=pods&namespace=default&name={pod}&field={image}"),
        format!("/quadrille/effects?revision={revision}"),
    ];
    // What is not settled, as its plugin is suspended.
    let suspended = json!({"spec": {"suspended": true}});
    let plugin = "/apis/quadrille.dev/v1/plugins/deployment";
    assert_eq!(target.admin.merge(plugin, &suspended).expect("answered").code, 200);
    eventually("it is suspended", || {
        let phase = target.admin.get(plugin)?.body["status"]["phase"].clone();
        anyhow::ensure!(phase == "Suspended", "{phase}");
        Ok(())
    });
    let scaled =
        target.admin.merge(&format!("{DEPLOYMENTS}/web"), &json!({"spec": {"replicas": 2}}));
    let busy = scaled.expect("answered").body["metadata"]["resourceVersion"].clone();
    let busy = busy.as_str().expect("text").to_owned();
    let settled = format!("/quadrille/settled?revision={busy}");
    eventually("the change has been looked at", || {
        let answer = target.admin.get(&settled)?.body;
        anyhow::ensure!(answer["busy"][0]["objects"][0].is_string(), "{answer}");
        Ok(())
    });
    let podders = [
        settled,
        "/quadrille/settled".to_owned(),
        format!("/apis/quadrille.dev/v1/revisions/{busy}"),
        "/quadrille/runs?plugin=deployment".to_owned(),
    ];
    let podder = client(&target, "t-podder");
    let ours = ["deployments.apps/default/web", "replicasets.apps/default", "canary-before"];
    for path in told.iter().chain(&podders) {
        hides(&target.admin, &podder, path, &ours);
    }
    // Of the runs for what one may get, what they did elsewhere.
    let runs = target.admin.get("/quadrille/runs?plugin=deployment&wrote=true").expect("answered");
    let deployer = client(&target, "t-deployer");
    let run = &runs.body["runs"][0]["run"];
    hides(&target.admin, &deployer, &format!("/quadrille/runs/{run}"), &ours[1..2]);
    let waiting = "/quadrille/waiting?group=apps&resource=deployments&namespace=default&name=web";
    let waiting = deployer.get(waiting).expect("answered");
    assert!(waiting.code == 200 && !waiting.body.to_string().contains(ours[1]), "{}", waiting.body);
    let digest = target.admin.get("/apis/quadrille.dev/v1/plugins/replicaset").expect("answered");
    let digest = digest.body["status"]["digest"].as_str().expect("text").to_owned();
    let replay = format!("/quadrille/replay?plugin=deployment&digest={digest}");
    let replayed = |by: &Client| {
        let answer = by.send("POST", &replay, "", b"").expect("answered");
        assert_eq!(answer.code, 200, "{}", answer.body);
        answer.body.to_string()
    };
    assert!(replayed(&target.admin).contains(ours[0]));
    let told = replayed(&podder);
    assert!(told.contains("an object that you may not get"), "{told}");
    assert!(ours.iter().all(|hidden| !told.contains(hidden)), "{told}");
    // What `kubectl describe` asks for.
    let events = format!(
        "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3D{pod},involvedObject.namespace%3Ddefault,involvedObject.uid%3D{uid}"
    );
    hides(&target.admin, &podder, &events, &ours[1..]);
    // Code of one's own on what plugins read is for those who may let plugins do anything.
    for path in ["/quadrille/replay?plugin=deployment", "/quadrille/plan?plugin=deployment"] {
        let answer = podder.send("POST", path, "application/wasm", b"\0asm").expect("answered");
        assert_eq!(answer.code, 403, "{path}: {}", answer.body);
    }
    target.assert_unharmed(512 << 20);
}

#[test]
fn whoever_may_not_act_as_somebody_else_gets_nothing_by_saying_so() {
    let users = user_file();
    let target = Target::start(&["--token-auth-file", &users.path().display().to_string()]);
    allow(
        &target,
        "actor",
        &json!([{"apiGroups": [""], "resources": ["users"], "resourceNames": ["writer"], "verbs": ["impersonate"]}]),
    );
    allow(
        &target,
        "writer",
        &json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]),
    );
    let cases = [
        ("Impersonate-User: writer\r\n", 200),
        ("impersonate-user: writer\r\n", 200),
        ("", 403),
        ("Impersonate-User: admin\r\n", 403),
        ("Impersonate-User: admin\r\nImpersonate-User: writer\r\n", 403),
        ("Impersonate-User: writer\r\nImpersonate-Group: system:masters\r\n", 403),
        ("Impersonate-Group: system:masters\r\n", 500),
        ("Impersonate-Uid: 1\r\n", 500),
        ("Impersonate-User: writer\r\nImpersonate-Uid: 1\r\n", 403),
        ("Impersonate-User: writer\r\nImpersonate-Extra-Scopes: all\r\n", 403),
        ("Impersonate-User: system:serviceaccount:kube-system:robot\r\n", 403),
        ("Impersonate-User: system:anonymous\r\n", 403),
        ("Impersonate-User: system:plugin:deployment\r\n", 403),
        ("Impersonate-User: system:apiserver\r\n", 403),
    ];
    let mut wrong = Vec::new();
    for (headers, wanted) in cases {
        let all = format!("Authorization: Bearer t-actor\r\n{headers}");
        let code = Wire::open(&target.host, "http/1.1").code_of(
            "GET",
            &format!("{CONFIG_MAPS}/witness"),
            &all,
            b"",
        );
        // What names nobody is refused, whatever the code is that Kubernetes has for it.
        let fits = if wanted == 500 { (400..=500).contains(&code) } else { code == wanted };
        if !fits {
            wrong.push(format!("{headers:?}: {code}, not {wanted}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
