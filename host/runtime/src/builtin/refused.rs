//! What the host's own parts may not write: refused by a policy, a webhook or a bound, and tried again later.
//!
//! Nothing in the store changes when a policy goes or a webhook comes back, so that time alone leads there: a second, twice
//! as long after each refusal, five minutes at most.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quadrille_store::Key;

const FIRST: Duration = Duration::from_secs(1);
const LAST: Duration = Duration::from_mins(5);
/// Objects that are kept in mind; of more, the next change of one or the next start leads back to it.
const MAX: usize = 65_536;

/// What was refused, and when it is looked at again.
#[derive(Debug, Default)]
pub(super) struct Refused {
    waits: BTreeMap<Key, Wait>,
    due: BTreeSet<(Duration, Key)>,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    /// When it is over; `None` while the object is looked at.
    until: Option<Duration>,
    length: Duration,
}

impl Refused {
    /// What was refused, for the first time or again.
    pub(super) fn note(&mut self, refused: BTreeSet<Key>, now: Duration) {
        for key in refused {
            let before = self.waits.get(&key).copied();
            if before.is_none() && self.is_full() {
                continue;
            }
            if let Some(until) = before.and_then(|wait| wait.until) {
                self.due.remove(&(until, key.clone()));
            }
            let length = before.map_or(FIRST, |wait| (wait.length * 2).min(LAST));
            let until = now.saturating_add(length);
            self.due.insert((until, key.clone()));
            self.waits.insert(key, Wait { until: Some(until), length });
        }
    }

    /// Everything that was due has been looked at: what was not refused again is over.
    pub(super) fn settle(&mut self) {
        self.waits.retain(|_, wait| wait.until.is_some());
    }

    /// Whether its time has not come yet.
    pub(super) fn waits(&self, key: &Key) -> bool {
        self.waits.get(key).is_some_and(|wait| wait.until.is_some())
    }

    /// Whether no more is kept in mind.
    pub(super) fn is_full(&self) -> bool {
        self.waits.len() >= MAX
    }

    /// The next that is to be looked at again, if its time has come.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<Key> {
        let due = self.due.first().is_some_and(|(until, _)| *until <= now);
        let (_, key) = due.then(|| self.due.pop_first()).flatten()?;
        if let Some(wait) = self.waits.get_mut(&key) {
            wait.until = None;
        }
        Some(key)
    }

    /// How long until then; `None` when nothing waits.
    pub(super) fn wait(&self, now: Duration) -> Option<Duration> {
        self.due.first().map(|(until, _)| until.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use quadrille_object::GroupResource;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn one() -> BTreeSet<Key> {
        BTreeSet::from([Key::new(GroupResource::new("", "configmaps"), "default", "one")])
    }

    #[test]
    fn a_refused_write_is_tried_after_longer_and_longer_waits_and_then_anew() {
        let (mut refused, mut now, mut waits) = (Refused::default(), SECOND, Vec::new());
        for _ in 0..11 {
            refused.note(one(), now);
            let wait = refused.wait(now).expect("one waits");
            assert_eq!(refused.pop_due(now + wait / 2), None);
            now += wait;
            assert_eq!(refused.pop_due(now).as_ref(), one().first());
            waits.push(wait.as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        refused.settle();
        assert!(refused.waits.is_empty() && refused.due.is_empty());
        refused.note(one(), now);
        assert_eq!(refused.wait(now), Some(SECOND));
    }
}
