//! A foreign client: kube-rs with its runtime, against the real host.

#![expect(
    clippy::disallowed_methods,
    reason = "a test of a whole process has no supervisor and waits in real time"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{
    DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::controller::Action;
use kube::runtime::{Controller, WatchStreamExt, reflector, watcher};
use kube::{Api, Client, Config, ResourceExt};
use quadrille_tests::TestHost;
use serde_json::json;

async fn start() -> (TestHost, Client) {
    // Two providers are linked into the test; the first test to come here chooses.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let host = TestHost::start(env!("CARGO_BIN_EXE_quadrille")).expect("the host starts");
    let kubeconfig = Kubeconfig::read_from(host.kubeconfig()).expect("kube reads our kubeconfig");
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.expect("usable");
    let client = Client::try_from(config).expect("a client");
    (host, client)
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("key".to_owned(), value.to_owned())])),
        ..ConfigMap::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_created_listed_patched_and_deleted() {
    let (_host, client) = start().await;
    let api: Api<ConfigMap> = Api::namespaced(client, "default");
    for number in 0..25 {
        let object = config_map(&format!("cm-{number:02}"), "a");
        api.create(&PostParams::default(), &object).await.expect("created");
    }
    let mut names = Vec::new();
    let mut page = ListParams::default().limit(10);
    loop {
        let list = api.list(&page).await.expect("listed");
        names.extend(list.items.iter().map(ResourceExt::name_any));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = ListParams::default().limit(10).continue_token(&token),
            None => break,
        }
    }
    names.retain(|name| name.starts_with("cm-"));
    assert_eq!(names.len(), 25);
    let merge = Patch::Merge(json!({"data": {"key": "b"}}));
    let patched = api.patch("cm-00", &PatchParams::default(), &merge).await.expect("patched");
    assert_eq!(patched.data.expect("data")["key"], "b");
    let stale = ConfigMap {
        metadata: ObjectMeta { resource_version: Some("1".to_owned()), ..patched.metadata },
        ..config_map("cm-00", "c")
    };
    let error = api.replace("cm-00", &PostParams::default(), &stale).await.expect_err("stale");
    assert!(matches!(error, kube::Error::Api(status) if status.code == 409));
    api.delete("cm-00", &DeleteParams::default()).await.expect("deleted");
    assert!(api.get_opt("cm-00").await.expect("answered").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply_owns_what_it_set() {
    let (_host, client) = start().await;
    let api: Api<ConfigMap> = Api::namespaced(client, "default");
    let object = |key: &str, value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {key: value}});
    let one = PatchParams::apply("one");
    api.patch("shared", &one, &Patch::Apply(object("a", "1"))).await.expect("applied");
    let two = PatchParams::apply("two");
    let error = api.patch("shared", &two, &Patch::Apply(object("a", "2"))).await;
    assert!(matches!(error, Err(kube::Error::Api(status)) if status.code == 409));
    let both = api.patch("shared", &two, &Patch::Apply(object("b", "2"))).await.expect("applied");
    assert_eq!(both.data.expect("data").len(), 2);
    let forced = api.patch("shared", &two.force(), &Patch::Apply(object("a", "2"))).await;
    let data = forced.expect("forced").data.expect("data");
    assert_eq!(data, BTreeMap::from([("a".to_owned(), "2".to_owned())]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_delivers_every_change_in_order() {
    let (_host, client) = start().await;
    let api: Api<ConfigMap> = Api::namespaced(client, "default");
    let list = api.list(&ListParams::default()).await.expect("listed");
    let from = list.metadata.resource_version.expect("lists carry one");
    let watch = WatchParams::default().timeout(20);
    let mut events = api.watch(&watch, &from).await.expect("watching").boxed();
    api.create(&PostParams::default(), &config_map("w", "1")).await.expect("created");
    let patch = Patch::Merge(json!({"data": {"key": "2"}}));
    api.patch("w", &PatchParams::default(), &patch).await.expect("patched");
    api.delete("w", &DeleteParams::default()).await.expect("deleted");
    let mut seen = Vec::new();
    while let Some(event) = events.try_next().await.expect("a healthy stream") {
        match event {
            WatchEvent::Added(object) if object.name_any() == "w" => seen.push("added"),
            WatchEvent::Modified(object) if object.name_any() == "w" => seen.push("modified"),
            WatchEvent::Deleted(object) if object.name_any() == "w" => {
                seen.push("deleted");
                break;
            }
            WatchEvent::Added(_)
            | WatchEvent::Modified(_)
            | WatchEvent::Deleted(_)
            | WatchEvent::Bookmark(_)
            | WatchEvent::Error(_) => {}
        }
    }
    assert_eq!(seen, ["added", "modified", "deleted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reflector_follows_both_by_list_and_by_streaming_list() {
    let (_host, client) = start().await;
    let api: Api<ConfigMap> = Api::namespaced(client, "default");
    api.create(&PostParams::default(), &config_map("first", "1")).await.expect("created");
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let (reader, writer) = reflector::store();
        let stream = watcher(api.clone(), config).default_backoff().reflect(writer);
        let follow = tokio::spawn(stream.for_each(|_| async {}));
        reader.wait_until_ready().await.expect("the first list arrives");
        assert!(reader.state().iter().any(|object| object.name_any() == "first"));
        let name = format!("later-{}", reader.len());
        api.create(&PostParams::default(), &config_map(&name, "2")).await.expect("created");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while !reader.state().iter().any(|object| object.name_any() == name) {
            assert!(tokio::time::Instant::now() < deadline, "{name} never arrived");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        follow.abort();
    }
}

/// One step of a leader election by Lease: take it when it is free or expired, by an update that only the
/// expected resourceVersion lets through.
async fn try_lead(api: &Api<Lease>, me: &str) -> bool {
    let mine = |lease: Option<Lease>| Lease {
        metadata: lease.map_or_else(
            || ObjectMeta { name: Some("leader".to_owned()), ..ObjectMeta::default() },
            |lease| lease.metadata,
        ),
        spec: Some(LeaseSpec {
            holder_identity: Some(me.to_owned()),
            lease_duration_seconds: Some(15),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        }),
    };
    match api.get_opt("leader").await.expect("answered") {
        None => api.create(&PostParams::default(), &mine(None)).await.is_ok(),
        Some(lease) => {
            let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
            let free = holder.as_deref().is_none_or(|holder| holder.is_empty() || holder == me);
            free && api.replace("leader", &PostParams::default(), &mine(Some(lease))).await.is_ok()
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_candidates_one_leads() {
    let (_host, client) = start().await;
    let api: Api<Lease> = Api::namespaced(client, "default");
    let candidates = (0..8).map(|number| {
        let api = api.clone();
        tokio::spawn(async move { try_lead(&api, &format!("candidate-{number}")).await })
    });
    let mut leaders = 0;
    for candidate in candidates.collect::<Vec<_>>() {
        leaders += usize::from(candidate.await.expect("no panic"));
    }
    assert_eq!(leaders, 1);
    let holder = api.get("leader").await.expect("there").spec.expect("spec").holder_identity;
    assert!(try_lead(&api, &holder.expect("held")).await, "the holder renews");
    assert!(!try_lead(&api, "somebody-else").await);
}

/// What the controller notes of each object: the value that it saw.
async fn note(object: Arc<ConfigMap>, api: Arc<Api<ConfigMap>>) -> Result<Action, kube::Error> {
    let seen = object.data.as_ref().and_then(|data| data.get("key")).cloned().unwrap_or_default();
    let patch = json!({"metadata": {"annotations": {"seen": seen}}});
    api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(Action::await_change())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_of_kube_runtime_follows_what_it_reconciles() {
    let (_host, client) = start().await;
    let api: Api<ConfigMap> = Api::namespaced(client, "default");
    let config = watcher::Config::default().labels("noted=yes");
    let controller = Controller::new(api.clone(), config).run(
        note,
        |_, _, _| Action::requeue(Duration::from_millis(100)),
        Arc::new(api.clone()),
    );
    let running = tokio::spawn(controller.for_each(|_| async {}));
    for number in 0..10 {
        let mut object = config_map(&format!("noted-{number}"), "first");
        object.labels_mut().insert("noted".to_owned(), "yes".to_owned());
        api.create(&PostParams::default(), &object).await.expect("created");
    }
    let patch = Patch::Merge(json!({"data": {"key": "second"}}));
    api.patch("noted-3", &PatchParams::default(), &patch).await.expect("patched");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let noted = api.list(&ListParams::default().labels("noted=yes")).await.expect("listed");
        let is_noted = |object: &ConfigMap| {
            let value = object.data.as_ref().and_then(|data| data.get("key"));
            object.annotations().get("seen") == value
        };
        if noted.items.len() == 10 && noted.items.iter().all(is_noted) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "not all are noted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.abort();
}
