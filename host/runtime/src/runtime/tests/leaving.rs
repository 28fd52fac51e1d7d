//! Objects that leave a controller's selector while they carry its finalizer.

use super::*;

const MARK: &str = "demo.dev/tidy";

fn tidy(reconciled: Arc<AtomicUsize>) -> Arc<dyn Reconciler> {
    native(move |_, _| {
        reconciled.fetch_add(1, Ordering::SeqCst);
        Ok(Outcome::Done)
    })
}

fn marking(mark: Option<&str>) -> ControllerSpec {
    ControllerSpec { finalizer: mark.map(Into::into), ..spec("tidy") }
}

fn marks(host: &Host, name: &str) -> Value {
    host.value(&map_key(name))["metadata"]["finalizers"].clone()
}

#[tokio::test]
async fn an_object_that_leaves_the_selector_loses_the_finalizer_and_is_not_run_for() {
    let host = Host::new(false).await;
    let reconciled = Arc::new(AtomicUsize::new(0));
    host.runtime.add(marking(Some(MARK)), tidy(Arc::clone(&reconciled))).expect("new");
    host.map("a", json!({"metadata": {"labels": {"run": "yes"}, "finalizers": ["other/one"]}}))
        .await;
    host.settle().await;
    assert_eq!(marks(&host, "a"), json!(["other/one", MARK]));
    let unlabelled = json!({"metadata": {"labels": {"run": null}}});
    host.patch(&host.maps(), &map_key("a"), unlabelled).await;
    host.settle().await;
    assert_eq!((marks(&host, "a"), reconciled.load(Ordering::SeqCst)), (json!(["other/one"]), 1));
    host.patch(&host.maps(), &map_key("a"), json!({"metadata": {"finalizers": []}})).await;
    host.delete(&host.maps(), &map_key("a"), None).await;
    host.settle().await;
    assert!(host.get(&map_key("a")).is_none());
}

#[tokio::test]
async fn an_object_deleted_outside_the_selector_is_run_for_and_goes() {
    let host = Host::new(false).await;
    let reconciled = Arc::new(AtomicUsize::new(0));
    host.runtime.add(marking(Some(MARK)), tidy(Arc::clone(&reconciled))).expect("new");
    let name = ControllerName::new("demo", "tidy");
    host.map("a", runnable()).await;
    host.settle().await;
    // Both come before anybody can act on the first.
    host.runtime.suspend(&name).expect("known");
    let unlabelled = json!({"metadata": {"labels": {"run": null}}});
    host.patch(&host.maps(), &map_key("a"), unlabelled).await;
    host.delete(&host.maps(), &map_key("a"), None).await;
    host.runtime.resume(&name).expect("known");
    host.settle().await;
    assert!(host.get(&map_key("a")).is_none());
    assert_eq!(reconciled.load(Ordering::SeqCst), 2, "what it has to clean up is cleaned up");
    // The same when nobody knew of it while it had the label.
    let orphan = json!({"metadata": {"name": "b", "finalizers": [MARK]}});
    host.create(&host.maps(), "default", orphan).await;
    host.delete(&host.maps(), &map_key("b"), None).await;
    host.settle().await;
    assert!(host.get(&map_key("b")).is_none());
}

#[tokio::test]
async fn a_finalizer_goes_with_the_version_or_the_controller_that_has_it() {
    let host = Host::new(false).await;
    let name = ControllerName::new("demo", "tidy");
    let fails = || native(|_, _| Err(Failure::Permanent("it cleans nothing up".to_owned())));
    host.runtime.add(marking(Some(MARK)), native(|_, _| Ok(Outcome::Done))).expect("new");
    for number in 0..250 {
        host.map(&format!("m{number}"), runnable()).await;
    }
    host.settle().await;
    assert_eq!(marks(&host, "m249"), json!([MARK]));
    let gone = async |what: &str, mark: &str| {
        for _ in 0..100_000 {
            let all = Query::whole(Range::all(GroupResource::new("", "configmaps")));
            let listed = host.registry.store().snapshot().list(&all);
            if listed.iter().all(|o| o.meta.finalizers.iter().all(|f| **f != *mark)) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{what}: {mark} stays");
    };
    host.runtime.replace(marking(Some("demo.dev/other")), fails()).expect("known");
    gone("another finalizer", MARK).await;
    host.settle().await;
    assert_eq!(marks(&host, "m249"), json!(null), "a failed run leaves no mark");
    let marker = native(|_, _| Ok(Outcome::Done));
    host.runtime.replace(marking(Some("demo.dev/other")), marker).expect("known");
    host.settle().await;
    assert_eq!(marks(&host, "m249"), json!(["demo.dev/other"]));
    // One waits for a clean-up that fails.
    host.runtime.replace(marking(Some("demo.dev/other")), fails()).expect("known");
    host.delete(&host.maps(), &map_key("m0"), None).await;
    host.settle().await;
    assert!(host.get(&map_key("m0")).is_some());
    host.runtime.dismiss(&name).expect("known");
    gone("the controller", "demo.dev/other").await;
    assert!(host.get(&map_key("m0")).is_none() && host.get(&map_key("m1")).is_some());
}

async fn marked(host: &Host, mark: &str, wanted: usize) -> bool {
    let all = Query::whole(Range::all(GroupResource::new("", "configmaps")));
    let carries =
        |object: &Arc<quadrille_store::Object>| object.meta.finalizers.iter().any(|f| **f == *mark);
    for _ in 0..100_000 {
        let listed = host.registry.store().snapshot().list(&all);
        if listed.iter().filter(|object| carries(object)).count() == wanted {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

#[tokio::test]
async fn a_candidate_that_does_not_take_over_leaves_no_finalizer_and_one_that_does_keeps_its_own() {
    let host = Host::new(false).await;
    let name = ControllerName::new("demo", "tidy");
    let done = || native(|_, _| Ok(Outcome::Done));
    let half =
        || crate::Portion { percent: 50, selector: quadrille_object::LabelSelector::default() };
    host.runtime.add(marking(Some(MARK)), done()).expect("new");
    for number in 0..40 {
        host.map(&format!("m{number}"), runnable()).await;
    }
    host.settle().await;
    host.runtime.try_out(marking(Some("demo.dev/tried")), done(), half()).expect("it starts");
    host.settle().await;
    assert!(marked(&host, MARK, 40).await && !marked(&host, "demo.dev/tried", 0).await);
    host.runtime.call_off(&name).expect("known");
    assert!(marked(&host, "demo.dev/tried", 0).await, "called off");
    host.runtime.try_out(marking(Some("demo.dev/tried")), done(), half()).expect("it starts");
    host.settle().await;
    host.runtime.replace(marking(Some("demo.dev/third")), done()).expect("known");
    assert!(marked(&host, "demo.dev/tried", 0).await, "another took over");
    host.runtime.try_out(marking(Some("demo.dev/tried")), done(), half()).expect("it starts");
    host.settle().await;
    host.runtime.replace(marking(Some("demo.dev/tried")), done()).expect("known");
    host.settle().await;
    assert!(marked(&host, "demo.dev/tried", 40).await, "it took over");
    host.runtime.try_out(marking(Some(MARK)), done(), half()).expect("it starts");
    host.settle().await;
    host.runtime.dismiss(&name).expect("known");
    assert!(marked(&host, MARK, 0).await && marked(&host, "demo.dev/tried", 0).await, "all go");
}
