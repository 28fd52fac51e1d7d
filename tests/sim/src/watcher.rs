//! Clients that watch: quick and slow ones, that go away and come back where they were.
//!
//! Each keeps a book of what it was told since when. A book says at every moment: of this resource, after this revision and
//! up to that one, these were all the changes. That must be what the witness says, whatever happened in between.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quadrille_kit::{Clock, Random, SeededRandom, Shutdown};
use quadrille_object::GroupResource;
use quadrille_store::{
    ChangeBatch, ChangeFilter, ChangeStream, ChangesError, Revision, Store, View,
};

use crate::look::Seen;
use crate::witness::{Told, Witness, sum_of};

/// A stretch without a gap.
#[derive(Clone, Debug, Default)]
struct Stretch {
    after: u64,
    through: u64,
    told: Vec<Told>,
}

#[derive(Debug, Default)]
struct Book {
    stretches: Vec<Stretch>,
    resumes: u64,
    relists: u64,
}

/// How a watcher is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Quick,
    /// It takes one batch and then nothing for long.
    Slow,
    /// It gives up waiting again and again.
    Nervous,
}

/// A watcher over all lives; cheap to clone.
#[derive(Clone, Debug)]
pub struct Watcher {
    name: Arc<str>,
    resource: Option<GroupResource>,
    manner: Manner,
    random: Arc<SeededRandom>,
    book: Arc<Mutex<Book>>,
}

impl Watcher {
    /// The watcher of a number, who begins at a revision.
    pub fn new(seed: u64, number: u64, start: u64, resources: &[GroupResource]) -> Self {
        let random = SeededRandom::new(seed ^ (number << 40) ^ 0x77);
        let resource = usize::try_from(random.below(resources.len() as u64 + 1)).unwrap_or(0);
        let resource = resources.get(resource).cloned();
        let manner = match random.below(4) {
            0 => Manner::Slow,
            1 => Manner::Nervous,
            _ => Manner::Quick,
        };
        let stretch = Stretch { after: start, through: start, told: Vec::new() };
        let book = Book { stretches: vec![stretch], ..Book::default() };
        let (random, book) = (Arc::new(random), Arc::new(Mutex::new(book)));
        Self { name: format!("watcher-{number}").into(), resource, manner, random, book }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn position(&self) -> u64 {
        self.book().stretches.last().map_or(0, |stretch| stretch.through)
    }

    /// Watches one life of a host, from where it was, and leaves in `seen` what it listed; from `calm` on it only waits
    /// for what comes.
    pub async fn watch(
        self,
        (store, witness): (Store, Witness),
        clock: Arc<dyn Clock>,
        calm: Shutdown,
        seen: Arc<Mutex<Vec<Seen>>>,
    ) {
        let filter = ChangeFilter { resource: self.resource.clone() };
        loop {
            let position = self.position();
            let mut stream = store.changes(filter.clone(), Revision(position));
            self.book().resumes += 1;
            let ended = self.read(&mut stream, clock.as_ref(), &calm).await;
            match ended {
                Ok(()) => self.pause(clock.as_ref()).await,
                Err(ChangesError::Closed) => return,
                Err(ChangesError::Expired { oldest }) => {
                    let from = self.position();
                    witness.claim(from < oldest.0, || {
                        format!("{} asked from {from}, and was told of {oldest}", self.name)
                    });
                    self.list(&store, &seen);
                }
                Err(ChangesError::Unavailable(_)) => clock.sleep(Duration::from_millis(1)).await,
            }
        }
    }

    /// Reads some batches, and goes away.
    async fn read(
        &self,
        stream: &mut ChangeStream,
        clock: &dyn Clock,
        calm: &Shutdown,
    ) -> Result<(), ChangesError> {
        for _ in 0..=self.random.below(6) {
            let batch = match (self.manner, self.random.below(3)) {
                _ if calm.is_started() => Some(stream.next().await?),
                (Manner::Nervous, _) => {
                    let patience = Duration::from_micros(self.random.below(800));
                    tokio::select! {
                        biased;
                        batch = stream.next() => Some(batch?),
                        () = clock.sleep(patience) => stream.try_next()?,
                    }
                }
                (Manner::Quick | Manner::Slow, 0) => stream.catch_up().await?,
                (Manner::Quick | Manner::Slow, _) => Some(stream.next().await?),
            };
            match batch {
                Some(batch) => self.note(&batch),
                None => clock.sleep(Duration::from_micros(1 + self.random.below(300))).await,
            }
            if self.manner == Manner::Slow {
                clock.sleep(Duration::from_micros(self.random.below(20_000))).await;
            }
        }
        Ok(())
    }

    fn note(&self, batch: &ChangeBatch) {
        let mut book = self.book();
        let Some(stretch) = book.stretches.last_mut() else { return };
        stretch.told.extend(batch.changes.iter().map(|change| Told::of(change)));
        stretch.through = batch.through.0;
        if self.random.below(8) == 0
            && let Some(told) = stretch.told.last()
        {
            // As a client that knows no bookmarks: it resumes at the last change that it was told of.
            stretch.through = told.revision.max(stretch.after);
        }
    }

    async fn pause(&self, clock: &dyn Clock) {
        if self.random.below(2) == 0 {
            clock.sleep(Duration::from_micros(self.random.below(3_000))).await;
        }
    }

    /// What it missed is gone: it begins anew with what is there.
    fn list(&self, store: &Store, seen: &Mutex<Vec<Seen>>) {
        let snapshot = store.snapshot();
        let at = snapshot.revision().0;
        // Whoever hears of a revision here may be ahead of the witness, who is asked at the end.
        let listed = Seen::whole(at, sum_of(&snapshot));
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(listed);
        let mut book = self.book();
        book.relists += 1;
        book.stretches.push(Stretch { after: at, through: at, told: Vec::new() });
    }

    /// Compares the book with what the witness says; answers events, resumes and relists.
    pub fn check(&self, witness: &Witness) -> (usize, u64, u64) {
        let book = self.book();
        let mut events = 0;
        for Stretch { after, through, told } in &book.stretches {
            let expected = witness.between(self.resource.as_ref(), *after, *through);
            events += told.len();
            witness.claim(*told == expected, || {
                let differs = told.iter().zip(&expected).position(|(is, should)| is != should);
                let at = differs.unwrap_or_else(|| told.len().min(expected.len()));
                format!(
                    "{} ({:?}, {:?}) was told {} of {} changes after {after} up to {through}; they differ at {at}: {:?} \
                     instead of {:?}",
                    self.name, self.resource, self.manner, told.len(), expected.len(), told.get(at),
                    expected.get(at)
                )
            });
        }
        (events, book.resumes, book.relists)
    }

    /// Nothing is left that it was not told of, though it only waited.
    pub fn check_told(&self, witness: &Witness) {
        let position = self.position();
        let left = witness.between(self.resource.as_ref(), position, u64::MAX);
        witness.claim(left.is_empty(), || {
            let (of, first) = (left.len(), left.first());
            format!(
                "{} ({:?}) waits at {position} and is not told of {of} changes: {first:?}",
                self.name, self.resource
            )
        });
    }

    /// Reads to the end of what is there.
    pub async fn finish(&self, store: &Store, witness: &Witness, seen: &Mutex<Vec<Seen>>) {
        let filter = ChangeFilter { resource: self.resource.clone() };
        while self.position() < store.revision().0 {
            let (position, newest) = (self.position(), store.revision());
            let mut stream = store.changes(filter.clone(), Revision(position));
            match stream.catch_up().await {
                Ok(Some(batch)) => self.note(&batch),
                Err(ChangesError::Expired { .. }) => self.list(store, seen),
                Err(ChangesError::Unavailable(_)) => tokio::task::yield_now().await,
                end @ (Ok(None) | Err(ChangesError::Closed)) => {
                    return witness.claim(false, || {
                        format!("{} reads after {position} of {newest}: {end:?}", self.name)
                    });
                }
            }
        }
    }
}
