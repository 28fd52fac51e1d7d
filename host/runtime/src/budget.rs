//! What a plugin may take of what all share, over time: bytes and events committed, failures told, reruns that it asked
//! for itself, and turns with the commit.
//!
//! Costs are times: a plugin that has spent more than [`BURST`] ahead starts nothing until it has waited for the rest.
//! What usual plugins do costs next to nothing. Pure: it is told what happened and when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::overlay::OverlayUse;

/// How far ahead a plugin may spend: a rollout of a thousand objects goes through at once.
const BURST: Duration = Duration::from_secs(5);
/// Of one byte written: 20 MB a second in the long run.
const BYTE: Duration = Duration::from_nanos(50);
/// Of one Event: a thousand a second.
const EVENT: Duration = Duration::from_millis(1);
/// Of a run that only a timer of its own asked for: a thousand a second.
const RERUN: Duration = Duration::from_millis(1);
/// How many times as long as it took a plugin pays for a short turn of the commit: in the long run nobody else commits
/// for a quarter of the time because of it. For long ones everybody rests.
const TURN_TIMES: u32 = 4;
/// Of a failure that people are told of by an Event: 200 a second.
const FAILURE: Duration = Duration::from_millis(5);

/// A turn that nobody feels.
const SHORT_TURN: Duration = Duration::from_millis(20);
/// Longer ones take less than a hundredth of the time, all together.
const TURN_REST: u32 = 128;

/// What all plugins have spent.
#[derive(Debug)]
pub(crate) struct Budgets {
    /// When each will have paid for what it did; those that owe nothing are not here.
    paid_at: BTreeMap<Arc<str>, Duration>,
    turns_open_at: Duration,
    /// How many times as long as it took a long turn is not followed by another.
    pub(crate) turn_rest: u32,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { paid_at: BTreeMap::new(), turns_open_at: Duration::ZERO, turn_rest: TURN_REST }
    }
}

/// What one run did, as far as it costs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) used: OverlayUse,
    pub(crate) has_committed: bool,
    pub(crate) is_told: bool,
    pub(crate) asked_for_itself: bool,
    /// For how long nobody else could commit while it was at work.
    pub(crate) turn: Duration,
}

impl Spent {
    fn cost(&self) -> Duration {
        let times = |cost: Duration, n: usize| cost * u32::try_from(n).unwrap_or(u32::MAX);
        let written = times(BYTE, self.used.bytes_written) + times(EVENT, self.used.events);
        let parts = [
            (self.has_committed, written),
            (self.is_told, FAILURE),
            (self.asked_for_itself, RERUN),
        ];
        let sum: Duration =
            parts.into_iter().filter(|(counts, _)| *counts).map(|(_, cost)| cost).sum();
        sum + self.turn.min(SHORT_TURN) * TURN_TIMES
    }
}

impl Budgets {
    pub(crate) fn spend(&mut self, plugin: &Arc<str>, spent: &Spent, now: Duration) {
        let cost = spent.cost();
        if cost.is_zero() {
            return;
        }
        let paid_at = self.paid_at.entry(Arc::clone(plugin)).or_insert(now);
        *paid_at = (*paid_at).max(now) + cost;
    }

    /// Until when a plugin may start nothing, if it may not now.
    pub(crate) fn closed_until(&self, plugin: &str, now: Duration) -> Option<Duration> {
        let open_at = self.paid_at.get(plugin)?.saturating_sub(BURST);
        (open_at > now).then_some(open_at)
    }

    /// When the next plugin may start again; forgets those that owe nothing.
    pub(crate) fn next_open(&mut self, now: Duration) -> Option<Duration> {
        if self.paid_at.is_empty() {
            return None;
        }
        self.paid_at.retain(|_, paid_at| *paid_at > now);
        let open_at = self.paid_at.values().map(|paid_at| paid_at.saturating_sub(BURST));
        open_at.filter(|open_at| *open_at > now).min()
    }

    /// For how long a run that takes so long, as far as is known, may have the commit for itself instead of the `length`
    /// that it needs at most. While long turns rest nobody gets more than a short one, however quick their last run was.
    pub(crate) fn turn(
        &self,
        takes: Duration,
        length: Duration,
        now: Duration,
    ) -> Option<Duration> {
        if now >= self.turns_open_at {
            return Some(length);
        }
        (takes <= SHORT_TURN).then_some(length.min(SHORT_TURN))
    }

    /// A turn is over.
    pub(crate) fn note_turn(&mut self, took: Duration, now: Duration) {
        if took > SHORT_TURN {
            self.turns_open_at = self.turns_open_at.max(now + took * self.turn_rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_plugin_spends_ahead_and_then_waits_as_long_as_it_owes() {
        let (mut budgets, flood, quiet) =
            (Budgets::default(), Arc::<str>::from("flood"), Arc::<str>::from("quiet"));
        let used = OverlayUse { bytes_written: 10_000_000, ..OverlayUse::default() };
        let spent = Spent { used, has_committed: true, ..Spent::default() };
        for _ in 0..10 {
            assert_eq!(budgets.closed_until(&flood, SECOND), None);
            budgets.spend(&flood, &spent, SECOND);
        }
        budgets.spend(&flood, &spent, SECOND);
        assert_eq!(budgets.closed_until(&flood, SECOND), Some(SECOND * 3 / 2));
        assert_eq!(budgets.next_open(SECOND), Some(SECOND * 3 / 2));
        assert_eq!(budgets.closed_until(&flood, SECOND * 2), None);
        budgets.spend(&quiet, &Spent::default(), SECOND);
        assert_eq!(budgets.closed_until(&quiet, SECOND), None);
        assert_eq!(budgets.next_open(SECOND * 60), None);
        assert!(budgets.paid_at.is_empty());
    }

    #[test]
    fn nothing_is_paid_for_what_was_not_committed() {
        let used = OverlayUse { bytes_written: usize::MAX, events: 16, ..OverlayUse::default() };
        assert_eq!(Spent { used, ..Spent::default() }.cost(), Duration::ZERO);
    }

    #[test]
    fn long_turns_take_less_than_a_hundredth_of_the_time_and_short_ones_what_they_need() {
        let mut budgets = Budgets::default();
        let long = SECOND * 8;
        assert_eq!(budgets.turn(SECOND, long, SECOND), Some(long));
        budgets.note_turn(SECOND, SECOND * 2);
        assert_eq!(budgets.turn(SECOND, long, SECOND * 100), None);
        assert_eq!(budgets.turn(SHORT_TURN, long, SECOND * 3), Some(SHORT_TURN));
        budgets.note_turn(SHORT_TURN, SECOND * 3);
        assert_eq!(budgets.turn(Duration::ZERO, long, SECOND * 4), Some(SHORT_TURN));
        assert_eq!(budgets.turn(SECOND, long, SECOND * 130), Some(long));
    }

    #[test]
    fn a_plugin_pays_for_the_time_in_which_nobody_else_could_commit() {
        let (mut budgets, greedy) = (Budgets::default(), Arc::<str>::from("greedy"));
        let spent = Spent { turn: SHORT_TURN, ..Spent::default() };
        let mut held = Duration::ZERO;
        let mut now = SECOND;
        while now < SECOND * 101 {
            if let Some(open_at) = budgets.closed_until(&greedy, now) {
                now = open_at;
            } else {
                now += SHORT_TURN;
                held += SHORT_TURN;
                budgets.spend(&greedy, &spent, now);
            }
        }
        assert!(held < SECOND * 28, "{held:?} of 100 s");
    }
}
