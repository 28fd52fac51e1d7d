//! Claims about watches.

mod support;

use std::sync::Arc;
use std::time::Duration;

use quadrille_server::Limits;
use serde_json::json;
use support::{ADMIN, Host, LateClock, config_map, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const WATCH: &str = "/api/v1/namespaces/shop/configmaps?watch=true";

#[tokio::test]
async fn a_watch_without_a_version_starts_with_the_present_objects() {
    let host = Host::start().await;
    host.put("configmaps", config_map("a", json!({}), "1")).await;
    let mut events = host.client().await.watch(WATCH).await;
    assert_eq!(events.short().await, "ADDED a@1");
    host.put("configmaps", config_map("a", json!({}), "2")).await;
    host.put("configmaps", config_map("b", json!({}), "1")).await;
    host.delete("configmaps", "a").await;
    assert_eq!(events.short().await, "MODIFIED a@2");
    assert_eq!(events.short().await, "ADDED b@3");
    assert_eq!(events.short().await, "DELETED a@4");
}

#[tokio::test]
async fn a_resumed_watch_repeats_nothing_and_misses_nothing() {
    let host = Host::start().await;
    for i in 0..50 {
        host.put("configmaps", config_map(&format!("m{i}"), json!({}), "1")).await;
    }
    let client = host.client().await;
    let mut events = client.watch(&format!("{WATCH}&resourceVersion=20")).await;
    for revision in 21..=35 {
        assert!(events.short().await.ends_with(&format!("@{revision}")));
    }
    drop(events);
    let mut events = client.watch(&format!("{WATCH}&resourceVersion=35")).await;
    for revision in 36..=50 {
        assert!(events.short().await.ends_with(&format!("@{revision}")));
    }
}

#[tokio::test]
async fn leaving_and_entering_a_selector_is_deleted_and_added() {
    let host = Host::start().await;
    let client = host.client().await;
    let mut events = client.watch(&format!("{WATCH}&labelSelector=x%3D1")).await;
    host.put("configmaps", config_map("a", json!({"x": "1"}), "1")).await;
    host.put("configmaps", config_map("a", json!({"x": "2"}), "2")).await;
    host.put("configmaps", config_map("a", json!({"x": "2"}), "3")).await;
    host.put("configmaps", config_map("a", json!({"x": "1"}), "4")).await;
    host.delete("configmaps", "a").await;
    assert_eq!(events.short().await, "ADDED a@1");
    let left = events.next().await.expect("an event");
    assert_eq!((&left["type"], &left["object"]["data"]["k"]), (&json!("DELETED"), &json!("1")));
    assert_eq!(left["object"]["metadata"]["resourceVersion"], "2");
    assert_eq!(events.short().await, "ADDED a@4");
    assert_eq!(events.short().await, "DELETED a@5");
}

#[tokio::test]
async fn a_streaming_list_ends_its_first_part_with_a_bookmark() {
    let host = Host::start().await;
    host.put("configmaps", config_map("a", json!({}), "1")).await;
    let path = format!(
        "{WATCH}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let client = host.client().await;
    let mut events = client.watch(&path).await;
    assert_eq!(events.short().await, "ADDED a@1");
    let bookmark = events.next().await.expect("a bookmark");
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    host.put("configmaps", config_map("b", json!({}), "1")).await;
    assert_eq!(events.short().await, "ADDED b@2");
    let (code, _) = client.get(&format!("{WATCH}&sendInitialEvents=true")).await;
    assert_eq!(code.as_u16(), 422);
}

#[tokio::test]
async fn bookmarks_come_regularly_and_at_the_end() {
    let limits = Limits { bookmark_interval: Duration::from_millis(50), ..Limits::default() };
    let host = Host::start_with(limits, quadrille_store::Config::default()).await;
    host.put("configmaps", config_map("a", json!({}), "1")).await;
    let client = host.client().await;
    let path = format!("{WATCH}&resourceVersion=1&allowWatchBookmarks=true&timeoutSeconds=2");
    let mut events = client.watch(&path).await;
    // A change of another resource moves the bookmark on.
    let mut secret = config_map("s", json!({}), "1");
    secret["kind"] = json!("Secret");
    host.put("secrets", secret).await;
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        assert_eq!(event["type"], "BOOKMARK");
        seen.push(event["object"]["metadata"]["resourceVersion"].clone());
    }
    assert!(seen.len() >= 3, "at least two on the way and one at the end: {seen:?}");
    assert_eq!(seen.last(), Some(&json!("2")));
}

#[tokio::test]
async fn timeout_seconds_ends_the_stream() {
    let host = Host::start().await;
    let mut events = host.client().await.watch(&format!("{WATCH}&timeoutSeconds=1")).await;
    assert_eq!(events.short().await, "END");
}

#[tokio::test]
async fn a_watch_whose_time_is_over_before_it_is_served_gives_what_has_happened() {
    let host = Host::start_by(Arc::new(LateClock::default())).await;
    for value in ["1", "2", "3"] {
        host.put("configmaps", config_map("a", json!({}), value)).await;
    }
    let client = host.client().await;
    let path = format!("{WATCH}&timeoutSeconds=1&resourceVersion=1");
    for (bookmarks, last) in [("", None), ("&allowWatchBookmarks=true", Some("BOOKMARK @3"))] {
        let mut events = client.watch(&format!("{path}{bookmarks}")).await;
        assert_eq!(events.short().await, "MODIFIED a@2");
        assert_eq!(events.short().await, "MODIFIED a@3");
        if let Some(last) = last {
            assert_eq!(events.short().await, last);
        }
        assert_eq!(events.short().await, "END");
    }
}

#[tokio::test]
async fn shutdown_ends_watches_and_finishes() {
    let host = Host::start().await;
    let client = host.client().await;
    let mut events = client.watch(&format!("{WATCH}&allowWatchBookmarks=true")).await;
    host.put("configmaps", config_map("a", json!({}), "1")).await;
    assert_eq!(events.short().await, "ADDED a@1");
    host.supervisor.shutdown().start();
    assert_eq!(events.short().await, "BOOKMARK @1");
    assert_eq!(events.short().await, "END");
    assert!(within(host.supervisor.stop(Duration::from_secs(15))).await);
}

#[tokio::test]
async fn a_hundred_watches_share_one_connection() {
    let host = Host::start().await;
    let client = host.client().await;
    let mut watches = Vec::new();
    for _ in 0..300 {
        watches.push(client.watch(WATCH).await);
    }
    for i in 0..20 {
        host.put("configmaps", config_map(&format!("m{i}"), json!({}), "1")).await;
    }
    for events in &mut watches {
        for i in 0..20 {
            assert_eq!(events.short().await, format!("ADDED m{i}@{}", i + 1));
        }
    }
}

#[tokio::test]
async fn a_watch_that_is_not_read_is_cut_and_an_idle_one_is_not() {
    let limits = Limits { stall_timeout: Duration::from_millis(300), ..Limits::default() };
    let host = Host::start_with(limits, quadrille_store::Config::default()).await;
    let client = host.client().await;
    // Far more than what client, sockets and host buffer.
    let large = "x".repeat(512 * 1024);
    for i in 0..40 {
        host.put("configmaps", config_map(&format!("m{i}"), json!({}), &large)).await;
    }
    let mut unread = client.watch(WATCH).await;
    let mut old = host.tls(b"http/1.1").await;
    let request =
        format!("GET {WATCH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN}\r\n\r\n");
    old.write_all(request.as_bytes()).await.expect("writes");
    old.flush().await.expect("writes");
    // Says nothing for a second, which is longer than the limit, and then ends as it should.
    let idle = format!("{WATCH}&resourceVersion=40&timeoutSeconds=1");
    let mut idle = client.watch(&idle).await;
    assert_eq!(idle.short().await, "END");
    assert!(unread.is_cut().await, "the stream of a client that does not read is cut");
    let mut read = Vec::new();
    let end = within(old.read_to_end(&mut read)).await;
    assert!(end.is_err() || read.len() < 20 * large.len(), "the connection is cut: {end:?}");
}

/// Reads `count` events of a watch.
async fn read(events: &mut support::Lines, count: usize) -> Vec<String> {
    let mut read = Vec::new();
    for _ in 0..count {
        read.push(events.short().await);
    }
    read
}

#[tokio::test]
async fn watches_of_every_form_and_selection_get_the_same_changes_in_order() {
    let host = Host::start().await;
    let client = host.client().await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let all = "/api/v1/configmaps?watch=true";
    let mut whole = Vec::new();
    for _ in 0..40 {
        whole.push(client.watch(all).await);
    }
    let mut named = client.watch(WATCH).await;
    let mut elsewhere = client.watch("/api/v1/namespaces/other/configmaps?watch=true").await;
    let mut selected = client.watch(&format!("{all}&labelSelector=even%3Dtrue")).await;
    let mut partials = client.watch_as(all, partial).await;
    let mut tables = client.watch_as(all, table).await;
    for i in 0..200_u64 {
        let labels = json!({"even": (i % 2 == 0).to_string()});
        host.put("configmaps", config_map("a", labels, &i.to_string())).await;
    }
    let expected: Vec<String> =
        (1..=200).map(|i| format!("{} a@{i}", if i == 1 { "ADDED" } else { "MODIFIED" })).collect();
    for events in &mut whole {
        assert_eq!(read(events, 200).await, expected);
    }
    assert_eq!(read(&mut named, 200).await, expected);
    // The label goes with every second change, so the object enters and leaves by turns.
    let crossing: Vec<String> = (1..=200)
        .map(|i| format!("{} a@{i}", if i % 2 == 1 { "ADDED" } else { "DELETED" }))
        .collect();
    assert_eq!(read(&mut selected, 200).await, crossing);
    for i in 1..=200 {
        let event = partials.next().await.expect("an event");
        assert_eq!(event["object"]["kind"], "PartialObjectMetadata");
        assert_eq!(event["object"]["metadata"]["resourceVersion"], i.to_string());
        let event = tables.next().await.expect("an event");
        assert_eq!(event["object"]["kind"], "Table");
        // Only the first says what the columns are.
        assert_eq!(event["object"]["columnDefinitions"].is_null(), i > 1, "{event}");
        let row = &event["object"]["rows"][0]["object"]["metadata"];
        assert_eq!(row["resourceVersion"], i.to_string());
    }
    host.put("configmaps", {
        let mut object = config_map("b", json!({}), "1");
        object["metadata"]["namespace"] = json!("other");
        object
    })
    .await;
    assert_eq!(elsewhere.short().await, "ADDED b@201");
}

#[tokio::test]
async fn a_watch_that_joins_others_late_misses_nothing_of_its_past() {
    let host = Host::start().await;
    let client = host.client().await;
    let mut early = client.watch(WATCH).await;
    let mut late = Vec::new();
    for i in 1..=300_u64 {
        host.put("configmaps", config_map("a", json!({}), &i.to_string())).await;
        if i % 30 == 0 {
            // One in the far past, one close by, one now, while changes go on.
            for start in [1, i - 3, i] {
                let path = format!("{WATCH}&resourceVersion={start}");
                late.push((start, client.watch(&path).await));
            }
        }
    }
    assert_eq!(read(&mut early, 300).await.last().expect("300"), "MODIFIED a@300");
    for (start, mut events) in late {
        for revision in start + 1..=300 {
            assert_eq!(events.short().await, format!("MODIFIED a@{revision}"), "after {start}");
        }
    }
}

#[tokio::test]
async fn a_slow_watch_gets_everything_later_and_holds_up_nobody() {
    let host = Host::start().await;
    let client = host.client().await;
    let mut quick = client.watch(WATCH).await;
    let slow = host.client().await;
    let mut slow = slow.watch(WATCH).await;
    // Far more than what is buffered for a client that does not read, and than what is kept for those who are late.
    let large = "x".repeat(256 * 1024);
    for i in 1..=60 {
        host.put("configmaps", config_map("a", json!({}), &large)).await;
        assert!(quick.short().await.ends_with(&format!("a@{i}")));
    }
    for i in 1..=60 {
        assert!(slow.short().await.ends_with(&format!("a@{i}")));
    }
}

#[tokio::test]
async fn what_memory_no_longer_has_is_read_from_the_log() {
    let store =
        quadrille_store::Config { recent_changes_max: 8, ..quadrille_store::Config::default() };
    let host = Host::start_with(Limits::default(), store).await;
    let client = host.client().await;
    let mut events = client.watch(WATCH).await;
    for i in 1..=50 {
        host.put("configmaps", config_map("a", json!({}), &i.to_string())).await;
    }
    let mut old = client.watch(&format!("{WATCH}&resourceVersion=2")).await;
    for i in 3..=50 {
        assert_eq!(old.short().await, format!("MODIFIED a@{i}"));
    }
    assert_eq!(read(&mut events, 50).await.last().expect("50"), "MODIFIED a@50");
}
