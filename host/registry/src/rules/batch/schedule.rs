//! Schedules of `CronJobs`: five fields, or a name such as `@daily`; and the time zones they are meant in.

/// The bounds of a field, and the names of its numbers from the least on.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const FIELDS: [Bounds; 5] = [
    Bounds { min: 0, max: 59, names: &[] },
    Bounds { min: 0, max: 23, names: &[] },
    Bounds { min: 1, max: 31, names: &[] },
    Bounds { min: 1, max: 12, names: &MONTHS },
    Bounds { min: 0, max: 6, names: &DAYS },
];

const NAMED: [&str; 7] =
    ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Checks a schedule.
///
/// # Errors
/// What is wrong with it, in kube-apiserver's words.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    let mut rest = schedule;
    if rest.is_empty() {
        return Err("empty spec string".to_owned());
    }
    if rest.starts_with("TZ=") || rest.starts_with("CRON_TZ=") {
        let (zone, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let zone = zone.split_once('=').map_or("", |(_, zone)| zone);
        check_zone(zone).map_err(|why| format!("provided bad location {zone}: {why}"))?;
        rest = after.trim();
    }
    if rest.starts_with('@') {
        return check_named(rest);
    }
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let (count, list) = (fields.len(), fields.join(" "));
        return Err(format!("expected exactly 5 fields, found {count}: [{list}]"));
    }
    for (field, bounds) in fields.iter().zip(FIELDS) {
        for range in field.split(',').filter(|range| !range.is_empty()) {
            check_range(range, bounds)?;
        }
    }
    Ok(())
}

fn check_named(name: &str) -> Result<(), String> {
    if NAMED.contains(&name) {
        return Ok(());
    }
    let Some(duration) = name.strip_prefix("@every ") else {
        return Err(format!("unrecognized descriptor: {name}"));
    };
    if is_duration(duration) {
        return Ok(());
    }
    let shown = format!("time: invalid duration \"{duration}\"");
    Err(format!("failed to parse duration {name}: {shown}"))
}

/// Go's form of a duration, such as `1h30m`.
fn is_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, unit) = rest.split_at(end);
        let units = ["ns", "us", "µs", "ms", "s", "m", "h"];
        let end = unit.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit.len());
        let (unit, after) = unit.split_at(end);
        if number.parse::<f64>().is_err() || !units.contains(&unit) {
            return false;
        }
        rest = after;
    }
    true
}

/// `*`, `N`, `N-M`, each with `/STEP`.
fn check_range(range: &str, bounds: Bounds) -> Result<(), String> {
    let parts: Vec<&str> = range.split('/').collect();
    let ends: Vec<&str> = parts.first().copied().unwrap_or_default().split('-').collect();
    let first = ends.first().copied().unwrap_or_default();
    let (start, mut end) = if matches!(first, "*" | "?") {
        (bounds.min, bounds.max)
    } else {
        let start = number_or_name(first, bounds.names, bounds.min)?;
        match ends.get(1) {
            None => (start, start),
            Some(last) if ends.len() == 2 => {
                (start, number_or_name(last, bounds.names, bounds.min)?)
            }
            Some(_) => return Err(format!("too many hyphens: {range}")),
        }
    };
    let step = match parts.get(1) {
        None => 1,
        Some(step) if parts.len() == 2 => {
            if ends.len() == 1 {
                end = bounds.max;
            }
            number(step)?
        }
        Some(_) => return Err(format!("too many slashes: {range}")),
    };
    let (min, max) = (bounds.min, bounds.max);
    if start < min {
        return Err(format!("beginning of range ({start}) below minimum ({min}): {range}"));
    }
    if end > max {
        return Err(format!("end of range ({end}) above maximum ({max}): {range}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {range}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {range}"));
    }
    Ok(())
}

fn number_or_name(text: &str, names: &[&str], min: u32) -> Result<u32, String> {
    let lower = text.to_lowercase();
    match names.iter().position(|name| *name == lower) {
        Some(index) => Ok(min.saturating_add(u32::try_from(index).unwrap_or(u32::MAX))),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let go = |why: &str| {
        format!("failed to parse int from {text}: strconv.Atoi: parsing \"{text}\": {why}")
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(go("invalid syntax"));
    }
    let number: i64 = text.parse().map_err(|_| go("value out of range"))?;
    if number < 0 {
        return Err(format!("negative number ({number}) not allowed: {text}"));
    }
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

/// Checks the name of a time zone.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_zone(name: &str) -> Result<(), String> {
    // The names of zones are those of files, which have one case.
    let known = jiff::tz::TimeZone::get(name).is_ok_and(|zone| zone.iana_name() == Some(name));
    if name.is_empty() || name == "UTC" || known {
        return Ok(());
    }
    Err(format!("unknown time zone {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(schedule: &str, why: &str) {
        assert_eq!(check(schedule), Err(why.to_owned()), "{schedule}");
    }

    #[test]
    fn schedules_that_people_write_are_taken() {
        for schedule in [
            "0 0 1 1 *",
            "*/5 8-18 * * mon-fri",
            "0,30 * ? JAN,dec 0",
            "@daily",
            "@every 1h30m",
            "59 23 31 12 6",
            "5/10 * * * *",
        ] {
            assert_eq!(check(schedule), Ok(()), "{schedule}");
        }
    }

    #[test]
    fn schedules_that_mean_nothing_are_refused() {
        refused("", "empty spec string");
        refused("x y", "expected exactly 5 fields, found 2: [x y]");
        refused("99 * * * *", "end of range (99) above maximum (59): 99");
        refused("* * 0 * *", "beginning of range (0) below minimum (1): 0");
        refused("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1");
        refused("*/0 * * * *", "step of range should be a positive number: */0");
        refused("1-2-3 * * * *", "too many hyphens: 1-2-3");
        refused("1/2/3 * * * *", "too many slashes: 1/2/3");
        refused("@often", "unrecognized descriptor: @often");
        refused(
            "a * * * *",
            "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax",
        );
    }

    #[test]
    fn zones_are_those_of_iana() {
        assert_eq!(check_zone("Europe/Berlin"), Ok(()));
        assert_eq!(check_zone("europe/berlin"), Err("unknown time zone europe/berlin".to_owned()));
        assert_eq!(check_zone("Mars/Olympus"), Err("unknown time zone Mars/Olympus".to_owned()));
    }
}
