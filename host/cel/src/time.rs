//! Points and spans of time as expressions see them.
//!
//! Owns their texts (RFC 3339; `1h30m`), their arithmetic with its limits, and calendar fields by time zone.
//! Must not know of the clock: nothing here asks what time it is.

use std::fmt;

const NANOS: i64 = 1_000_000_000;
/// From the first second of the year 1 to the last of the year 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// A span of time in nanoseconds: 292 years to either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub i64);

impl Duration {
    /// Reads `1h30m`, `1.5s`, `-2ms`, `0`.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, mut rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Some(Self(0));
        }
        if rest.is_empty() {
            return None;
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let (nanos, after) = one_unit(rest)?;
            total = total.checked_add(nanos)?;
            rest = after;
        }
        let total = if negative { -total } else { total };
        i64::try_from(total).ok().map(Self)
    }
}

/// A number with its unit from the front of a text, in nanoseconds.
fn one_unit(text: &str) -> Option<(i128, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() > 19 {
        return None;
    }
    let units: [(&str, i64); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", NANOS),
        ("m", 60 * NANOS),
        ("h", 3600 * NANOS),
    ];
    let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, after) = rest.split_at(unit_end);
    let (_, unit) = units.into_iter().find(|(name, _)| *name == unit)?;
    let unit = i128::from(unit);
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole * unit;
    let mut scale = unit;
    for digit in fraction.bytes().take(18) {
        scale /= 10;
        nanos += i128::from(digit - b'0') * scale;
    }
    Some((nanos, after))
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nanos = self.0.unsigned_abs();
        let (whole, fraction) = (nanos / NANOS.unsigned_abs(), nanos % NANOS.unsigned_abs());
        if fraction == 0 {
            return write!(f, "{sign}{whole}s");
        }
        let fraction = format!("{fraction:09}");
        write!(f, "{sign}{whole}.{}s", fraction.trim_end_matches('0'))
    }
}

/// A point in time, from the year 1 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

/// A point in time as a calendar shows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    /// From 1.
    pub(crate) month: i64,
    /// From 1.
    pub(crate) day: i64,
    /// From 0.
    pub(crate) day_of_year: i64,
    /// From 0, which is Sunday.
    pub(crate) day_of_week: i64,
    pub(crate) hours: i64,
    pub(crate) minutes: i64,
    pub(crate) seconds: i64,
    pub(crate) millis: i64,
}

impl Timestamp {
    /// A point by seconds since 1970; `None` outside of the years 1 to 9999.
    pub fn new(seconds: i64, nanos: u32) -> Option<Self> {
        SECONDS.contains(&seconds).then_some(Self { seconds, nanos })
    }

    /// Whole seconds since 1970.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Reads RFC 3339, as `2020-01-01T00:00:00Z`.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        if bytes.len() < 20 || !text.is_ascii() || bytes[10] != b'T' {
            return None;
        }
        let day = parse_day(&text[..10])?;
        let (hours, minutes, seconds) = clock(&text[11..19])?;
        let (nanos, rest) = fraction(&text[19..])?;
        let offset = zone(rest)?;
        Self::new(day * 86_400 + hours * 3600 + minutes * 60 + seconds - offset, nanos)
    }

    /// Reads a day, as `2020-01-01`.
    pub fn parse_date(text: &str) -> Option<Self> {
        if !text.is_ascii() || text.len() != 10 {
            return None;
        }
        Self::new(parse_day(text)? * 86_400, 0)
    }

    fn nanos_since(self) -> i128 {
        i128::from(self.seconds) * i128::from(NANOS) + i128::from(self.nanos)
    }

    fn from_nanos(nanos: i128) -> Option<Self> {
        let seconds = i64::try_from(nanos.div_euclid(i128::from(NANOS))).ok()?;
        Self::new(seconds, u32::try_from(nanos.rem_euclid(i128::from(NANOS))).ok()?)
    }

    /// Later by a span.
    pub fn later(self, span: Duration) -> Option<Self> {
        Self::from_nanos(self.nanos_since() + i128::from(span.0))
    }

    /// Earlier by a span.
    pub fn earlier(self, span: Duration) -> Option<Self> {
        Self::from_nanos(self.nanos_since() - i128::from(span.0))
    }

    /// The span since another point.
    pub fn since(self, other: Self) -> Option<Duration> {
        i64::try_from(self.nanos_since() - other.nanos_since()).ok().map(Duration)
    }

    pub(crate) fn civil(self, offset: i64) -> Civil {
        let local = self.seconds + offset;
        let (days, second) = (local.div_euclid(86_400), local.rem_euclid(86_400));
        let (year, month, day) = date_of(days);
        Civil {
            year,
            month,
            day,
            day_of_year: days - days_of(year, 1, 1),
            day_of_week: (days + 4).rem_euclid(7),
            hours: second / 3600,
            minutes: second / 60 % 60,
            seconds: second % 60,
            millis: i64::from(self.nanos / 1_000_000),
        }
    }

    /// The seconds that a zone, by name or as `+05:30`, is ahead of UTC at this time.
    pub(crate) fn zone_offset(self, name: &str) -> Option<i64> {
        if name.is_empty() || name == "UTC" {
            return Some(0);
        }
        if name.contains(':') {
            let signed =
                if name.starts_with(['+', '-']) { name.to_owned() } else { format!("+{name}") };
            return signed.is_ascii().then(|| zone(&signed)).flatten();
        }
        let zone = jiff::tz::TimeZone::get(name).ok()?;
        let instant = jiff::Timestamp::from_second(self.seconds).ok()?;
        Some(i64::from(zone.to_offset(instant).seconds()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hours, minutes, seconds, .. } = self.civil(0);
        write!(f, "{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}")?;
        if self.nanos != 0 {
            write!(f, ".{}", format!("{:09}", self.nanos).trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

fn digits(text: &str) -> Option<i64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Days since 1970 of `2020-01-01`.
fn parse_day(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let (year, month, day) = (digits(&text[..4])?, digits(&text[5..7])?, digits(&text[8..10])?);
    let days = days_of(year, month, day);
    (date_of(days) == (year, month, day)).then_some(days)
}

fn clock(text: &str) -> Option<(i64, i64, i64)> {
    let bytes = text.as_bytes();
    if bytes[2] != b':' || bytes[5] != b':' {
        return None;
    }
    let (hours, minutes, seconds) =
        (digits(&text[..2])?, digits(&text[3..5])?, digits(&text[6..8])?);
    (hours < 24 && minutes < 60 && seconds < 60).then_some((hours, minutes, seconds))
}

/// The nanoseconds behind a point, and what follows.
fn fraction(text: &str) -> Option<(u32, &str)> {
    let Some(rest) = text.strip_prefix(['.', ',']) else { return Some((0, text)) };
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (fraction, after) = rest.split_at(end);
    if fraction.is_empty() {
        return None;
    }
    let nanos: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    Some((nanos.parse().ok()?, after))
}

/// The seconds ahead of UTC of `Z` or `+05:30`.
fn zone(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':')?;
    if hours.len() > 2 || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Days since 1970 of a date of the Gregorian calendar.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = (month + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of days since 1970.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::{Duration, Timestamp};

    #[test]
    fn times_go_there_and_back() {
        for text in ["2020-02-29T12:34:56Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"] {
            assert_eq!(Timestamp::parse(text).expect(text).to_string(), text);
        }
        let east = Timestamp::parse("2020-01-01T01:30:00+05:30").expect("a time");
        assert_eq!(east.to_string(), "2019-12-31T20:00:00Z");
        for text in ["2021-02-29T00:00:00Z", "2020-01-01", "2020-01-01T24:00:00Z", "x", ""] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn durations_add_their_units() {
        assert_eq!(Duration::parse("1h1m1.5s").expect("a span").to_string(), "3661.5s");
        assert_eq!(Duration::parse("-2ms").expect("a span").to_string(), "-0.002s");
        for text in ["", "-", "1", "1x", "s", "9999999999h"] {
            assert_eq!(Duration::parse(text), None, "{text}");
        }
    }

    #[test]
    fn zones_have_names_and_offsets() {
        let winter = Timestamp::parse("2020-01-01T12:00:00Z").expect("a time");
        assert_eq!(winter.zone_offset("America/New_York"), Some(-5 * 3600));
        assert_eq!(winter.zone_offset("-02:30"), Some(-(2 * 3600 + 1800)));
        assert_eq!(winter.zone_offset("Nowhere"), None);
        assert_eq!(winter.civil(0).day_of_week, 3);
        assert_eq!(winter.civil(0).day_of_year, 0);
    }
}
