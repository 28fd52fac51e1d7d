//! How far a grant reaches: a controller whose grant names namespaces is told of no object elsewhere, and leaves no trace
//! on it.

use super::*;

fn narrow(verbs: &[&str], namespaces: &[&str]) -> crate::Grant {
    let rule = crate::reconciler::GrantRule {
        group: "".into(),
        resource: "configmaps".into(),
        verbs: verbs.iter().map(|verb| (*verb).into()).collect(),
        namespaces: namespaces.iter().map(|namespace| (*namespace).into()).collect(),
    };
    crate::Grant { rules: vec![rule], unlimited: false }
}

fn elsewhere(name: &str) -> Key {
    Key::new(GroupResource::new("", "configmaps"), "kube-public", name)
}

#[tokio::test]
async fn a_grant_in_one_namespace_shows_and_marks_no_object_of_another() {
    let host = Host::new(false).await;
    let object = json!({"metadata": {"name": "there", "labels": {"run": "yes"}}});
    host.create(&host.maps(), "kube-public", object.clone()).await;
    host.map("here", runnable()).await;
    let fails = native(|_, _| Err(Failure::Permanent("it speaks of everything it sees".into())));
    let mut spec = spec("narrow");
    spec.grant = narrow(&["get"], &["default"]);
    spec.finalizer = Some("demo.dev/narrow".into());
    spec.resync = Some(Duration::from_mins(1));
    host.runtime.add(spec, fails).expect("new");
    host.settle().await;
    let later = json!({"metadata": {"name": "later", "labels": {"run": "yes"}}});
    host.create(&host.maps(), "kube-public", later).await;
    host.patch(&host.maps(), &elsewhere("there"), json!({"data": {"gold": "1"}})).await;
    host.settle().await;
    let runs = host.runtime.runs(None, None, 100);
    let seen: Vec<_> = runs.iter().map(|run| run.object.to_string()).collect();
    assert!(seen.contains(&map_key("here").to_string()), "{seen:?}");
    assert!(runs.iter().all(|run| *run.object.namespace == *"default"), "{seen:?}");
    for name in ["there", "later"] {
        assert!(host.value(&elsewhere(name))["metadata"]["finalizers"].is_null());
    }
    let events = Query::whole(Range::all(GroupResource::new("", "events")));
    let events = host.registry.store().snapshot().list(&events);
    assert!(events.iter().all(|event| *event.key.namespace == *"default"), "{events:?}");
}

#[tokio::test]
async fn a_grant_without_get_on_the_primary_starts_nothing() {
    let host = Host::new(false).await;
    let mut spec = spec("blind");
    spec.grant = narrow(&["list", "update"], &[]);
    host.runtime.add(spec, native(|_, _| Ok(Outcome::Done))).expect("new");
    host.map("a", runnable()).await;
    host.settle().await;
    assert!(host.runtime.runs(None, None, 10).is_empty());
}

/// A finalizer holds up deletion, and may bear the name of somebody else's: to read an object is not enough.
#[tokio::test]
async fn a_finalizer_is_kept_and_removed_only_where_that_is_granted() {
    let host = Host::new(false).await;
    let mut spec = spec("holder");
    spec.finalizer = Some("other.dev/lock".into());
    spec.grant = narrow(&["get"], &[]);
    host.map(
        "a",
        json!({"metadata": {"labels": {"run": "yes"}, "finalizers": ["other.dev/lock"]}}),
    )
    .await;
    host.map("b", runnable()).await;
    host.runtime.add(spec.clone(), native(|_, _| Ok(Outcome::Done))).expect("new");
    host.delete(&host.maps(), &map_key("a"), None).await;
    host.settle().await;
    assert_eq!(host.value(&map_key("a"))["metadata"]["finalizers"], json!(["other.dev/lock"]));
    assert!(host.value(&map_key("b"))["metadata"]["finalizers"].is_null());
    let run = &host.runtime.runs(None, None, 1)[0];
    assert!(format!("{:?}", run.end).contains("update on configmaps/finalizers"), "{:?}", run.end);
}

/// What it may not keep any more it cannot let go of, either.
#[tokio::test]
async fn where_only_the_right_to_a_finalizer_is_revoked_it_goes_from_the_objects() {
    let host = Host::new(false).await;
    let mut spec = spec("holder");
    spec.finalizer = Some("demo.dev/hold".into());
    let rules =
        |namespaces| [narrow(&["get"], &[]).rules, narrow(&["update"], namespaces).rules].concat();
    spec.grant.rules = rules(&["default", "kube-public"]);
    spec.grant.unlimited = false;
    host.map("here", runnable()).await;
    let object = json!({"metadata": {"name": "there", "labels": {"run": "yes"}}});
    host.create(&host.maps(), "kube-public", object).await;
    host.runtime.add(spec.clone(), native(|_, _| Ok(Outcome::Done))).expect("new");
    host.settle().await;
    let marks = |key: &Key| host.value(key)["metadata"]["finalizers"].clone();
    assert_eq!(marks(&elsewhere("there")), json!(["demo.dev/hold"]));
    spec.grant.rules = rules(&["default"]);
    host.runtime.replace(spec, native(|_, _| Ok(Outcome::Done))).expect("known");
    for _ in 0..100_000 {
        if marks(&elsewhere("there")).is_null() {
            break;
        }
        tokio::task::yield_now().await;
    }
    host.settle().await;
    assert_eq!(marks(&elsewhere("there")), json!(null));
    assert_eq!(marks(&map_key("here")), json!(["demo.dev/hold"]));
}
