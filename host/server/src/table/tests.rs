//! Cells as kubectl's users know them.

use serde_json::json;

use super::*;

#[track_caller]
fn check(resource: &str, column: &str, object: &Value, wanted: &Value) {
    let now = Timestamp::parse_rfc3339("2026-01-01T00:02:05Z").expect("a time");
    assert_eq!(&builtin::cell(resource, column, object, now), wanted, "{resource} {column}");
}

#[test]
fn a_pod_says_in_one_word_how_it_is() {
    let pending = json!({"spec": {"containers": [{}]}, "status": {"phase": "Pending"}});
    check("pods", "Ready", &pending, &json!("0/1"));
    check("pods", "Status", &pending, &json!("Pending"));
    check("pods", "Restarts", &pending, &json!("0"));
    let crashing = json!({"spec": {"containers": [{}, {}]}, "status": {"phase": "Running", "containerStatuses": [
        {"ready": true, "restartCount": 1, "state": {"running": {}}},
        {"ready": false, "restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
    ]}});
    check("pods", "Ready", &crashing, &json!("1/2"));
    check("pods", "Status", &crashing, &json!("CrashLoopBackOff"));
    check("pods", "Restarts", &crashing, &json!("5"));
    let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}});
    check("pods", "Status", &going, &json!("Terminating"));
    let initializing = json!({"spec": {"containers": [{}], "initContainers": [{}, {}]}, "status": {
        "phase": "Pending", "initContainerStatuses": [{"state": {"terminated": {"exitCode": 0}}}, {"state": {}}],
    }});
    check("pods", "Status", &initializing, &json!("Init:1/2"));
}

#[test]
fn columns_of_other_kinds_follow_their_rules() {
    let made = json!({"metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"}});
    check("configmaps", "Name", &made, &json!("x"));
    check("configmaps", "Age", &made, &json!("2m5s"));
    check("secrets", "Data", &json!({"data": {"a": "", "b": ""}}), &json!(2));
    let service = json!({"spec": {"clusterIP": "10.96.0.7", "ports": [
        {"port": 80, "protocol": "TCP"}, {"port": 53, "nodePort": 30053, "protocol": "UDP"},
    ]}});
    check("services", "Port(s)", &service, &json!("80/TCP,53:30053/UDP"));
    check("services", "External-IP", &service, &json!("<none>"));
    let deployment = json!({"spec": {"replicas": 3, "selector": {"matchLabels": {"app": "x"}}},
        "status": {"readyReplicas": 2}});
    check("deployments", "Ready", &deployment, &json!("2/3"));
    check("deployments", "Selector", &deployment, &json!("app=x"));
    check("jobs", "Status", &json!({}), &json!("Running"));
    let policy = json!({"spec": {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}});
    check("validatingadmissionpolicies", "ParamKind", &policy, &json!("v1/ConfigMap"));
    check("mutatingadmissionpolicies", "ParamKind", &json!({}), &json!("<unset>"));
    let binding = json!({"spec": {"paramRef": {"name": "a", "namespace": "b"}}});
    check("validatingadmissionpolicybindings", "ParamRef", &binding, &json!("b/a"));
    check("jobs", "Completions", &json!({"spec": {"completions": 3}}), &json!("0/3"));
    let event = json!({"involvedObject": {"kind": "Pod", "name": "p"}, "lastTimestamp": "2026-01-01T00:02:00Z"});
    check("events", "Object", &event, &json!("pod/p"));
    check("events", "Last Seen", &event, &json!("5s"));
}

#[test]
fn long_lists_are_cut_and_counted() {
    let address = |n: usize| json!({"ip": format!("10.0.0.{n}")});
    let many: Vec<Value> = (1..6).map(address).collect();
    let object = json!({"subsets": [{"addresses": many, "ports": [{"port": 80}]}]});
    let wanted = json!("10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...");
    check("endpoints", "Endpoints", &object, &wanted);
    check("endpoints", "Endpoints", &json!({}), &json!("<none>"));
    let slice = json!({"endpoints": [{"addresses": ["a", "b"]}], "ports": [{"port": 1}, {}]});
    check("endpointslices", "Endpoints", &slice, &json!("a,b"));
    check("endpointslices", "Ports", &slice, &json!("1,*"));
}

#[test]
fn metrics_show_what_is_and_what_shall_be() {
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}});
    let pods = json!({"type": "Pods", "pods": {"target": {"averageValue": "10"}}});
    let object = json!({"spec": {"metrics": [cpu, pods, cpu]}, "status": {"currentMetrics": [
        {"type": "Resource", "resource": {"current": {"averageUtilization": 12}}},
    ]}});
    let wanted = json!("cpu: 12%/80%, <unknown>/10 + 1 more...");
    check("horizontalpodautoscalers", "Targets", &object, &wanted);
}

#[test]
fn a_quota_is_written_in_two_columns() {
    let object =
        json!({"status": {"hard": {"limits.cpu": "2", "pods": "5"}, "used": {"pods": "1"}}});
    check("resourcequotas", "Request", &object, &json!("pods: 1/5"));
    check("resourcequotas", "Limit", &object, &json!("limits.cpu: 0/2"));
}
