//! Rules of built-in kinds that need more than one object, or more than one version, to show.

use quadrille_registry::{Reason, Status};
use serde_json::{Value, json};

use crate::support::{Host, Place};

fn service(name: &str) -> Place<'_> {
    ("v1", "Service", "default", name)
}

fn with_port(name: &str, number: i64) -> Value {
    let ports = json!([{"port": 80, "nodePort": number}]);
    json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": ports}})
}

fn cause(status: &Status) -> (String, String) {
    let details = status.details.as_ref().expect("details");
    let cause = details.causes.first().expect("a cause");
    (cause.field.clone(), cause.message.clone())
}

#[tokio::test]
async fn a_node_port_has_one_service_whoever_races_and_is_free_when_it_goes() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start_in(Some(dir.path())).await;
    let (a, b) = tokio::join!(
        host.create(service("a"), with_port("a", 30_100)),
        host.create(service("b"), with_port("b", 30_100)),
    );
    let (winner, refused) = match (a, b) {
        (Ok(_), Err(refused)) => ("a", refused),
        (Err(refused), Ok(_)) => ("b", refused),
        other => panic!("one of two gets the port: {other:?}"),
    };
    assert_eq!(refused.reason, Reason::Invalid);
    let wanted = "Invalid value: 30100: provided port is already allocated";
    assert_eq!(cause(&refused), ("spec.ports[0].nodePort".to_owned(), wanted.to_owned()));
    host.delete(service(winner)).await.expect("deleted");
    host.create(service("c"), with_port("c", 30_100)).await.expect("it is free again");
    let refused = host.create(service("d"), with_port("d", 80)).await.expect_err("out of range");
    assert!(cause(&refused).1.contains("The range of valid ports is 30000-32767"), "{refused}");
}

#[tokio::test]
async fn a_port_that_is_given_up_goes_back() {
    let host = Host::start().await;
    host.create(service("a"), with_port("a", 30_200)).await.expect("created");
    let patch = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80}]}});
    host.merge(service("a"), patch).await.expect("no longer reachable from outside");
    host.create(service("b"), with_port("b", 30_200)).await.expect("it is free");
}

#[tokio::test]
async fn ports_of_one_number_share_their_node_port() {
    let host = Host::start().await;
    let ports = json!([
        {"name": "a", "port": 53},
        {"name": "b", "port": 53, "protocol": "UDP"},
        {"name": "c", "port": 54},
    ]);
    let body = json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": ports}});
    let made = host.create(service("s"), body).await.expect("created");
    let number = |index: usize| made["spec"]["ports"][index]["nodePort"].clone();
    assert_eq!(number(0), number(1));
    assert_ne!(number(0), number(2));
}

#[tokio::test]
async fn addresses_and_families_must_agree() {
    let host = Host::start().await;
    for (spec, field) in [
        (json!({"clusterIPs": ["10.96.3.3"]}), "spec.clusterIPs"),
        (json!({"clusterIP": "10.96.3.4", "clusterIPs": ["10.96.3.3"]}), "spec.clusterIPs"),
        (json!({"clusterIP": "fd00::1"}), "spec.clusterIPs[0]"),
        (json!({"clusterIP": "x"}), "spec.clusterIPs[0]"),
        (json!({"ipFamilies": ["IPv4", "IPv6"]}), "spec.ipFamilyPolicy"),
        (json!({"ipFamilies": ["IPv4", "IPv4"]}), "spec.ipFamilies[1]"),
        (json!({"ipFamilyPolicy": "Odd"}), "spec.ipFamilyPolicy"),
    ] {
        let mut spec = spec;
        spec["ports"] = json!([{"port": 80}]);
        let body = json!({"metadata": {"name": "s"}, "spec": spec});
        let refused = host.create(service("s"), body).await.expect_err("refused");
        assert_eq!(cause(&refused).0, field, "{refused}");
    }
}

#[tokio::test]
async fn a_change_of_the_type_takes_away_what_the_new_type_has_no_use_for() {
    let host = Host::start().await;
    let spec = json!({
        "type": "LoadBalancer", "loadBalancerClass": "a.b/c", "externalTrafficPolicy": "Local",
        "ports": [{"port": 80}],
    });
    let made = host.create(service("s"), json!({"metadata": {"name": "s"}, "spec": spec})).await;
    assert!(made.expect("created")["spec"]["healthCheckNodePort"].is_u64());
    host.merge(service("s"), json!({"spec": {"type": "ClusterIP"}})).await.expect("changed");
    let now = host.get(service("s")).expect("there");
    for key in ["healthCheckNodePort", "loadBalancerClass", "externalTrafficPolicy"] {
        assert_eq!(now["spec"][key], Value::Null, "{key}");
    }
    assert_eq!(now["spec"]["ports"][0]["nodePort"], Value::Null);
}

#[tokio::test]
async fn an_autoscaler_keeps_in_v1_what_only_v2_can_say() {
    let host = Host::start().await;
    let v2: Place<'_> = ("autoscaling/v2", "HorizontalPodAutoscaler", "default", "h");
    let v1: Place<'_> = ("autoscaling/v1", "HorizontalPodAutoscaler", "default", "h");
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    let pods =
        json!({"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "10"}});
    let metrics = json!([{"type": "Pods", "pods": pods}]);
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 60}});
    let spec = json!({"scaleTargetRef": target, "maxReplicas": 3, "metrics": metrics, "behavior": behavior});
    let made = host.create(v2, json!({"metadata": {"name": "h"}, "spec": spec})).await;
    let made = made.expect("created");
    let mut old = host.get(v1).expect("served in v1");
    let notes = old["metadata"]["annotations"].as_object().expect("annotations");
    assert_eq!(notes.len(), 2, "metrics and behavior: {notes:?}");
    assert_eq!(old["spec"]["metrics"], Value::Null);
    old["spec"]["maxReplicas"] = 4.into();
    host.update(v1, old).await.expect("written back as v1");
    let now = host.get(v2).expect("served in v2");
    assert_eq!(now["spec"]["metrics"], made["spec"]["metrics"]);
    assert_eq!(now["spec"]["behavior"], made["spec"]["behavior"]);
    assert_eq!(now["spec"]["maxReplicas"], 4);
    assert_eq!(now["metadata"]["annotations"], Value::Null);
}

#[tokio::test]
async fn what_is_empty_has_the_form_of_kubernetes_own_types() {
    let host = Host::start().await;
    let slice: Place<'_> = ("discovery.k8s.io/v1", "EndpointSlice", "default", "s");
    let made = host.create(slice, json!({"metadata": {"name": "s"}, "addressType": "IPv4"})).await;
    let made = made.expect("created");
    assert_eq!((&made["endpoints"], &made["ports"]), (&Value::Null, &Value::Null));
    assert!(made.get("endpoints").is_some() && made.get("ports").is_some(), "written as null");
    let again = host.merge(slice, json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(again.expect("patched")["metadata"]["generation"], 2, "labels count");
    let volume: Place<'_> = ("v1", "PersistentVolume", "", "v");
    let spec = json!({
        "capacity": {"storage": "1024Mi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
        "hostPath": {"path": "/x"},
    });
    let made = host.create(volume, json!({"metadata": {"name": "v"}, "spec": spec})).await;
    let made = made.expect("created");
    assert_eq!(made["spec"].get("storageClassName"), None, "an empty text is no text");
    assert_eq!(made["spec"]["capacity"]["storage"], "1Gi", "in its canonical form");
}

#[tokio::test]
async fn system_priorities_exist_and_stay() {
    let host = Host::start().await;
    let class: Place<'_> = ("scheduling.k8s.io/v1", "PriorityClass", "", "system-cluster-critical");
    assert_eq!(host.get(class).expect("made at the start")["value"], 2_000_000_000);
    let refused = host.delete(class).await.expect_err("it stays");
    assert_eq!(refused.reason, Reason::Forbidden);
    let service: Place<'_> = ("apiregistration.k8s.io/v1", "APIService", "", "v1.apps");
    let condition = &host.get(service).expect("made at the start")["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["status"]), (&json!("Available"), &json!("True")));
}
