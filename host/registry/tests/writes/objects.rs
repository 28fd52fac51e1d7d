//! Built-in objects through the write path, with facts recorded from kube-apiserver 1.36.

use crate::support::{Host, Place, deployment, propagating};
use quadrille_registry::{
    Action, Body, FieldValidation, PatchFormat, Preconditions, Propagation, Reason, Status,
    WriteOptions,
};
use serde_json::{Value, json};

const CONFIG: Place<'static> = ("v1", "ConfigMap", "default", "a");
const DEPLOYMENT: Place<'static> = ("apps/v1", "Deployment", "default", "d");

fn config(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Status>, reason: Reason, message: &str) {
    let status = result.expect_err("refused");
    assert_eq!((status.reason, status.message.as_str()), (reason, message));
}

#[tokio::test]
async fn a_host_starts_with_its_namespaces_and_the_kubernetes_service() {
    let host = Host::start().await;
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let namespace = host.get(("v1", "Namespace", "", name)).expect("exists");
        assert_eq!(namespace["status"]["phase"], "Active");
        assert_eq!(namespace["metadata"]["labels"]["kubernetes.io/metadata.name"], name);
        assert!(host.get(("v1", "ServiceAccount", name, "default")).is_some());
        assert!(host.get(("v1", "ConfigMap", name, "kube-root-ca.crt")).is_some());
    }
    let service = host.get(("v1", "Service", "default", "kubernetes")).expect("exists");
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.1");
    const ROLES: &str = "rbac.authorization.k8s.io/v1";
    for (namespace, name) in [
        ("kube-system", "extension-apiserver-authentication-reader"),
        ("kube-public", "system:controller:bootstrap-signer"),
    ] {
        assert!(host.get((ROLES, "Role", namespace, name)).is_some(), "{namespace}/{name}");
    }
    let name = "system:controller:token-cleaner";
    let binding = host.get((ROLES, "RoleBinding", "kube-system", name)).expect("exists");
    assert_eq!(binding["roleRef"]["name"], name);
    // A second start finds everything in place.
    let revision = host.registry.store().revision();
    host.registry.bootstrap().await.expect("starts again");
    assert_eq!(host.registry.store().revision(), revision);
}

#[tokio::test]
async fn create_sets_what_only_the_server_knows() {
    let host = Host::start().await;
    let made = host.create(CONFIG, config(&json!({"k": "v"}))).await.expect("created");
    assert_eq!(made["metadata"]["creationTimestamp"], "2026-01-01T00:00:00Z");
    assert_eq!(made["metadata"]["uid"].as_str().map(str::len), Some(36));
    assert_eq!(made["metadata"]["namespace"], "default");
    assert_eq!(made["metadata"]["managedFields"][0]["manager"], "tester");
    assert_eq!(host.get(CONFIG), Some(made));
}

#[tokio::test]
async fn a_generated_name_is_the_prefix_and_five_characters() {
    let host = Host::start().await;
    let body = json!({"metadata": {"generateName": "gen-"}});
    let made = host.create(CONFIG, body).await.expect("created");
    let name = made["metadata"]["name"].as_str().expect("a name");
    assert!(name.starts_with("gen-") && name.len() == 9, "{name}");
}

#[tokio::test]
async fn refusals_speak_as_kube_apiserver_does() {
    let host = Host::start().await;
    host.create(CONFIG, config(&json!({}))).await.expect("created");
    let stale = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply \
                 your changes to the latest version and try again";
    refused(
        host.create(CONFIG, config(&json!({}))).await,
        Reason::AlreadyExists,
        "configmaps \"a\" already exists",
    );
    refused(
        host.create(("v1", "ConfigMap", "nowhere", "a"), config(&json!({}))).await,
        Reason::NotFound,
        "namespaces \"nowhere\" not found",
    );
    refused(
        host.update(("v1", "ConfigMap", "default", "b"), config(&json!({}))).await,
        Reason::BadRequest,
        "the name of the object (a) does not match the name on the URL (b)",
    );
    refused(
        host.merge(CONFIG, json!({"metadata": {"resourceVersion": "1"}})).await,
        Reason::Conflict,
        stale,
    );
    refused(
        host.create(CONFIG, json!({"metadata": {}})).await,
        Reason::Invalid,
        "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
    );
    refused(
        host.delete(("v1", "Namespace", "", "default")).await,
        Reason::Forbidden,
        "namespaces \"default\" is forbidden: this namespace may not be deleted",
    );
    refused(
        host.create(CONFIG, json!({"metadata": {"name": "n"}, "data": {"k": 1}})).await,
        Reason::BadRequest,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go \
         struct field ConfigMap.data of type string",
    );
}

#[tokio::test]
async fn an_object_over_the_limit_is_too_large() {
    let host = Host::start().await;
    let annotation = "x".repeat(2_000_000);
    let body = json!({"metadata": {"name": "big"}, "involvedObject": {"namespace": "default"}, "message": annotation});
    let refused = host.create(("v1", "Event", "default", "big"), body).await.expect_err("refused");
    assert_eq!(refused.reason, Reason::RequestEntityTooLarge);
}

#[tokio::test]
async fn a_write_that_changes_nothing_keeps_the_resource_version() {
    let host = Host::start().await;
    let made = host.create(CONFIG, config(&json!({"k": "v"}))).await.expect("created");
    let revision = host.registry.store().revision();
    let again = host.update(CONFIG, config(&json!({"k": "v"}))).await.expect("updated");
    assert_eq!(again, made);
    assert_eq!(host.registry.store().revision(), revision);
}

#[tokio::test]
async fn a_dry_run_answers_and_stores_nothing() {
    let host = Host::start().await;
    let revision = host.registry.store().revision();
    let options = WriteOptions { dry_run: true, ..WriteOptions::default() };
    let place = ("v1", "ConfigMap", "default", "");
    let action = Action::Create(Body::from(config(&json!({"k": "v"}))));
    let written = host.write(place, action, options).await.expect("would be created");
    let object: Value = serde_json::from_slice(&written.object).expect("JSON");
    assert_eq!(object["data"]["k"], "v");
    assert!(object["metadata"].get("resourceVersion").is_none());
    assert_eq!(host.registry.store().revision(), revision);
}

#[tokio::test]
async fn unknown_fields_are_dropped_warned_about_or_refused() {
    let host = Host::start().await;
    let place = ("v1", "ConfigMap", "default", "");
    let body = |name: &str| {
        let body =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "odd": 1});
        Action::Create(Body::from(body))
    };
    let options = |field_validation| WriteOptions { field_validation, ..WriteOptions::default() };
    let warned =
        host.write(place, body("w"), options(FieldValidation::Warn)).await.expect("created");
    assert_eq!(warned.warnings, ["unknown field \"odd\""]);
    let ignored =
        host.write(place, body("i"), options(FieldValidation::Ignore)).await.expect("created");
    assert!(ignored.warnings.is_empty());
    assert!(host.get(("v1", "ConfigMap", "default", "i")).expect("exists").get("odd").is_none());
    refused(
        host.write(place, body("s"), options(FieldValidation::Strict)).await,
        Reason::BadRequest,
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \
         \"odd\"",
    );
}

#[tokio::test]
async fn generation_counts_changes_of_what_is_wanted() {
    let host = Host::start().await;
    let made = host.create(DEPLOYMENT, deployment("d")).await.expect("created");
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
    let generation = |object: Value| object["metadata"]["generation"].as_i64();
    let labelled = host.merge(DEPLOYMENT, json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(generation(labelled.expect("labelled")), Some(1));
    let scaled = host.merge(DEPLOYMENT, json!({"spec": {"replicas": 3}})).await;
    assert_eq!(generation(scaled.expect("scaled")), Some(2));
    let place = ("apps/v1", "Deployment", "default", "d/status");
    let observed =
        host.merge(place, json!({"spec": {"replicas": 9}, "status": {"replicas": 3}})).await;
    let observed = observed.expect("status written");
    assert_eq!(
        (&observed["spec"]["replicas"], &observed["status"]["replicas"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(generation(observed), Some(2));
    let ignored =
        host.merge(DEPLOYMENT, json!({"status": {"replicas": 7}})).await.expect("ignored");
    assert_eq!(ignored["status"]["replicas"], 3);
}

#[tokio::test]
async fn scale_changes_replicas_and_nothing_else() {
    let host = Host::start().await;
    host.create(DEPLOYMENT, deployment("d")).await.expect("created");
    let place = ("apps/v1", "Deployment", "default", "d/scale");
    let scale = host.merge(place, json!({"spec": {"replicas": 4}})).await.expect("scaled");
    assert_eq!(scale["kind"], "Scale");
    assert_eq!(scale["spec"]["replicas"], 4);
    assert_eq!(scale["status"]["selector"], "app=x");
    assert_eq!(host.get(DEPLOYMENT).expect("exists")["spec"]["replicas"], 4);
    refused(
        host.merge(place, json!({"spec": {"replicas": -2}})).await,
        Reason::Invalid,
        "Scale.autoscaling \"d\" is invalid: spec.replicas: Invalid value: -2: must be greater than or equal to 0",
    );
}

#[tokio::test]
async fn the_last_finalizer_takes_a_terminating_object_with_it() {
    let host = Host::start().await;
    let body = json!({"metadata": {"name": "a", "finalizers": ["example.com/hold"]}});
    host.create(CONFIG, body).await.expect("created");
    let marked = host.delete(CONFIG).await.expect("marked");
    assert!(!marked.removed);
    let marked = host.get(CONFIG).expect("held");
    assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-01-01T00:00:00Z");
    let added = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    let refused = host.merge(CONFIG, added).await.expect_err("no new finalizers");
    assert_eq!(refused.reason, Reason::Invalid);
    host.merge(CONFIG, json!({"metadata": {"finalizers": null}})).await.expect("released");
    assert_eq!(host.get(CONFIG), None);
}

#[tokio::test]
async fn propagation_policies_become_finalizers() {
    let host = Host::start().await;
    for (policy, finalizers) in [
        (Propagation::Foreground, json!(["foregroundDeletion"])),
        (Propagation::Orphan, json!(["orphan"])),
    ] {
        host.create(CONFIG, config(&json!({}))).await.expect("created");
        host.delete_with(CONFIG, propagating(policy)).await.expect("marked");
        assert_eq!(host.get(CONFIG).expect("held")["metadata"]["finalizers"], finalizers);
        host.merge(CONFIG, json!({"metadata": {"finalizers": []}})).await.expect("released");
    }
    host.create(CONFIG, config(&json!({}))).await.expect("created");
    let gone = host.delete_with(CONFIG, propagating(Propagation::Background)).await.expect("gone");
    assert!(gone.removed);
}

#[tokio::test]
async fn a_deletion_asks_for_one_incarnation() {
    let host = Host::start().await;
    host.create(CONFIG, config(&json!({}))).await.expect("created");
    let preconditions = Preconditions { uid: Some("other".to_owned()), resource_version: None };
    let options = quadrille_registry::DeleteOptions { preconditions, ..Default::default() };
    let refused = host.delete_with(CONFIG, options).await.expect_err("another one");
    assert_eq!(refused.reason, Reason::Conflict);
    assert!(host.get(CONFIG).is_some());
}

#[tokio::test]
async fn a_namespace_waits_for_its_finalizer_and_takes_nothing_new() {
    let host = Host::start().await;
    let place = ("v1", "Namespace", "", "team");
    host.create(place, json!({"metadata": {"name": "team"}})).await.expect("created");
    assert!(host.get(("v1", "ServiceAccount", "team", "default")).is_some());
    host.delete(place).await.expect("marked");
    assert_eq!(host.get(place).expect("waits")["status"]["phase"], "Terminating");
    refused(
        host.create(("v1", "ConfigMap", "team", "a"), config(&json!({}))).await,
        Reason::Forbidden,
        "configmaps \"a\" is forbidden: unable to create new content in namespace team because it is being \
         terminated",
    );
    let finalize = ("v1", "Namespace", "", "team/finalize");
    let body = json!({"metadata": {"name": "team"}, "spec": {"finalizers": []}});
    host.update(finalize, body).await.expect("finalized");
    assert_eq!(host.get(place), None);
}

#[tokio::test]
async fn applied_fields_belong_to_their_manager() {
    let host = Host::start().await;
    host.apply(CONFIG, "one", config(&json!({"k": "1"}))).await.expect("created");
    let refused =
        host.apply(CONFIG, "two", config(&json!({"k": "2"}))).await.expect_err("conflict");
    assert_eq!(refused.reason, Reason::Conflict);
    assert_eq!(refused.message, "Apply failed with 1 conflict: conflict with \"one\": .data.k");
    let revision = host.registry.store().revision();
    host.apply(CONFIG, "one", config(&json!({"k": "1"}))).await.expect("nothing to do");
    assert_eq!(host.registry.store().revision(), revision);
    let gone = host.apply(CONFIG, "one", config(&json!({}))).await.expect("given up");
    assert!(gone.get("data").is_none(), "{gone}");
}

#[tokio::test]
async fn one_event_has_two_names() {
    let host = Host::start().await;
    let body = json!({
        "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "R", "message": "M", "type": "Normal", "count": 2,
    });
    host.create(("v1", "Event", "default", "e"), body).await.expect("created");
    let event = host.get(("events.k8s.io/v1", "Event", "default", "e")).expect("the same");
    assert_eq!((&event["note"], &event["regarding"]["name"]), (&json!("M"), &json!("p")));
    assert_eq!(event["deprecatedCount"], 2);
    assert_eq!(event["apiVersion"], "events.k8s.io/v1");
}

#[tokio::test]
async fn a_cluster_ip_is_given_once_and_comes_back() {
    let host = Host::start().await;
    let place = |name| ("v1", "Service", "default", name);
    let body = |name: &str, ip: Value| json!({"metadata": {"name": name}, "spec": {"clusterIP": ip, "ports": [{"port": 80}]}});
    let made = host.create(place("s"), body("s", Value::Null)).await.expect("created");
    let ip = made["spec"]["clusterIP"].clone();
    let refused = host.create(place("t"), body("t", ip.clone())).await.expect_err("taken");
    assert!(refused.message.ends_with("provided IP is already allocated"), "{refused}");
    host.delete(place("s")).await.expect("gone");
    let again = host.create(place("t"), body("t", ip.clone())).await.expect("free again");
    assert_eq!(again["spec"]["clusterIP"], ip);
}

#[tokio::test]
async fn string_data_becomes_data() {
    let host = Host::start().await;
    let place = ("v1", "Secret", "default", "s");
    let body = json!({"metadata": {"name": "s"}, "stringData": {"k": "plain"}});
    let made = host.create(place, body).await.expect("created");
    assert_eq!((&made["data"]["k"], &made["type"]), (&json!("cGxhaW4="), &json!("Opaque")));
    assert!(made.get("stringData").is_none());
}

#[tokio::test]
async fn a_strategic_patch_merges_containers_by_name() {
    let host = Host::start().await;
    host.create(DEPLOYMENT, deployment("d")).await.expect("created");
    let patch =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "img:2"}]}}}});
    let action = Action::Patch(PatchFormat::Strategic, Body::from(patch));
    let written = host.write(DEPLOYMENT, action, WriteOptions::default()).await.expect("patched");
    let object: Value = serde_json::from_slice(&written.object).expect("JSON");
    let container = &object["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        (&container["image"], &container["imagePullPolicy"]),
        (&json!("img:2"), &json!("IfNotPresent"))
    );
}

/// Kubernetes' decoder takes a null in a list or map for the zero value of its type.
#[tokio::test]
async fn what_is_null_in_metadata_is_empty_and_never_stored_as_it_came() {
    let host = Host::start().await;
    let body = json!({"metadata": {"name": "a", "finalizers": [null]}});
    let status = host.create(CONFIG, body).await.expect_err("refused");
    assert_eq!(status.reason, Reason::Invalid);
    assert!(status.message.contains("metadata.finalizers[0]"), "{}", status.message);
    let body = json!({"metadata": {"name": "a", "ownerReferences": [null, {"uid": null}]}});
    assert_eq!(host.create(CONFIG, body).await.expect_err("refused").reason, Reason::Invalid);
    let body =
        json!({"metadata": {"name": "a", "labels": {"l": null}, "annotations": {"n": null}}});
    let made = host.create(CONFIG, body).await.expect("created");
    assert_eq!(
        (&made["metadata"]["labels"]["l"], &made["metadata"]["annotations"]["n"]),
        (&json!(""), &json!(""))
    );
    assert_eq!(host.get(CONFIG), Some(made));
}

/// Stored objects are read by a decoder that stops at 128 levels.
#[tokio::test]
async fn nothing_is_stored_that_nests_too_deep_to_be_read_again() {
    const REVISION: Place<'static> = ("apps/v1", "ControllerRevision", "default", "r");
    let host = Host::start().await;
    let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!({"a": inner}));
    let body =
        |levels: usize| json!({"metadata": {"name": "r"}, "revision": 1, "data": nested(levels)});
    // A text decoder stops earlier; one of protobuf counts its own levels and those of JSON in it.
    let refused = host.create(REVISION, body(130)).await.expect_err("too deep");
    assert_eq!(refused.message, "the object nests deeper than 120 levels");
    host.create(REVISION, body(99)).await.expect("created");
    host.delete(REVISION).await.expect("it can be read again, and so deleted");
}

/// An applied empty list is a field that is managed and not stored: each apply seems to add it.
#[tokio::test]
async fn a_write_that_changes_only_when_fields_were_managed_is_none() {
    const BINDING: Place<'static> = ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "", "b");
    let host = Host::start().await;
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"});
    let body = json!({"metadata": {"name": "b"}, "roleRef": role, "subjects": []});
    let made = host.apply(BINDING, "m1", body.clone()).await.expect("made");
    host.clock.advance(std::time::Duration::from_secs(5));
    assert_eq!(host.apply(BINDING, "m1", body).await.expect("applied"), made);
}
