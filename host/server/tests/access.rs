//! Who is known, who may do what, whose turn it is, and what is logged of it, over real HTTP.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::{Method, StatusCode};
use quadrille_kit::{Clock, ManualClock, SystemClock};
use quadrille_server::{AuditConfig, Limits, Parts, Policy, identity};
use serde_json::{Value, json};
use support::hook::{Hook, Reply};
use support::{Client, Host, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const ALICE: (&str, &str) = ("authorization", "Bearer alice-token");
const BOB: (&str, &str) = ("authorization", "Bearer bob-token");
const ADMIN: (&str, &str) = ("authorization", "Bearer admin-token");
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const SELF: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

async fn host() -> Host {
    Host::bootstrapped(Limits::default(), Arc::new(SystemClock::default()), |_, _| {}).await
}

async fn create(client: &Client, path: &str, object: Value) -> Value {
    let (code, made) = client.ask(Method::POST, path, &[ADMIN], object.to_string()).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    made
}

/// Binds a cluster role to a user everywhere.
async fn bind(client: &Client, role: &str, user: &str) {
    let binding = json!({
        "metadata": {"name": format!("{role}-{user}")},
        "roleRef": {"kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "User", "name": user}],
    });
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    create(client, path, binding).await;
}

/// Who the API takes somebody for.
async fn who(client: &Client, headers: &[(&str, &str)]) -> (StatusCode, Value) {
    let (code, review) = client.ask(Method::POST, SELF, headers, "{}").await;
    (code, review["status"]["userInfo"].clone())
}

async fn token(client: &Client, account: &str, spec: Value) -> String {
    let path = format!("{ACCOUNTS}/{account}/token");
    let made = create(client, &path, json!({"spec": spec})).await;
    format!("Bearer {}", made["status"]["token"].as_str().expect("a token"))
}

#[tokio::test]
async fn a_binding_counts_as_soon_as_it_is_answered() {
    let host = host().await;
    let client = host.client().await;
    assert_eq!(client.ask(Method::GET, MAPS, &[ALICE], "").await.0, StatusCode::FORBIDDEN);
    bind(&client, "view", "alice").await;
    for _ in 0..3 {
        assert_eq!(client.ask(Method::GET, MAPS, &[ALICE], "").await.0, StatusCode::OK);
    }
    let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/view-alice";
    assert_eq!(client.ask(Method::DELETE, path, &[ADMIN], "").await.0, StatusCode::OK);
    assert_eq!(client.ask(Method::GET, MAPS, &[ALICE], "").await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_token_ends_with_its_time_and_with_its_account() {
    let clock = Arc::new(ManualClock::default());
    let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let host = Host::bootstrapped(Limits::default(), shared, |_, _| {}).await;
    let client = host.client().await;
    create(&client, ACCOUNTS, json!({"metadata": {"name": "robot"}})).await;
    let short = token(&client, "robot", json!({"expirationSeconds": 600})).await;
    let long = token(&client, "robot", json!({})).await;
    let foreign = token(&client, "robot", json!({"audiences": ["elsewhere"]})).await;
    let (code, user) = who(&client, &[("authorization", &short)]).await;
    assert_eq!(
        (code, &user["username"]),
        (StatusCode::CREATED, &json!("system:serviceaccount:default:robot"))
    );
    assert_eq!(user["groups"][1], "system:serviceaccounts:default");
    let code_of = async |token: &str| who(&client, &[("authorization", token)]).await.0;
    assert_eq!(code_of(&foreign).await, StatusCode::UNAUTHORIZED, "it is for somebody else");
    clock.advance(Duration::from_secs(601));
    assert_eq!(code_of(&short).await, StatusCode::UNAUTHORIZED, "its time is over");
    assert_eq!(code_of(&long).await, StatusCode::CREATED);
    let account = format!("{ACCOUNTS}/robot");
    assert_eq!(client.ask(Method::DELETE, &account, &[ADMIN], "").await.0, StatusCode::OK);
    assert_eq!(code_of(&long).await, StatusCode::UNAUTHORIZED, "its account is gone");
    create(&client, ACCOUNTS, json!({"metadata": {"name": "robot"}})).await;
    assert_eq!(code_of(&long).await, StatusCode::UNAUTHORIZED, "another one has the name");
}

#[tokio::test]
async fn a_token_ends_with_what_it_is_bound_to() {
    let host = host().await;
    let client = host.client().await;
    let secrets = "/api/v1/namespaces/default/secrets";
    create(&client, secrets, json!({"metadata": {"name": "s"}})).await;
    let bound = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "s"}});
    let bound = token(&client, "default", bound).await;
    assert_eq!(who(&client, &[("authorization", &bound)]).await.0, StatusCode::CREATED);
    let secret = format!("{secrets}/s");
    assert_eq!(client.ask(Method::DELETE, &secret, &[ADMIN], "").await.0, StatusCode::OK);
    assert_eq!(who(&client, &[("authorization", &bound)]).await.0, StatusCode::UNAUTHORIZED);
    for (spec, code) in [
        (json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": "no"}}), 404),
        (json!({"boundObjectRef": {"apiVersion": "v1", "kind": "ConfigMap", "name": "no"}}), 400),
        (json!({"expirationSeconds": 599}), 422),
        (json!({"expirationSeconds": 1_i64 << 33}), 422),
    ] {
        let path = format!("{ACCOUNTS}/default/token");
        let body = json!({"spec": spec}).to_string();
        let (found, status) = client.ask(Method::POST, &path, &[ADMIN], body).await;
        assert_eq!(found.as_u16(), code, "{status}");
    }
}

#[tokio::test]
async fn a_token_review_says_whose_a_token_is() {
    let host = host().await;
    let client = host.client().await;
    let bearer = token(&client, "default", json!({"audiences": ["shop", "bank"]})).await;
    let token = bearer.strip_prefix("Bearer ").expect("a bearer token");
    let path = "/apis/authentication.k8s.io/v1/tokenreviews";
    let review =
        async |spec: Value| create(&client, path, json!({"spec": spec})).await["status"].clone();
    let found = review(json!({"token": token, "audiences": ["bank", "other"]})).await;
    assert_eq!((&found["authenticated"], &found["audiences"]), (&json!(true), &json!(["bank"])));
    assert_eq!(found["user"]["username"], "system:serviceaccount:default:default");
    let refused = json!({"user": {}, "error": "invalid bearer token"});
    assert_eq!(review(json!({"token": token})).await, refused, "it is not for this API");
    assert_eq!(review(json!({"token": format!("{token}x")})).await, refused);
    let alice = review(json!({"token": "alice-token"})).await;
    assert_eq!(alice["user"]["groups"], json!(["dev", "system:authenticated"]));
    let (code, keys) = client.ask(Method::GET, "/openid/v1/jwks", &[ADMIN], "").await;
    assert_eq!((code, &keys["keys"][0]["alg"]), (StatusCode::OK, &json!("ES256")));
}

#[tokio::test]
async fn a_client_certificate_names_its_user() {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let now = clock.now();
    let trusting = |parts: &mut Parts, authority: &identity::PemPair| {
        parts.client_authorities = Some(authority.certificate.clone());
    };
    let host = Host::bootstrapped(Limits::default(), clock, trusting).await;
    let zoe = identity::make_client_certificate(&host.authority, "zoe", Some("dev"), now);
    let client = host.client_as(Some(&zoe.expect("a certificate"))).await;
    let (code, user) = who(&client, &[]).await;
    assert_eq!(code, StatusCode::CREATED);
    assert_eq!(user, json!({"username": "zoe", "groups": ["dev", "system:authenticated"]}));
    let plain = host.client().await;
    assert_eq!(who(&plain, &[]).await.0, StatusCode::FORBIDDEN, "nobody is known without one");
    assert_eq!(who(&plain, &[ALICE]).await.1["username"], "alice");
}

#[tokio::test]
async fn a_client_certificate_ends_with_its_time_though_its_connection_lives() {
    let clock = Arc::new(ManualClock::default());
    let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let trusting = |parts: &mut Parts, authority: &identity::PemPair| {
        parts.client_authorities = Some(authority.certificate.clone());
    };
    let host = Host::bootstrapped(Limits::default(), shared, trusting).await;
    let zoe = identity::make_client_certificate(&host.authority, "zoe", Some("dev"), clock.now());
    let client = host.client_as(Some(&zoe.expect("a certificate"))).await;
    assert_eq!(who(&client, &[]).await.1["username"], "zoe");
    clock.advance(Duration::from_hours(24 * 824));
    assert_eq!(who(&client, &[]).await.1["username"], "zoe");
    clock.advance(Duration::from_hours(25));
    assert_eq!(who(&client, &[]).await.0, StatusCode::UNAUTHORIZED);
    let (code, _) = client.ask(Method::GET, "/version", &[], "").await;
    assert_eq!(code, StatusCode::UNAUTHORIZED, "it is not taken for nobody either");
    assert_eq!(who(&client, &[ALICE]).await.1["username"], "alice", "a token counts for itself");
}

#[tokio::test]
async fn acting_as_somebody_else_needs_the_right_to() {
    let host = host().await;
    let client = host.client().await;
    let zoe = ("impersonate-user", "zoe");
    let (code, refused) = client.ask(Method::GET, MAPS, &[ALICE, zoe], "").await;
    assert_eq!(code, StatusCode::FORBIDDEN);
    assert_eq!(
        refused["message"],
        "configmaps is forbidden: User \"alice\" cannot impersonate-on:user-info:list resource \
         \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    let role = json!({"metadata": {"name": "actor"}, "rules": [
        {"apiGroups": [""], "resources": ["users"], "verbs": ["impersonate"], "resourceNames": ["zoe"]},
    ]});
    create(&client, "/apis/rbac.authorization.k8s.io/v1/clusterroles", role).await;
    bind(&client, "actor", "alice").await;
    let (_, user) = who(&client, &[ALICE, zoe]).await;
    assert_eq!(user, json!({"username": "zoe", "groups": ["system:authenticated"]}));
    let masters = ("impersonate-group", "system:masters");
    let (code, _) = client.ask(Method::GET, MAPS, &[ALICE, zoe, masters], "").await;
    assert_eq!(code, StatusCode::FORBIDDEN, "groups need rights of their own");
    let (code, _) = client.ask(Method::GET, MAPS, &[ALICE, ("impersonate-user", "bob")], "").await;
    assert_eq!(code, StatusCode::FORBIDDEN, "the right is for one user");
}

#[tokio::test]
async fn a_greedy_user_does_not_starve_a_modest_one() {
    let limits = Limits {
        requests_max: 4,
        requests_per_user_max: 3,
        queue_per_user_max: 10,
        ..Limits::default()
    };
    let host = Host::bootstrapped(limits, Arc::new(SystemClock::default()), |_, _| {}).await;
    let admin = host.client().await;
    for user in ["alice", "bob"] {
        bind(&admin, "edit", user).await;
    }
    for number in 0..200 {
        host.put("configmaps", support::config_map(&format!("m{number}"), json!({}), "v")).await;
    }
    let host = Arc::new(host);
    let (served, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let theirs = (Arc::clone(&host), Arc::clone(&served), Arc::clone(&refused));
    // On a thread of their own: what is measured is the server's fairness, not that of a shared client.
    let greedy = move || be_greedy(&theirs.0, &theirs.1, &theirs.2);
    host.supervisor.spawn_thread("greedy", greedy).expect("a thread");
    let clock = SystemClock::default();
    within(async {
        while refused.load(Ordering::Relaxed) < 5 {
            clock.sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    const REQUESTS: usize = 20;
    let client = host.client().await;
    let before = served.load(Ordering::Relaxed);
    within(async {
        for _ in 0..REQUESTS {
            let (code, status) = client.ask(Method::GET, MAPS, &[BOB], "").await;
            assert_eq!(code, StatusCode::OK, "{status}");
        }
    })
    .await;
    let served = served.load(Ordering::Relaxed) - before;
    host.supervisor.shutdown().start();
    // In a queue that all share, each of the modest one's requests would wait for the 60 of the greedy one; here it
    // waits for about the seats that are taken.
    assert!(served < 20 * REQUESTS, "{served} answers went before {REQUESTS}");
}

#[tokio::test]
async fn who_comes_with_new_tokens_takes_seats_of_their_own() {
    let limits = Limits { requests_per_user_max: 2, queue_per_user_max: 1, ..Limits::default() };
    let host = Host::bootstrapped(limits, Arc::new(SystemClock::default()), |_, _| {}).await;
    let client = host.client().await;
    let mut held = Vec::new();
    for account in ["greedy", "modest"] {
        create(&client, ACCOUNTS, json!({"metadata": {"name": account}})).await;
        bind(&client, "edit", &format!("system:serviceaccount:default:{account}")).await;
    }
    for _ in 0..2 {
        let greedy = token(&client, "greedy", json!({})).await;
        held.push(begin_post(&host, &greedy).await);
    }
    let bad = ("authorization", "Bearer nobody.knows.it");
    for _ in 0..3 {
        let modest = token(&client, "modest", json!({})).await;
        let answer = client.ask(Method::GET, MAPS, &[("authorization", &modest)], "").await;
        assert_eq!(answer.0, StatusCode::OK, "{}", answer.1);
        assert_eq!(client.ask(Method::GET, MAPS, &[bad], "").await.0, StatusCode::UNAUTHORIZED);
    }
    // Of two more of the greedy one waits, and the other finds no place to.
    let greedy = token(&client, "greedy", json!({})).await;
    let header = [("authorization", greedy.as_str())];
    let ask = || client.ask(Method::GET, MAPS, &header, "");
    let mut more: FuturesUnordered<_> = [ask(), ask()].into_iter().collect();
    let refused = more.next().await.expect("an answer");
    assert_eq!(refused.0, StatusCode::TOO_MANY_REQUESTS, "{}", refused.1);
    drop(held);
    let served = more.next().await.expect("an answer");
    assert_eq!(served.0, StatusCode::OK, "{}", served.1);
}

/// Begins a POST and keeps its body back; ends when the server waits for that.
async fn begin_post(host: &Host, token: &str) -> impl Sized + use<> {
    let mut stream = host.tls(b"http/1.1").await;
    let head = format!(
        "POST {MAPS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = [0; 12];
    within(stream.read_exact(&mut answer)).await.expect("it goes on");
    assert_eq!(&answer, b"HTTP/1.1 100");
    stream
}

/// Sixty requests at a time on six connections, until the shutdown.
fn be_greedy(host: &Arc<Host>, served: &Arc<AtomicUsize>, refused: &Arc<AtomicUsize>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let shutdown = host.supervisor.shutdown();
        let mut loops = Vec::new();
        for _ in 0..6 {
            let client = host.client().await;
            for _ in 0..10 {
                let client = client.clone();
                loops.push(async move {
                    let clock = SystemClock::default();
                    let path = "/api/v1/namespaces/shop/configmaps";
                    loop {
                        let (code, _) = client.ask(Method::GET, path, &[ALICE], "").await;
                        if code == StatusCode::OK {
                            served.fetch_add(1, Ordering::Relaxed);
                        } else {
                            refused.fetch_add(1, Ordering::Relaxed);
                            clock.sleep(Duration::from_millis(20)).await;
                        }
                    }
                });
            }
        }
        tokio::select! {
            () = shutdown.started() => {}
            _ = futures_util::future::join_all(loops) => unreachable!("they never end"),
        }
    });
}

/// A host with an audit log of two files at most.
async fn audited(path: &std::path::Path, policy: &str) -> Host {
    let policy = Policy::parse(policy).expect("a policy");
    let audit = AuditConfig { path: path.to_owned(), policy, bytes_max: 1 << 20, files_max: 2 };
    let logged = |parts: &mut Parts, _: &identity::PemPair| parts.audit = Some(audit);
    let clock = Arc::new(SystemClock::default());
    Host::bootstrapped(Limits::default(), clock, logged).await
}

#[tokio::test]
async fn the_audit_log_says_who_did_what() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    let policy = "{apiVersion: audit.k8s.io/v1, kind: Policy, omitStages: [RequestReceived], omitManagedFields: true, rules: [\
         {level: RequestResponse, resources: [{group: \"\", resources: [configmaps]}]}, \
         {level: None, userGroups: [\"system:masters\"]}, {level: Metadata}]}";
    let host = audited(&path, policy).await;
    let client = host.client().await;
    create(&client, MAPS, json!({"metadata": {"name": "m"}, "data": {"k": "v"}})).await;
    client.ask(Method::GET, &format!("{MAPS}/m"), &[ADMIN, ("impersonate-user", "zoe")], "").await;
    client.ask(Method::GET, "/api/v1/nodes", &[("authorization", "Bearer no")], "").await;
    client.ask(Method::GET, "/metrics", &[ALICE], "").await;
    client.ask(Method::GET, "/api/v1/nodes", &[ADMIN], "").await;
    let lines = until_lines(&path, 4).await;
    let [made, read, unknown, forbidden] = lines.as_slice() else { panic!("{lines:#?}") };
    assert_eq!(made["requestObject"]["data"], json!({"k": "v"}));
    assert_eq!(made["responseObject"]["metadata"]["name"], "m");
    assert_eq!(made["responseObject"]["metadata"].get("managedFields"), None);
    assert_eq!(made["objectRef"]["namespace"], "default");
    assert_eq!(made["responseStatus"], json!({"metadata": {}, "code": 201}));
    assert_eq!(made["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(read["impersonatedUser"]["username"], "zoe");
    assert_eq!(read["authenticationMetadata"]["impersonationConstraint"], "impersonate:user-info");
    assert_eq!(
        (&read["user"]["username"], &read["responseStatus"]["code"]),
        (&json!("admin"), &json!(403))
    );
    assert_eq!(unknown["responseStatus"]["code"], 401);
    assert_eq!((&forbidden["requestURI"], &forbidden["verb"]), (&json!("/metrics"), &json!("get")));
    assert_eq!(forbidden["annotations"]["authorization.k8s.io/decision"], "forbid");
}

/// A webhook that consents to the deletion of everything but `held`, of which it never says anything.
async fn holding_hook(host: &Host, client: &Client) -> Hook {
    let answer = |_: &str, review: &Value| match review.pointer("/request/name") {
        Some(name) if name == "held" => Reply::Never,
        _ => Reply::Json(json!({
            "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
            "response": {"uid": review["request"]["uid"], "allowed": true},
        })),
    };
    let hook = Hook::start(host, Arc::new(answer)).await;
    let webhook = json!({
        "name": "hold.hook.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "timeoutSeconds": 30,
        "clientConfig": {
            "url": format!("https://127.0.0.1:{}/", hook.port), "caBundle": hook.ca_bundle,
        },
        "rules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
            "operations": ["DELETE"],
        }],
    });
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    create(client, path, json!({"metadata": {"name": "hold"}, "webhooks": [webhook]})).await;
    hook
}

#[tokio::test]
async fn a_write_whose_client_does_not_wait_for_the_answer_has_its_line_and_is_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.log");
    let policy = "{apiVersion: audit.k8s.io/v1, kind: Policy, omitStages: [RequestReceived], rules: [\
         {level: Metadata, verbs: [deletecollection]}]}";
    let host = audited(&path, policy).await;
    let client = host.client().await;
    for name in ["gone", "held"] {
        create(&client, MAPS, json!({"metadata": {"name": name}})).await;
    }
    let hook = holding_hook(&host, &client).await;
    let clock = SystemClock::default();
    let half_done = async {
        let gone = format!("{MAPS}/gone");
        let is_held = || hook.asked().iter().any(|review| review["request"]["name"] == "held");
        while !is_held()
            || client.ask(Method::GET, &gone, &[ADMIN], "").await.0 != StatusCode::NOT_FOUND
        {
            clock.sleep(Duration::from_millis(5)).await;
        }
    };
    // Whoever drops the call resets its stream.
    tokio::select! {
        answer = client.ask(Method::DELETE, MAPS, &[ADMIN], "") => panic!("answered: {answer:?}"),
        () = within(half_done) => {}
    }
    let lines = until_lines(&path, 1).await;
    let [line] = lines.as_slice() else { panic!("{lines:#?}") };
    assert_eq!(line["stage"], "ResponseComplete");
    assert_eq!(
        (&line["verb"], &line["user"]["username"]),
        (&json!("deletecollection"), &json!("admin"))
    );
    assert_eq!(
        (&line["responseStatus"]["code"], &line["responseStatus"]["status"]),
        (&json!(499), &json!("Failure"))
    );
    assert_eq!(line["annotations"]["authorization.k8s.io/decision"], "allow");
    let (_, metrics) = client.ask(Method::GET, "/metrics", &[ADMIN], "").await;
    let metrics = metrics.as_str().expect("text");
    let counted = |line: &&str| line.contains("DELETECOLLECTION") && line.contains("499");
    assert!(metrics.lines().any(|line| counted(&line)), "{metrics}");
}

/// The lines of a log, once there are as many.
async fn until_lines(path: &std::path::Path, count: usize) -> Vec<Value> {
    let clock = SystemClock::default();
    within(async {
        loop {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> =
                text.split_inclusive('\n').filter(|l| l.ends_with('\n')).collect();
            if lines.len() >= count {
                let parse = |line: &&str| serde_json::from_str(line).expect("a JSON line");
                return lines.iter().map(parse).collect();
            }
            clock.sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}
