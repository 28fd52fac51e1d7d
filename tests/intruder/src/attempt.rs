//! Forbidden things, one attempt each, and what came of it.
//!
//! What is granted in the test: config maps in the namespace `default`. Everything here lies beyond that.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};

use quadrille_sdk::prelude::*;
use quadrille_sdk::{EventKind, ObjectRef, PatchFormat, Propagation, Query, ResourceRef};
use serde_json::{Map, Value, json};

/// What came of an attempt: the loot, or how it was refused.
type Outcome = std::result::Result<String, String>;

/// Tries everything and writes the outcomes into `data.report` of the object.
pub(crate) fn run(prey: &ConfigMap, ctx: &Context) -> Result<Next> {
    if prey.data.contains_key("report") {
        return Next::done();
    }
    let mut report = Report::default();
    files(&mut report, prey);
    network(&mut report, prey);
    surroundings(&mut report, ctx);
    reads(&mut report, ctx);
    writes(&mut report, ctx);
    powers(&mut report, ctx);
    names(&mut report, ctx);
    forgeries(&mut report, ctx);
    let patch = json!({"data": {"report": Value::Object(report.outcomes).to_string()}});
    let this = object("configmaps", &prey.metadata.namespace, &prey.metadata.name);
    let written = ctx.host().patch(&this, PatchFormat::Merge, &patch.to_string());
    written.map_err(|refusal| crate::failed(&refusal))?;
    Next::done()
}

#[derive(Default)]
struct Report {
    outcomes: Map<String, Value>,
}

impl Report {
    fn add(&mut self, name: &str, outcome: Outcome) {
        let (key, text) = match outcome {
            Ok(loot) => ("granted", loot),
            Err(refusal) => ("refused", refusal),
        };
        let text: String = text.chars().take(300).collect();
        self.outcomes.insert(name.to_owned(), json!({ key: text }));
    }

    fn call<T: std::fmt::Debug, E: std::fmt::Display>(
        &mut self,
        name: &str,
        outcome: std::result::Result<T, E>,
    ) {
        self.add(name, outcome.map(|loot| format!("{loot:?}")).map_err(|e| e.to_string()));
    }

    /// An answer that exists and holds nothing is no loot.
    fn look<T: std::fmt::Debug, E: std::fmt::Display>(
        &mut self,
        name: &str,
        outcome: std::result::Result<Option<T>, E>,
    ) {
        let found = outcome.map_err(|e| e.to_string());
        self.call(name, found.and_then(|found| found.ok_or_else(|| "there is nothing".to_owned())));
    }
}

fn files(report: &mut Report, prey: &ConfigMap) {
    let secret = prey.data.get("path").map_or("/etc/hostname", String::as_str);
    report.call("read /etc/passwd", std::fs::read("/etc/passwd"));
    report.call("read a relative path", std::fs::read("../../../../etc/passwd"));
    report.call("read /proc/self/environ", std::fs::read("/proc/self/environ"));
    report.call("read the host's token", std::fs::read(secret));
    report.call("list the root", std::fs::read_dir("/").map(|_| "a list"));
    report.call("list here", std::fs::read_dir(".").map(|_| "a list"));
    report.call("write a file", std::fs::write("/tmp/intruder", "was here"));
    report.call("make a directory", std::fs::create_dir("/tmp/intruders"));
    report.call("delete the host's token", std::fs::remove_file(secret));
    report.call("rename the host's token", std::fs::rename(secret, "/tmp/stolen"));
    report.call("follow a link", std::fs::read_link("/proc/self/exe"));
}

fn network(report: &mut Report, prey: &ConfigMap) {
    let api = prey.data.get("address").map_or("127.0.0.1:6443", String::as_str);
    report.call("connect to the API", TcpStream::connect(api));
    report.call("connect to the metadata service", TcpStream::connect("169.254.169.254:80"));
    report.call("connect to the world", TcpStream::connect("1.1.1.1:443"));
    report.call("connect by IPv6", TcpStream::connect("[::1]:80"));
    report.call("listen", TcpListener::bind("127.0.0.1:0"));
    report.call("open a UDP socket", UdpSocket::bind("0.0.0.0:0"));
    let names = ("localhost", 80).to_socket_addrs();
    report.call("resolve a name", names.map(Iterator::collect::<Vec<_>>));
}

#[expect(clippy::disallowed_methods, reason = "looking for what is forbidden is the point")]
fn surroundings(report: &mut Report, ctx: &Context) {
    let nonempty = |texts: Vec<String>| (!texts.is_empty()).then_some(texts);
    let variables = std::env::vars().map(|(name, _)| name).collect();
    report.look("read the environment", Ok::<_, String>(nonempty(variables)));
    report.look("read the arguments", Ok::<_, String>(nonempty(std::env::args().collect())));
    let mut input = Vec::new();
    let read = std::io::stdin().read_to_end(&mut input);
    report.look("read the input", read.map(|bytes| (bytes > 0).then_some(bytes)));
    report.call("start a process", std::process::Command::new("/bin/sh").spawn());
    let thread = std::thread::Builder::new().spawn(|| ());
    report.call("start a thread", thread.map(|_| "a thread"));
    let (first, ticks) = (std::time::SystemTime::now(), std::time::Instant::now());
    let mut work = 0_u64;
    for n in 0..3_000_000_u64 {
        work = std::hint::black_box(work ^ n);
    }
    let passed = std::time::SystemTime::now() != first || !ticks.elapsed().is_zero();
    report.look("see time pass", Ok::<_, String>(passed.then_some(work)));
    let unix = first.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_micros());
    let moment = u128::try_from(ctx.host().now()).unwrap_or_default();
    let other = (unix != moment).then_some((unix, moment));
    report.look("see another time than the run's", Ok::<_, String>(other));
    report.look("read another plugin's settings", Ok::<_, String>(ctx.config("../good/token")));
}

fn resource(group: &str, version: &str, plural: &str) -> ResourceRef {
    let [group, version, resource] = [group, version, plural].map(str::to_owned);
    ResourceRef { group, version, resource }
}

fn core(plural: &str) -> ResourceRef {
    resource("", "v1", plural)
}

fn object(plural: &str, namespace: &str, name: &str) -> ObjectRef {
    let [namespace, name] = [namespace, name].map(str::to_owned);
    ObjectRef { resource: core(plural), namespace, name }
}

fn query(plural: &str, namespace: Option<&str>) -> Query {
    let namespace = namespace.map(str::to_owned);
    Query { resource: core(plural), namespace, ..Query::default() }
}

fn reads(report: &mut Report, ctx: &Context) {
    let host = ctx.host();
    report.look("get a Secret", host.get(&object("secrets", "default", "treasure")));
    report.look("get a Secret elsewhere", host.get(&object("secrets", "vault", "treasure")));
    report.call("list Secrets", host.list(&query("secrets", Some("default"))));
    report.call("list Secrets everywhere", host.list(&query("secrets", None)));
    report.look("get elsewhere", host.get(&object("configmaps", "vault", "treasure")));
    report.call("list elsewhere", host.list(&query("configmaps", Some("vault"))));
    report.call("list everywhere", host.list(&query("configmaps", None)));
    report.call("list weakly everywhere", host.list_weakly(&query("configmaps", None)));
    report.call("list in no namespace", host.list(&query("configmaps", Some(""))));
    report.call("list in a star", host.list(&query("configmaps", Some("*"))));
    report.call("list plugins", {
        let resource = resource("quadrille.dev", "v1", "plugins");
        host.list(&Query { resource, ..Query::default() })
    });
    for (what, plural) in [
        ("a subresource in the name", "configmaps/../secrets"),
        ("a path in the name", "../secrets"),
        ("an escaped name", "configmaps%2f..%2fsecrets"),
        ("a name in capitals", "SECRETS"),
        ("the token subresource", "serviceaccounts/token"),
    ] {
        let found = host.get(&object(plural, "default", "treasure"));
        report.look(&format!("get by {what}"), found);
    }
    for (what, namespace) in [
        ("a path", "default/../vault"),
        ("an escape", "default%2f..%2fvault"),
        ("a zero byte", "vault\0default"),
        ("a line break", "vault\ndefault"),
    ] {
        let found = host.get(&object("configmaps", namespace, "treasure"));
        report.look(&format!("get with {what} in the namespace"), found);
    }
    for name in ["../vault/treasure", "..%2fvault%2ftreasure", "/vault/treasure", "treasure\0"] {
        let found = host.get(&object("configmaps", "default", name));
        report.look(&format!("get the name {name:?}"), found);
    }
}

fn config_map(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": namespace, "name": name}})
}

fn writes(report: &mut Report, ctx: &Context) {
    let host = ctx.host();
    let elsewhere = config_map("vault", "planted").to_string();
    report.call("create elsewhere", host.create(&core("configmaps"), &elsewhere));
    report.call("apply elsewhere", host.apply(&core("configmaps"), &elsewhere, true));
    let treasure = config_map("vault", "treasure").to_string();
    report.call("update elsewhere", host.update(&core("configmaps"), &treasure));
    let patch = r#"{"data":{"gold":"gone"}}"#;
    let there = object("configmaps", "vault", "treasure");
    report.call("patch elsewhere", host.patch(&there, PatchFormat::Merge, patch));
    report.call("delete elsewhere", host.delete(&there, None, Propagation::Background));
    let pod = object("pods", "default", "victim");
    report.call("write another's status", host.set_status(&pod, r#"{"phase":"Failed"}"#));
    let body = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "victim", "namespace": "default"}, "status": {"phase": "Failed"},
    });
    report.call("update another's status", host.update_status(&core("pods"), &body.to_string()));
    report.call("delete a Pod", host.delete(&pod, None, Propagation::Orphan));
    let said = host.record_event(&there, EventKind::Warning, "Lie", "it is not so");
    report.call("speak of what is elsewhere", said);
    let said = host.record_event(&pod, EventKind::Warning, "Lie", "it is not so");
    report.call("speak of what is another's", said);
}

fn powers(report: &mut Report, ctx: &Context) {
    let host = ctx.host();
    let rbac = "rbac.authorization.k8s.io";
    let all = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    let me = json!([{"kind": "User", "name": "system:plugin:intruder", "apiGroup": rbac}]);
    let to = json!({"kind": "ClusterRole", "name": "cluster-admin", "apiGroup": rbac});
    for (group, plural, kind, more) in [
        (rbac, "roles", "Role", json!({"rules": all})),
        (rbac, "clusterroles", "ClusterRole", json!({"rules": all})),
        (rbac, "rolebindings", "RoleBinding", json!({"subjects": me, "roleRef": to})),
        (rbac, "clusterrolebindings", "ClusterRoleBinding", json!({"subjects": me, "roleRef": to})),
        ("quadrille.dev", "plugins", "Plugin", json!({"spec": {}})),
        (
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            "CustomResourceDefinition",
            json!({}),
        ),
        (
            "admissionregistration.k8s.io",
            "validatingwebhookconfigurations",
            "ValidatingWebhookConfiguration",
            json!({"webhooks": []}),
        ),
        (
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations",
            "MutatingWebhookConfiguration",
            json!({"webhooks": []}),
        ),
        ("", "secrets", "Secret", json!({})),
        ("", "serviceaccounts", "ServiceAccount", json!({})),
        ("", "namespaces", "Namespace", json!({})),
        ("", "nodes", "Node", json!({})),
        ("", "persistentvolumes", "PersistentVolume", json!({})),
        (
            "certificates.k8s.io",
            "certificatesigningrequests",
            "CertificateSigningRequest",
            json!({}),
        ),
    ] {
        let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
        let mut body = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "power", "namespace": "default"}});
        if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
            body.extend(more);
        }
        let created = host.create(&resource(group, "v1", plural), &body.to_string());
        report.call(&format!("create a {kind}"), created);
    }
    let myself = ObjectRef {
        resource: resource("quadrille.dev", "v1", "plugins"),
        namespace: String::new(),
        name: "intruder".to_owned(),
    };
    let grants =
        json!({"spec": {"grants": [{"group": "", "resource": "secrets", "verbs": ["get"]}]}});
    let patched = host.patch(&myself, PatchFormat::Merge, &grants.to_string());
    report.call("grant itself more", patched);
    let limits = host.set_status(&myself, r#"{"phase":"Active"}"#);
    report.call("write its own plugin's status", limits);
}

fn names(report: &mut Report, ctx: &Context) {
    let long = "x".repeat(300);
    for name in [
        "../../escape",
        "a/b",
        "a%2fb",
        "UPPER",
        "a b",
        "a\0b",
        "a\nb",
        "ä",
        ".",
        "..",
        "-a",
        &long,
    ] {
        let shown: String = name.chars().take(20).collect();
        let body = config_map("default", name).to_string();
        let created = ctx.host().create(&core("configmaps"), &body);
        report.call(&format!("create the name {shown:?}"), created);
    }
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"namespace": "default", "generateName": "../../"}});
    let created = ctx.host().create(&core("configmaps"), &body.to_string());
    report.call("have a path generated", created);
    let created = ctx.host().create(&core("configmaps"), &config_map("", "a").to_string());
    report.call("create in no namespace", created);
}

/// What of an object only the host may say: the attempt is refused, or the stored object does not have it.
fn forgeries(report: &mut Report, ctx: &Context) {
    let host = ctx.host();
    let forged = "11111111-2222-3333-4444-555555555555";
    for (what, pointer, value) in [
        ("uid", "/metadata/uid", json!(forged)),
        ("creationTimestamp", "/metadata/creationTimestamp", json!("2001-01-01T00:00:00Z")),
        ("deletionTimestamp", "/metadata/deletionTimestamp", json!("2001-01-01T00:00:00Z")),
        ("generation", "/metadata/generation", json!(4711)),
        ("resourceVersion", "/metadata/resourceVersion", json!("4711")),
        ("selfLink", "/metadata/selfLink", json!("/api/v1/secrets")),
    ] {
        let mut body = config_map("default", &format!("forged-{}", what.to_lowercase()));
        let field = pointer.rsplit('/').next().unwrap_or_default();
        if let Some(meta) = body.pointer_mut("/metadata").and_then(Value::as_object_mut) {
            meta.insert(field.to_owned(), value.clone());
        }
        let created = host.create(&core("configmaps"), &body.to_string());
        let stored = created.map(|stored| {
            let stored: Value = serde_json::from_str(&stored).unwrap_or_default();
            (stored.pointer(pointer) == Some(&value)).then_some(stored)
        });
        report.look(&format!("forge the {what}"), stored);
    }
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "default", "name": "kind"}});
    report.call(
        "pass a Secret as a ConfigMap",
        host.create(&core("configmaps"), &secret.to_string()),
    );
    let disguised = config_map("default", "disguised").to_string();
    report.call("pass a ConfigMap as a Secret", host.create(&core("secrets"), &disguised));
    let this = object("configmaps", "default", &ctx.request().object.name);
    for (what, patch) in [
        ("name", r#"[{"op":"replace","path":"/metadata/name","value":"other"}]"#),
        ("namespace", r#"[{"op":"replace","path":"/metadata/namespace","value":"vault"}]"#),
        ("uid", r#"[{"op":"replace","path":"/metadata/uid","value":"x"}]"#),
        ("kind", r#"[{"op":"replace","path":"/kind","value":"Secret"}]"#),
    ] {
        let patched = host.patch(&this, PatchFormat::Json, patch);
        report.call(&format!("patch the {what}"), patched);
    }
    let deleted = host.delete(&this, Some(forged), Propagation::Background);
    report.call("delete another incarnation", deleted);
}
