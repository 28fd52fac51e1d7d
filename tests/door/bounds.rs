//! Sizes: each bound one below, at it and one beyond; the first two are taken, the third is refused and says so.

use serde_json::{Value, json};

use crate::wire::Wire;
use crate::{CONFIG_MAPS, Target};

const JSON: &str = "application/json";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?dryRun=All";

/// A request: method, path, type, body.
type Request = (&'static str, String, &'static str, Vec<u8>);

struct Bound {
    name: &'static str,
    limit: usize,
    refusal: u16,
    make: fn(usize) -> Request,
}

fn post(path: &str, body: &Value) -> Request {
    let dry = if path.contains('?') { path.to_owned() } else { format!("{path}?dryRun=All") };
    ("POST", dry, JSON, body.to_string().into_bytes())
}

fn with(metadata: &Value) -> Request {
    let mut metadata = metadata.clone();
    if metadata.get("name").is_none() {
        metadata["name"] = "x".into();
    }
    post(CONFIG_MAPS, &json!({"metadata": metadata}))
}

fn letters(count: usize) -> String {
    "a".repeat(count)
}

/// A subdomain of such a length, in labels of up to 60 letters.
fn subdomain(count: usize) -> String {
    (0..count).map(|at| if at % 61 == 60 && at + 1 < count { '.' } else { 'a' }).collect()
}

fn patch(body: &Value) -> Request {
    let path = format!("{CONFIG_MAPS}/witness?dryRun=All");
    ("PATCH", path, "application/json-patch+json", body.to_string().into_bytes())
}

fn slice(endpoints: usize, addresses: usize, ports: usize) -> Request {
    let address = |n: usize| format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255);
    let endpoints: Vec<Value> = (0..endpoints)
        .map(|n| json!({"addresses": (0..addresses).map(|m| address(n * addresses + m)).collect::<Vec<_>>()}))
        .collect();
    let ports: Vec<Value> =
        (0..ports).map(|n| json!({"name": format!("p{n}"), "port": n % 65_535 + 1})).collect();
    post(
        SLICES,
        &json!({"metadata": {"name": "x"}, "addressType": "IPv4", "endpoints": endpoints, "ports": ports}),
    )
}

fn bounds() -> Vec<Bound> {
    let bound = |name, limit, refusal, make| Bound { name, limit, refusal, make };
    vec![
        bound("bytes of a request", 3 << 20, 413, |n| {
            let object = json!({"metadata": {"name": "x"}}).to_string();
            let padded = object.clone() + &" ".repeat(n - object.len());
            ("POST", format!("{CONFIG_MAPS}?dryRun=All"), JSON, padded.into_bytes())
        }),
        bound("bytes of a ConfigMap's data", 1 << 20, 422, |n| {
            post(CONFIG_MAPS, &json!({"metadata": {"name": "x"}, "data": {"k": letters(n)}}))
        }),
        bound("bytes of a Secret's data", 1 << 20, 422, |n| {
            post(
                "/api/v1/namespaces/default/secrets",
                &json!({"metadata": {"name": "x"}, "stringData": {"k": letters(n)}}),
            )
        }),
        bound("letters of a key of data", 253, 422, |n| {
            post(CONFIG_MAPS, &json!({"metadata": {"name": "x"}, "data": {letters(n): "v"}}))
        }),
        bound("bytes of annotations", 256 << 10, 422, |n| {
            with(&json!({"annotations": {"a": letters(n - 1)}}))
        }),
        bound("letters of a name", 253, 422, |n| with(&json!({"name": subdomain(n)}))),
        bound("letters of a Namespace's name", 63, 422, |n| {
            post("/api/v1/namespaces", &json!({"metadata": {"name": letters(n)}}))
        }),
        bound("letters of a Service's name", 63, 422, |n| {
            post(
                "/api/v1/namespaces/default/services",
                &json!({"metadata": {"name": letters(n)}, "spec": {"ports": [{"port": 1}]}}),
            )
        }),
        bound("letters of a label", 63, 422, |n| with(&json!({"labels": {"a": letters(n)}}))),
        bound("letters of a label's name", 63, 422, |n| {
            with(&json!({"labels": {letters(n): "a"}}))
        }),
        bound("letters of a label's prefix", 253, 422, |n| {
            with(&json!({"labels": {format!("{}/a", subdomain(n)): "a"}}))
        }),
        bound("letters of a finalizer's name", 63, 422, |n| {
            with(&json!({"finalizers": [format!("example.com/{}", letters(n))]}))
        }),
        bound("letters of a field manager", 128, 422, |n| {
            let path = format!("{CONFIG_MAPS}?dryRun=All&fieldManager={}", letters(n));
            post(&path, &json!({"metadata": {"name": "x"}}))
        }),
        bound("operations of a JSON patch", 10_000, 413, |n| {
            patch(&vec![json!({"op": "test", "path": "/kind", "value": "ConfigMap"}); n].into())
        }),
        bound("depth of a document", 100, 400, |n| {
            let inner = n - 1;
            let body = format!(
                r#"{{"metadata":{{"name":"x"}},"zzz":{}{}}}"#,
                "[".repeat(inner),
                "]".repeat(inner)
            );
            ("POST", format!("{CONFIG_MAPS}?dryRun=All"), JSON, body.into_bytes())
        }),
        bound("depth of a document of YAML", 100, 400, |n| {
            let inner = n - 1;
            let body =
                format!("metadata: {{name: x}}\nzzz: {}{}\n", "[".repeat(inner), "]".repeat(inner));
            ("POST", format!("{CONFIG_MAPS}?dryRun=All"), "application/yaml", body.into_bytes())
        }),
        bound("endpoints of a slice", 1_000, 422, |n| slice(n, 1, 1)),
        bound("addresses of an endpoint", 100, 422, |n| slice(1, n, 1)),
        bound("ports of a slice", 20_000, 422, |n| slice(1, 1, n)),
        bound("bytes of a reason of an Event", 128, 422, |n| {
            post(
                "/apis/events.k8s.io/v1/namespaces/default/events",
                &json!({
                    "metadata": {"name": "x"}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal", "action": "a",
                    "reason": letters(n), "reportingController": "a.b/c", "reportingInstance": "i",
                    "regarding": {"namespace": "default"},
                }),
            )
        }),
        bound("maps of an object of a built-in kind", 131_072, 413, |n| {
            post(
                "/api/v1/namespaces/default/serviceaccounts",
                &json!({"metadata": {"name": "x"}, "secrets": vec![json!({}); n]}),
            )
        }),
        bound("maps of a Pod", 32_768, 413, |n| {
            // Two more are its spec and its container.
            let env = vec![json!({"name": "a"}); n - 2];
            post(
                "/api/v1/namespaces/default/pods",
                &json!({
                    "metadata": {"name": "x"}, "spec": {"containers": [{"name": "a", "image": "i", "env": env}]},
                }),
            )
        }),
        bound("grants of a plugin", 256, 422, |n| {
            let grants: Vec<Value> =
                (0..n).map(|m| json!({"resource": format!("r{m}"), "verbs": ["get"]})).collect();
            post(
                "/apis/quadrille.dev/v1/plugins",
                &json!({
                    "apiVersion": "quadrille.dev/v1", "kind": "Plugin", "metadata": {"name": "x"}, "spec": {"grants": grants},
                }),
            )
        }),
        bound("letters of a plugin's name", 253, 422, |n| {
            post(
                "/apis/quadrille.dev/v1/plugins",
                &json!({
                    "apiVersion": "quadrille.dev/v1", "kind": "Plugin", "metadata": {"name": subdomain(n)}, "spec": {},
                }),
            )
        }),
        bound("rules of a role that are compared", 100_000, 403, |n| {
            // 100 verbs on so many resources, in as many rules as it takes.
            let verbs: Vec<String> = (0..100).map(|m| format!("v{m}")).collect();
            let whole: Vec<String> = (0..n / 100).map(|m| format!("r{m}")).collect();
            let mut rules = vec![json!({"apiGroups": [""], "resources": whole, "verbs": verbs})];
            if !n.is_multiple_of(100) {
                rules.push(
                    json!({"apiGroups": [""], "resources": ["rest"], "verbs": verbs[..n % 100]}),
                );
            }
            post(
                "/apis/rbac.authorization.k8s.io/v1/clusterroles",
                &json!({"metadata": {"name": "x"}, "rules": rules}),
            )
        }),
    ]
}

/// A user who has every right and yet is compared, as masters are not.
const ALL: &str = "t-all,all,1\n";

#[test]
fn every_bound_holds_on_its_right_side() {
    let users = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(users.path(), ALL).expect("written");
    let file = users.path().display().to_string();
    let target = Target::start(&["--token-auth-file", &file]);
    let everything = json!({
        "metadata": {"name": "everything"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "everything"},
        "subjects": [{"kind": "User", "name": "all"}],
    });
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let every = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": (0..100).map(|m| format!("v{m}")).chain(["create", "patch", "get"].map(str::to_owned)).collect::<Vec<_>>()}]);
    let role = json!({"metadata": {"name": "everything"}, "rules": every});
    assert_eq!(
        target.admin.post(&format!("{rbac}/clusterroles"), &role).expect("answered").code,
        201
    );
    let bound = target.admin.post(&format!("{rbac}/clusterrolebindings"), &everything);
    assert_eq!(bound.expect("answered").code, 201);
    let ca = target.host.dir().join("ca.crt");
    let client =
        quadrille_tests::Client::new(&target.host.url, &ca, Some("t-all")).expect("a client");
    let mut wrong = Vec::new();
    for Bound { name, limit, refusal, make } in bounds() {
        // Only masters may grant a plugin what it asks for here.
        let client = if name.starts_with("grants") { &target.admin } else { &client };
        for (count, wanted) in [(limit - 1, None), (limit, None), (limit + 1, Some(refusal))] {
            let (method, path, kind, body) = make(count);
            let answer = client.send(method, &path, kind, &body).expect("answered");
            let fits = match wanted {
                None => answer.code < 300,
                Some(code) => {
                    answer.code == code
                        && answer.body["message"].as_str().is_some_and(|m| m.len() > 5)
                }
            };
            if !fits {
                let shown: String = answer.body.to_string().chars().take(200).collect();
                wrong.push(format!("{name} ({limit}): {count} got {}: {shown}", answer.code));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    eprintln!("{} bounds of bodies, three sizes each", bounds().len());
    target.assert_unharmed(256 << 20);
}

#[test]
fn the_number_of_headers_is_bounded() {
    let target = Target::start(&[]);
    for (count, code) in [(99, 200), (100, 200), (101, 431)] {
        // The length that the wire adds is a header, too, as is the host.
        let headers: String = (2..count).map(|n| format!("X-{n}: a\r\n")).collect();
        let wire = Wire::open(&target.host, "http/1.1");
        assert_eq!(wire.code_of("GET", "/healthz", &headers, b""), code, "{count} headers");
    }
}

#[test]
fn the_size_of_a_stored_object_is_bounded_to_the_byte() {
    let target = Target::start(&[]);
    let create = |length: usize| {
        let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": [letters(length)]}]);
        let role = json!({"metadata": {"name": "large"}, "rules": rules});
        let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles";
        let answer = target.admin.post(path, &role).expect("answered");
        if answer.code == 201 {
            assert_eq!(target.admin.delete(&format!("{path}/large")).expect("answered").code, 200);
        }
        let numbers = answer.body["message"].as_str().unwrap_or_default().split(' ');
        let numbers: Vec<usize> = numbers.filter_map(|word| word.parse().ok()).collect();
        (answer.code, numbers)
    };
    let (code, numbers) = create(2 << 20);
    let [takes, most] = numbers[..] else { panic!("no sizes in the refusal: {numbers:?}") };
    assert_eq!((code, most), (413, 3 << 19));
    let fits = most - (takes - (2 << 20));
    let codes = [fits - 1, fits, fits + 1].map(|length| create(length).0);
    assert_eq!(codes, [201, 201, 413]);
}
