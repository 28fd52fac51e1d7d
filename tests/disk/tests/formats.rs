//! Every format of stores and backups that was written by a release opens, holds what it held, and can be written to.

use std::path::Path;

use quadrille_disk::workload;
use quadrille_disk::{SimDisk, World};
use quadrille_kit::SeededRandom;
use quadrille_object::Timestamp;
use quadrille_store::care;

#[test]
fn every_released_format_opens_and_can_be_written_to() {
    let formats = Path::new(env!("CARGO_MANIFEST_DIR")).join("formats");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let mut tried = 0;
    for format in std::fs::read_dir(formats).expect("readable").flatten() {
        let dir = format.path();
        if !dir.is_dir() {
            continue;
        }
        let read = |name: &str| std::fs::read(dir.join(name)).expect("readable");
        let wanted = String::from_utf8(read("objects")).expect("text");
        let disk = SimDisk::load(&read("disk")).expect("what save wrote");
        let found = care::check_on(disk.boot(), &dir).expect("opens");
        assert_eq!(found.problems, Vec::<String>::new());
        runtime.block_on(async {
            let store = workload::open(workload::config(&disk)).await.expect("opens");
            assert_eq!(World::lines_of(&store.snapshot()).as_ref(), Ok(&wanted));
            let newest = store.revision();
            assert_eq!(newest, found.newest);
            let at = store.change(newest).await.expect("readable").expect("there");
            assert_eq!(at.revision, newest);
            let (txn, _) = World::default().next(&SeededRandom::new(1), false);
            assert!(store.commit(txn).await.expect("commits").revision > newest);
            store.close().await;
        });
        let to = tempfile::tempdir().expect("a directory");
        let store = to.path().join("store");
        let restored = care::restore(&mut &read("backup")[..], &store, Timestamp(0));
        let restored = restored.expect("restores");
        assert_eq!(restored.head.objects, wanted.lines().count() as u64);
        assert_eq!(care::check(&store).expect("opens").objects, restored.head.objects);
        tried += 1;
    }
    println!("A9: {tried} formats: opened, read, written to, restored");
    assert!(tried > 0);
}
