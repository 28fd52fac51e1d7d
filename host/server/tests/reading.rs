//! Claims about reading: GET, LIST in pages, at revisions and by selector, forms of answers, refusals.

mod support;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use support::{Host, body_bytes, body_value, config_map};

const MAPS: &str = "/api/v1/namespaces/shop/configmaps";

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("items");
    items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

async fn with_maps(count: usize) -> Host {
    let host = Host::start().await;
    for i in 0..count {
        let tier = if i % 2 == 0 { "web" } else { "db" };
        host.put("configmaps", config_map(&format!("m{i}"), json!({"tier": tier}), "v")).await;
    }
    host
}

#[tokio::test]
async fn an_object_is_served_as_it_is_stored() {
    let host = with_maps(1).await;
    let client = host.client().await;
    let (code, object) = client.get(&format!("{MAPS}/m0")).await;
    assert_eq!((code, &object["data"]["k"]), (StatusCode::OK, &json!("v")));
    assert_eq!(object["metadata"]["resourceVersion"], "1");
    let (code, status) = client.get(&format!("{MAPS}/nope")).await;
    assert_eq!((code, &status["reason"]), (StatusCode::NOT_FOUND, &json!("NotFound")));
    assert_eq!(status["details"], json!({"name": "nope", "kind": "configmaps"}));
}

#[tokio::test]
async fn pages_of_one_list_are_consistent_though_objects_change_in_between() {
    let host = with_maps(7).await;
    let client = host.client().await;
    let (_, first) = client.get(&format!("{MAPS}?limit=3")).await;
    assert_eq!(names(&first), ["m0", "m1", "m2"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 4);
    host.delete("configmaps", "m5").await;
    host.put("configmaps", config_map("m3a", json!({}), "new")).await;
    let token = first["metadata"]["continue"].as_str().expect("a token");
    let (_, second) = client.get(&format!("{MAPS}?limit=3&continue={token}")).await;
    assert_eq!(names(&second), ["m3", "m4", "m5"]);
    assert_eq!(second["metadata"]["remainingItemCount"], 1);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let (_, now) = client.get(MAPS).await;
    assert_eq!(names(&now), ["m0", "m1", "m2", "m3", "m3a", "m4", "m6"]);
}

#[tokio::test]
async fn an_exact_list_at_an_older_revision_is_rebuilt_from_history() {
    let host = with_maps(3).await;
    host.put("configmaps", config_map("m0", json!({}), "changed")).await;
    host.delete("configmaps", "m1").await;
    host.put("configmaps", config_map("m9", json!({}), "new")).await;
    let client = host.client().await;
    let (code, then) =
        client.get(&format!("{MAPS}?resourceVersion=3&resourceVersionMatch=Exact")).await;
    assert_eq!((code, names(&then)), (StatusCode::OK, vec!["m0", "m1", "m2"]));
    assert_eq!(then["items"][0]["data"]["k"], "v");
    assert_eq!(then["metadata"]["resourceVersion"], "3");
}

#[tokio::test]
async fn a_revision_that_has_not_happened_times_out() {
    let host = with_maps(1).await;
    let client = host.client().await;
    for path in [format!("{MAPS}?resourceVersion=99"), format!("{MAPS}/m0?resourceVersion=99")] {
        let (code, status) = client.get(&path).await;
        assert_eq!(code, StatusCode::GATEWAY_TIMEOUT, "{path}");
        assert_eq!(status["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    }
}

#[tokio::test]
async fn selectors_narrow_a_list_and_bad_ones_are_refused() {
    let host = with_maps(4).await;
    let client = host.client().await;
    let (_, web) = client.get("/api/v1/configmaps?labelSelector=tier+in+(web)").await;
    assert_eq!(names(&web), ["m0", "m2"]);
    let (_, one) = client.get(&format!("{MAPS}?fieldSelector=metadata.name%3Dm3")).await;
    assert_eq!(names(&one), ["m3"]);
    let (_, page) = client.get(&format!("{MAPS}?labelSelector=tier=db&limit=1")).await;
    assert_eq!((names(&page), &page["metadata"]["remainingItemCount"]), (vec!["m1"], &Value::Null));
    for bad in ["labelSelector=%2C", "fieldSelector=spec.x%3D1", "limit=x", "continue=garbage"] {
        let (code, _) = client.get(&format!("{MAPS}?{bad}")).await;
        assert_eq!(code, StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test]
async fn a_large_list_is_whole_plain_and_compressed() {
    let host = Host::start().await;
    let value = "x".repeat(1000);
    for i in 0..1500 {
        host.put("configmaps", config_map(&format!("m{i:04}"), json!({}), &value)).await;
    }
    let client = host.client().await;
    let (_, list) = client.get(MAPS).await;
    assert_eq!(names(&list).len(), 1500);
    assert_eq!(list["items"][7].get("kind"), None, "items of built-in kinds carry no type");
    let packed = client.send(Method::GET, MAPS, &[("accept-encoding", "gzip")], "").await;
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let packed = body_bytes(packed).await;
    let mut plain = String::new();
    let mut decoder = flate2::read::GzDecoder::new(packed.as_ref());
    std::io::Read::read_to_string(&mut decoder, &mut plain).expect("gzip");
    assert_eq!(serde_json::from_str::<Value>(&plain).expect("JSON"), list);
}

#[tokio::test]
async fn metadata_alone_is_served_when_asked_for() {
    let host = with_maps(1).await;
    let client = host.client().await;
    let accept = ("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io");
    let list = body_value(client.send(Method::GET, MAPS, &[accept], "").await).await;
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["kind"], "PartialObjectMetadata");
    assert_eq!(list["items"][0].get("data"), None);
    let odd = client.send(Method::GET, MAPS, &[("accept", "application/xml")], "").await;
    assert_eq!(odd.status(), StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test]
async fn only_the_known_and_the_allowed_get_in() {
    let host = with_maps(1).await;
    let client = host.client().await;
    let mut codes = Vec::new();
    for token in ["Bearer alice-token", "Bearer unknown"] {
        codes.push(client.send_as(token, MAPS).await.status().as_u16());
    }
    assert_eq!(codes, [403, 401]);
    let (code, version) = client.get("/version").await;
    assert_eq!((code, &version["major"]), (StatusCode::OK, &json!("1")));
    let (code, _) = client.get("/apis/no.such.group/v1/things").await;
    assert_eq!(code, StatusCode::NOT_FOUND);
    for (method, path) in [
        (Method::POST, "/api/v1/configmaps"),
        (Method::PUT, MAPS),
        (Method::OPTIONS, MAPS),
        (Method::POST, "/api/v1/namespaces/shop/configmaps/m0"),
        (Method::HEAD, MAPS),
    ] {
        let answer = client.send(method.clone(), path, &[], "{}").await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
    }
}

#[tokio::test]
async fn a_host_whose_store_takes_no_writes_is_not_ready() {
    let host = Host::start().await;
    let client = host.client().await;
    for path in ["/readyz", "/healthz", "/livez/etcd", "/readyz/etcd-readiness"] {
        assert_eq!(client.get(path).await.0, StatusCode::OK, "{path}");
    }
    host.store.close().await;
    for path in ["/readyz", "/healthz", "/livez/etcd", "/readyz/etcd-readiness"] {
        assert_eq!(client.get(path).await.0, StatusCode::INTERNAL_SERVER_ERROR, "{path}");
    }
    let (code, ping) = client.get("/readyz/ping").await;
    assert_eq!((code, ping), (StatusCode::OK, json!("ok")));
}

#[tokio::test]
async fn openapi_describes_built_in_kinds_under_their_kubernetes_names() {
    let host = Host::start().await;
    let client = host.client().await;
    for (path, at, kind) in [
        (
            "/openapi/v3/apis/apps/v1",
            "/components/schemas/io.k8s.api.apps.v1.Deployment",
            "Deployment",
        ),
        ("/openapi/v3/api/v1", "/components/schemas/io.k8s.api.core.v1.ConfigMap", "ConfigMap"),
        ("/openapi/v2", "/definitions/io.k8s.api.core.v1.ConfigMap", "ConfigMap"),
    ] {
        let (code, document) = client.get(path).await;
        assert_eq!(code, StatusCode::OK, "{path}");
        let schema = document.pointer(at).expect("the kind's schema");
        assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], kind);
        assert!(schema["properties"]["metadata"].is_object());
    }
}

#[tokio::test]
async fn openapi_shows_the_hosts_own_kinds_whatever_definition_asks_for_their_names() {
    let clock = std::sync::Arc::new(quadrille_kit::SystemClock::default());
    let limits = quadrille_server::Limits::default();
    let host = Host::bootstrapped(limits, clock, |_, _| {}).await;
    let client = host.client().await;
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"strange": {"type": "string"}}}}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "plugins.quadrille.dev"},
        "spec": {
            "group": "quadrille.dev", "scope": "Cluster",
            "names": {"plural": "plugins", "singular": "plugin", "kind": "Plugin"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let admin = ("authorization", "Bearer admin-token");
    let (code, made) =
        client.ask(Method::POST, definitions, &[admin], definition.to_string()).await;
    assert_eq!(code, StatusCode::CREATED, "{made}");
    let (code, document) = client.get("/openapi/v3/apis/quadrille.dev/v1").await;
    assert_eq!(code, StatusCode::OK);
    let field = |kind: &str, path: &str| {
        let at = format!("/components/schemas/dev.quadrille.v1.{kind}/properties/{path}");
        document.pointer(&at).is_some_and(Value::is_object)
    };
    assert!(field("Plugin", "spec/properties/digest"), "{document}");
    assert!(!field("Plugin", "spec/properties/strange"));
    assert!(field("Revision", "spec/properties/object"));
}
