//! Lists: Kubernetes' own functions, the language's extensions, and `sets`.

use std::cmp::Ordering;

use super::{Result, int, list, number};
use crate::error::EvalError;
use crate::eval::{ELEMENTS_MAX, Machine};
use crate::ops::{arithmetic, compare};
use crate::plan::Binary;
use crate::signature::Cost::{Elements, Flatten, One, Range, Reverse, SelfCompare, Sets, Slice};
use crate::signature::Row;
use crate::signature::Run::{Host, Pure};
use crate::value::{List, Value};

pub(super) const ROWS: &[Row] = &[
    ("list_a_is_sorted_int", "list<int>::isSorted()->bool", Pure(is_sorted), Elements),
    ("list_a_is_sorted_uint", "list<uint>::isSorted()->bool", Pure(is_sorted), Elements),
    ("list_a_is_sorted_double", "list<double>::isSorted()->bool", Pure(is_sorted), Elements),
    ("list_a_is_sorted_bool", "list<bool>::isSorted()->bool", Pure(is_sorted), Elements),
    ("list_a_is_sorted_duration", "list<duration>::isSorted()->bool", Pure(is_sorted), Elements),
    ("list_a_is_sorted_timestamp", "list<timestamp>::isSorted()->bool", Pure(is_sorted), Elements),
    ("list_a_is_sorted_string", "list<string>::isSorted()->bool", Pure(is_sorted), Elements),
    ("list_a_is_sorted_bytes", "list<bytes>::isSorted()->bool", Pure(is_sorted), Elements),
    ("list_a_sum_int", "list<int>::sum()->int", Pure(sum_int), Elements),
    ("list_a_sum_uint", "list<uint>::sum()->uint", Pure(sum_uint), Elements),
    ("list_a_sum_double", "list<double>::sum()->double", Pure(sum_double), Elements),
    ("list_a_sum_duration", "list<duration>::sum()->duration", Pure(sum_duration), Elements),
    ("list_a_max_int", "list<int>::max()->int", Pure(max), Elements),
    ("list_a_max_uint", "list<uint>::max()->uint", Pure(max), Elements),
    ("list_a_max_double", "list<double>::max()->double", Pure(max), Elements),
    ("list_a_max_bool", "list<bool>::max()->bool", Pure(max), Elements),
    ("list_a_max_duration", "list<duration>::max()->duration", Pure(max), Elements),
    ("list_a_max_timestamp", "list<timestamp>::max()->timestamp", Pure(max), Elements),
    ("list_a_max_string", "list<string>::max()->string", Pure(max), Elements),
    ("list_a_max_bytes", "list<bytes>::max()->bytes", Pure(max), Elements),
    ("list_a_min_int", "list<int>::min()->int", Pure(min), Elements),
    ("list_a_min_uint", "list<uint>::min()->uint", Pure(min), Elements),
    ("list_a_min_double", "list<double>::min()->double", Pure(min), Elements),
    ("list_a_min_bool", "list<bool>::min()->bool", Pure(min), Elements),
    ("list_a_min_duration", "list<duration>::min()->duration", Pure(min), Elements),
    ("list_a_min_timestamp", "list<timestamp>::min()->timestamp", Pure(min), Elements),
    ("list_a_min_string", "list<string>::min()->string", Pure(min), Elements),
    ("list_a_min_bytes", "list<bytes>::min()->bytes", Pure(min), Elements),
    ("list_a_index_of_int", "list<A>::indexOf(A)->int", Host(index_of), Elements),
    ("list_a_last_index_of_int", "list<A>::lastIndexOf(A)->int", Host(last_index_of), Elements),
    ("list_slice", "list<A>::slice(int,int)->list<A>", Pure(slice), Slice),
    ("list_flatten", "list<list<A>>::flatten()->list<A>", Pure(flatten), Flatten),
    ("list_flatten_int", "list<dyn>::flatten(int)->list<dyn>", Pure(flatten), Flatten),
    ("list_distinct", "list<A>::distinct()->list<A>", Host(distinct), SelfCompare(0)),
    ("list_reverse", "list<A>::reverse()->list<A>", Pure(reverse), Reverse),
    ("lists_range", "lists.range(int)->list<int>", Pure(range), Range),
    ("list_int_sort", "list<int>::sort()->list<int>", Pure(sort), SelfCompare(0)),
    ("list_uint_sort", "list<uint>::sort()->list<uint>", Pure(sort), SelfCompare(0)),
    ("list_double_sort", "list<double>::sort()->list<double>", Pure(sort), SelfCompare(0)),
    ("list_bool_sort", "list<bool>::sort()->list<bool>", Pure(sort), SelfCompare(0)),
    ("list_duration_sort", "list<duration>::sort()->list<duration>", Pure(sort), SelfCompare(0)),
    ("list_timestamp_sort", "list<timestamp>::sort()->list<timestamp>", Pure(sort), SelfCompare(0)),
    ("list_string_sort", "list<string>::sort()->list<string>", Pure(sort), SelfCompare(0)),
    ("list_bytes_sort", "list<bytes>::sort()->list<bytes>", Pure(sort), SelfCompare(0)),
    (
        "list_sort_by_keys",
        "list<A>::@sortByAssociatedKeys(list<B>)->list<A>",
        Pure(sort_by),
        SelfCompare(1),
    ),
    ("list_first", "list<A>::first()->optional<A>", Pure(first), One),
    ("list_last", "list<A>::last()->optional<A>", Pure(last), One),
    (
        "list_sets_contains_list",
        "sets.contains(list<A>,list<A>)->bool",
        Host(set_contains),
        Sets(1.0),
    ),
    (
        "list_sets_equivalent_list",
        "sets.equivalent(list<A>,list<A>)->bool",
        Host(set_equal),
        Sets(2.0),
    ),
    (
        "list_sets_intersects_list",
        "sets.intersects(list<A>,list<A>)->bool",
        Host(set_meets),
        Sets(1.0),
    ),
];

fn is_sorted<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let mut before: Option<Value<'a>> = None;
    for item in list(args, 0)?.iter() {
        if let Some(before) = &before
            && compare(before, &item)?.is_some_and(Ordering::is_gt)
        {
            return Ok(Value::Bool(false));
        }
        before = Some(item);
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(args: &[Value<'a>], zero: Value<'a>) -> Result<Value<'a>> {
    list(args, 0)?.iter().try_fold(zero, |sum, item| arithmetic(Binary::Add, &sum, &item))
}

fn sum_int<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    // A list that is dynamic tells by its first element what it is a list of.
    match list(args, 0)?.get(0) {
        Some(Value::Double(_)) => sum_double(args),
        Some(Value::Uint(_)) => sum_uint(args),
        Some(Value::Duration(_)) => sum_duration(args),
        _ => sum(args, Value::Int(0)),
    }
}

fn sum_uint<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    sum(args, Value::Uint(0))
}

fn sum_double<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    sum(args, Value::Double(0.0))
}

fn sum_duration<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    sum(args, Value::Duration(crate::time::Duration(0)))
}

fn extreme<'a>(args: &[Value<'a>], name: &str, better: Ordering) -> Result<Value<'a>> {
    let mut best: Option<Value<'a>> = None;
    for item in list(args, 0)?.iter() {
        match &best {
            Some(found) if compare(&item, found)? != Some(better) => {}
            _ => best = Some(item),
        }
    }
    best.ok_or_else(|| EvalError::new(format!("{name} called on empty list")))
}

fn max<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    extreme(args, "max", Ordering::Greater)
}

fn min<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    extreme(args, "min", Ordering::Less)
}

fn index_of<'a>(machine: &mut Machine<'a, '_>, args: &[Value<'a>]) -> Result<Value<'a>> {
    for (place, item) in list(args, 0)?.iter().enumerate() {
        if machine.equal(&item, &args[1])? {
            return Ok(number(place));
        }
    }
    Ok(Value::Int(-1))
}

fn last_index_of<'a>(machine: &mut Machine<'a, '_>, args: &[Value<'a>]) -> Result<Value<'a>> {
    let list = list(args, 0)?;
    for place in (0..list.len()).rev() {
        let item = list.get(place).ok_or_else(EvalError::no_such_overload)?;
        if machine.equal(&item, &args[1])? {
            return Ok(number(place));
        }
    }
    Ok(Value::Int(-1))
}

fn slice<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let (list, from, to) = (list(args, 0)?, int(args, 1)?, int(args, 2)?);
    let fail = |message: String| Err(EvalError::new(message));
    let (Ok(start), Ok(end)) = (usize::try_from(from), usize::try_from(to)) else {
        return fail(format!("cannot slice({from}, {to}), negative indexes not supported"));
    };
    if start > end {
        return fail(format!(
            "cannot slice({from}, {to}), start index must be less than or equal to end index"
        ));
    }
    if end > list.len() {
        return fail(format!("cannot slice({from}, {to}), list is length {}", list.len()));
    }
    Ok(Value::list((start..end).filter_map(|place| list.get(place)).collect()))
}

fn flatten<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let depth = if args.len() > 1 { int(args, 1)? } else { 1 };
    let Ok(depth) = usize::try_from(depth) else {
        return Err(EvalError::new("level must be non-negative"));
    };
    let mut flat = Vec::new();
    flatten_into(&mut flat, list(args, 0)?, depth.min(256))?;
    Ok(Value::list(flat))
}

fn flatten_into<'a>(flat: &mut Vec<Value<'a>>, list: &List<'a>, depth: usize) -> Result<()> {
    for item in list.iter() {
        match item {
            Value::List(inner) if depth > 0 => flatten_into(flat, &inner, depth - 1)?,
            item => flat.push(item),
        }
        if flat.len() > ELEMENTS_MAX {
            return Err(EvalError::CostLimit);
        }
    }
    Ok(())
}

fn distinct<'a>(machine: &mut Machine<'a, '_>, args: &[Value<'a>]) -> Result<Value<'a>> {
    let mut kept: Vec<Value<'a>> = Vec::new();
    'items: for item in list(args, 0)?.iter() {
        for other in &kept {
            if machine.equal(other, &item)? {
                continue 'items;
            }
        }
        kept.push(item);
    }
    Ok(Value::list(kept))
}

fn reverse<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let mut items: Vec<Value<'a>> = list(args, 0)?.iter().collect();
    items.reverse();
    Ok(Value::list(items))
}

fn range<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let count = int(args, 0)?;
    if usize::try_from(count).is_ok_and(|count| count > ELEMENTS_MAX) {
        return Err(EvalError::CostLimit);
    }
    Ok(Value::list((0..count).map(Value::Int).collect()))
}

fn sort<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    sorted(list(args, 0)?, list(args, 0)?)
}

fn sort_by<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    sorted(list(args, 0)?, list(args, 1)?)
}

fn sorted<'a>(items: &List<'a>, keys: &List<'a>) -> Result<Value<'a>> {
    let mut pairs: Vec<(Value<'a>, Value<'a>)> = keys.iter().zip(items.iter()).collect();
    let Some(first) = pairs.first().map(|(key, _)| key.type_name().to_owned()) else {
        return Ok(Value::list(Vec::new()));
    };
    if pairs.iter().any(|(key, _)| key.type_name() != first) {
        return Err(EvalError::new("list elements must have the same type"));
    }
    // All keys have one type; that type has an order, or comparing any two fails.
    if let Some((key, _)) = pairs.first() {
        compare(key, key).map_err(|_| EvalError::new("list elements must be comparable"))?;
    }
    pairs.sort_by(|left, right| {
        compare(&left.0, &right.0).ok().flatten().unwrap_or(Ordering::Equal)
    });
    Ok(Value::list(pairs.into_iter().map(|(_, item)| item).collect()))
}

fn first<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(list(args, 0)?.get(0).map_or(Value::Optional(None), Value::some))
}

fn last<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let list = list(args, 0)?;
    let last = list.len().checked_sub(1).and_then(|place| list.get(place));
    Ok(last.map_or(Value::Optional(None), Value::some))
}

/// Whether every element of the second list is in the first.
fn covers<'a>(machine: &mut Machine<'a, '_>, whole: &List<'a>, part: &List<'a>) -> Result<bool> {
    for item in part.iter() {
        if !machine.holds(whole, &item)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn set_contains<'a>(machine: &mut Machine<'a, '_>, args: &[Value<'a>]) -> Result<Value<'a>> {
    covers(machine, list(args, 0)?, list(args, 1)?).map(Value::Bool)
}

fn set_equal<'a>(machine: &mut Machine<'a, '_>, args: &[Value<'a>]) -> Result<Value<'a>> {
    let (left, right) = (list(args, 0)?, list(args, 1)?);
    Ok(Value::Bool(covers(machine, left, right)? && covers(machine, right, left)?))
}

fn set_meets<'a>(machine: &mut Machine<'a, '_>, args: &[Value<'a>]) -> Result<Value<'a>> {
    let left = list(args, 0)?;
    for item in list(args, 1)?.iter() {
        if machine.holds(left, &item)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}
