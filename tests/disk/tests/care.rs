//! Looking, saving, putting back and repairing: what is put back is one exact revision, nobody travels back in time, nothing is
//! written over, and a damaged backup is refused. `QUADRILLE_DISK_REPAIRS=N` repairs as many stores.

use std::path::Path;
use std::sync::Arc;

use quadrille_disk::workload;
use quadrille_disk::{Life, SimDisk, World};
use quadrille_kit::{ManualClock, Random, SeededRandom, Supervisor};
use quadrille_object::Timestamp;
use quadrille_store::care::{self, CareError};
use quadrille_store::{
    BackupError, ChangeFilter, ChangesError, Config, OpenError, Revision, Store,
};

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

fn cases(short: u64) -> u64 {
    let wanted = std::env::vars().find(|(name, _)| name == "QUADRILLE_DISK_REPAIRS");
    wanted.and_then(|(_, value)| value.parse().ok()).unwrap_or(short)
}

/// Writes a simulated disk's files into a directory.
fn copy_out(disk: &SimDisk, dir: &Path) {
    std::fs::create_dir_all(dir).expect("made");
    for name in disk.names() {
        let image = disk.image(&name).expect("there");
        let file = std::fs::File::create(dir.join(&name)).expect("made");
        file.set_len(image.length()).expect("as long");
        let mut page = [0; quadrille_disk::image::PAGE_BYTES];
        for at in image.used() {
            let place = at * page.len() as u64;
            image.read(place, &mut page).expect("whole pages");
            std::os::unix::fs::FileExt::write_all_at(&file, &page, place).expect("written");
        }
    }
}

async fn open(dir: &Path) -> Result<Store, OpenError> {
    let config = Config { dir: Some(dir.to_owned()), ..Config::default() };
    Store::open(config, Arc::new(ManualClock::default()), &Supervisor::default()).await
}

/// Objects of a store, without revisions that differ from the world's on purpose.
fn assert_holds(store: &Store, world: &World) {
    assert_eq!(world.compare_objects(&store.snapshot()), Ok(()));
}

#[test]
fn a_backup_under_load_is_one_exact_revision_and_nobody_travels_back_in_time() {
    run(async {
        let mut life = Life::new(41);
        let store = life.open(false).await.expect("opens");
        let dir = tempfile::tempdir().expect("a directory");
        for round in 0..20 {
            for _ in 0..7 {
                assert_eq!(life.commit(&store).await, Ok(true));
            }
            let world = life.world.clone();
            let backup = store.backup();
            let taken = backup.head();
            assert_eq!((taken.revision, taken.objects), (world.newest(), world.objects() as u64));
            // It is read slowly, while others write.
            let mut bytes = Vec::new();
            for piece in backup {
                bytes.extend_from_slice(&piece);
                assert_eq!(life.commit(&store).await, Ok(true));
            }
            let to = dir.path().join(format!("{round}"));
            let done = care::restore(&mut &bytes[..], &to, NOW).expect("restores");
            assert_eq!(done.head, taken);
            assert!(care::check(&to).expect("opens").problems.is_empty());
            let restored = open(&to).await.expect("opens");
            assert_holds(&restored, &world);
            assert_eq!(restored.revision(), done.revision);
            assert!(done.revision.0 > life.world.newest().0 + 1_000_000, "behind all issued");
            // Whoever watched before is told, whatever they have seen.
            for seen in [Revision(0), Revision(1), taken.revision, life.world.newest()] {
                let mut watch = restored.changes(ChangeFilter::default(), seen);
                let told = watch.catch_up().await.err();
                assert_eq!(told, Some(ChangesError::Expired { oldest: done.revision }), "{seen}");
            }
            // And it goes on from there.
            let (txn, _) = world.next(&SeededRandom::new(round), false);
            let committed = restored.commit(txn).await.expect("commits").revision;
            assert!(committed > done.revision);
            restored.close().await;
            let again = care::restore(&mut &bytes[..], &to, NOW);
            assert!(matches!(again, Err(CareError::Exists { .. })), "{again:?}");
        }
    });
}

#[test]
fn no_damaged_backup_is_taken_and_nothing_is_left_of_the_attempt() {
    let mut life = Life::new(43);
    let bytes: Vec<u8> = run(async {
        let store = life.open(false).await.expect("opens");
        for _ in 0..10 {
            assert_eq!(life.commit(&store).await, Ok(true));
        }
        store.backup().flat_map(|piece| piece.to_vec()).collect()
    });
    quadrille_store::backup::verify(&mut &bytes[..]).expect("it is whole");
    let refused = |bytes: &[u8], what: &str| {
        let verified = quadrille_store::backup::verify(&mut &bytes[..]);
        assert!(
            matches!(verified, Err(BackupError::Damaged(_) | BackupError::Newer { .. })),
            "{what}"
        );
    };
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        refused(&damaged, &format!("a bit of byte {at}"));
    }
    for length in (0..bytes.len()).step_by(7) {
        refused(&bytes[..length], &format!("cut at {length}"));
    }
    refused(&[&bytes[..], b"x"].concat(), "something behind it");
    let dir = tempfile::tempdir().expect("a directory");
    let to = dir.path().join("store");
    assert!(care::restore(&mut &bytes[..bytes.len() - 1], &to, NOW).is_err());
    assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0, "nothing is left");
}

#[test]
fn looking_and_saving_change_nothing() {
    let mut life = Life::new(47);
    run(async {
        let store = life.open(false).await.expect("opens");
        for _ in 0..60 {
            assert_eq!(life.commit(&store).await, Ok(true));
        }
    });
    // Killed: its log has changes, its engine is not closed.
    let dir = tempfile::tempdir().expect("a directory");
    let at = dir.path().join("store");
    copy_out(&life.disk, &at);
    let read = || -> Vec<Vec<u8>> {
        life.disk.names().iter().map(|n| std::fs::read(at.join(n)).expect("there")).collect()
    };
    let before = read();
    let found = care::check(&at).expect("looks");
    assert_eq!(found.problems, Vec::<String>::new());
    assert_eq!((found.newest, found.objects), (life.world.newest(), life.world.objects() as u64));
    let backup = care::backup(&at, NOW).expect("saves");
    assert_eq!(backup.head().revision, life.world.newest());
    assert!(backup.count() > 0);
    assert!(before == read(), "not a byte has changed");
    assert!(matches!(care::repair(&at, NOW), Err(CareError::Whole { .. })));
    // A store that is served from is left alone.
    run(async {
        let store = open(&at).await.expect("opens");
        assert!(matches!(care::check(&at), Err(OpenError::InUse { .. })));
        store.close().await;
        assert!(care::check(&at).expect("looks").problems.is_empty());
    });
}

#[test]
fn a_repair_keeps_all_that_can_be_read_and_says_what_it_could_not() {
    let mut life = Life::new(53);
    run(async {
        let store = life.open(false).await.expect("opens");
        for n in 0..120 {
            assert_eq!(life.commit(&store).await, Ok(true));
            if n == 60 {
                store.close().await;
                break;
            }
        }
        let store = life.open(false).await.expect("opens");
        for _ in 0..60 {
            assert_eq!(life.commit(&store).await, Ok(true));
        }
    });
    let random = SeededRandom::new(59);
    let (mut repaired, mut whole, mut kept, mut of) = (0, 0, 0, 0);
    let wanted = cases(30);
    for case in 0..wanted {
        let disk = life.disk.copy(case);
        let mut image = disk.image("store.redb").expect("there");
        let used = image.used();
        let pages = 1 + random.below(3);
        for _ in 0..pages {
            let page = used[usize::try_from(random.below(used.len() as u64)).expect("small")];
            let noise: Vec<u8> = (0..64).flat_map(|_| random.next_u64().to_le_bytes()).collect();
            image.put(page * 4096 + 512 * random.below(8), &noise);
        }
        disk.set_image("store.redb", image);
        let dir = tempfile::tempdir().expect("a directory");
        let at = dir.path().join("store");
        copy_out(&disk, &at);
        match care::repair(&at, NOW) {
            Ok(done) => {
                let store = run(open(&at)).expect("what was repaired opens");
                let right = life.world.compare_repaired(&store.snapshot());
                let (right, wrong) = right.unwrap_or_else(|wrong| panic!("case {case}: {wrong}"));
                // What is not as it should be was told.
                let told = done.older + done.lost + done.unsure;
                assert!(
                    wrong <= told,
                    "case {case}: {wrong} objects are not as they were: {done:?}"
                );
                assert!(done.revision > life.world.newest());
                assert!(done.kept_at.join("store.redb").exists(), "the damaged one is kept");
                assert!(care::check(&at).is_err(), "it is in use");
                run(store.close());
                assert!(care::check(&at).expect("looks").problems.is_empty());
                (repaired, kept, of) = (repaired + 1, kept + right, of + life.world.objects());
            }
            Err(CareError::Whole { .. }) => {
                let store = run(open(&at)).expect("it is whole");
                assert_holds(&store, &life.world);
                run(store.close());
                whole += 1;
            }
            Err(error) => panic!("case {case}: {}", workload::chain(&error)),
        }
    }
    println!(
        "A5: {wanted} damaged stores: {repaired} repaired, {whole} harmless; {kept} of {of} objects as they were, the others told"
    );
    assert!(repaired > 0 && kept * 10 > of * 5);
}
