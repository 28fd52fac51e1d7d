//! Pods through the write path: what namespaces say of them, and their subresources.

use quadrille_registry::{Action, Body, Reason, Status, WriteOptions, Written};
use serde_json::{Value, json};

use crate::support::{Host, Place};

const POD: Place<'static> = ("v1", "Pod", "default", "p");
const BUDGET: Place<'static> = ("policy/v1", "PodDisruptionBudget", "default", "b");

fn pod(name: &str, spec: &Value) -> Value {
    let mut whole = json!({"containers": [{"name": "c", "image": "i:1"}]});
    for (key, value) in spec.as_object().into_iter().flatten() {
        whole[key.as_str()] = value.clone();
    }
    json!({"metadata": {"name": name, "labels": {"app": "x"}}, "spec": whole})
}

async fn post(host: &Host, place: Place<'_>, body: Value) -> Result<Written, Status> {
    host.write(place, Action::Create(Body::from(body)), WriteOptions::default()).await
}

async fn label_namespace(host: &Host, key: &str, value: &str) {
    let patch = json!({"metadata": {"labels": {key: value}}});
    host.merge(("v1", "Namespace", "", "default"), patch).await.expect("labelled");
}

async fn limit(host: &Host, hard: Value, used: Value) {
    let place = ("v1", "ResourceQuota", "default", "q");
    host.create(place, json!({"metadata": {"name": "q"}, "spec": {"hard": hard}}))
        .await
        .expect("created");
    let status = json!({"status": {"hard": hard, "used": used}});
    host.merge(("v1", "ResourceQuota", "default", "q/status"), status).await.expect("counted");
}

fn used(host: &Host) -> Value {
    let quota = host.get(("v1", "ResourceQuota", "default", "q")).expect("exists");
    quota["status"]["used"].clone()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Status>, message: &str) {
    assert_eq!(result.expect_err("refused").message, message);
}

#[tokio::test]
async fn everything_wrong_with_a_pod_is_told_at_once() {
    let host = Host::start().await;
    let spec = json!({
        "containers": [{"name": "C", "image": ""}],
        "restartPolicy": "Odd",
        "volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}],
    });
    let status = host.create(POD, pod("p", &spec)).await.expect_err("refused");
    let causes = status.details.expect("details").causes;
    let fields: Vec<&str> = causes.iter().map(|cause| cause.field.as_str()).collect();
    let wrong = [
        "spec.containers[0].image",
        "spec.containers[0].name",
        "spec.restartPolicy",
        "spec.volumes[0].hostPath",
    ];
    assert_eq!(fields, wrong);
}

#[tokio::test]
async fn a_quota_is_not_exceeded_by_writers_at_the_same_time() {
    let host = std::sync::Arc::new(Host::start().await);
    limit(&host, json!({"count/secrets": "5"}), json!({"count/secrets": "0"})).await;
    let mut writers = tokio::task::JoinSet::new();
    for index in 0..20 {
        let host = std::sync::Arc::clone(&host);
        writers.spawn(async move {
            let body = json!({"metadata": {"name": format!("s{index}")}});
            host.create(("v1", "Secret", "default", ""), body).await.is_ok()
        });
    }
    let made = writers.join_all().await.into_iter().filter(|made| *made).count();
    assert_eq!(made, 5);
    assert_eq!(used(&host), json!({"count/secrets": "5"}));
}

#[tokio::test]
async fn a_dry_run_is_checked_against_a_quota_and_not_counted() {
    let host = Host::start().await;
    limit(
        &host,
        json!({"pods": "1", "requests.cpu": "1"}),
        json!({"pods": "0", "requests.cpu": "0"}),
    )
    .await;
    let asking = |cpu: &str| json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]});
    let dry = WriteOptions { dry_run: true, ..WriteOptions::default() };
    let mut body = pod("p", &asking("400m"));
    body["apiVersion"] = "v1".into();
    body["kind"] = "Pod".into();
    let place = ("v1", "Pod", "default", "");
    host.write(place, Action::Create(Body::from(body)), dry).await.expect("would do");
    assert_eq!(used(&host), json!({"pods": "0", "requests.cpu": "0"}));
    refused(
        host.create(POD, pod("p", &json!({}))).await,
        "pods \"p\" is forbidden: failed quota: q: must specify requests.cpu for: c",
    );
    refused(
        host.create(POD, pod("p", &asking("2"))).await,
        "pods \"p\" is forbidden: exceeded quota: q, requested: requests.cpu=2, used: requests.cpu=0, \
         limited: requests.cpu=1",
    );
    host.create(POD, pod("p", &asking("400m"))).await.expect("fits");
    assert_eq!(used(&host), json!({"pods": "1", "requests.cpu": "400m"}));
}

#[tokio::test]
async fn a_limit_range_gives_and_forbids() {
    let host = Host::start().await;
    let range = json!({"metadata": {"name": "l"}, "spec": {"limits": [{
        "type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "500m"}, "max": {"cpu": "2"},
    }]}});
    host.create(("v1", "LimitRange", "default", ""), range).await.expect("created");
    let made = host.create(POD, pod("p", &json!({}))).await.expect("created");
    let resources = &made["spec"]["containers"][0]["resources"];
    assert_eq!(*resources, json!({"limits": {"cpu": "1"}, "requests": {"cpu": "500m"}}));
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    );
    let much =
        json!({"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "3"}}}]});
    let status = host.create(POD, pod("q", &much)).await.expect_err("refused");
    assert!(status.message.contains("maximum cpu usage per Container is 2, but limit is 3"));
}

#[tokio::test]
async fn a_namespace_says_how_much_its_pods_may_do() {
    let host = Host::start().await;
    host.create(POD, pod("old", &json!({"hostNetwork": true}))).await.expect("created");
    label_namespace(&host, "pod-security.kubernetes.io/enforce", "baseline").await;
    refused(
        host.create(POD, pod("p", &json!({"hostPID": true}))).await,
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)",
    );
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": {
        "containers": [{"name": "c", "image": "i", "securityContext": {"privileged": true}}],
    }});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"app": "x"}}, "template": template,
    }});
    let place = ("apps/v1", "Deployment", "default", "");
    let made = post(&host, place, deployment).await.expect("templates are only warned about");
    assert_eq!(
        made.warnings,
        [
            "would violate PodSecurity \"baseline:latest\": privileged (container \"c\" must not set \
          securityContext.privileged=true)"
        ]
    );
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let host = Host::start().await;
    host.create(POD, pod("p", &json!({}))).await.expect("created");
    let to =
        |node: &str| json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}});
    let mut odd = to("n1");
    odd["metadata"]["labels"] = json!({"a": {}});
    refused(
        post(&host, ("v1", "Pod", "default", "p/binding"), odd).await,
        "Binding in version \"v1\" cannot be handled as a Binding: json: cannot unmarshal object into Go struct \
         field ObjectMeta.metadata.labels of type string",
    );
    let mut labelled = to("n1");
    labelled["metadata"]["labels"] = json!({"a": null});
    let bound = post(&host, ("v1", "Pod", "default", "p/binding"), labelled).await.expect("bound");
    assert!(bound.created);
    let stored = host.get(POD).expect("exists");
    assert_eq!(
        (&stored["spec"]["nodeName"], &stored["metadata"]["labels"]["a"]),
        (&json!("n1"), &json!(""))
    );
    assert_eq!(stored["status"]["conditions"][0]["type"], "PodScheduled");
    refused(
        post(&host, ("v1", "Pod", "default", "p/binding"), to("n2")).await,
        "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\"",
    );
}

#[tokio::test]
async fn an_eviction_is_charged_to_the_disruption_budget() {
    let host = Host::start().await;
    for name in ["a", "b"] {
        host.create(POD, pod(name, &json!({"nodeName": "n"}))).await.expect("created");
        let status = json!({"status": {
            "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
        }});
        let place = format!("{name}/status");
        host.merge(("v1", "Pod", "default", &place), status).await.expect("runs");
    }
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}});
    host.create(BUDGET, json!({"metadata": {"name": "b"}, "spec": spec})).await.expect("created");
    let status = json!({"status": {
        "observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1,
        "expectedPods": 2,
    }});
    let place = ("policy/v1", "PodDisruptionBudget", "default", "b/status");
    host.merge(place, status).await.expect("counted");
    let evict = |name: &'static str| json!({"metadata": {"name": name}});
    post(&host, ("v1", "Pod", "default", "a/eviction"), evict("a")).await.expect("evicted");
    let budget = host.get(BUDGET).expect("exists");
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    assert!(budget["status"]["disruptedPods"]["a"].is_string());
    let leaving = host.get(("v1", "Pod", "default", "a")).expect("runs to its end");
    assert!(leaving["metadata"]["deletionTimestamp"].is_string());
    let result = post(&host, ("v1", "Pod", "default", "b/eviction"), evict("b")).await;
    let status = result.expect_err("refused");
    assert_eq!(status.reason, Reason::TooManyRequests);
    let cause = &status.details.as_ref().expect("details").causes[0];
    assert_eq!(cause.reason, "DisruptionBudget");
    assert_eq!(cause.message, "The disruption budget b needs 1 healthy pods and has 2 currently");
    let staying = host.get(("v1", "Pod", "default", "b")).expect("stays");
    assert!(staying["metadata"]["deletionTimestamp"].is_null());
}

#[tokio::test]
async fn a_resize_changes_resources_alone() {
    let host = Host::start().await;
    let asking =
        |cpu: &str| json!([{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]);
    host.create(POD, pod("p", &json!({"containers": asking("1")}))).await.expect("created");
    let place = ("v1", "Pod", "default", "p/resize");
    let mut wanted = host.get(POD).expect("exists");
    wanted["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "2".into();
    wanted["spec"]["containers"][0]["image"] = "other".into();
    let resized = host.update(place, wanted).await.expect("resized");
    assert_eq!(resized["spec"]["containers"][0]["resources"]["requests"]["cpu"], "2");
    assert_eq!(resized["spec"]["containers"][0]["image"], "i");
    assert_eq!(resized["metadata"]["generation"], 2);
}
