//! Which controllers hold the slots, and who has to leave some of them to the others.
//!
//! A run that spins or waits keeps its slot up to its deadline, so a few slow controllers together could hold them all.
//! A quarter of the slots is therefore kept for those that held little lately. What counts is the time in a slot, not
//! the plugin's intent: a controller that is merely busy is held to three quarters as well, and loses nothing by it on a
//! machine with fewer processors than that.
//!
//! Pure: it is told who takes and leaves a slot, and when.

use std::collections::BTreeMap;
use std::time::Duration;

/// How often it is judged who holds much.
const PERIOD: Duration = Duration::from_millis(100);
/// What of a time held still counts a period later: half of it after four seconds and a half.
const REMAINDER: f64 = 63.0 / 64.0;
/// After so many periods nothing of it counts.
const PERIODS_MAX: u128 = 1024;
/// Who held less than this lately holds little: a sixth of one slot in the long run.
const LITTLE: Duration = Duration::from_secs(1);
/// Less than this is forgotten.
const NOTHING: Duration = Duration::from_millis(1);

/// Who holds slots, and for how long lately.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    controllers: BTreeMap<u32, Share>,
    judged_at: Duration,
    /// Slots that are held by the greedy.
    held_by_greedy: usize,
}

#[derive(Debug, Default)]
struct Share {
    /// Time in slots lately, up to the last judgement and in runs that are over.
    held: Duration,
    running: u32,
    /// The beginnings of the runs under way, added up; the last judgement counts as one.
    begun: Duration,
    is_greedy: bool,
}

impl Shares {
    /// A controller takes a slot.
    pub(crate) fn take(&mut self, id: u32, now: Duration) {
        let share = self.controllers.entry(id).or_default();
        share.running += 1;
        share.begun += now.max(self.judged_at);
        self.held_by_greedy += usize::from(share.is_greedy);
    }

    /// It leaves a slot that it took at `taken_at`.
    pub(crate) fn leave(&mut self, id: u32, taken_at: Duration, now: Duration) {
        let Some(share) = self.controllers.get_mut(&id) else { return };
        let begun = taken_at.max(self.judged_at);
        share.running = share.running.saturating_sub(1);
        share.begun = share.begun.saturating_sub(begun);
        share.held += now.saturating_sub(begun);
        self.held_by_greedy = self.held_by_greedy.saturating_sub(usize::from(share.is_greedy));
    }

    /// Whether a controller may take one more of so many slots.
    pub(crate) fn allows(&self, id: u32, slots: usize) -> bool {
        let kept = (slots / 4).max(1).min(slots.saturating_sub(1));
        let is_greedy = self.controllers.get(&id).is_some_and(|share| share.is_greedy);
        !is_greedy || self.held_by_greedy < slots - kept
    }

    /// Forgets a controller that was taken out, with the slots it holds.
    pub(crate) fn forget(&mut self, id: u32) {
        if let Some(share) = self.controllers.remove(&id)
            && share.is_greedy
        {
            self.held_by_greedy -= usize::try_from(share.running).unwrap_or_default();
        }
    }

    /// Judges anew who is greedy, if it is time: those that hold more than half of what is held on average.
    pub(crate) fn judge(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.judged_at);
        if passed < PERIOD {
            return;
        }
        let periods = (passed.as_millis() / PERIOD.as_millis()).min(PERIODS_MAX);
        let remainder = REMAINDER.powi(i32::try_from(periods).unwrap_or(i32::MAX));
        self.judged_at = now;
        self.controllers.retain(|_, share| {
            share.held += (now * share.running).saturating_sub(share.begun);
            share.begun = now * share.running;
            share.held = share.held.mul_f64(remainder);
            share.running > 0 || share.held > NOTHING
        });
        let all: Duration = self.controllers.values().map(|share| share.held).sum();
        let mean = all / u32::try_from(self.controllers.len()).unwrap_or(u32::MAX).max(1);
        self.held_by_greedy = 0;
        for share in self.controllers.values_mut() {
            share.is_greedy = share.held > LITTLE.max(mean / 2);
            if share.is_greedy {
                self.held_by_greedy += usize::try_from(share.running).unwrap_or_default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: usize = 8;
    const SECOND: Duration = Duration::from_secs(1);
    const TICK: Duration = Duration::from_millis(10);

    /// Takes every slot that it may, up to `slots` in all; answers how many.
    fn fill(shares: &mut Shares, ids: &[u32], slots: usize, now: Duration) -> usize {
        let mut held = 0;
        for id in ids.iter().cycle().take(slots) {
            if shares.allows(*id, SLOTS) {
                shares.take(*id, now);
                held += 1;
            }
        }
        held
    }

    #[test]
    fn slow_ones_together_leave_a_quarter_of_the_slots_to_the_others() {
        let (mut shares, slow) = (Shares::default(), [1, 2, 3, 4]);
        assert_eq!(fill(&mut shares, &slow, SLOTS, SECOND), SLOTS);
        shares.judge(SECOND * 4);
        assert!(!shares.allows(1, SLOTS));
        assert!(shares.allows(9, SLOTS));
        // Also once theirs are free again.
        for id in slow.iter().cycle().take(SLOTS) {
            shares.leave(*id, SECOND, SECOND * 4);
        }
        assert_eq!(fill(&mut shares, &slow, SLOTS, SECOND * 4), SLOTS - 2);
    }

    #[test]
    fn short_runs_are_never_greedy_beside_long_ones_however_often_they_come() {
        let mut shares = Shares::default();
        shares.take(1, Duration::ZERO);
        for at in 1..1000 {
            let now = TICK * at;
            shares.judge(now);
            assert!(shares.allows(2, SLOTS), "at {now:?}");
            shares.take(2, now);
            shares.leave(2, now, now + TICK / 10);
        }
        assert_eq!(shares.held_by_greedy, 1);
    }

    #[test]
    fn what_was_held_long_ago_does_not_count_and_is_forgotten() {
        let mut shares = Shares::default();
        shares.take(1, Duration::ZERO);
        shares.judge(SECOND * 10);
        assert!(shares.controllers[&1].is_greedy);
        shares.leave(1, Duration::ZERO, SECOND * 10);
        assert_eq!(shares.held_by_greedy, 0);
        shares.judge(SECOND * 100);
        assert!(shares.controllers.is_empty());
    }

    #[test]
    fn one_that_was_taken_out_takes_its_slots_with_it() {
        let mut shares = Shares::default();
        assert_eq!(fill(&mut shares, &[1, 2], 6, Duration::ZERO), 6);
        shares.judge(SECOND * 4);
        assert!(!shares.allows(2, SLOTS));
        shares.forget(1);
        assert!(shares.allows(2, SLOTS));
        shares.leave(1, Duration::ZERO, SECOND * 4);
        assert!(shares.controllers.contains_key(&2) && shares.controllers.len() == 1);
    }

    #[test]
    fn a_single_slot_is_kept_from_nobody() {
        let mut shares = Shares::default();
        shares.take(1, Duration::ZERO);
        shares.judge(SECOND * 4);
        shares.leave(1, Duration::ZERO, SECOND * 4);
        assert!(shares.allows(1, 1));
    }
}
