//! The witness: it follows the changes of all lives, and keeps a model of the whole store from them.
//!
//! It holds the store to its word while it listens: revisions follow each other, a change tells truly what was before, a
//! transaction comes whole, and what was told once is still so after a crash. Whatever anybody else saw is compared
//! with what it knows when all is over.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quadrille_kit::Clock;
use quadrille_model::history::Txn;
use quadrille_model::world::note_change;
use quadrille_object::GroupResource;
use quadrille_store::{
    Change, ChangeBatch, ChangeFilter, ChangeKind, ChangesError, Key, Object, Query, Range,
    Revision, Snapshot, Store, View,
};

use crate::cache::Cache;
use crate::law::Law;

/// How many changes are looked at again when a store was opened again.
const AGAIN: u64 = 24;

/// A change, as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its revision.
    pub revision: u64,
    /// The object.
    pub key: Key,
    /// What happened.
    pub kind: ChangeKind,
    /// A hash of the object's bytes.
    pub bytes: u64,
}

impl Told {
    /// What a change says.
    pub fn of(change: &Change) -> Self {
        let (revision, key, kind) = (change.revision.0, change.key().clone(), change.kind);
        Self { revision, key, kind, bytes: hash(&change.object.bytes) }
    }
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// What one object adds to the sum of everything.
pub(crate) fn weight(object: &Object) -> u64 {
    hash(&(&object.key, object.revision, &object.bytes))
}

/// A sum over everything that a snapshot holds, in any order.
pub fn sum_of(snapshot: &Snapshot) -> u64 {
    let of = |resource: &GroupResource| {
        let all = snapshot.list(&Query::whole(Range::all(resource.clone())));
        all.iter().fold(0_u64, |sum, object| sum.wrapping_add(weight(object)))
    };
    snapshot.resources().map(of).fold(0, u64::wrapping_add)
}

/// What the witness knows.
#[derive(Debug, Default)]
struct Known {
    position: u64,
    told: Vec<Told>,
    cache: Cache,
    /// What must hold of every change.
    laws: Vec<Box<dyn Law>>,
    /// The sum of everything at each revision.
    sums: BTreeMap<u64, u64>,
    /// Where transactions end.
    ends: BTreeSet<u64>,
    txns: Vec<Txn>,
    /// The revisions that were heard of only when a store was opened again.
    late: BTreeSet<u64>,
    wrong: Vec<String>,
    /// How much was wrong when history first went before it was heard.
    missed: Option<usize>,
}

/// The witness; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Witness(Arc<Mutex<Known>>);

impl Witness {
    /// It begins with what a snapshot holds.
    pub fn new(start: &Snapshot) -> Self {
        let (position, sum) = (start.revision().0, sum_of(start));
        let known = Known {
            position,
            cache: Cache::of(start),
            sums: BTreeMap::from([(position, sum)]),
            ends: BTreeSet::from([position]),
            ..Known::default()
        };
        Self(Arc::new(Mutex::new(known)))
    }

    /// From now on it holds every change to these laws.
    pub fn uphold(&self, laws: impl IntoIterator<Item = Box<dyn Law>>) {
        self.known().laws.extend(laws);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that something cannot be.
    pub fn claim(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.known().wrong.push(what());
        }
    }

    /// What cannot be, so far.
    pub fn wrong(&self) -> Vec<String> {
        self.known().wrong.clone()
    }

    /// What could not be before history first went without being heard, which a short one may: of what comes after it
    /// nothing can be said. None when it heard everything.
    pub fn wrong_before_miss(&self) -> Option<Vec<String>> {
        let known = self.known();
        let sure = known.missed?;
        Some(known.wrong[..sure].to_vec())
    }

    /// Where it began.
    pub fn start(&self) -> u64 {
        self.known().sums.keys().next().copied().unwrap_or_default()
    }

    /// Up to where it has heard.
    pub fn position(&self) -> u64 {
        self.known().position
    }

    /// How many changes it has heard.
    pub fn changes(&self) -> usize {
        self.known().told.len()
    }

    /// The transactions after a revision, for the model.
    pub fn txns_after(&self, revision: u64) -> Vec<Txn> {
        let known = self.known();
        known.txns.iter().filter(|txn| txn.first > revision).cloned().collect()
    }

    /// The first revisions of transactions that were heard of only when a store was opened again.
    pub fn late(&self) -> BTreeSet<u64> {
        self.known().late.clone()
    }

    /// Hears what a store that was opened again has, and nobody heard of before.
    pub async fn hear_late(&self, store: &Store) {
        let position = self.position();
        self.catch_up(store).await;
        let mut known = self.known();
        let late = known.txns.iter().map(|txn| txn.first).filter(|first| *first > position);
        let late: BTreeSet<u64> = late.collect();
        known.late.extend(late);
    }

    /// Follows the changes for as long as the store is there.
    pub async fn follow(self, store: Store, clock: Arc<dyn Clock>) {
        loop {
            let mut stream = store.changes(ChangeFilter::default(), Revision(self.position()));
            let error = loop {
                match stream.next().await {
                    Ok(batch) => self.hear(&batch),
                    Err(error) => break error,
                }
            };
            match error {
                ChangesError::Closed => return,
                ChangesError::Unavailable(_) => clock.sleep(Duration::from_millis(1)).await,
                ChangesError::Expired { .. } => return self.known().miss(),
            }
        }
    }

    /// Hears everything that is there.
    pub async fn catch_up(&self, store: &Store) {
        let mut stream = store.changes(ChangeFilter::default(), Revision(self.position()));
        while stream.position() < store.revision() {
            match stream.catch_up().await {
                Ok(Some(batch)) => self.hear(&batch),
                Ok(None) => {
                    let (at, newest) = (stream.position(), store.revision());
                    return self.claim(false, || format!("nothing comes after {at} of {newest}"));
                }
                Err(ChangesError::Unavailable(_)) => tokio::task::yield_now().await,
                Err(ChangesError::Expired { .. }) => return self.known().miss(),
                Err(error) => return self.claim(false, || format!("the witness hears: {error}")),
            }
        }
    }

    fn hear(&self, batch: &ChangeBatch) {
        let mut known = self.known();
        for change in &batch.changes {
            // Two ways lead here: whoever follows, and whoever catches up.
            if change.revision.0 > known.position {
                known.note(change);
            }
        }
        let whole = batch.changes.last().is_none_or(|last| last.txn.1 <= batch.through);
        known.claim(whole, || format!("a transaction is split at {}", batch.through));
    }

    /// What was told of the last changes before a crash is what the store tells now.
    pub async fn check_again(&self, store: &Store) {
        let position = self.position();
        let revision = store.revision().0;
        self.claim(position <= revision, || {
            format!("changes up to {position} were told, and the store begins again at {revision}")
        });
        let from = position.saturating_sub(AGAIN).max(store.oldest().0);
        let mut stream = store.changes(ChangeFilter::default(), Revision(from));
        while stream.position().0 < position.min(revision) {
            let Ok(Some(batch)) = stream.catch_up().await else {
                return self.claim(false, || format!("changes after {from} are gone"));
            };
            let mut known = self.known();
            for change in batch.changes.iter().filter(|change| change.revision.0 <= position) {
                let (is, was) = (Told::of(change), known.find(change.revision.0));
                let holds = was.as_ref().is_none_or(|was| *was == is);
                known.claim(holds, || format!("{was:?} became {is:?} in a crash"));
            }
        }
    }

    /// The changes of a resource, or all, within revisions.
    pub fn between(&self, resource: Option<&GroupResource>, after: u64, through: u64) -> Vec<Told> {
        let known = self.known();
        let inside = |told: &&Told| {
            told.revision > after
                && told.revision <= through
                && resource.is_none_or(|resource| told.key.resource == *resource)
        };
        known.told.iter().filter(inside).cloned().collect()
    }

    /// Whether a store held just that at a revision; `whole` when a snapshot was taken there.
    pub fn check_sum(&self, who: &str, revision: u64, sum: u64, whole: bool) {
        let mut known = self.known();
        let expected = known.sums.get(&revision).copied();
        known
            .claim(expected == Some(sum), || format!("{who} saw what was not there at {revision}"));
        let ends = known.ends.contains(&revision);
        known.claim(!whole || ends, || format!("{who} saw {revision}, within a transaction"));
    }

    /// What one change was, if it is known.
    pub fn find(&self, revision: u64) -> Option<Told> {
        self.known().find(revision)
    }
}

impl Known {
    fn claim(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(what());
        }
    }

    fn miss(&mut self) {
        self.missed.get_or_insert(self.wrong.len());
    }

    fn find(&self, revision: u64) -> Option<Told> {
        let at = self.told.partition_point(|told| told.revision < revision);
        self.told.get(at).filter(|told| told.revision == revision).cloned()
    }

    fn note(&mut self, change: &Change) {
        let revision = change.revision.0;
        let expected = self.position + 1;
        self.claim(revision == expected, || format!("{revision} came where {expected} was next"));
        self.position = revision;
        let mut laws = std::mem::take(&mut self.laws);
        self.wrong.extend(laws.iter_mut().flat_map(|law| law.hear(change, &self.cache)));
        let before = self.cache.apply(change);
        self.check_before(change, before.as_ref());
        let sum = self.cache.sum();
        self.sums.insert(revision, sum);
        if change.txn.1 == change.revision {
            self.ends.insert(revision);
            self.wrong.extend(laws.iter_mut().flat_map(|law| law.settle(&self.cache)));
        }
        self.laws = laws;
        self.told.push(Told::of(change));
        note_change(&mut self.txns, change);
    }

    fn check_before(&mut self, change: &Change, before: Option<&Arc<Object>>) {
        let at = change.revision;
        let (first, last) = change.txn;
        self.claim(first <= at && at <= last, || format!("{at} is not within {first} to {last}"));
        let is_new = before.is_none();
        let says_new = change.kind == ChangeKind::Created;
        self.claim(is_new == says_new, || format!("{at} says {:?} of {before:?}", change.kind));
        // The state before may be compacted, and then it is not told.
        if let (Some(told), Some(was)) = (&change.before, before) {
            self.claim(told == was, || format!("{at} tells another state before than there was"));
        }
        let version = format!("\"resourceVersion\":\"{at}\"");
        let text = String::from_utf8_lossy(&change.object.bytes);
        self.claim(text.contains(&version), || format!("{at} is not in its own object: {text}"));
    }
}
