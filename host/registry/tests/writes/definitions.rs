//! `CustomResourceDefinitions`: served at once, several versions, conflicts, and the end.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{DEFINITION, Host, Place, version, widgets};
use quadrille_kit::{Clock as _, SystemClock};
use quadrille_object::Gvk;
use quadrille_registry::Reason;
use serde_json::{Value, json};

const WIDGET: Place<'static> = ("example.com/v1", "Widget", "default", "w");

async fn host() -> Host {
    let host = Host::start().await;
    let versions = json!([version("v1", true), version("v2", false)]);
    host.create(DEFINITION, widgets(&versions)).await.expect("defined");
    host
}

#[tokio::test]
async fn a_definition_is_served_when_its_commit_returns() {
    let host = host().await;
    let definition = host.get(DEFINITION).expect("stored");
    let conditions = &definition["status"]["conditions"];
    assert_eq!(conditions[0]["type"], "NamesAccepted");
    assert_eq!(
        (&conditions[1]["type"], &conditions[1]["status"]),
        (&json!("Established"), &json!("True"))
    );
    assert_eq!(definition["status"]["storedVersions"], json!(["v1"]));
    let made =
        host.create(WIDGET, json!({"metadata": {"name": "w"}, "spec": {}})).await.expect("served");
    assert_eq!(made["spec"]["size"], 3, "the schema's default");
    assert_eq!(made["metadata"]["generation"], 1);
}

#[tokio::test]
async fn other_versions_differ_in_their_api_version_alone() {
    let host = host().await;
    host.create(WIDGET, json!({"metadata": {"name": "w"}, "spec": {"text": "t"}}))
        .await
        .expect("made");
    let place = ("example.com/v2", "Widget", "default", "w");
    let seen = host.get(place).expect("visible");
    assert_eq!(
        (&seen["apiVersion"], &seen["spec"]["text"]),
        (&json!("example.com/v2"), &json!("t"))
    );
    let patched = host.merge(place, json!({"spec": {"size": 4}})).await.expect("patched");
    assert_eq!(patched["apiVersion"], "example.com/v2");
    assert_eq!(host.get(WIDGET).expect("stored")["spec"]["size"], 4);
}

#[tokio::test]
async fn a_custom_resource_must_fit_its_schema() {
    let host = host().await;
    let body = json!({"metadata": {"name": "w"}, "spec": {"size": 10}});
    let refused = host.create(WIDGET, body).await.expect_err("too big");
    assert_eq!(refused.reason, Reason::Invalid);
    assert!(
        refused.message.starts_with("Widget.example.com \"w\" is invalid: spec.size: "),
        "{refused}"
    );
    let odd = json!({"metadata": {"name": "w"}, "spec": {"odd": 1}});
    let pruned = host.create(WIDGET, odd).await.expect("made");
    assert!(pruned["spec"].get("odd").is_none());
}

#[tokio::test]
async fn spec_and_status_have_endpoints_of_their_own() {
    let host = host().await;
    let body = json!({"metadata": {"name": "w"}, "spec": {"size": 1}, "status": {"seen": 1}});
    let made = host.create(WIDGET, body).await.expect("made");
    assert!(made.get("status").is_none());
    let place = ("example.com/v1", "Widget", "default", "w/status");
    let patch =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"size": 2}, "status": {"seen": 5}});
    let seen = host.merge(place, patch).await.expect("status written");
    assert_eq!((&seen["spec"]["size"], &seen["status"]["seen"]), (&json!(1), &json!(5)));
    assert_eq!(seen["metadata"]["generation"], 1);
    assert!(seen["metadata"].get("labels").is_none());
}

#[tokio::test]
async fn taken_names_are_not_accepted() {
    let host = host().await;
    let mut second = widgets(&json!([version("v1", true)]));
    second["metadata"]["name"] = "gadgets.example.com".into();
    second["spec"]["names"]["plural"] = "gadgets".into();
    host.create(DEFINITION, second).await.expect("stored");
    let place = (DEFINITION.0, DEFINITION.1, "", "gadgets.example.com");
    let conditions = host.get(place).expect("stored")["status"]["conditions"].clone();
    assert_eq!(
        (&conditions[0]["status"], &conditions[0]["reason"]),
        (&json!("False"), &json!("ListKindConflict"))
    );
    assert_eq!(conditions[1]["reason"], "NotAccepted");
    assert!(!host.registry.catalog().resources.keys().any(|gvr| *gvr.resource == *"gadgets"));
}

#[tokio::test]
async fn the_end_of_a_definition_is_the_end_of_its_objects() {
    let host = host().await;
    for name in ["a", "b"] {
        let place = (WIDGET.0, WIDGET.1, WIDGET.2, name);
        host.create(place, json!({"metadata": {"name": name}})).await.expect("made");
    }
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
    host.create(WIDGET, held).await.expect("made");
    host.delete(DEFINITION).await.expect("marked");
    let waiting = host.get(DEFINITION).expect("waits for the held one");
    assert!(waiting["metadata"]["deletionTimestamp"].is_string());
    let place = (WIDGET.0, WIDGET.1, WIDGET.2, "held");
    assert_eq!(host.get((WIDGET.0, WIDGET.1, WIDGET.2, "a")), None);
    let refused =
        host.create(WIDGET, json!({"metadata": {"name": "new"}})).await.expect_err("ending");
    assert_eq!(refused.reason, Reason::Forbidden);
    host.merge(place, json!({"metadata": {"finalizers": null}})).await.expect("released");
    assert_eq!(host.get(DEFINITION), None);
    assert_eq!(
        host.registry.resource_of(&Gvk::new("example.com", "v1", "Widget")).map(|_| ()),
        None
    );
}

#[tokio::test]
async fn a_definition_that_breaks_a_rule_is_refused() {
    let host = Host::start().await;
    let mut bad = widgets(&json!([version("v1", true)]));
    bad["metadata"]["name"] = "other.example.com".into();
    let refused = host.create(DEFINITION, bad).await.expect_err("misnamed");
    assert_eq!(
        refused.message,
        "CustomResourceDefinition.apiextensions.k8s.io \"other.example.com\" is invalid: metadata.name: Invalid \
         value: \"other.example.com\": must be spec.names.plural+\".\"+spec.group"
    );
    let none: Value = widgets(&json!([]));
    let refused = host.create(DEFINITION, none).await.expect_err("no version");
    assert_eq!(refused.reason, Reason::Invalid);
}

#[tokio::test]
async fn a_definition_is_served_though_its_writer_left_right_after_the_commit() {
    let host = Host::start().await;
    host.registry.set_supervisor(host.supervisor.clone());
    let mut writing = Box::pin(host.create(DEFINITION, widgets(&json!([version("v1", true)]))));
    // It is asked once and never again, as it happens to the request of a client that hangs up.
    assert!(futures_util::poll!(&mut writing).is_pending());
    eventually("it is committed", || host.get(DEFINITION).is_some()).await;
    drop(writing);
    let kind = Gvk::new("example.com", "v1", "Widget");
    eventually("it is served", || host.registry.resource_of(&kind).is_some()).await;
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let clock = SystemClock::default();
    let begun = clock.monotonic();
    while !holds() {
        assert!(clock.monotonic().saturating_sub(begun) < Duration::from_secs(20), "{what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_was_stored_in_the_old_storage_version_is_shown_in_the_one_that_is_asked_for() {
    let host = host().await;
    host.create(WIDGET, json!({"metadata": {"name": "w"}, "spec": {"text": "t"}}))
        .await
        .expect("made");
    let versions = json!([version("v1", false), version("v2", true)]);
    let defined =
        host.merge(DEFINITION, json!({"spec": {"versions": versions}})).await.expect("changed");
    assert_eq!(defined["status"]["storedVersions"], json!(["v1", "v2"]));
    let place = ("example.com/v2", "Widget", "default", "w");
    let before = host.get(place).expect("visible");
    assert_eq!(before["apiVersion"], "example.com/v2");
    assert_eq!(host.get(WIDGET).expect("visible")["apiVersion"], "example.com/v1");
    let after = host.merge(place, json!({})).await.expect("stored anew");
    let revision = |object: &Value| object["metadata"]["resourceVersion"].clone();
    assert_ne!(revision(&before), revision(&after), "now it is stored in v2");
    let again = host.merge(place, json!({})).await.expect("nothing to do");
    assert_eq!(revision(&again), revision(&after));
}

/// A definition that asks for the names of a kind that there is already.
fn taking(group: &str, plural: &str, kind: &str) -> Value {
    json!({
        "metadata": {
            "name": format!("{plural}.{group}"),
            "annotations": {"api-approved.kubernetes.io": "unapproved, x"},
        },
        "spec": {
            "group": group, "scope": "Cluster", "versions": [version("v1", true)],
            "names": {
                "plural": plural, "singular": kind.to_lowercase(), "kind": kind,
                "listKind": format!("{kind}List"),
            },
        },
    })
}

/// kube-apiserver stores the objects of such a definition elsewhere; here its names are refused.
#[tokio::test]
async fn no_definition_takes_the_place_or_the_objects_of_a_kind_of_the_host() {
    let host = Host::start().await;
    for (group, plural, kind) in [
        ("rbac.authorization.k8s.io", "clusterrolebindings", "ClusterRoleBinding"),
        ("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition"),
        ("quadrille.dev", "plugins", "Plugin"),
        // It has no endpoint of its own: it is the body of an account's subresource.
        ("authentication.k8s.io", "tokenrequests", "TokenRequest"),
        ("authentication.k8s.io", "others", "TokenRequest"),
    ] {
        let name = format!("{plural}.{group}");
        let body = taking(group, plural, kind);
        let served = Gvk::new(group, "v1", kind);
        let (before, place) =
            (host.registry.resource_of(&served), (DEFINITION.0, DEFINITION.1, "", name.as_str()));
        let made = host.create(place, body).await.expect("it waits for its names");
        assert_eq!(made["status"]["conditions"][0]["reason"], "ListKindConflict", "{name}");
        assert_eq!(made["status"]["conditions"][1]["status"], "False", "{name}");
        let same = |now: Option<Arc<_>>| {
            Arc::ptr_eq(&now.expect("served"), before.as_ref().expect("served"))
        };
        assert!(same(host.registry.resource_of(&served)), "{name}");
        host.registry.bootstrap().await.expect("starts again");
        assert!(same(host.registry.resource_of(&served)), "{name}");
        host.delete(place).await.expect("deleted");
        assert_eq!(host.get(place), None, "it has no objects to wait for");
        assert!(same(host.registry.resource_of(&served)), "{name}");
    }
    const ROLES: &str = "rbac.authorization.k8s.io/v1";
    assert!(host.get((ROLES, "ClusterRoleBinding", "", "cluster-admin")).is_some());
}

#[tokio::test]
async fn a_definition_that_waits_for_its_names_does_not_speak_for_who_has_them() {
    const POLICIES: &str = "admissionregistration.k8s.io/v1";
    let host = Host::start().await;
    let of = (DEFINITION.0, DEFINITION.1, "", "plugins.quadrille.dev");
    let mut body = taking("quadrille.dev", "plugins", "Plugin");
    body["metadata"]["finalizers"] = json!(["example.com/hold"]);
    host.create(of, body).await.expect("it waits for its names");
    // What it calls a field of Plugins is none to the host.
    let policy = json!({"metadata": {"name": "p"}, "spec": {
        "matchConstraints": {"resourceRules": [{
            "apiGroups": ["quadrille.dev"], "apiVersions": ["v1"], "resources": ["plugins"],
            "operations": ["CREATE"],
        }]},
        "validations": [{"expression": "object.spec.size < 3"}, {"expression": "object.spec.digest != ''"}],
    }});
    let place = (POLICIES, "ValidatingAdmissionPolicy", "", "p");
    host.create(place, policy).await.expect("a policy");
    let policy = host.get(place).expect("stored");
    let warnings = policy["status"]["typeChecking"]["expressionWarnings"].to_string();
    assert!(warnings.contains("undefined field 'size'"), "{policy}");
    assert!(!warnings.contains("digest"), "{policy}");
    host.delete(of).await.expect("marked");
    assert!(host.get(of).expect("held")["metadata"]["deletionTimestamp"].is_string());
    let plugin = ("quadrille.dev/v1", "Plugin", "", "one");
    let made = host.create(plugin, json!({"metadata": {"name": "one"}, "spec": {}})).await;
    made.expect("a definition that is no longer wanted keeps no plugin out");
}
