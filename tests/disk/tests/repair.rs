//! What a repair may not do: bring back what was changed or deleted without a word, touch what is whole, or leave the data
//! directory in a state that the next start takes for an empty one.

use std::path::Path;
use std::sync::Arc;

use quadrille_disk::SimDisk;
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
fn what_went_past_the_log_is_not_undone_by_what_the_log_still_has() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path().join("store");
    run(async {
        let store = open(&at).await.expect("opens");
        commit(&store, vec![put("changed", "old"), put("deleted", "old")]).await;
        commit(&store, vec![delete("deleted"), put("changed", "older than the last")]).await;
        commit(&store, vec![put("deleted", "once more")]).await;
        // More than a segment of the log: the engine takes it at once.
        let large = "x".repeat(1 << 20);
        let mut writes: Vec<Write> = (0..20).map(|n| put(&format!("large-{n}"), &large)).collect();
        writes.extend([put("changed", "new"), delete("deleted")]);
        commit(&store, writes).await;
        store.close().await;
    });
    damage(&at);
    let done = care::repair(&at, NOW).expect("repairs");
    run(async {
        let store = open(&at).await.expect("opens");
        assert_eq!(data(&store, "changed").as_deref(), Some("new"), "{done:?}");
        assert_eq!(data(&store, "deleted"), None, "{done:?}");
        assert_eq!((done.objects, told(&done)), (21, 0), "its index was found whole");
        store.close().await;
    });
}

#[test]
fn what_was_deleted_and_forgotten_is_not_in_doubt_while_all_of_the_index_is_found() {
    let disk = SimDisk::new(61);
    let (all, large) = (300, "x".repeat(50_000));
    run(async {
        let store = workload::open(workload::config(&disk)).await.expect("opens");
        let made = (0..all).map(|n| put(&format!("object-{n:03}"), "made"));
        commit(&store, made.collect()).await;
        let deleted = (0..all).filter(|n| n % 10 == 0).map(|n| delete(&format!("object-{n:03}")));
        commit(&store, deleted.collect()).await;
        // More than the history may have: the deletions are forgotten, and their keys.
        for n in 0..2 {
            commit(&store, vec![put(&format!("large-{n}"), &large)]).await;
        }
        assert!(store.oldest().0 > all + all / 10, "{}", store.oldest());
        store.close().await;
    });
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path().join("store");
    copy_out(&disk, &at);
    damage(&at);
    let done = care::repair(&at, NOW).expect("repairs");
    let right = all - all / 10 + 2;
    assert_eq!((done.objects, told(&done)), (right, 0), "{done:?}");
}

#[test]
fn changes_that_are_missing_from_the_middle_of_the_log_are_told() {
    let disk = SimDisk::new(67);
    run(async {
        let store = workload::open(workload::config(&disk)).await.expect("opens");
        for writes in [put("changed", "old"), put("changed", "new"), put("other", "new")] {
            commit(&store, vec![writes]).await;
        }
        // Killed: all three are in the log alone, in a block each.
    });
    let mut image = disk.image("store-1.wal").expect("there");
    image.put(4096 + 64, &[0xff; 64]);
    disk.set_image("store-1.wal", image);
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path().join("store");
    copy_out(&disk, &at);
    let done = care::repair(&at, NOW).expect("repairs");
    run(async {
        let store = open(&at).await.expect("opens");
        assert_eq!(data(&store, "other").as_deref(), Some("new"));
        assert_eq!(data(&store, "changed").as_deref(), Some("old"));
        store.close().await;
    });
    assert!(done.older == 1 && done.named[0].contains("missing"), "{done:?}");
}

/// Writes a simulated disk's files into a directory.
fn copy_out(disk: &SimDisk, dir: &Path) {
    std::fs::create_dir_all(dir).expect("made");
    for name in disk.names() {
        let bytes = disk.image(&name).expect("there").bytes();
        std::fs::write(dir.join(&name), bytes).expect("written");
    }
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

/// The names in a directory, in order.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("readable");
    let names = entries.map(|entry| entry.expect("readable").file_name());
    let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_start_after_an_interrupted_repair_makes_no_empty_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let (at, repaired) = (dir.path().join("store"), dir.path().join("store.repaired"));
    run(async {
        let store = open(&at).await.expect("opens");
        commit(&store, vec![put("kept", "here")]).await;
        store.close().await;
        // As a repair leaves it that is killed between its last two steps.
        std::fs::create_dir(dir.path().join("store.damaged-1")).expect("made");
        std::fs::rename(&at, &repaired).expect("moved");
        let refused = open(&at).await.expect_err("there is a store, and not here");
        let told = workload::chain(&refused);
        assert!(told.contains("repair was interrupted"), "{told}");
        assert!(told.contains("store.repaired"), "{told}");
        assert_eq!(names(dir.path()), ["store.damaged-1", "store.repaired"], "nothing is made");
        std::fs::rename(&repaired, &at).expect("moved");
        let store = open(&at).await.expect("opens");
        assert_eq!(data(&store, "kept").as_deref(), Some("here"));
        store.close().await;
    });
}

#[test]
fn a_start_after_an_interrupted_restore_makes_no_empty_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let (from, at) = (dir.path().join("from"), dir.path().join("store"));
    run(async {
        let store = open(&from).await.expect("opens");
        commit(&store, vec![put("kept", "here")]).await;
        let backup: Vec<u8> = store.backup().flat_map(|piece| piece.to_vec()).collect();
        store.close().await;
        std::fs::create_dir(dir.path().join("store.restoring")).expect("made");
        let refused = open(&at).await.expect_err("a store was about to be");
        let told = workload::chain(&refused);
        assert!(told.contains("restore was interrupted"), "{told}");
        care::restore(&mut &backup[..], &at, NOW).expect("restores");
        let store = open(&at).await.expect("opens");
        assert_eq!(data(&store, "kept").as_deref(), Some("here"));
        store.close().await;
    });
    assert_eq!(names(dir.path()), ["from", "store"], "nothing else is left");
}

#[test]
fn a_repair_works_however_the_store_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path().join("store");
    run(async {
        let store = open(&at).await.expect("opens");
        commit(&store, vec![put("kept", "here")]).await;
        store.close().await;
    });
    damage(&at);
    std::fs::create_dir(at.join("inside")).expect("made");
    let done = care::repair(&at.join("inside").join(".."), NOW).expect("repairs");
    assert_eq!(names(dir.path()), ["store", "store.damaged-1"]);
    assert!(done.kept_at.ends_with("store.damaged-1") && done.kept_at.is_absolute());
    // By a link it stays on the disk that it lies on, and is there by the link.
    let linked = tempfile::tempdir().expect("a directory");
    let link = linked.path().join("store");
    std::os::unix::fs::symlink(&at, &link).expect("linked");
    damage(&at);
    care::repair(&link, NOW).expect("repairs");
    assert_eq!(names(linked.path()), ["store"]);
    assert_eq!(names(dir.path()), ["store", "store.damaged-1", "store.damaged-2"]);
    run(async {
        let store = open(&link).await.expect("opens");
        assert_eq!(data(&store, "kept").as_deref(), Some("here"));
        store.close().await;
    });
}
