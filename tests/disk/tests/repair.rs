//! What a repair may not do: bring back what was changed or deleted without a word, touch what is whole, or leave the data
//! directory in a state that the next start takes for an empty one.

use std::path::Path;
use std::sync::Arc;

use quadrille_disk::workload;
use quadrille_kit::{ManualClock, Supervisor};
use quadrille_object::{GroupResource, Meta, Template, Timestamp};
use quadrille_store::care::{self, CareError, Repaired};
use quadrille_store::{
    Cause, Config, Expect, Key, OpenError, Store, SystemCause, Txn, View, Write,
};
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

async fn open(dir: &Path) -> Result<Store, OpenError> {
    let config = Config { dir: Some(dir.to_owned()), ..Config::default() };
    Store::open(config, Arc::new(ManualClock::default()), &Supervisor::default()).await
}

fn key(name: &str) -> Key {
    Key::new(GroupResource::new("test", "things"), "default", name)
}

fn put_value(name: &str, value: &Value) -> Write {
    let map = value.as_object().expect("a map");
    let (meta, object) = (Meta::from_object(map), Template::encode(map));
    Write::Put { key: key(name), meta, object, expect: Expect::Any }
}

fn put(name: &str, data: &str) -> Write {
    put_value(name, &json!({"data": data, "metadata": {"name": name}}))
}

fn delete(name: &str) -> Write {
    Write::Delete { key: key(name), expect: Expect::Present }
}

async fn commit(store: &Store, writes: Vec<Write>) {
    let cause = Cause::System(SystemCause { part: "test".to_owned(), ..Default::default() });
    let txn = Txn { writes, requires: Vec::new(), reads: None, fence: None, cause };
    store.commit(txn).await.expect("commits");
}

fn data(store: &Store, name: &str) -> Option<String> {
    let object = store.snapshot().get(&key(name))?;
    let value: Value = serde_json::from_slice(&object.bytes).expect("JSON");
    value["data"].as_str().map(str::to_owned)
}

/// Damages the first block of the engine's file, so that the engine does not open it.
fn damage(dir: &Path) {
    let file = std::fs::File::options().write(true).open(dir.join("store.redb"));
    let file = file.expect("there");
    std::os::unix::fs::FileExt::write_all_at(&file, b"X", 8).expect("written");
}

fn told(done: &Repaired) -> u64 {
    done.older + done.lost + done.unsure
}

#[test]
fn a_store_with_metadata_that_an_earlier_version_let_in_is_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path().join("store");
    run(async {
        let store = open(&at).await.expect("opens");
        let odd = json!({"metadata": {"finalizers": [null], "labels": {"a": 1}}});
        commit(&store, vec![put_value("odd", &odd)]).await;
        store.close().await;
        let store = open(&at).await.expect("it is served");
        store.close().await;
    });
    assert_eq!(care::check(&at).expect("looks").problems, Vec::<String>::new());
    let repaired = care::repair(&at, NOW);
    assert!(matches!(repaired, Err(CareError::Whole { .. })), "{repaired:?}");
}

