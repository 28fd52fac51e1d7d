//! Runs whose writes admission webhooks want to see. The webhooks answer in the process; over the network they are
//! tested with the server.

use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quadrille_kit::clock::BoxFuture;
use quadrille_registry::{Target, WebhookEndpoint, WebhookReply, Webhooks};

use super::*;

/// Answers by path and remembers the names it was asked about.
#[derive(Debug, Default)]
struct Clerk {
    asked: Mutex<Vec<String>>,
}

impl Clerk {
    fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        asked.sort();
        asked
    }
}

impl Webhooks for Clerk {
    fn post<'a>(
        &'a self,
        endpoint: &'a WebhookEndpoint,
        body: bytes::Bytes,
    ) -> BoxFuture<'a, WebhookReply> {
        let review: Value = serde_json::from_slice(&body).expect("a review");
        let name = review.pointer("/request/name").and_then(Value::as_str).unwrap_or_default();
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
        let uid = review.pointer("/request/uid").cloned();
        let response = if endpoint.url.contains("/deny") {
            json!({"uid": uid, "allowed": false, "status": {"message": "no"}})
        } else if endpoint.url.contains("/allow") {
            json!({"uid": uid, "allowed": true})
        } else {
            let patch = json!([{"op": "add", "path": "/data/stamp", "value": "yes"}]).to_string();
            let patch = STANDARD.encode(patch);
            json!({"uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": patch})
        };
        let kind = "AdmissionReview";
        let review =
            json!({"apiVersion": "admission.k8s.io/v1", "kind": kind, "response": response});
        Box::pin(async move { Ok(bytes::Bytes::from(review.to_string())) })
    }
}

/// A host with one mutating webhook for new `ConfigMaps` that do not make a run.
async fn host(path: &str) -> (Host, Arc<Clerk>) {
    host_for(path, "CREATE", false).await
}

/// The same for another operation, with or without the housekeeping.
async fn host_for(path: &str, operation: &str, builtin: bool) -> (Host, Arc<Clerk>) {
    let host = Host::new(builtin).await;
    let clerk = Arc::new(Clerk::default());
    host.registry.set_webhooks(Arc::<Clerk>::clone(&clerk));
    let group = "admissionregistration.k8s.io";
    let resource = host.resource(group, "v1", "MutatingWebhookConfiguration");
    let configuration = json!({"metadata": {"name": "m"}, "webhooks": [{
        "name": "clerk.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {"url": format!("https://clerk.example.com{path}")},
        "objectSelector": {"matchExpressions": [{"key": "run", "operator": "DoesNotExist"}]},
        "rules": [{
            "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
            "operations": [operation],
        }],
    }]});
    host.create(&resource, "", configuration).await;
    (host, clerk)
}

#[tokio::test]
async fn a_run_is_made_again_with_the_answers_and_writes_what_they_changed() {
    let (host, clerk) = host("/stamp").await;
    let tries = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&tries);
    let reconciler = native(move |request, overlay| {
        counter.fetch_add(1, Ordering::SeqCst);
        for side in ["left", "right"] {
            put(overlay, &format!("{}-{side}", request.key.name), &json!({"n": "1"}))?;
        }
        Ok(Outcome::Done)
    });
    host.runtime.add(spec("twins"), reconciler).expect("new");
    host.map("a", runnable()).await;
    host.settle().await;
    let runs = host.runtime.runs(None, None, 10);
    assert_eq!((runs.len(), &runs[0].end), (1, &RunEnd::Done { requeue: None }), "{runs:?}");
    assert_eq!(runs[0].writes.len(), 2, "one transaction all the same");
    assert_eq!(tries.load(Ordering::SeqCst), 2, "once to ask, once with all answers");
    assert_eq!(clerk.asked(), ["a-left", "a-right"], "each write was asked about once");
    let mut uids = Vec::new();
    for side in ["a-left", "a-right"] {
        let object = host.value(&map_key(side));
        assert_eq!(object["data"], json!({"n": "1", "stamp": "yes"}));
        uids.push(object["metadata"]["uid"].clone());
    }
    assert_ne!(uids[0], uids[1], "two objects, two uids");
}

#[tokio::test]
async fn a_refusal_reaches_the_reconciler() {
    let (host, _) = host("/deny").await;
    let reconciler = native(|request, overlay| {
        put(overlay, &format!("{}-out", request.key.name), &json!({"n": "1"}))
            .map_err(|failure| Failure::Permanent(format!("{failure:?}")))?;
        Ok(Outcome::Done)
    });
    host.runtime.add(spec("refused"), reconciler).expect("new");
    host.map("a", runnable()).await;
    let settled = host.settle().await;
    let message = settled.stuck[0].message.clone().unwrap_or_default();
    let wanted = "admission webhook \\\"clerk.example.com\\\" denied the request: no";
    assert!(message.contains(wanted), "{message}");
    assert!(host.get(&map_key("a-out")).is_none());
}

#[tokio::test]
async fn the_garbage_collector_asks_before_it_deletes() {
    let (host, clerk) = host_for("/allow", "DELETE", true).await;
    host.map("owner", json!({})).await;
    let uid = host.value(&map_key("owner"))["metadata"]["uid"].clone();
    for name in ["one", "two"] {
        let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid});
        host.map(name, json!({"metadata": {"ownerReferences": [owner]}})).await;
    }
    host.delete(&host.maps(), &map_key("owner"), None).await;
    host.settle().await;
    for name in ["one", "two"] {
        assert!(host.get(&map_key(name)).is_none(), "{name} goes with its owner");
        assert!(clerk.asked().iter().any(|asked| asked == name), "about {name} somebody is asked");
    }
}

/// Doubles `spec.n` on the way from v1 to v2, and counts the reviews.
#[derive(Debug, Default)]
struct Doubler {
    asked: AtomicUsize,
}

impl Webhooks for Doubler {
    fn post<'a>(
        &'a self,
        _endpoint: &'a WebhookEndpoint,
        body: bytes::Bytes,
    ) -> BoxFuture<'a, WebhookReply> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let review: Value = serde_json::from_slice(&body).expect("a review");
        let to = review["request"]["desiredAPIVersion"].clone();
        let mut objects = review["request"]["objects"].clone();
        for object in objects.as_array_mut().expect("objects") {
            let n = object["spec"]["n"].as_i64().expect("a number");
            object["spec"]["n"] = if to == "example.com/v2" { n * 2 } else { n / 2 }.into();
            object["apiVersion"] = to.clone();
        }
        let response = json!({
            "uid": review["request"]["uid"], "convertedObjects": objects,
            "result": {"status": "Success"},
        });
        let review = json!({
            "apiVersion": review["apiVersion"], "kind": review["kind"], "response": response,
        });
        Box::pin(async move { Ok(bytes::Bytes::from(review.to_string())) })
    }
}

#[tokio::test]
async fn a_run_reads_and_writes_versions_that_a_webhook_converts() {
    let host = Host::new(false).await;
    let doubler = Arc::new(Doubler::default());
    host.registry.set_webhooks(Arc::<Doubler>::clone(&doubler));
    let definitions = host.resource("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let schema = json!({"openAPIV3Schema": {
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
    }});
    let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": schema});
    let definition = json!({"metadata": {"name": "sums.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": "sums", "kind": "Sum"},
        "versions": [version("v1", true), version("v2", false)],
        "conversion": {"strategy": "Webhook", "webhook": {
            "conversionReviewVersions": ["v1"], "clientConfig": {"url": "https://doubler.example.com/"},
        }},
    }});
    host.create(&definitions, "", definition).await;
    let (v1, v2) =
        (host.resource("example.com", "v1", "Sum"), host.resource("example.com", "v2", "Sum"));
    let sum = json!({
        "apiVersion": "example.com/v1", "kind": "Sum", "metadata": {"name": "s"}, "spec": {"n": 3},
    });
    host.create(&v1, "default", sum).await;
    let key = Key::new(v1.group_resource(), "default", "s");
    let (seen, of) = (Arc::new(Mutex::new(Vec::new())), key.clone());
    let noted = Arc::clone(&seen);
    let reconciler = native(move |_, overlay| {
        let Some(object) = overlay.get(&of).map_err(transient)? else { return Ok(Outcome::Done) };
        let bytes = overlay.shown(&object, &v2).map_err(transient)?;
        let mut value: Value = serde_json::from_slice(&bytes).expect("JSON");
        noted.lock().unwrap_or_else(PoisonError::into_inner).push(value["spec"]["n"].clone());
        value["spec"]["n"] = 10.into();
        let target = Target {
            resource: Arc::clone(&v2),
            namespace: "default".into(),
            name: Some("s".into()),
            subresource: None,
        };
        let action = Action::Update(Body::from(value));
        overlay.write(target, action, WriteOptions::default()).map_err(transient)?;
        Ok(Outcome::Done)
    });
    host.runtime.add(spec("sums"), reconciler).expect("new");
    host.map("a", runnable()).await;
    host.settle().await;
    let stored = host.value(&key);
    assert_eq!(
        (&stored["apiVersion"], &stored["spec"]["n"]),
        (&json!("example.com/v1"), &json!(5))
    );
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(seen.first(), Some(&json!(6)), "{seen:?}");
}
