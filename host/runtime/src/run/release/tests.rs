//! Objects that are let go of while a webhook takes its time.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use quadrille_kit::Clock as _;
use quadrille_kit::clock::BoxFuture;
use quadrille_registry::{WebhookEndpoint, WebhookReply, Webhooks};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::testing::{Host, map_key, native, runnable, spec};
use crate::{Config, ControllerName, ControllerSpec, Outcome};

const MARK: &str = "demo.dev/tidy";

/// Allows everything, once it is let.
#[derive(Debug)]
struct Slow {
    asked: Semaphore,
    open: Semaphore,
}

impl Webhooks for Slow {
    fn post<'a>(
        &'a self,
        _endpoint: &'a WebhookEndpoint,
        body: bytes::Bytes,
    ) -> BoxFuture<'a, WebhookReply> {
        let review: Value = serde_json::from_slice(&body).expect("a review");
        let response = json!({"uid": review["request"]["uid"], "allowed": true});
        let kind = "AdmissionReview";
        let review =
            json!({"apiVersion": "admission.k8s.io/v1", "kind": kind, "response": response});
        Box::pin(async move {
            self.asked.add_permits(1);
            let _open = self.open.acquire().await.expect("it is never closed");
            Ok(bytes::Bytes::from(review.to_string()))
        })
    }
}

/// A host where every run takes the turn, with an object that has left its controller and is about to lose its mark, about
/// which a slow webhook is asked.
async fn letting_go() -> (Host, Arc<Slow>) {
    let config = Config { builtin: false, invalidations_max: 0, ..Config::default() };
    let host = Host::with(config, quadrille_store::Config::default(), 7).await;
    let marking = ControllerSpec { finalizer: Some(MARK.into()), ..spec("tidy") };
    host.runtime.add(marking, native(|_, _| Ok(Outcome::Done))).expect("new");
    host.map("a", runnable()).await;
    host.settle().await;
    assert_eq!(host.value(&map_key("a"))["metadata"]["finalizers"], json!([MARK]));
    let name = ControllerName::new("demo", "tidy");
    host.runtime.suspend(&name).expect("known");
    let unlabelled = json!({"metadata": {"labels": {"run": null}}});
    host.patch(&host.maps(), &map_key("a"), unlabelled).await;
    let slow = Arc::new(Slow { asked: Semaphore::new(0), open: Semaphore::new(0) });
    host.registry.set_webhooks(Arc::<Slow>::clone(&slow));
    let group = "admissionregistration.k8s.io";
    let resource = host.resource(group, "v1", "ValidatingWebhookConfiguration");
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
        "operations": ["UPDATE"]});
    let webhook = json!({"name": "slow.example.com", "admissionReviewVersions": ["v1"],
        "sideEffects": "None", "clientConfig": {"url": "https://slow.example.com/"},
        "rules": [rule]});
    host.create(&resource, "", json!({"metadata": {"name": "s"}, "webhooks": [webhook]})).await;
    host.runtime.resume(&name).expect("known");
    slow.asked.acquire().await.expect("it is never closed").forget();
    (host, slow)
}

/// Whether a write gets through without time passing.
async fn commits(mut write: Pin<&mut impl Future<Output = ()>>) -> bool {
    let wait = async {
        for _ in 0..2_000 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        () = &mut write => true,
        () = wait => false,
    }
}

#[tokio::test]
async fn a_slow_webhook_holds_the_turn_of_an_object_that_is_let_go_no_longer_than_any_runs() {
    let (host, slow) = letting_go().await;
    let mut other = Box::pin(host.map("other", json!({})));
    assert!(!commits(other.as_mut()).await, "the run has the turn");
    host.clock.advance(host.runtime.shared.config.turn_max);
    assert!(commits(other.as_mut()).await, "the turn is over");
    slow.open.add_permits(1_000);
    host.settle().await;
    assert_eq!(host.value(&map_key("a"))["metadata"]["finalizers"], Value::Null);
    let (now, second) = (host.clock.monotonic(), Duration::from_secs(1));
    let rests = host.runtime.shared.lock().budgets.turn(second, second, now).is_none();
    assert!(rests, "after a long turn all rest");
}
