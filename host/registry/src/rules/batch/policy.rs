//! Policies of Jobs: which failures end them, which successes are enough.

use std::collections::BTreeSet;

use quadrille_object::validate_name;
use serde_json::Value;

use crate::field::Errors;
use crate::rules::pod_template::At;

const RULES_MAX: usize = 20;
const VALUES_MAX: usize = 255;
const INDEXES_BYTES_MAX: usize = 64 * 1024;

/// Checks `podFailurePolicy`.
pub(super) fn validate_failure(spec: &At<'_>, errors: &mut Errors) {
    let Some(policy) = spec.child("podFailurePolicy") else { return };
    let count = policy.list("rules").len();
    if count > RULES_MAX {
        errors.too_many(policy.path("rules"), count, RULES_MAX);
    }
    let pod = spec.child_or_empty("template").child_or_empty("spec");
    let names: BTreeSet<&str> = pod
        .items("containers")
        .chain(pod.items("initContainers"))
        .map(|c| c.text("name"))
        .collect();
    for rule in policy.items("rules") {
        validate_rule(spec, &rule, &names, errors);
    }
}

fn validate_rule(spec: &At<'_>, rule: &At<'_>, names: &BTreeSet<&str>, errors: &mut Errors) {
    let known = ["Count", "FailIndex", "FailJob", "Ignore"];
    match rule.text("action") {
        "" => need_one_of(rule, "action", &known, errors),
        "FailIndex" if !spec.has("backoffLimitPerIndex") => {
            let why = "requires the backoffLimitPerIndex to be set";
            errors.invalid(rule.path("action"), &"FailIndex".into(), why);
        }
        _ => errors.known(rule, "action", &known),
    }
    let codes = rule.child("onExitCodes");
    if let Some(codes) = &codes {
        validate_codes(codes, names, errors);
    }
    let conditions = rule.list("onPodConditions").len();
    if conditions > RULES_MAX {
        errors.too_many(rule.path("onPodConditions"), conditions, RULES_MAX);
    }
    for pattern in rule.items("onPodConditions") {
        let name = pattern.text("type");
        errors.invalid_each(&pattern.path("type"), name, validate_name::qualified_name(name));
        let known = ["False", "True", "Unknown"];
        if pattern.text("status").is_empty() {
            need_one_of(&pattern, "status", &known, errors);
        } else {
            errors.known(&pattern, "status", &known);
        }
    }
    let why = match (codes.is_some(), conditions > 0) {
        (true, true) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, false) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return,
    };
    errors.invalid_alone(rule.path.clone(), why);
}

fn need_one_of(at: &At<'_>, key: &str, known: &[&str], errors: &mut Errors) {
    let known: Vec<String> = known.iter().map(|known| Value::from(*known).to_string()).collect();
    errors.required(at.path(key), &format!("valid values: [{}]", known.join(" ")));
}

fn validate_codes(codes: &At<'_>, names: &BTreeSet<&str>, errors: &mut Errors) {
    let known = ["In", "NotIn"];
    if codes.text("operator").is_empty() {
        need_one_of(codes, "operator", &known, errors);
    } else {
        errors.known(codes, "operator", &known);
    }
    if let Some(name) = codes.get("containerName").and_then(Value::as_str)
        && !names.contains(name)
    {
        let why = "must be one of the container or initContainer names in the pod template";
        errors.invalid(codes.path("containerName"), &name.into(), why);
    }
    let values = codes.list("values");
    let shown = Value::from(values.to_vec());
    if values.is_empty() {
        errors.invalid(codes.path("values"), &Value::Null, "at least one value is required");
    } else if values.len() > VALUES_MAX {
        errors.too_many(codes.path("values"), values.len(), VALUES_MAX);
    }
    let (mut seen, mut ordered, mut previous) = (BTreeSet::new(), true, i64::MIN);
    for (index, value) in values.iter().enumerate() {
        let path = codes.index("values", index);
        let number = value.as_i64().unwrap_or(0);
        ordered &= previous <= number;
        previous = number;
        if !seen.insert(number) {
            errors.duplicate(path.clone(), value);
        }
        if codes.text("operator") == "In" && number == 0 {
            errors.invalid(path, value, "must not be 0 for the In operator");
        }
    }
    if !ordered {
        errors.invalid(codes.path("values"), &shown, "must be ordered");
    }
}

/// Checks `successPolicy`, which only Indexed Jobs have.
pub(super) fn validate_success(spec: &At<'_>, is_indexed: bool, errors: &mut Errors) {
    let Some(policy) = spec.child("successPolicy") else { return };
    if !is_indexed {
        let rules = policy.items("rules").map(|rule| {
            let of = |key: &str| rule.get(key).cloned().unwrap_or(Value::Null);
            let (indexes, count) = (of("succeededIndexes"), of("succeededCount"));
            format!("{{\"SucceededIndexes\":{indexes},\"SucceededCount\":{count}}}")
        });
        let rules: Vec<String> = rules.collect();
        let shown = format!("{{\"Rules\":[{}]}}", rules.join(","));
        errors.invalid_shown(policy.path, &shown, "requires indexed completion mode");
        return;
    }
    let count = policy.list("rules").len();
    if count == 0 {
        errors.required(policy.path("rules"), "at least one rules must be specified");
    }
    if count > RULES_MAX {
        errors.too_many(policy.path("rules"), count, RULES_MAX);
    }
    let completions = spec.integer("completions").unwrap_or(0);
    for rule in policy.items("rules") {
        validate_success_rule(&rule, completions, errors);
    }
}

fn validate_success_rule(rule: &At<'_>, completions: i64, errors: &mut Errors) {
    let indexes = rule.get("succeededIndexes").and_then(Value::as_str);
    let wanted = rule.integer("succeededCount");
    if indexes.is_none() && wanted.is_none() {
        let why = "at least one of succeededCount or succeededIndexes must be specified";
        errors.required(rule.path.clone(), why);
    }
    let mut total = 0;
    if let Some(text) = indexes {
        let path = rule.path("succeededIndexes");
        if text.len() > INDEXES_BYTES_MAX {
            errors.too_long(path.clone(), INDEXES_BYTES_MAX);
        }
        match count_indexes(text, completions) {
            Ok(count) => total = count,
            Err(why) => {
                let why = format!("error parsing succeededIndexes: {why}");
                errors.invalid(path, &text.into(), &why);
            }
        }
    }
    let Some(wanted) = wanted else { return };
    let path = rule.path("succeededCount");
    errors.natural(rule, "succeededCount");
    if wanted > completions {
        let why = format!(
            "must be less than or equal to {completions} (the number of specified completions)"
        );
        errors.invalid(path.clone(), &wanted.into(), &why);
    }
    if indexes.is_some() && wanted > total {
        let why = format!(
            "must be less than or equal to {total} (the number of indexes in the specified \
             succeededIndexes field)"
        );
        errors.invalid(path, &wanted.into(), &why);
    }
}

/// How many indexes `0,2-5` names; they rise and stay below `completions`.
fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last) = (0, -1);
    if text.is_empty() {
        return Ok(0);
    }
    for part in text.split(',') {
        let ends: Vec<&str> = part.split('-').collect();
        if ends.len() > 2 {
            return Err(format!(
                "the fragment \"{part}\" violates the requirement that an index interval can have at most two \
                 parts separated by '-'"
            ));
        }
        let number = |text: &str| -> Result<i64, String> {
            let index: i64 = text
                .parse()
                .map_err(|_| format!("cannot convert string to integer for index: \"{text}\""))?;
            if index >= completions {
                return Err(format!("too large index: \"{text}\""));
            }
            Ok(index)
        };
        let first = number(ends.first().copied().unwrap_or_default())?;
        if first <= last {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        last = first;
        if let Some(end) = ends.get(1) {
            last = number(end)?;
            if last <= first {
                return Err(format!("non-increasing order, previous: {first}, current: {last}"));
            }
        }
        total += last - first + 1;
    }
    Ok(total)
}
