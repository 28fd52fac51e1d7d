//! The rule for clocks in POSIX notation, such as `CET-1CEST,M3.5.0,M10.5.0/3`.

use crate::calendar;

/// What clocks do in every year.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    standard: i64,
    summer: Option<Summer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Summer {
    offset: i64,
    begins: Day,
    ends: Day,
}

/// A day of the year, and the seconds from its midnight, on the clocks before the change.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Day {
    on: On,
    seconds: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum On {
    /// The nth of a day of the week in a month; the fifth is the last.
    Weekday { month: i64, nth: i64, weekday: i64 },
    /// A day from 1, without the 29th of February.
    Julian(i64),
    /// A day from 0.
    OfYear(i64),
}

impl Rule {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let zone = parts.next()?;
        let zone = skip_name(zone)?;
        let (standard, rest) = time(zone)?;
        let standard = -standard;
        if rest.is_empty() {
            return Some(Self { standard, summer: None });
        }
        let rest = skip_name(rest)?;
        let offset = if rest.is_empty() { standard + 3600 } else { -time(rest)?.0 };
        let (begins, ends) = (Day::parse(parts.next()?)?, Day::parse(parts.next()?)?);
        Some(Self { standard, summer: Some(Summer { offset, begins, ends }) })
    }

    pub(super) fn offset(&self, moment: i64) -> i64 {
        let Some(summer) = &self.summer else { return self.standard };
        let year = calendar::date(moment + self.standard).year;
        let begins = summer.begins.of(year) - self.standard;
        let ends = summer.ends.of(year) - summer.offset;
        let is_summer = if begins < ends {
            (begins..ends).contains(&moment)
        } else {
            !(ends..begins).contains(&moment)
        };
        if is_summer { summer.offset } else { self.standard }
    }
}

impl Day {
    fn parse(text: &str) -> Option<Self> {
        let (on, at) = text.split_once('/').unwrap_or((text, "2"));
        let (seconds, rest) = time(at)?;
        let on = if let Some(day) = on.strip_prefix('M') {
            let mut numbers = day.split('.').map(|number| number.parse::<i64>().ok());
            let (month, nth, weekday) = (numbers.next()??, numbers.next()??, numbers.next()??);
            On::Weekday { month, nth, weekday }
        } else if let Some(day) = on.strip_prefix('J') {
            On::Julian(day.parse().ok()?)
        } else {
            On::OfYear(on.parse().ok()?)
        };
        rest.is_empty().then_some(Self { on, seconds })
    }

    /// The seconds of the clocks at this day of a year.
    fn of(&self, year: i64) -> i64 {
        let first = calendar::days(year, 1, 1);
        let day = match self.on {
            On::Weekday { month, nth, weekday } => {
                let begin = calendar::days(year, month, 1);
                let days = calendar::days_in(year, month);
                let ahead = (weekday - calendar::weekday(begin)).rem_euclid(7);
                let day = ahead + 7 * (nth - 1);
                begin + if day >= days { day - 7 } else { day }
            }
            On::Julian(day) => first + day - 1 + i64::from(calendar::is_leap(year) && day >= 60),
            On::OfYear(day) => first + day,
        };
        day * calendar::DAY + self.seconds
    }
}

/// Skips a name: letters, or anything between angle brackets.
fn skip_name(text: &str) -> Option<&str> {
    match text.strip_prefix('<') {
        Some(rest) => rest.split_once('>').map(|(_, rest)| rest),
        None => Some(text.trim_start_matches(|c: char| c.is_ascii_alphabetic())),
    }
}

/// `[+-]h[:m[:s]]` in seconds, and what follows.
fn time(text: &str) -> Option<(i64, &str)> {
    let unsigned = text.trim_start_matches(['+', '-']);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(unsigned.len());
    let (clock, rest) = unsigned.split_at(end);
    let mut seconds = 0;
    for (part, unit) in clock.split(':').zip([3600, 60, 1]) {
        seconds += part.parse::<i64>().ok()? * unit;
    }
    Some((if text.starts_with('-') { -seconds } else { seconds }, rest))
}
