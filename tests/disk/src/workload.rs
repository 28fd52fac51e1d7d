//! Transactions on a store, and the model that says what has to be there.
//!
//! A [`World`] is what a store must hold: it moves on when a commit was acknowledged. A commit that was refused leaves a
//! world in doubt: a crash may show it as long as nothing else was acknowledged. A [`Life`] drives a store over one disk
//! through crashes and faults, and compares.

use std::collections::BTreeMap;
use std::sync::Arc;

use quadrille_kit::{ManualClock, Random, SeededRandom, Supervisor};
use quadrille_object::{GroupResource, Meta, Template};
use quadrille_store::{
    Cause, Change, ChangeFilter, ChangeKind, ChangesError, Config, Expect, Key, OpenError, Query,
    Range, Revision, Snapshot, Store, SystemCause, Txn, View, Write,
};
use serde_json::{Value, json};

use crate::sim::{Plan, SimDisk};

/// How many keys there are: few, so that objects are changed, deleted and made again.
const KEYS: u64 = 24;

/// The sizes that a life's store works with: all of its machinery is met within some dozen commits.
pub fn config(disk: &SimDisk) -> Config {
    Config {
        disk: Some(disk.boot()),
        checkpoint_bytes: 12_000,
        history_bytes_max: 40_000,
        recent_changes_max: 8,
        recent_bytes_max: 4_000,
        ..Config::default()
    }
}

/// Opens a store on a disk.
///
/// # Errors
/// As the store says.
pub async fn open(config: Config) -> Result<Store, OpenError> {
    Store::open(config, Arc::new(ManualClock::default()), &Supervisor::default()).await
}

/// One change as it has to be in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    kind: ChangeKind,
    key: Key,
    txn: (Revision, Revision),
    /// After it; for a deletion the last state.
    data: String,
}

/// Objects with the revisions of their last changes.
type Objects = BTreeMap<Key, (Revision, String)>;

fn objects_of(snapshot: &Snapshot) -> Result<Objects, String> {
    let mut found = BTreeMap::new();
    for resource in snapshot.resources() {
        let query = Query { range: Range::all(resource.clone()), after: None, limit: None };
        for object in snapshot.list(&query) {
            found.insert(object.key.clone(), (object.revision, data_of(&object.bytes)?));
        }
    }
    Ok(found)
}

/// What a store must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    newest: Revision,
    objects: Objects,
    history: BTreeMap<Revision, Told>,
}

impl World {
    /// The newest revision.
    pub fn newest(&self) -> Revision {
        self.newest
    }

    /// How many objects there are.
    pub fn objects(&self) -> usize {
        self.objects.len()
    }

    /// A transaction of random writes, and the world after it.
    pub fn next(&self, random: &SeededRandom, large: bool) -> (Txn, Self) {
        let mut world = self.clone();
        let count = 1 + random.below(4);
        let mut keys: Vec<Key> = (0..count).map(|_| key(random.below(KEYS))).collect();
        keys.sort();
        keys.dedup();
        let txn = (self.newest.next(), Revision(self.newest.0 + keys.len() as u64));
        let mut writes = Vec::new();
        for key in keys {
            let revision = world.newest.next();
            world.newest = revision;
            let known = world.objects.get(&key).cloned();
            let (kind, data) = match known {
                Some((_, data)) if random.below(4) == 0 => {
                    world.objects.remove(&key);
                    writes.push(Write::Delete { key: key.clone(), expect: Expect::Present });
                    (ChangeKind::Deleted, data)
                }
                known => {
                    let data = data(random, revision, large);
                    writes.push(put(&key, &data));
                    world.objects.insert(key.clone(), (revision, data.clone()));
                    let kind = known.map_or(ChangeKind::Created, |_| ChangeKind::Updated);
                    (kind, data)
                }
            };
            world.history.insert(revision, Told { kind, key, txn, data });
        }
        let cause = Cause::System(SystemCause { part: "test".to_owned(), ..Default::default() });
        let txn = Txn { writes, requires: Vec::new(), reads: None, fence: None, cause };
        (txn, world)
    }

    /// Whether a store shows exactly these objects at this revision. Reads no disk.
    ///
    /// # Errors
    /// With the first difference.
    pub fn compare(&self, store: &Store) -> Result<(), String> {
        let snapshot = store.snapshot();
        if snapshot.revision() != self.newest {
            return Err(format!("revision {}, not {}", snapshot.revision(), self.newest));
        }
        self.compare_objects(&snapshot)
    }

    /// Whether a snapshot holds exactly these objects, whatever its own revision is.
    ///
    /// # Errors
    /// With the first difference.
    pub fn compare_objects(&self, snapshot: &Snapshot) -> Result<(), String> {
        let found = objects_of(snapshot)?;
        if found == self.objects { Ok(()) } else { Err(self.difference(&found)) }
    }

    /// The objects as lines of key, revision and data.
    pub fn lines(&self) -> String {
        let lines =
            self.objects.iter().map(|(key, (revision, data))| format!("{key} {revision} {data}\n"));
        lines.collect()
    }

    /// The objects of a snapshot as lines.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn lines_of(snapshot: &Snapshot) -> Result<String, String> {
        Ok(Self { objects: objects_of(snapshot)?, ..Self::default() }.lines())
    }

    /// How many objects of a repaired store are as they have to be, and how many are missing, older or should not be there. Each
    /// has to be one that was committed once.
    ///
    /// # Errors
    /// With one that never was.
    pub fn compare_repaired(&self, snapshot: &Snapshot) -> Result<(usize, u64), String> {
        let found = objects_of(snapshot)?;
        let mut right = 0;
        for (key, (revision, data)) in &found {
            let told = self.history.get(revision);
            if told.is_none_or(|told| told.key != *key || told.data != *data) {
                return Err(format!("{key} at {revision} was never written"));
            }
            right += usize::from(self.objects.get(key) == found.get(key));
        }
        let missing = self.objects.keys().filter(|key| !found.contains_key(*key)).count();
        Ok((right, (found.len() - right + missing) as u64))
    }

    fn difference(&self, found: &Objects) -> String {
        let differs = |key: &&Key| found.get(*key) != self.objects.get(*key);
        let key = found.keys().chain(self.objects.keys()).find(differs);
        format!("{} is not as it was written", key.map_or(String::new(), Key::to_string))
    }

    /// Whether the whole history that a store has is right: each change once, in order, by its stream and by its number.
    ///
    /// # Errors
    /// With what is wrong; with [`Unreadable`] when the store refused to read.
    pub async fn compare_history(&self, store: &Store) -> Result<u64, Wrong> {
        let mut checked = 0;
        let mut position = store.oldest();
        let mut stream = store.changes(ChangeFilter::default(), position);
        while position < self.newest {
            let batch = match stream.catch_up().await {
                // A step of compaction that failed may turn out to be done when the engine is opened again.
                Err(ChangesError::Expired { oldest }) if checked == 0 && oldest > position => {
                    position = oldest;
                    stream = store.changes(ChangeFilter::default(), position);
                    continue;
                }
                other => other.map_err(|error| Wrong::Unreadable(error.to_string()))?,
            };
            let batch = batch.ok_or_else(|| Wrong::Differs("the stream ends early".to_owned()))?;
            for change in &batch.changes {
                position = position.next();
                self.compare_change(position, change)?;
                checked += 1;
            }
            if batch.through != position {
                return Err(Wrong::Differs(format!("changes after {position} are left out")));
            }
        }
        for number in store.oldest().0 + 1..=self.newest.0 {
            let found = store.change(Revision(number)).await;
            let found = found.map_err(|error| Wrong::Unreadable(error.to_string()))?;
            let change = found.ok_or_else(|| Wrong::Differs(format!("no change {number}")))?;
            self.compare_change(Revision(number), &change)?;
        }
        for key in (0..KEYS).map(key) {
            let wanted = self.history.iter().rev().find(|(_, told)| told.key == key);
            let found = store.last_change(&key, self.newest).await;
            let found = found.map_err(|error| Wrong::Unreadable(error.to_string()))?;
            match (wanted, found) {
                (Some((at, _)), Some(change)) => self.compare_change(*at, &change)?,
                (Some((at, told)), None) => {
                    if *at > store.oldest() || told.kind != ChangeKind::Deleted {
                        return Err(Wrong::Differs(format!("the last change of {key} is gone")));
                    }
                }
                (None, None) => {}
                (None, Some(_)) => return Err(Wrong::Differs(format!("{key} came from nowhere"))),
            }
        }
        Ok(checked)
    }

    fn compare_change(&self, at: Revision, change: &Change) -> Result<(), Wrong> {
        let data = data_of(&change.object.bytes).map_err(Wrong::Differs)?;
        let (kind, key) = (change.kind, change.key().clone());
        let found = Told { kind, key, txn: change.txn, data };
        if change.revision != at || self.history.get(&at) != Some(&found) {
            return Err(Wrong::Differs(format!("change {at} is not as it was committed")));
        }
        Ok(())
    }
}

/// What is wrong with a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The store says that it cannot be read.
    Unreadable(String),
    /// It is not what was committed.
    Differs(String),
}

fn key(n: u64) -> Key {
    let resource = if n.is_multiple_of(3) { "gadgets" } else { "things" };
    Key::new(GroupResource::new("test", resource), format!("ns-{}", n % 4), format!("object-{n}"))
}

fn data(random: &SeededRandom, revision: Revision, large: bool) -> String {
    let bytes = match random.below(16) {
        _ if large => 1_200_000,
        0 => 9_000,
        1..4 => 2_500,
        _ => 20 + random.below(400),
    };
    format!(
        "{revision}-{:x}-{}",
        random.next_u64(),
        "x".repeat(usize::try_from(bytes).unwrap_or(0))
    )
}

fn put(key: &Key, data: &str) -> Write {
    let value =
        json!({"data": data, "metadata": {"name": &*key.name, "namespace": &*key.namespace}});
    let map = value.as_object().expect("a map");
    let (meta, object) = (Meta::from_object(map), Template::encode(map));
    Write::Put { key: key.clone(), meta, object, expect: Expect::Any }
}

fn data_of(bytes: &[u8]) -> Result<String, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    value["data"].as_str().map(str::to_owned).ok_or_else(|| "an object without data".to_owned())
}

/// What happened in a life.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Power cuts, those in a recovery included.
    pub power_cuts: u64,
    /// Of these, those in a recovery.
    pub in_recovery: u64,
    /// Commits that were acknowledged.
    pub acknowledged: u64,
    /// Commits that were refused.
    pub refused: u64,
    /// Changes of histories that were compared.
    pub compared: u64,
}

impl Tally {
    /// Adds another life's.
    pub fn add(&mut self, other: Self) {
        self.power_cuts += other.power_cuts;
        self.in_recovery += other.in_recovery;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.compared += other.compared;
    }
}

/// A store's life on one disk.
#[derive(Debug)]
pub struct Life {
    /// The disk.
    pub disk: SimDisk,
    /// What has to be there.
    pub world: World,
    /// What may be there instead after a crash.
    pub in_doubt: Vec<World>,
    /// What happened.
    pub tally: Tally,
    random: SeededRandom,
    large: bool,
}

impl Life {
    /// A life on an empty disk.
    pub fn new(seed: u64) -> Self {
        Self {
            disk: SimDisk::new(seed),
            world: World::default(),
            in_doubt: Vec::new(),
            tally: Tally::default(),
            random: SeededRandom::new(seed ^ 0x5eed),
            // Some fill segments of the log, which takes large values.
            large: seed % 32 == 31,
        }
    }

    /// A life that goes on from what a disk holds.
    pub fn resumed(disk: SimDisk, world: World, seed: u64) -> Self {
        Self { disk, world, ..Self::new(seed) }
    }

    /// Opens the store; with `nested`, the power goes up to three times while it recovers.
    ///
    /// # Errors
    /// When it does not open though the power is on.
    pub async fn open(&mut self, nested: bool) -> Result<Store, String> {
        for attempt in 0.. {
            let before = self.disk.power_cuts();
            let config = config(&self.disk);
            if nested && attempt < 3 && self.random.below(2) == 0 {
                self.disk.plan(Plan::power_cut(1 + self.random.below(40)));
            }
            let opened = open(config).await;
            let cuts = self.disk.power_cuts() - before;
            self.tally.power_cuts += cuts;
            self.tally.in_recovery += cuts;
            match opened {
                Ok(store) if cuts == 0 => {
                    self.resolve(&store)?;
                    return Ok(store);
                }
                Ok(_) => {}
                Err(_) if cuts > 0 => {}
                Err(error) => return Err(format!("it does not open: {}", chain(&error))),
            }
        }
        Err("it never opened".to_owned())
    }

    /// Finds out which of the worlds a store is in.
    fn resolve(&mut self, store: &Store) -> Result<(), String> {
        let wrong = self.world.compare(store).err();
        let other = self.in_doubt.iter().find(|world| world.compare(store).is_ok()).cloned();
        match (wrong, other) {
            (None, _) => {}
            (Some(_), Some(other)) => self.world = other,
            (Some(wrong), None) => return Err(wrong),
        }
        // What it shows after a start is durable; nothing else may come back later.
        self.in_doubt.clear();
        Ok(())
    }

    /// Commits one transaction; false when the store refused it.
    ///
    /// # Errors
    /// When it is refused for another reason than the disk, or got another revision than its turn.
    pub async fn commit(&mut self, store: &Store) -> Result<bool, String> {
        let large = self.large && self.random.below(2) == 0;
        let (txn, next) = self.world.next(&self.random, large);
        match store.commit(txn).await {
            Ok(done) if done.revision == next.newest => {
                self.world = next;
                self.in_doubt.clear();
                self.tally.acknowledged += 1;
                Ok(true)
            }
            Ok(done) => Err(format!("committed as {}, not {}", done.revision, next.newest)),
            Err(quadrille_store::CommitError::Unavailable(_)) => {
                self.in_doubt.push(next);
                self.tally.refused += 1;
                Ok(false)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Compares everything, with nothing going wrong.
    ///
    /// # Errors
    /// With the first difference.
    pub async fn compare(&mut self, store: &Store) -> Result<(), String> {
        self.disk.heal();
        self.world.compare(store)?;
        let compared = self.world.compare_history(store).await;
        self.tally.compared += compared.map_err(|wrong| format!("{wrong:?}"))?;
        Ok(())
    }

    /// Rounds of work that end with a power cut at a random call, or with a clean close.
    ///
    /// # Errors
    /// With what was lost, wrong, or did not open.
    pub async fn rounds(&mut self, rounds: u64) -> Result<(), String> {
        for _ in 0..rounds {
            let store = self.open(true).await?;
            if self.random.below(3) > 0 {
                self.compare(&store).await?;
            }
            let before = self.disk.power_cuts();
            if self.random.below(8) > 0 {
                self.disk.plan(Plan::power_cut(1 + self.random.below(250)));
            }
            for _ in 0..30 {
                let shrinks = self.random.below(25) == 0;
                if shrinks && store.shrink().await.is_err() && self.disk.power_cuts() == before {
                    return Err("it does not shrink".to_owned());
                }
                if !self.commit(&store).await? {
                    break;
                }
            }
            if self.disk.power_cuts() == before {
                store.close().await;
            }
            self.tally.power_cuts += self.disk.power_cuts() - before;
        }
        let store = self.open(true).await?;
        self.compare(&store).await
    }
}

/// An error and its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
