//! Points in time as data: microseconds since the Unix epoch and their RFC 3339 forms.
//!
//! Reading a clock is somebody else's work; this module only formats and parses (RFC 3339, UTC).

use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01T00:00:00Z; negative before.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Timestamp(pub i64);

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

impl Timestamp {
    /// From whole seconds since the epoch.
    pub fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(MICROS_PER_SECOND))
    }

    /// Whole seconds since the epoch, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// Kubernetes' `Time`: whole seconds, as in `2026-01-02T03:04:05Z`.
    pub fn to_rfc3339(self) -> String {
        let (date, time) = self.split();
        format!("{date}T{time}Z")
    }

    /// Kubernetes' `MicroTime`: six digits, as in `2026-01-02T03:04:05.000000Z`.
    pub fn to_rfc3339_micros(self) -> String {
        let (date, time) = self.split();
        format!("{date}T{time}.{:06}Z", self.0.rem_euclid(MICROS_PER_SECOND))
    }

    fn split(self) -> (String, String) {
        let days = self.seconds().div_euclid(SECONDS_PER_DAY);
        let of_day = self.seconds().rem_euclid(SECONDS_PER_DAY);
        let (year, month, day) = civil_from_days(days);
        let time = format!("{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60);
        (format!("{year:04}-{month:02}-{day:02}"), time)
    }

    /// Parses an RFC 3339 time with any offset; a fraction beyond microseconds is cut.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let number = |from: usize, to: usize| -> Option<i64> {
            let part = text.get(from..to)?;
            part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten()
        };
        let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|b| wanted.contains(b));
        if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt") && is(13, b":") && is(16, b":")) {
            return None;
        }
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        if !(1..=12).contains(&month)
            || !(1..=31).contains(&day)
            || hour > 23
            || minute > 59
            || second > 60
        {
            return None;
        }
        let (micros, zone) = fraction(text.get(19..)?)?;
        let seconds = days_from_civil(year, month, day) * SECONDS_PER_DAY
            + hour * 3600
            + minute * 60
            + second;
        Some(Self((seconds - offset_seconds(zone)?) * MICROS_PER_SECOND + micros))
    }
}

/// Splits `.123456Z` into microseconds and the zone.
fn fraction(rest: &str) -> Option<(i64, &str)> {
    let Some(digits) = rest.strip_prefix('.') else { return Some((0, rest)) };
    let end = digits.find(|c: char| !c.is_ascii_digit())?;
    if end == 0 {
        return None;
    }
    let micros = digits.bytes().take(end.min(6)).fold(0, |sum, b| sum * 10 + i64::from(b - b'0'));
    let scale = 10_i64.pow(u32::try_from(6 - end.min(6)).ok()?);
    Some((micros * scale, digits.get(end..)?))
}

fn offset_seconds(zone: &str) -> Option<i64> {
    if zone == "Z" || zone == "z" {
        return Some(0);
    }
    let (sign, rest) = match zone.as_bytes().first()? {
        b'+' => (1, zone.get(1..)?),
        b'-' => (-1, zone.get(1..)?),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Days since the epoch of a date in the proleptic Gregorian calendar (Hinnant's algorithm).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_is_written_and_read_back() {
        let at = Timestamp(1_767_323_045_000_007);
        assert_eq!(at.to_rfc3339(), "2026-01-02T03:04:05Z");
        assert_eq!(at.to_rfc3339_micros(), "2026-01-02T03:04:05.000007Z");
        assert_eq!(Timestamp::parse_rfc3339("2026-01-02T03:04:05.000007Z"), Some(at));
        assert_eq!(Timestamp::parse_rfc3339("2026-01-02T04:04:05.0000071+01:00"), Some(at));
        assert_eq!(Timestamp::from_seconds(-1).to_rfc3339(), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-01-02",
            "2026-13-02T03:04:05Z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05.Z",
        ] {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
        }
    }
}
