//! What the parts of housekeeping have in common: a batch is of one part, and they take turns.

use std::time::Duration;

use quadrille_object::Timestamp;
use quadrille_store::Key;

use super::batch::{BATCH_MAX, Batch};
use super::refused::Refused;

/// After so many conflicts in a row a batch is made while nobody else commits. It is small by then.
const CONFLICTS_MAX: u32 = 3;

/// One kind of housekeeping.
pub(super) trait Part: Send {
    /// As it is named in the causes of what it writes.
    fn name(&self) -> &'static str;

    /// Whether there is something to look at.
    fn is_busy(&self, now: Timestamp) -> bool;

    /// Looks at what is next, as much as goes into the batch.
    fn work(&mut self, batch: &mut Batch, refused: &Refused);

    /// What it looked at is done.
    fn settle(&mut self);

    /// Nothing of what it looked at was done.
    fn retry(&mut self);

    /// What it looked at last cannot be done, and is not to be tried again before its time.
    fn give_up(&mut self) -> Option<Key>;

    /// Looks at a key again that could not be written, if it is one of its own.
    fn look_again(&mut self, key: &Key);
}

/// How much of a part goes into one transaction, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How many writes: fewer after each failure, more after each success.
    pub(super) room: usize,
    conflicts: u32,
    /// Nothing is tried before.
    pub(super) opens_at: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { room: BATCH_MAX, conflicts: 0, opens_at: Duration::ZERO }
    }
}

impl Pace {
    /// Whether the next batch is made while nobody else commits: others were first too often.
    pub(super) fn wants_turn(&self) -> bool {
        self.conflicts >= CONFLICTS_MAX
    }

    pub(super) fn committed(&mut self) {
        self.conflicts = 0;
        self.room = (self.room * 2).min(BATCH_MAX);
    }

    pub(super) fn conflict(&mut self) {
        self.conflicts += 1;
        self.halve();
    }

    /// Less is tried next time; false when it was one write already.
    pub(super) fn halve(&mut self) -> bool {
        let more_than_one = self.room > 1;
        self.room = (self.room / 2).max(1);
        more_than_one
    }

    pub(super) fn wait_until(&mut self, opens_at: Duration) {
        self.opens_at = opens_at;
        self.halve();
    }
}
