//! Damage at rest: whatever happens to the bytes of a store, what it serves is what was written, or it says what is wrong.
//! `QUADRILLE_DISK_DAMAGE=N` tries as many.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use quadrille_disk::image::{Image, PAGE_BYTES, SECTOR_BYTES};
use quadrille_disk::workload::{self, Wrong};
use quadrille_disk::{Life, SimDisk, World};
use quadrille_kit::{Random, SeededRandom};
use quadrille_store::OpenError;

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

fn cases(short: u64) -> u64 {
    let wanted = std::env::vars().find(|(name, _)| name == "QUADRILLE_DISK_DAMAGE");
    wanted.and_then(|(_, value)| value.parse().ok()).unwrap_or(short)
}

/// A disk with a store on it, what it was some time before, and what it holds.
struct Sample {
    disk: SimDisk,
    before: SimDisk,
    world: World,
    /// What it holds when the last frame of its log does not count: damage of what only a crash left there cannot be told
    /// from a write that the crash tore.
    without_last: Option<World>,
}

/// A store that was closed, or one that was killed with changes in its log.
fn sample(killed: bool) -> Sample {
    let mut life = Life::new(17);
    run(async {
        let store = life.open(false).await.expect("opens");
        let mut before = None;
        for n in 0..150 {
            assert_eq!(life.commit(&store).await, Ok(true));
            if n == 90 {
                before = Some(life.disk.copy(1));
            }
        }
        let mut without_last = None;
        if killed {
            without_last = Some(life.world.clone());
            assert_eq!(life.commit(&store).await, Ok(true));
        } else {
            store.close().await;
        }
        let disk = life.disk.copy(2);
        Sample { disk, before: before.expect("150 commits"), world: life.world, without_last }
    })
}

/// The one file that is no log.
const ENGINE: &str = "store.redb";

/// Damages a disk in one place; says in which file, and how.
fn damage(sample: &Sample, random: &SeededRandom) -> (SimDisk, String, String) {
    let disk = sample.disk.copy(3);
    let log = random.below(4) == 0;
    let name = if log { format!("store-{}.wal", random.below(2)) } else { ENGINE.to_owned() };
    let mut image = disk.image(&name).expect("there");
    let used = image.used();
    // A log that was never used has nothing to damage but its length.
    let pick = |random: &SeededRandom| match used.len() as u64 {
        0 => 0,
        count => used[usize::try_from(random.below(count)).expect("small")] * PAGE_BYTES as u64,
    };
    let page = pick(random);
    let inside = random.below(PAGE_BYTES as u64);
    let sector = page + inside / SECTOR_BYTES as u64 * SECTOR_BYTES as u64;
    let how = match random.below(9) {
        0..3 => {
            let mut byte = [0];
            image.read(page + inside, &mut byte).expect("there");
            image.put(page + inside, &[byte[0] ^ (1 << random.below(8))]);
            format!("a bit of byte {} of {name} is flipped", page + inside)
        }
        3 => {
            image.put(sector, &[0; SECTOR_BYTES]);
            format!("the sector at {sector} of {name} is zero")
        }
        4 => {
            let noise: Vec<u8> = (0..64).flat_map(|_| random.next_u64().to_le_bytes()).collect();
            image.put(sector, &noise);
            format!("the sector at {sector} of {name} is noise")
        }
        5 => {
            let other = pick(random);
            let (mut a, mut b) = (vec![0; PAGE_BYTES], vec![0; PAGE_BYTES]);
            image.read(page, &mut a).expect("there");
            image.read(other, &mut b).expect("there");
            image.put(page, &b);
            image.put(other, &a);
            format!("pages at {page} and {other} of {name} are swapped")
        }
        6 | 7 => {
            let old = sample.before.image(&name).expect("there");
            let mut bytes = vec![0; PAGE_BYTES];
            if old.read(page, &mut bytes).is_ok() {
                image.put(page, &bytes);
            }
            format!("the page at {page} of {name} is an old one")
        }
        _ => {
            let length = match random.below(3) {
                0 => 0,
                1 => random.below(image.length()),
                _ => image.length() + random.below(1 << 20),
            };
            image.set_length(length);
            format!("{name} has {length} bytes")
        }
    };
    disk.set_image(&name, image);
    (disk, name, how)
}

/// How a damaged store behaved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// It said so at the start.
    ToldAtStart,
    /// It started, and said so when what is damaged was read.
    ToldAtRead,
    /// Everything it serves is right.
    Harmless,
    /// The last commit before a kill is gone with its damaged frame.
    TornTail,
}

async fn behave(disk: &SimDisk, name: &str, sample: &Sample) -> Result<Outcome, String> {
    let store = match workload::open(workload::config(disk)).await {
        Ok(store) => store,
        Err(OpenError::Corrupt { detail, .. }) if detail.contains("quadrille store") => {
            return Ok(Outcome::ToldAtStart);
        }
        Err(error) => return Err(format!("told badly: {}", workload::chain(&error))),
    };
    let (mut outcome, mut world) = (Outcome::Harmless, &sample.world);
    if let Err(wrong) = world.compare(&store) {
        // Only a log has a tail that a kill may tear.
        let tail = sample.without_last.as_ref().filter(|_| name != ENGINE);
        let tail = tail.filter(|tail| tail.compare(&store).is_ok());
        (outcome, world) = (Outcome::TornTail, tail.ok_or(wrong)?);
    }
    match world.compare_history(&store).await {
        Ok(_) => {}
        Err(Wrong::Unreadable(_)) => outcome = Outcome::ToldAtRead,
        Err(Wrong::Differs(wrong)) => return Err(wrong),
    }
    // It goes on, or refuses; either way what it served stays, and nothing panics.
    let mut life = Life::resumed(disk.clone(), world.clone(), 4);
    for _ in 0..12 {
        if !life.commit(&store).await? {
            outcome = Outcome::ToldAtRead;
            break;
        }
        life.world.compare(&store)?;
    }
    drop(store.shrink().await);
    store.close().await;
    match workload::open(workload::config(disk)).await {
        Ok(store) => life.world.compare(&store).map(|()| outcome),
        Err(OpenError::Corrupt { .. }) => Ok(Outcome::ToldAtRead),
        Err(error) => Err(format!("told badly: {}", workload::chain(&error))),
    }
}

#[test]
fn no_damage_is_served() {
    let samples = [sample(false), sample(true)];
    let random = SeededRandom::new(23);
    let mut outcomes: BTreeMap<Outcome, u64> = BTreeMap::new();
    let wanted = cases(200);
    for case in 0..wanted {
        let sample = &samples[usize::from(case % 2 == 1)];
        let (disk, name, how) = damage(sample, &random);
        let behaved = catch_unwind(AssertUnwindSafe(|| run(behave(&disk, &name, sample))));
        match behaved {
            Ok(Ok(outcome)) => *outcomes.entry(outcome).or_default() += 1,
            Ok(Err(wrong)) => panic!("case {case}: {how}: {wrong}"),
            Err(panicked) => panic!("case {case}: {how}: it panicked: {panicked:?}"),
        }
    }
    println!("A4: {wanted} damaged stores: {outcomes:?}; served wrong 0, panics 0, aborts 0");
    assert!(outcomes.contains_key(&Outcome::ToldAtStart));
}

#[test]
fn files_that_are_no_store_are_told_by_name() {
    let sample = sample(false);
    let made = |name: &str, change: &dyn Fn(&mut Image)| {
        let disk = sample.disk.copy(5);
        let mut image = disk.image(name).expect("there");
        change(&mut image);
        disk.set_image(name, image);
        disk
    };
    let gone = |name: &str| {
        let disk = sample.disk.copy(5);
        disk.remove(name);
        disk
    };
    let cases: Vec<(&str, SimDisk, &str)> = vec![
        ("an empty file", made("store.redb", &|i| i.set_length(0)), "store.redb: it is empty"),
        (
            "another program's file",
            made("store.redb", &|i| i.put(0, b"SQLite format 3")),
            "no store",
        ),
        ("a file cut off", made("store.redb", &|i| i.set_length(i.length() / 2)), "store.redb"),
        ("an empty log", made("store-0.wal", &|i| i.set_length(0)), "store-0.wal has 0 bytes"),
        ("an endless log", made("store-1.wal", &|i| i.set_length(1 << 50)), "store-1.wal has"),
        ("no engine", gone("store.redb"), "store.redb is missing"),
        ("no log", gone("store-1.wal"), "store-1.wal is missing"),
    ];
    for (what, disk, wanted) in cases {
        match run(workload::open(workload::config(&disk))) {
            Err(error @ OpenError::Corrupt { .. }) => {
                let text = error.to_string();
                assert!(
                    text.contains(wanted) && text.contains("quadrille store"),
                    "{what}: {text}"
                );
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}
