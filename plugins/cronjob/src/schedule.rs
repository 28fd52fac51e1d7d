//! Schedules in the notation of cron: minute, hour, day of the month, month and day of the week, or a word.

use quadrille_sdk::Time;

use crate::calendar::{self, DAY};
use crate::zone::Zone;

/// Longer than this nobody waits: the 29th of February comes every eight years at the latest.
const DAYS_MAX: i64 = 366 * 8 + 2;

/// More times than this are not in the half of a span whose other half has none: all minutes of a day.
const LATEST_MAX: usize = 1_500;

/// When something is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Schedule {
    /// At these times of the clock.
    Clock(Clock),
    /// So many seconds after the last time.
    Every(i64),
}

/// Minutes, hours and days, each a set of bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether both the day of the month and that of the week must fit: when one of them says every day.
    both: bool,
}

/// A field: its bounds, and names for its numbers.
struct Field {
    what: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { what: "minute", least: 0, most: 59, names: &[] },
    Field { what: "hour", least: 0, most: 23, names: &[] },
    Field { what: "day of the month", least: 1, most: 31, names: &[] },
    Field {
        what: "month",
        least: 1,
        most: 12,
        names: &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    },
    Field {
        what: "day of the week",
        least: 0,
        most: 6,
        names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    },
];

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(word) = text.strip_prefix('@') {
            return Self::of_word(word);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(format!("expected exactly 5 fields, found {}: {text}", fields.len()));
        };
        let [of_minute, of_hour, of_day, of_month, of_weekday] = &FIELDS;
        let every = |field: &str| field.starts_with(['*', '?']);
        Ok(Self::Clock(Clock {
            minutes: of_minute.parse(minute)?,
            hours: of_hour.parse(hour)?,
            days: of_day.parse(day)?,
            months: of_month.parse(month)?,
            weekdays: of_weekday.parse(weekday)?,
            both: every(day) || every(weekday),
        }))
    }

    fn of_word(word: &str) -> Result<Self, String> {
        if let Some(period) = word.strip_prefix("every ") {
            let seconds = seconds_of(period.trim());
            return seconds.map(Self::Every).ok_or_else(|| format!("no duration: {period}"));
        }
        match word {
            "yearly" | "annually" => Self::parse("0 0 1 1 *"),
            "monthly" => Self::parse("0 0 1 * *"),
            "weekly" => Self::parse("0 0 * * 0"),
            "daily" | "midnight" => Self::parse("0 0 * * *"),
            "hourly" => Self::parse("0 * * * *"),
            _ => Err(format!("unrecognized descriptor: @{word}")),
        }
    }

    /// The first time after a moment, on the clocks of a zone; `None` when there is none, such as the 30th of February.
    pub(crate) fn next(&self, after: Time, zone: &Zone) -> Option<Time> {
        match self {
            Self::Every(seconds) => Some(Time::from_seconds(after.seconds() + seconds)),
            Self::Clock(clock) => clock.next(after.seconds(), zone).map(Time::from_seconds),
        }
    }

    /// The last time after a moment that is not later than now.
    pub(crate) fn latest(&self, after: Time, now: Time, zone: &Zone) -> Option<Time> {
        let passed = now.seconds() - after.seconds();
        let latest = match self {
            Self::Every(period) => Some(after.seconds() + passed - passed.rem_euclid(*period)),
            Self::Clock(clock) => clock.latest(after.seconds(), now.seconds(), zone),
        };
        latest.filter(|latest| *latest > after.seconds()).map(Time::from_seconds)
    }
}

impl Clock {
    /// Looks back from now over ever longer times, until one has a time of the schedule in it.
    fn latest(&self, after: i64, now: i64, zone: &Zone) -> Option<i64> {
        let mut back = 60;
        loop {
            let from = after.max(now.saturating_sub(back));
            let mut latest = None;
            let mut at = from;
            for _ in 0..LATEST_MAX {
                let Some(next) = self.next(at, zone).filter(|next| *next <= now) else { break };
                (latest, at) = (Some(next), next);
            }
            if latest.is_some() || from <= after {
                return latest;
            }
            back *= 2;
        }
    }

    /// Looks at the days one after the other, and on a day that fits at its hours and minutes. A time that the clocks
    /// skip is not met, one that they show twice is met twice.
    fn next(&self, after: i64, zone: &Zone) -> Option<i64> {
        let today = (after + zone.offset(after)).div_euclid(DAY);
        // Clocks that went back may show yesterday again.
        (today - 1..today + DAYS_MAX).filter(|day| self.fits(*day)).find_map(|day| {
            let midnight = day * DAY;
            let mut offsets =
                vec![zone.offset(midnight - 2 * DAY), zone.offset(midnight + 3 * DAY)];
            offsets.dedup();
            let times =
                bits(self.hours).flat_map(|h| bits(self.minutes).map(move |m| h * 3600 + m * 60));
            let moments = times.flat_map(|time| {
                let moments = offsets.iter().map(move |offset| midnight + time - offset);
                moments.filter(move |moment| moment + zone.offset(*moment) == midnight + time)
            });
            moments.filter(|moment| *moment > after).min()
        })
    }

    fn fits(&self, day: i64) -> bool {
        let date = calendar::of_days(day);
        let of_month = has(self.days, date.day);
        let of_week = has(self.weekdays, calendar::weekday(day));
        let fits = if self.both { of_month && of_week } else { of_month || of_week };
        fits && has(self.months, date.month)
    }
}

fn has(bits: u64, number: i64) -> bool {
    u32::try_from(number).is_ok_and(|number| bits.checked_shr(number).is_some_and(|b| b & 1 == 1))
}

fn bits(set: u64) -> impl Iterator<Item = i64> + Clone {
    (0..64).filter(move |number| has(set, *number))
}

impl Field {
    /// A list of numbers, ranges and steps.
    fn parse(&self, text: &str) -> Result<u64, String> {
        let mut set = 0;
        for part in text.split(',') {
            set |= self.part(part).ok_or_else(|| format!("no {}: {part}", self.what))?;
        }
        Ok(set)
    }

    fn part(&self, text: &str) -> Option<u64> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => {
                (range, Some(step.parse::<u32>().ok().filter(|step| *step > 0)?))
            }
            None => (text, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if matches!(range, "*" | "?") => (self.least, self.most),
            Some((first, last)) => (self.number(first)?, self.number(last)?),
            // A number with a step begins a range to the end.
            None if step.is_some() => (self.number(range)?, self.most),
            None => (self.number(range)?, self.number(range)?),
        };
        let good = self.least <= first && first <= last && last <= self.most;
        let steps = usize::try_from(step.unwrap_or(1)).ok()?;
        good.then(|| (first..=last).step_by(steps).fold(0, |set, number| set | 1_u64 << number))
    }

    fn number(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        match named {
            Some(at) => u32::try_from(at).ok().map(|at| at + self.least),
            None => text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten(),
        }
    }
}

/// The seconds of a duration such as `1h30m`, at least one.
fn seconds_of(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(end)?;
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(end)?;
        let unit = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * unit;
        rest = tail;
    }
    let most = 10.0 * 366.0 * 86_400.0;
    #[expect(clippy::cast_possible_truncation, reason = "it is between a second and ten years")]
    (!text.is_empty() && total <= most).then_some(total.max(1.0) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(schedule: &str, zone: &str, after: &str, expected: &[&str]) {
        let schedule = Schedule::parse(schedule).expect("a schedule");
        let zone = Zone::named(zone).expect("a zone");
        let mut at = Time::parse(after).expect("a time");
        for expected in expected {
            at = schedule.next(at, &zone).expect("a next time");
            assert_eq!(at.to_string(), *expected);
        }
    }

    #[test]
    fn the_next_time_is_found() {
        check("* * * * *", "", "2026-01-01T00:00:30Z", &["2026-01-01T00:01:00Z"]);
        check("*/15 3-4 * * *", "", "2026-01-01T03:50:00Z", &["2026-01-01T04:00:00Z"]);
        check("0 0 29 2 *", "", "2026-01-01T00:00:00Z", &["2028-02-29T00:00:00Z"]);
        check("0 0 29 2 *", "", "2097-01-01T00:00:00Z", &["2104-02-29T00:00:00Z"]);
        check("30 6 * * mon-fri", "", "2026-01-02T07:00:00Z", &["2026-01-05T06:30:00Z"]);
        check("0 0 1 * sun", "", "2026-01-02T00:00:00Z", &["2026-01-04T00:00:00Z"]);
        check("@weekly", "", "2026-01-01T00:00:00Z", &["2026-01-04T00:00:00Z"]);
        check("@every 1h30m", "", "2026-01-01T00:00:00Z", &["2026-01-01T01:30:00Z"]);
        check("0 9 * * *", "Asia/Tokyo", "2026-01-01T01:00:00Z", &["2026-01-02T00:00:00Z"]);
    }

    #[test]
    fn the_latest_time_is_found_however_many_were_missed() {
        let at = |text: &str| Time::parse(text).expect("a time");
        let utc = Zone::named("").expect("UTC");
        let now = at("2026-03-04T10:00:30Z");
        let check = |schedule: &str, after: &str, expected: Option<&str>| {
            let schedule = Schedule::parse(schedule).expect("a schedule");
            assert_eq!(schedule.latest(at(after), now, &utc), expected.map(at));
        };
        check("* * * * *", "2020-01-01T00:00:00Z", Some("2026-03-04T10:00:00Z"));
        check("* 3 * * *", "2020-01-01T00:00:00Z", Some("2026-03-04T03:59:00Z"));
        check("0 0 1 1 *", "2020-01-01T00:00:00Z", Some("2026-01-01T00:00:00Z"));
        check("0 0 1 1 *", "2026-01-01T00:00:00Z", None);
        check("@every 1h", "2026-03-04T08:30:00Z", Some("2026-03-04T09:30:00Z"));
    }

    #[test]
    fn clocks_that_change_skip_times_and_show_them_twice() {
        let skipped = ["2026-03-28T01:30:00Z", "2026-03-30T00:30:00Z"];
        check("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", &skipped);
        let twice = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"];
        check("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", &twice);
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in [
            "",
            "* * * *",
            "60 * * * *",
            "* * 0 * *",
            "5-1 * * * *",
            "*/0 * * * *",
            "* * * * 7",
            "@never",
            "@every x",
            "* * * foo *",
            "1,,2 * * * *",
            "+1 * * * *",
        ] {
            assert!(Schedule::parse(text).is_err(), "{text:?}");
        }
        let never = Schedule::parse("0 0 30 2 *").expect("it reads well");
        assert_eq!(never.next(Time::from_seconds(0), &Zone::named("").expect("UTC")), None);
    }
}
