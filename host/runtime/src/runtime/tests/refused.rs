//! What a refused write means for its run: it is a read of what stood in the way, and no key sleeps on it for ever.

use super::*;

fn refuse(overlay: &mut Overlay, name: &str) -> Result<(), quadrille_registry::Status> {
    let kind = quadrille_object::Gvk::new("", "v1", "ConfigMap");
    let resource = overlay.registry().resource_of(&kind).expect("built in");
    let action = Action::Create(Body::from(json!({"metadata": {"name": name}})));
    let made = overlay.write(target(&resource, "default", None), action, WriteOptions::default());
    made.map(drop)
}

fn permanent(status: quadrille_registry::Status) -> Failure {
    Failure::Permanent(status.message)
}

#[tokio::test]
async fn who_was_refused_for_an_object_that_stood_there_runs_again_when_it_goes() {
    let host = Host::new(false).await;
    host.map("taken", json!({})).await;
    let creator = native(|_, overlay| {
        refuse(overlay, "taken").map_err(permanent)?;
        Ok(Outcome::Done)
    });
    host.runtime.add(spec("creator"), creator).expect("new");
    host.map("a", runnable()).await;
    assert_eq!(host.settle().await.stuck_count, 1);
    host.delete(&host.maps(), &map_key("taken"), None).await;
    assert_eq!(host.settle().await.stuck_count, 0);
    let runs = host.runtime.runs(Some(&map_key("a")), None, 10);
    assert!(runs[0].has_committed() && runs.len() == 2, "{runs:#?}");
}

#[tokio::test]
async fn who_was_refused_for_a_namespace_that_is_not_there_runs_again_when_it_comes() {
    let host = Host::new(false).await;
    let creator = native(|_, overlay| {
        let kind = quadrille_object::Gvk::new("", "v1", "ConfigMap");
        let resource = overlay.registry().resource_of(&kind).expect("built in");
        let action = Action::Create(Body::from(json!({"metadata": {"name": "x"}})));
        let made = overlay.write(target(&resource, "later", None), action, WriteOptions::default());
        made.map(|_| Outcome::Done).map_err(permanent)
    });
    host.runtime.add(spec("creator"), creator).expect("new");
    host.map("a", runnable()).await;
    assert_eq!(host.settle().await.stuck_count, 1);
    let namespaces = host.resource("", "v1", "Namespace");
    host.create(&namespaces, "", json!({"metadata": {"name": "later"}})).await;
    assert_eq!(host.settle().await.stuck_count, 0);
}

/// Takes a name or says that it is taken; the first time, whoever has it goes before the run is over.
#[derive(Debug)]
struct Claims(Mutex<bool>);

impl Reconciler for Claims {
    fn reconcile(
        &self,
        request: crate::ReconcileRequest,
        mut overlay: Overlay,
    ) -> quadrille_kit::clock::BoxFuture<'_, crate::Reconciled> {
        Box::pin(async move {
            let claimed = refuse(&mut overlay, "taken").is_ok();
            let goes = std::mem::take(&mut *self.0.lock().expect("no panic"));
            if goes {
                let registry = overlay.registry().clone();
                let kind = quadrille_object::Gvk::new("", "v1", "ConfigMap");
                let maps = registry.resource_of(&kind).expect("built in");
                let request = quadrille_registry::WriteRequest {
                    target: target(&maps, "default", Some("taken")),
                    action: Action::Delete(quadrille_registry::DeleteOptions::default()),
                    options: WriteOptions::default(),
                    actor: quadrille_registry::Actor::default(),
                };
                let cause =
                    quadrille_store::Cause::Request(quadrille_store::RequestCause::default());
                registry.submit(&request, cause).await.expect("deleted");
            }
            let out = format!("{}-out", request.key.name);
            let wrote = put(&mut overlay, &out, &json!({"claimed": claimed.to_string()}));
            crate::Reconciled { overlay, result: wrote.map(|()| Outcome::Done), memory_bytes: 0 }
        })
    }
}

#[tokio::test]
async fn what_was_decided_from_a_refusal_is_not_committed_once_it_is_no_longer_so() {
    for goes_meanwhile in [true, false] {
        let host = Host::new(false).await;
        host.map("taken", json!({})).await;
        let claims = Arc::new(Claims(Mutex::new(goes_meanwhile)));
        host.runtime.add(spec("claims"), claims).expect("new");
        host.map("a", runnable()).await;
        host.settle().await;
        if !goes_meanwhile {
            assert_eq!(host.value(&map_key("a-out"))["data"]["claimed"], "false");
            host.delete(&host.maps(), &map_key("taken"), None).await;
            host.settle().await;
        }
        assert_eq!(host.value(&map_key("a-out"))["data"]["claimed"], "true", "{goes_meanwhile}");
        let conflicts = host.runtime.stats(None)[0].conflicts;
        assert_eq!(conflicts, u64::from(goes_meanwhile));
    }
}

/// Lets nobody create a `ConfigMap` named `banned`; answers the key of the binding, without which anybody may.
async fn ban(host: &Host) -> (Arc<quadrille_registry::Resource>, Key) {
    const GROUP: &str = "admissionregistration.k8s.io";
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
        "operations": ["CREATE"]});
    let spec = json!({"matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "object.metadata.name != 'banned'"}]});
    let policy = host.resource(GROUP, "v1", "ValidatingAdmissionPolicy");
    host.create(&policy, "", json!({"metadata": {"name": "p"}, "spec": spec})).await;
    let binding = host.resource(GROUP, "v1", "ValidatingAdmissionPolicyBinding");
    let spec = json!({"policyName": "p", "validationActions": ["Deny"]});
    host.create(&binding, "", json!({"metadata": {"name": "p"}, "spec": spec})).await;
    let key = Key::new(binding.group_resource(), "", "p");
    (binding, key)
}

#[tokio::test]
async fn what_a_policy_refused_is_tried_again_after_the_longest_backoff() {
    let host = Host::new(false).await;
    let (bindings, binding) = ban(&host).await;
    let creator = native(|request, overlay| match &*request.key.name {
        "hopeless" => Err(Failure::Permanent("no refusal of the API".to_owned())),
        _ => refuse(overlay, "banned").map_err(permanent).map(|()| Outcome::Done),
    });
    host.runtime.add(spec("creator"), creator).expect("new");
    host.map("a", runnable()).await;
    let made = host.registry.store().revision();
    host.map("hopeless", runnable()).await;
    let settled = host.settle().await;
    assert_eq!((settled.stuck_count, host.runtime.stats(None)[0].runs), (2, 2), "{settled:?}");
    let at_once = host.runtime.settled(made, Duration::from_hours(1)).await;
    assert_eq!(at_once.expect("known").state, crate::Standstill::Stuck, "nobody waits for it");
    host.delete(&bindings, &binding, None).await;
    host.settle().await;
    assert!(host.get(&map_key("banned")).is_none());
    let longest = host.runtime.shared.config.backoff.max;
    host.clock.advance(longest / 2);
    host.settle().await;
    assert!(host.get(&map_key("banned")).is_none(), "too early");
    host.clock.advance(longest / 2);
    while host.get(&map_key("banned")).is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(host.settle().await.stuck_count, 1, "the one that no refusal of the API stopped");
    assert_eq!(host.runtime.runs(Some(&map_key("hopeless")), None, 10).len(), 1);
}
