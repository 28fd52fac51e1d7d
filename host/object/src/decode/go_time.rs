//! Times as Go's decoder takes them, with its messages for those that it does not.
//!
//! It is more lenient than RFC 3339 where Go is (an hour of one digit, a fraction behind a comma), and names what was
//! looked for at which place of the text.

use crate::schema::quoted;
use crate::time::Timestamp;

/// How a field writes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Seconds, and a fraction where one is given.
    Time,
    /// Exactly six digits of a fraction.
    MicroTime,
}

impl Layout {
    fn text(self) -> &'static str {
        match self {
            Self::Time => "2006-01-02T15:04:05Z07:00",
            Self::MicroTime => "2006-01-02T15:04:05.000000Z07:00",
        }
    }

    /// The text that Go writes for a time.
    pub(crate) fn write(self, time: Timestamp) -> String {
        match self {
            Self::Time => time.to_rfc3339(),
            Self::MicroTime => time.to_rfc3339_micros(),
        }
    }
}

/// Reads a time.
///
/// # Errors
/// Go's message: `parsing time "x" as "2006-01-02T15:04:05Z07:00": cannot parse "x" as "2006"`.
pub(crate) fn parse(text: &str, layout: Layout) -> Result<Timestamp, String> {
    let mut reader = Reader { whole: text, rest: text, layout };
    let year = reader.number("2006", 4, 4)?;
    reader.literal("-")?;
    let month = reader.number("01", 2, 2)?;
    reader.within("month", (1..=12).contains(&month))?;
    reader.literal("-")?;
    let day = reader.number("02", 2, 2)?;
    reader.literal("T")?;
    let hour = reader.number("15", 1, 2)?;
    reader.within("hour", hour < 24)?;
    reader.literal(":")?;
    let minute = reader.number("04", 2, 2)?;
    reader.within("minute", minute < 60)?;
    reader.literal(":")?;
    let second = reader.number("05", 2, 2)?;
    reader.within("second", second < 60)?;
    let fraction = reader.fraction()?;
    let zone = reader.zone()?;
    if !reader.rest.is_empty() {
        let rest = quoted(reader.rest);
        return Err(reader.says(&format!("extra text: {rest}")));
    }
    if day < 1 || day > days_in(month, year) {
        return Err(reader.says("day out of range"));
    }
    let canonical =
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}");
    // Every part was checked above; a year that the calendar here cannot hold reads as no year.
    Timestamp::parse_rfc3339(&canonical).ok_or_else(|| reader.cannot(text, "2006"))
}

fn days_in(month: i64, year: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

struct Reader<'a> {
    whole: &'a str,
    rest: &'a str,
    layout: Layout,
}

impl<'a> Reader<'a> {
    fn says(&self, what: &str) -> String {
        format!("parsing time {}: {what}", quoted(self.whole))
    }

    fn cannot(&self, at: &str, element: &str) -> String {
        let (whole, layout) = (quoted(self.whole), quoted(self.layout.text()));
        let (at, element) = (quoted(at), quoted(element));
        format!("parsing time {whole} as {layout}: cannot parse {at} as {element}")
    }

    fn within(&self, what: &str, holds: bool) -> Result<(), String> {
        if holds { Ok(()) } else { Err(self.says(&format!("{what} out of range"))) }
    }

    fn literal(&mut self, text: &str) -> Result<(), String> {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(self.cannot(self.rest, text)),
        }
    }

    /// A number of `least` to `most` digits.
    fn number(&mut self, element: &str, least: usize, most: usize) -> Result<i64, String> {
        let count = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if count < least {
            return Err(self.cannot(self.rest, element));
        }
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(digits.bytes().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    }

    /// The fraction with its point; empty where there is none.
    fn fraction(&mut self) -> Result<String, String> {
        let digits = match self.rest.as_bytes() {
            [b'.' | b',', rest @ ..] => rest.iter().take_while(|b| b.is_ascii_digit()).count(),
            _ => 0,
        };
        let wanted = match self.layout {
            Layout::Time => digits,
            Layout::MicroTime if digits < 6 => return Err(self.cannot(self.rest, ".000000")),
            Layout::MicroTime => 6,
        };
        if wanted == 0 {
            return Ok(String::new());
        }
        let (fraction, rest) = self.rest.split_at(wanted + 1);
        self.rest = rest;
        Ok(format!(".{}", fraction.get(1..).unwrap_or_default()))
    }

    fn zone(&mut self) -> Result<&'a str, String> {
        const ELEMENT: &str = "Z07:00";
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok("Z");
        }
        let [b'+' | b'-', a, b, b':', c, d, ..] = self.rest.as_bytes() else {
            return Err(self.cannot(self.rest, ELEMENT));
        };
        if ![a, b, c, d].into_iter().all(u8::is_ascii_digit) {
            return Err(self.cannot(self.rest, ELEMENT));
        }
        let (zone, rest) = self.rest.split_at(6);
        self.within("time zone offset hour", (*a, *b) < (b'2', b'4'))?;
        self.within("time zone offset minute", *c < b'6')?;
        self.rest = rest;
        Ok(zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_reads_them() {
        let canonical = |text: &str, layout: Layout| parse(text, layout).map(|t| layout.write(t));
        for (text, layout, wanted) in [
            ("2020-01-01T01:00:00+01:00", Layout::Time, "2020-01-01T00:00:00Z"),
            ("2020-02-29T1:00:00.5Z", Layout::Time, "2020-02-29T01:00:00Z"),
            ("2020-01-01T00:00:00,123456Z", Layout::MicroTime, "2020-01-01T00:00:00.123456Z"),
        ] {
            assert_eq!(canonical(text, layout).as_deref(), Ok(wanted));
        }
    }

    #[test]
    fn messages_name_the_place() {
        let says = |text: &str, layout| {
            parse(text, layout).expect_err(text).replacen(&quoted(text), "T", 1)
        };
        let (seconds, micros) = (Layout::Time, Layout::MicroTime);
        let form = "as \"2006-01-02T15:04:05Z07:00\": cannot parse";
        assert_eq!(says("no", seconds), format!("parsing time T {form} \"no\" as \"2006\""));
        assert_eq!(says("2020-01-01", seconds), format!("parsing time T {form} \"\" as \"T\""));
        assert_eq!(says("2020-13-01T00:00:00Z", seconds), "parsing time T: month out of range");
        assert_eq!(says("2021-02-29T00:00:00Z", seconds), "parsing time T: day out of range");
        assert_eq!(says("2020-01-01T00:00:00Zx", seconds), "parsing time T: extra text: \"x\"");
        assert_eq!(
            says("2020-01-01T00:00:00Z", micros),
            "parsing time T as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \"Z\" as \".000000\""
        );
    }
}
