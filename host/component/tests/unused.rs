//! Files of components that no plugin names.

#[expect(dead_code, reason = "every test of plugins has its part of it")]
mod support;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use support::{TestHost, stamps};

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).expect("it is there");
    entries.map(|e| e.expect("readable").file_name().to_string_lossy().into_owned()).collect()
}

/// Lets every file of a directory be as old as 1970.
fn age(dir: &Path) {
    for name in names(dir) {
        let file = File::options().write(true).open(dir.join(name)).expect("ours");
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1)).expect("its time can be set");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_that_no_plugin_names_go_in_time_and_those_that_are_named_stay() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let (components, code) = (dir.path().join("components"), dir.path().join("code"));
    let host = TestHost::start(dir.path()).await;
    host.load("p", stamps("1")).await;
    let named = (names(&components), names(&code));
    let mut tried = TestHost::upload("p", stamps("2"));
    tried.dry_run = true;
    host.manager.upload(tried).await.expect("it would be accepted");
    let mut kept = TestHost::upload("p", stamps("3"));
    kept.keep_only = true;
    host.manager.upload(kept).await.expect("it is kept");
    host.stop().await;
    // Half a file, and code of an engine that has gone.
    std::fs::write(components.join(".draft"), "half").expect("writable");
    let digest = named.1.iter().find_map(|name| name.split_once('-')).expect("some code").0;
    std::fs::write(code.join(format!("{digest}-older.cwasm")), "code").expect("writable");
    let before = (names(&components), names(&code));
    assert_eq!((before.0.len(), before.1.len()), (3, 8), "{before:?}");
    // What is new stays.
    TestHost::start(dir.path()).await.stop().await;
    assert_eq!((names(&components), names(&code)), before);
    age(&components);
    age(&code);
    let host = TestHost::start(dir.path()).await;
    assert_eq!((names(&components), names(&code)), named);
    host.create_map("a").await;
    let runs_on = |host: &TestHost| host.map("a").pointer("/data/version") == Some(&"1".into());
    host.eventually("what is named runs on", runs_on).await;
    host.stop().await;
}
