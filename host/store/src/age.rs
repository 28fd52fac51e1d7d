//! How old the history is, by a clock that nobody sets: a wall clock that jumps must not take history away.
//!
//! The store cannot know how long it was closed, so counting begins anew when it is opened: what was there is kept for
//! the whole age again. Marks say that everything up to a revision was there at a moment; between two of them lies a
//! small part of the age, so that their number is bounded and history is kept that much longer at most.

use std::collections::VecDeque;
use std::time::Duration;

use crate::key::Revision;

/// Into how many parts the age is divided.
const PARTS: u32 = 256;

/// Marks in the history.
#[derive(Debug)]
pub(crate) struct Ages {
    age_max: Duration,
    /// Ascending in both; what a mark says holds for every revision up to its own.
    marks: VecDeque<(Duration, Revision)>,
    aged: Revision,
}

impl Ages {
    /// Everything up to `newest` is there `now`.
    pub(crate) fn new(age_max: Duration, now: Duration, newest: Revision) -> Self {
        Self { age_max, marks: VecDeque::from([(now, newest)]), aged: Revision::default() }
    }

    /// Notes how far the history is, and answers up to where it is too old.
    pub(crate) fn look(&mut self, now: Duration, newest: Revision) -> Revision {
        let is_new = self.marks.back().is_none_or(|(at, revision)| {
            *revision < newest && now.saturating_sub(*at) >= self.age_max / PARTS
        });
        if is_new && newest > self.aged {
            self.marks.push_back((now, newest));
        }
        while let Some((at, revision)) = self.marks.front().copied() {
            if now.saturating_sub(at) < self.age_max {
                break;
            }
            self.aged = revision;
            self.marks.pop_front();
        }
        self.aged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_age_is_told_and_nothing_younger() {
        let hours = |hours: u64| Duration::from_hours(hours);
        let mut ages = Ages::new(hours(24), hours(5), Revision(10));
        assert_eq!(ages.look(hours(6), Revision(20)), Revision(0));
        assert_eq!(ages.look(hours(28), Revision(30)), Revision(0));
        assert_eq!(ages.look(hours(29), Revision(30)), Revision(10));
        assert_eq!(ages.look(hours(30), Revision(30)), Revision(20));
        assert_eq!(ages.look(hours(51), Revision(30)), Revision(20));
        assert_eq!(ages.look(hours(52), Revision(30)), Revision(30));
        assert_eq!(ages.look(hours(99), Revision(31)), Revision(30), "it has just come");
        assert_eq!(ages.look(hours(123), Revision(31)), Revision(31));
    }

    #[test]
    fn the_number_of_marks_is_bounded() {
        let mut ages = Ages::new(Duration::from_hours(1), Duration::ZERO, Revision(0));
        for second in 1..20_000 {
            ages.look(Duration::from_secs(second), Revision(second));
            assert!(ages.marks.len() <= PARTS as usize + 2);
        }
        assert!(ages.aged > Revision(16_000));
    }
}
