//! A client that keeps a copy of everything: it lists once and follows, over all lives of the host.
//!
//! Whatever it has at a position must be what the store had there, and what every transaction keeps must hold in it: a
//! watch is never between two halves of a transaction.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quadrille_kit::{Clock, Random, SeededRandom};
use quadrille_store::{ChangeBatch, ChangeFilter, ChangesError, Revision, Store, View};

use crate::cache::Cache;
use crate::law::Rule;
use crate::look::Seen;
use crate::witness::Witness;

/// The client; cheap to clone.
#[derive(Clone, Debug)]
pub struct Reflector {
    cache: Arc<Mutex<Cache>>,
    random: Arc<SeededRandom>,
    rule: Option<Rule>,
    relists: Arc<AtomicU64>,
}

impl Reflector {
    /// It begins with what is there.
    pub fn new(store: &Store, seed: u64, rule: Option<Rule>) -> Self {
        let cache = Arc::new(Mutex::new(Cache::of(&store.snapshot())));
        let random = Arc::new(SeededRandom::new(seed ^ 0x4ef1));
        Self { cache, random, rule, relists: Arc::default() }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often its place was gone.
    pub fn relists(&self) -> u64 {
        self.relists.load(Ordering::SeqCst)
    }

    /// Follows one life of a host, and leaves what it saw in `seen`.
    pub async fn reflect(
        self,
        store: Store,
        witness: Witness,
        clock: Arc<dyn Clock>,
        seen: Arc<Mutex<Vec<Seen>>>,
    ) {
        loop {
            let position = self.cache().revision();
            let mut stream = store.changes(ChangeFilter::default(), position);
            let error = loop {
                match stream.next().await {
                    Ok(batch) => self.follow(&batch, &witness, &seen),
                    Err(error) => break error,
                }
                if self.random.below(5) == 0 {
                    clock.sleep(Duration::from_micros(self.random.below(4_000))).await;
                }
            };
            match error {
                ChangesError::Closed => return,
                ChangesError::Unavailable(_) => clock.sleep(Duration::from_millis(1)).await,
                ChangesError::Expired { oldest } => {
                    let from = self.cache().revision();
                    witness.claim(from < oldest, || {
                        format!("a cache asked from {from}, and was told of {oldest}")
                    });
                    self.relists.fetch_add(1, Ordering::SeqCst);
                    let mut cache = self.cache();
                    *cache = Cache::of(&store.snapshot());
                    self.look(&cache, &witness, &seen);
                }
            }
        }
    }

    fn follow(&self, batch: &ChangeBatch, witness: &Witness, seen: &Mutex<Vec<Seen>>) {
        let mut cache = self.cache();
        for change in &batch.changes {
            cache.apply(change);
        }
        cache.reach(batch.through.0);
        self.look(&cache, witness, seen);
    }

    fn look(&self, cache: &Cache, witness: &Witness, seen: &Mutex<Vec<Seen>>) {
        let (Revision(at), sum) = (cache.revision(), cache.sum());
        if let Some(Err(what)) = self.rule.map(|rule| rule(cache)) {
            witness.claim(false, || format!("a cache at {at}: {what}"));
        }
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(Seen::whole(at, sum));
    }

    /// It has come to the newest revision, though it only waited: it follows everything.
    pub fn check_told(&self, store: &Store, witness: &Witness) {
        let (position, newest) = (self.cache().revision(), store.revision());
        witness.claim(position == newest, || {
            format!("a cache waits at {position} and is not told of what came up to {newest}")
        });
    }

    /// What it has in the end is what the store has.
    pub async fn finish(&self, store: &Store, witness: &Witness, seen: &Mutex<Vec<Seen>>) {
        let position = self.cache().revision();
        let mut stream = store.changes(ChangeFilter::default(), position);
        while stream.position() < store.revision() {
            match stream.catch_up().await {
                Ok(Some(batch)) => self.follow(&batch, witness, seen),
                Err(ChangesError::Unavailable(_)) => tokio::task::yield_now().await,
                end @ (Ok(None) | Err(ChangesError::Closed | ChangesError::Expired { .. })) => {
                    let (at, newest) = (stream.position(), store.revision());
                    return witness
                        .claim(false, || format!("a cache reads after {at} of {newest}: {end:?}"));
                }
            }
        }
    }
}
