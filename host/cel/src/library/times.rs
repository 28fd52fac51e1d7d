//! Parts of times and spans.

use super::{Result, text};
use crate::error::EvalError;
use crate::signature::Cost::One;
use crate::signature::Row;
use crate::signature::Run::Pure;
use crate::time::Civil;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    ("timestamp_to_year", "timestamp::getFullYear()->int", Pure(year), One),
    ("timestamp_to_year_with_tz", "timestamp::getFullYear(string)->int", Pure(year), One),
    ("timestamp_to_month", "timestamp::getMonth()->int", Pure(month), One),
    ("timestamp_to_month_with_tz", "timestamp::getMonth(string)->int", Pure(month), One),
    ("timestamp_to_day_of_year", "timestamp::getDayOfYear()->int", Pure(day_of_year), One),
    (
        "timestamp_to_day_of_year_with_tz",
        "timestamp::getDayOfYear(string)->int",
        Pure(day_of_year),
        One,
    ),
    ("timestamp_to_day_of_month", "timestamp::getDayOfMonth()->int", Pure(day_of_month), One),
    (
        "timestamp_to_day_of_month_with_tz",
        "timestamp::getDayOfMonth(string)->int",
        Pure(day_of_month),
        One,
    ),
    ("timestamp_to_day_of_month_1_based", "timestamp::getDate()->int", Pure(date), One),
    (
        "timestamp_to_day_of_month_1_based_with_tz",
        "timestamp::getDate(string)->int",
        Pure(date),
        One,
    ),
    ("timestamp_to_day_of_week", "timestamp::getDayOfWeek()->int", Pure(day_of_week), One),
    (
        "timestamp_to_day_of_week_with_tz",
        "timestamp::getDayOfWeek(string)->int",
        Pure(day_of_week),
        One,
    ),
    ("timestamp_to_hours", "timestamp::getHours()->int", Pure(hours), One),
    ("timestamp_to_hours_with_tz", "timestamp::getHours(string)->int", Pure(hours), One),
    ("timestamp_to_minutes", "timestamp::getMinutes()->int", Pure(minutes), One),
    ("timestamp_to_minutes_with_tz", "timestamp::getMinutes(string)->int", Pure(minutes), One),
    ("timestamp_to_seconds", "timestamp::getSeconds()->int", Pure(seconds), One),
    ("timestamp_to_seconds_tz", "timestamp::getSeconds(string)->int", Pure(seconds), One),
    ("timestamp_to_milliseconds", "timestamp::getMilliseconds()->int", Pure(millis), One),
    (
        "timestamp_to_milliseconds_with_tz",
        "timestamp::getMilliseconds(string)->int",
        Pure(millis),
        One,
    ),
    ("duration_to_hours", "duration::getHours()->int", Pure(hours), One),
    ("duration_to_minutes", "duration::getMinutes()->int", Pure(minutes), One),
    ("duration_to_seconds", "duration::getSeconds()->int", Pure(seconds), One),
    ("duration_to_milliseconds", "duration::getMilliseconds()->int", Pure(millis), One),
];

fn civil(args: &[Value<'_>]) -> Result<Civil> {
    let Some(Value::Timestamp(time)) = args.first() else {
        return Err(EvalError::no_such_overload());
    };
    if args.len() < 2 {
        return Ok(time.civil(0));
    }
    let name = text(args, 1)?;
    let offset = time.zone_offset(name);
    offset
        .map(|offset| time.civil(offset))
        .ok_or_else(|| EvalError::new(format!("unknown time zone {}", &**name)))
}

fn year<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    civil(args).map(|civil| Value::Int(civil.year))
}

fn month<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    civil(args).map(|civil| Value::Int(civil.month - 1))
}

fn day_of_year<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    civil(args).map(|civil| Value::Int(civil.day_of_year))
}

fn day_of_month<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    civil(args).map(|civil| Value::Int(civil.day - 1))
}

fn date<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    civil(args).map(|civil| Value::Int(civil.day))
}

fn day_of_week<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    civil(args).map(|civil| Value::Int(civil.day_of_week))
}

/// A span as a whole in this unit, or a part of a time.
fn part<'a>(args: &[Value<'a>], unit: i64, of_time: impl Fn(Civil) -> i64) -> Result<Value<'a>> {
    if let Some(Value::Duration(span)) = args.first() {
        return Ok(Value::Int(span.0 / unit));
    }
    civil(args).map(|civil| Value::Int(of_time(civil)))
}

fn hours<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    part(args, 3_600_000_000_000, |civil| civil.hours)
}

fn minutes<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    part(args, 60_000_000_000, |civil| civil.minutes)
}

fn seconds<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    part(args, 1_000_000_000, |civil| civil.seconds)
}

fn millis<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    part(args, 1_000_000, |civil| civil.millis)
}
