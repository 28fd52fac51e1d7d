//! Every endpoint that the host serves, asked by everybody: who gets through is who the roles let through.
//!
//! The endpoints come from discovery, from the `OpenAPI` document and, below `/quadrille/`, from the file that hands
//! questions on. What the roles say is asked of `SubjectAccessReview` in attributes that are worked out here, by
//! Kubernetes' rules and not by the server's code.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use quadrille_tests::{Client, workspace};
use serde_json::{Value, json};

use crate::tokens::{self, Forged};
use crate::wire::Wire;
use crate::{Target, is_full};

/// One request that can be made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Endpoint {
    method: &'static str,
    path: String,
}

/// A user and their groups.
type User = (&'static str, &'static [&'static str]);

/// Somebody who asks.
struct Identity {
    name: &'static str,
    client: Client,
    token: Option<String>,
    /// Who that is in a review; `None` for whoever must not be taken for anybody.
    user: Option<User>,
}

const METHODS: [(&str, &str); 7] = [
    ("get", "GET"),
    ("list", "GET"),
    ("watch", "GET"),
    ("create", "POST"),
    ("update", "PUT"),
    ("patch", "PATCH"),
    ("delete", "DELETE"),
];

/// The endpoints of resources, in a namespace and everywhere, of one object and of all.
fn of_discovery(admin: &Client) -> BTreeSet<Endpoint> {
    let mut found = BTreeSet::new();
    let groups = admin.get("/apis").expect("answered").body;
    let groups = groups["groups"].as_array().expect("groups").clone();
    let versions = groups.iter().flat_map(|group| group["versions"].as_array().expect("versions"));
    let roots = versions.map(|of| format!("/apis/{}", of["groupVersion"].as_str().expect("text")));
    for root in std::iter::once("/api/v1".to_owned()).chain(roots) {
        let list = admin.get(&root).expect("answered").body;
        for resource in list["resources"].as_array().expect("resources") {
            let name = resource["name"].as_str().expect("a name");
            let (name, sub) = name.split_once('/').map_or((name, ""), |(name, sub)| (name, sub));
            let sub = if sub.is_empty() { String::new() } else { format!("/{sub}") };
            let namespace = if resource["namespaced"] == true { "namespaces/shop/" } else { "" };
            let collection = format!("{root}/{namespace}{name}");
            let object = format!("{collection}/nobody{sub}");
            for (_, method) in METHODS {
                found.insert(Endpoint { method, path: object.clone() });
                if sub.is_empty() {
                    found.insert(Endpoint { method, path: collection.clone() });
                }
            }
            if sub.is_empty() {
                for path in [
                    format!("{root}/{name}"),
                    format!("{object}/why"),
                    format!("{collection}?watch=1&limit=none"),
                    format!("{root}/watch/{namespace}{name}?limit=none"),
                ] {
                    found.insert(Endpoint { method: "GET", path });
                }
            }
        }
        found.insert(Endpoint { method: "GET", path: root });
    }
    found
}

/// Objects that lie in no namespace, and what is below them, as if they lay in one.
fn of_nowhere(admin: &Client) -> BTreeSet<Endpoint> {
    let found = of_discovery(admin).into_iter().chain(of_paths(admin));
    let moved = found.filter_map(|Endpoint { method, path }| {
        let of_object = path.split('/').count() > if path.starts_with("/apis/") { 5 } else { 4 };
        let of_none = !path.contains(['?', '%']) && !path.contains("/namespaces");
        let (version, rest) = path.split_once("/v1/").filter(|_| of_none && of_object)?;
        let is_api = version == "/api" || version.starts_with("/apis/");
        is_api.then(|| Endpoint { method, path: format!("{version}/v1/namespaces/shop/{rest}") })
    });
    moved.collect()
}

/// Those of the document, with a name and a namespace for their parameters.
fn of_document(admin: &Client) -> BTreeSet<Endpoint> {
    let document = admin.get("/openapi/v2").expect("answered").body;
    let mut found = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().expect("paths") {
        let filled = path.replace("{namespace}", "shop").replace("{path}", "a");
        let mut filled = filled.replace("{name}", "nobody").replace("{logpath}", "a");
        if filled.contains("/watch/") {
            filled.push_str("?limit=none");
        }
        for (_, method) in METHODS {
            if operations.get(method.to_lowercase()).is_some() {
                found.insert(Endpoint { method, path: filled.clone() });
            }
        }
    }
    found
}

/// Paths that are no resources; the questions are read from the source, so that a new one is not forgotten.
fn of_paths(admin: &Client) -> BTreeSet<Endpoint> {
    let fixed = [
        "/",
        "/api",
        "/apis",
        "/version",
        "/metrics",
        "/healthz",
        "/livez",
        "/readyz",
        "/livez/ping",
        "/healthz/nothing",
        "/openapi/v2",
        "/openapi/v3",
        "/.well-known/openid-configuration",
        "/openid/v1/jwks",
        "/nothing",
        "/quadrille",
        "/debug/pprof",
        "/logs",
        "/api/v1/",
        "/apis/apps/",
        "/healthz/",
        "//api/v1/namespaces/shop/secrets",
        "/api/v1/namespaces/shop/secrets/../configmaps",
        "/api/v1/namespaces/shop//secrets",
        "/API/v1/secrets",
        "/apis/quadrille.dev/v1/revisions/1",
        "/apis/nothing.example/v1/things",
        "/api/v1/nothings",
        "/api/v1/namespaces/shop/pods/nobody/log",
        "/apis/quadrille.dev/v1/plugins/nobody/log",
        "/apis/quadrille.dev/v1/plugins/nobody/component",
        "/api/v1/namespaces/shop/secrets/nobody/nothing",
        "/api/v1/namespaces/shop%2f..%2fdefault/secrets",
        "/api/v1/namespaces/shop/secrets/%00",
        "/api/v1/namespaces/%2a/secrets",
    ];
    let get = |path: &str| Endpoint { method: "GET", path: path.to_owned() };
    let mut found: BTreeSet<Endpoint> = fixed.iter().map(|path| get(path)).collect();
    let index = admin.get("/openapi/v3").expect("answered").body;
    found.extend(
        index["paths"]
            .as_object()
            .expect("paths")
            .keys()
            .take(5)
            .map(|path| get(&format!("/openapi/v3/{path}"))),
    );
    for method in ["PUT", "POST", "GET"] {
        found.insert(Endpoint {
            method,
            path: "/apis/quadrille.dev/v1/plugins/nobody/component".to_owned(),
        });
    }
    let source = std::fs::read_to_string(workspace().join("host/src/insight.rs")).expect("source");
    let mut questions = 0;
    for line in source.lines() {
        let Some(rest) = line.trim().strip_prefix("(\"") else { continue };
        let Some((method, rest)) = rest.split_once("\", \"") else { continue };
        let Some((path, _)) = rest.split_once("\") =>") else { continue };
        let method = if method == "GET" { "GET" } else { "POST" };
        found.insert(Endpoint { method, path: format!("/quadrille/{path}") });
        questions += 1;
    }
    assert!(questions >= 10, "the questions are no longer found: {questions}");
    found.extend([
        get("/quadrille/runs/1"),
        get("/quadrille/runs/1/case"),
        get("/quadrille/nothing"),
    ]);
    found
}

/// What a request asks for, by Kubernetes' rules for the attributes of requests.
fn attributes(endpoint: &Endpoint) -> Value {
    let (path, query) = endpoint.path.split_once('?').unwrap_or((&endpoint.path, ""));
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let verb = endpoint.method.to_lowercase();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() && path.starts_with("/api/") => {
            ("", *version, rest)
        }
        ["apis", group, version, rest @ ..] if !rest.is_empty() && path.starts_with("/apis/") => {
            (*group, *version, rest)
        }
        _ => return json!({"nonResourceAttributes": {"path": path, "verb": verb}}),
    };
    let (is_watch, rest) = match rest {
        ["watch", rest @ ..] => (true, rest),
        rest => (query.contains("watch=1"), rest),
    };
    let (namespace, rest) = match rest {
        ["namespaces", _, "status" | "finalize"] => ("", rest),
        ["namespaces", _, "why"] if group.is_empty() => ("", rest),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let resource = rest.first().copied().unwrap_or_default();
    let name = rest.get(1).copied().unwrap_or_default();
    let sub = rest.get(2..).unwrap_or_default().join("/");
    let namespace = if group.is_empty() && resource == "namespaces" { name } else { namespace };
    let verb = match (verb.as_str(), name) {
        ("get", _) if is_watch => "watch",
        ("get", "") => "list",
        ("get", _) => "get",
        ("post", _) => "create",
        ("put", _) => "update",
        ("delete", "") => "deletecollection",
        (verb, _) => verb,
    };
    let decoded = |text: &str| text.replace("%2f", "/").replace("%00", "\0").replace("%2a", "*");
    json!({"resourceAttributes": {
        "group": group, "version": version, "resource": resource, "subresource": sub,
        "namespace": decoded(namespace), "name": decoded(name), "verb": verb,
    }})
}

fn is_allowed(admin: &Client, endpoint: &Endpoint, user: &str, groups: &[&str]) -> bool {
    let mut spec = attributes(endpoint);
    spec["user"] = user.into();
    spec["groups"] = json!(groups);
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec});
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let answer = admin.post(path, &review).expect("answered");
    assert_eq!(answer.code, 201, "{review}: {}", answer.body);
    answer.body["status"]["allowed"] == true
}

/// The code of an answer, and whether it is refused for want of a right.
fn ask(target: &Target, identity: &Identity, endpoint: &Endpoint) -> (u16, bool) {
    let Endpoint { method, path } = endpoint;
    let body: &[u8] = if *method == "GET" { b"" } else { b"{}" };
    // Nothing is to happen, whoever may.
    let dry = match (*method, path.contains('?')) {
        ("GET", _) => path.clone(),
        (_, true) => format!("{path}&dryRun=All"),
        (_, false) => format!("{path}?dryRun=All"),
    };
    let kind = if *method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    if path.ends_with("/bus") || path.ends_with("/log") {
        let token = identity.token.as_ref();
        let header = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
        let wire = Wire::open(&target.host, "http/1.1");
        let code = wire.code_of(method, &dry, &header.unwrap_or_default(), b"");
        return (code, code == 403);
    }
    let answer = identity.client.send(method, &dry, kind, body);
    let answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error:#}"));
    let message = answer.body["message"].as_str().unwrap_or_default();
    let refused = answer.code == 403 && message.contains("cannot ");
    (answer.code, refused)
}

/// What is wrong with an answer.
fn judge(target: &Target, identity: &Identity, endpoint: &Endpoint) -> Option<String> {
    let (code, refused) = ask(target, identity, endpoint);
    let told = |what: &str| {
        Some(format!("{} {} by {}: {code}, {what}", endpoint.method, endpoint.path, identity.name))
    };
    let Some((user, groups)) = identity.user else {
        return if code == 401 { None } else { told("and nobody is known by that") };
    };
    if code >= 500 {
        return told("a fault");
    }
    match (is_allowed(&target.admin, endpoint, user, groups), refused) {
        // A question may lead to what takes a right of its own.
        (true, true) if endpoint.path.starts_with("/quadrille/") => None,
        (true, true) => told("though the roles allow it"),
        (false, false) => told("though the roles do not allow it"),
        _ => None,
    }
}

fn grant(admin: &Client) {
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let made = |path: &str, object: Value| {
        let answer = admin.post(path, &object).expect("answered");
        assert_eq!(answer.code, 201, "{path}: {}", answer.body);
    };
    for name in ["shop", "other"] {
        made("/api/v1/namespaces", json!({"metadata": {"name": name}}));
    }
    made(
        &format!("{rbac}/clusterroles"),
        json!({"metadata": {"name": "asks"}, "rules": [
            {"nonResourceURLs": ["/quadrille/*", "/metrics"], "verbs": ["get"]},
        ]}),
    );
    made(
        &format!("{rbac}/clusterroles"),
        json!({"metadata": {"name": "picks"}, "rules": [
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["nobody"], "verbs": ["get", "update", "list", "watch"]},
            {"apiGroups": ["apps"], "resources": ["*/scale"], "verbs": ["*"]},
            {"apiGroups": ["*"], "resources": ["pods"], "verbs": ["create", "deletecollection"]},
            {"apiGroups": ["quadrille.dev"], "resources": ["plugins/log"], "verbs": ["get"]},
        ]}),
    );
    let bind = |kind: &str, role: &str, user: &str| {
        json!({"metadata": {"name": format!("{role}-{user}")},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [{"kind": "User", "name": user}]})
    };
    made(&format!("{rbac}/clusterrolebindings"), bind("ClusterRole", "view", "reader"));
    made(
        &format!("{rbac}/namespaces/other/rolebindings"),
        bind("ClusterRole", "admin", "neighbour"),
    );
    made(&format!("{rbac}/namespaces/shop/rolebindings"), bind("ClusterRole", "edit", "editor"));
    made(
        &format!("{rbac}/namespaces/shop/rolebindings"),
        bind("ClusterRole", "cluster-admin", "owner"),
    );
    made(&format!("{rbac}/clusterrolebindings"), bind("ClusterRole", "asks", "asker"));
    made(&format!("{rbac}/namespaces/shop/rolebindings"), bind("ClusterRole", "picks", "picker"));
}

const USERS: &str = "t-reader,reader,1\nt-neighbour,neighbour,2\nt-editor,editor,3\nt-asker,asker,4\nt-picker,picker,5\n\
    t-nobody,nobody,6\nt-owner,owner,7\n";

fn identities(target: &Target) -> Vec<Identity> {
    let ca = target.host.dir().join("ca.crt");
    let client = |token: Option<&str>| Client::new(&target.host.url, &ca, token).expect("a client");
    let known: [(&str, &str, User); 7] = [
        ("a reader", "t-reader", ("reader", &["system:authenticated"])),
        ("a neighbour", "t-neighbour", ("neighbour", &["system:authenticated"])),
        ("an editor", "t-editor", ("editor", &["system:authenticated"])),
        ("an owner", "t-owner", ("owner", &["system:authenticated"])),
        ("one who may ask", "t-asker", ("asker", &["system:authenticated"])),
        ("one with odd rights", "t-picker", ("picker", &["system:authenticated"])),
        ("one without rights", "t-nobody", ("nobody", &["system:authenticated"])),
    ];
    let known = known.map(|(name, token, user)| Identity {
        name,
        client: client(Some(token)),
        token: Some(token.to_owned()),
        user: Some(user),
    });
    let anonymous: User = ("system:anonymous", &["system:unauthenticated"]);
    let stranger =
        Identity { name: "a stranger", client: client(None), token: None, user: Some(anonymous) };
    let forged = tokens::forged(target).into_iter().map(|Forged { name, token }| Identity {
        name,
        client: client(Some(&token)),
        token: Some(token),
        user: None,
    });
    known.into_iter().chain([stranger]).chain(forged).collect()
}

#[test]
fn nobody_gets_through_to_an_endpoint_that_the_roles_do_not_open() {
    let users = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(users.path(), USERS).expect("written");
    let file = users.path().display().to_string();
    let target = Target::start(&["--token-auth-file", &file]);
    grant(&target.admin);
    let mut endpoints = of_discovery(&target.admin);
    endpoints.extend(of_document(&target.admin));
    endpoints.extend(of_paths(&target.admin));
    let endpoints: Vec<Endpoint> = endpoints.into_iter().collect();
    assert!(endpoints.len() > 1_000, "{} endpoints", endpoints.len());
    let identities = identities(&target);
    let owner = identities.iter().find(|one| one.name == "an owner").expect("there is one");
    let nowhere = of_nowhere(&target.admin);
    assert!(nowhere.len() > 100, "{} misplaced endpoints", nowhere.len());
    let misplaced = |endpoint: &Endpoint| {
        let (code, _) = ask(&target, owner, endpoint);
        (!matches!(code, 403..=405)).then(|| format!("{endpoint:?}: {code}"))
    };
    let answered: Vec<String> = nowhere.iter().filter_map(misplaced).collect();
    assert!(answered.is_empty(), "served in a namespace: {}", answered.join("\n"));
    let mut pairs = Vec::new();
    for (number, identity) in identities.iter().enumerate() {
        // Who is nobody is refused before the path is looked at: a sample is enough for the short form, as is a sixth of
        // the endpoints for each of the others, another sixth for each.
        let step = match (is_full(), identity.user) {
            (true, _) => 1,
            (false, Some(_)) => 6,
            (false, None) => 40,
        };
        let some = endpoints.iter().skip(number % step).step_by(step);
        pairs.extend(some.map(|endpoint| (identity, endpoint)));
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut wrong = Vec::new();
        while let Some((identity, endpoint)) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
            wrong.extend(judge(&target, identity, endpoint));
        }
        wrong
    };
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no worker panics")).collect()
    });
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), pairs.len(), wrong.join("\n"));
    eprintln!(
        "{} endpoints, {} identities: {} answers",
        endpoints.len(),
        identities.len(),
        pairs.len()
    );
    target.assert_unharmed(256 << 20);
}
