//! What nobody reads is said to whoever writes it.

mod support;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Clock, SystemClock};
use quadrille_object::GroupResource;
use quadrille_registry::{Reason, Status};
use quadrille_server::{Form, Insight, Limits, Question, Reply, Rights, Summary};
use quadrille_store::{Key, Object};
use serde_json::{Value, json};
use support::{Host, config_map};

/// Knows of one controller, of websites.
#[derive(Debug)]
struct OfWebsites;

impl Insight for OfWebsites {
    fn ask(&self, _: Question) -> BoxFuture<'_, Result<Reply, Status>> {
        Box::pin(async { Err(Status::new(Reason::NotFound, "no questions")) })
    }

    fn why(
        &self,
        _: Key,
        _: Option<String>,
        _: Form,
        _: Rights,
    ) -> BoxFuture<'_, Result<Reply, Status>> {
        Box::pin(async { Err(Status::new(Reason::NotFound, "no reasons")) })
    }

    fn summary(&self, _: Arc<Object>, _: Rights) -> BoxFuture<'_, Option<Summary>> {
        Box::pin(async { None })
    }

    fn revision(
        &self,
        _: u64,
        _: Duration,
        _: Rights,
    ) -> BoxFuture<'_, Result<Option<Value>, Status>> {
        Box::pin(async { Ok(None) })
    }

    fn is_read(&self, resource: &GroupResource) -> bool {
        &*resource.resource == "websites"
    }
}

const JSON: [(&str, &str); 2] =
    [("content-type", "application/json"), ("user-agent", "kubectl/v1.34.0 (linux/amd64)")];

fn definition(kind: &str) -> Value {
    let (singular, plural) = (kind.to_lowercase(), format!("{}s", kind.to_lowercase()));
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.demo.dev")},
        "spec": {
            "group": "demo.dev", "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": singular},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}],
        },
    })
}

async fn warnings(host: &Host, path: &str, object: &Value) -> Vec<String> {
    warnings_for(host, &JSON, path, object).await
}

async fn warnings_for(
    host: &Host,
    headers: &[(&str, &str)],
    path: &str,
    object: &Value,
) -> Vec<String> {
    let client = host.client().await;
    let answer = client.send(Method::POST, path, headers, object.to_string()).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let warnings = answer.headers().get_all(http::header::WARNING).iter();
    warnings.map(|value| value.to_str().expect("text").to_owned()).collect()
}

#[tokio::test]
async fn who_creates_what_nobody_reads_is_warned() {
    let host =
        Host::bootstrapped(Limits::default(), Arc::new(SystemClock::default()), |parts, _| {
            parts.insight = Some(Arc::new(OfWebsites));
        });
    let host = host.await;
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    for kind in ["Website", "Theme"] {
        assert!(warnings(&host, definitions, &definition(kind)).await.is_empty());
    }
    let of = |kind: &str, name: &str| json!({"apiVersion": "demo.dev/v1", "kind": kind, "metadata": {"name": name}});
    let path = |plural: &str| format!("/apis/demo.dev/v1/namespaces/default/{plural}");
    let unread = "299 - \"no controller reads Theme (themes.demo.dev): nothing follows from it\"";
    assert_eq!(warnings(&host, &path("themes"), &of("Theme", "a")).await, [unread]);
    assert!(warnings(&host, &path("websites"), &of("Website", "a")).await.is_empty());
    let quiet = warnings_for(&host, &JSON[..1], &path("themes"), &of("Theme", "p")).await;
    assert!(quiet.is_empty(), "a program gets what Kubernetes gives: {quiet:?}");
    let map = config_map("plain", json!({}), "data");
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = {
        let mut map = map;
        map["metadata"]["namespace"] = "default".into();
        map
    };
    assert!(
        warnings(&host, maps, &map).await.is_empty(),
        "plain data has no reader, and needs none"
    );
    let client = host.client().await;
    let watch = client.send(Method::GET, &format!("{}?watch=true", path("themes")), &[], "").await;
    assert_eq!(watch.status(), StatusCode::OK);
    assert!(warnings(&host, &path("themes"), &of("Theme", "b")).await.is_empty(), "it is watched");
    drop(watch);
    drop(client);
    // The server notices soon that the watcher left.
    let clock = SystemClock::default();
    let deadline = clock.monotonic() + Duration::from_secs(20);
    for n in 0.. {
        let theme = of("Theme", &format!("c{n}"));
        if !warnings(&host, &path("themes"), &theme).await.is_empty() {
            break;
        }
        assert!(clock.monotonic() < deadline, "warned again");
    }
}
