//! What rules may cost at most, judged by their schema before there is any object.

use quadrille_cel::{RULE_ESTIMATE_LIMIT, SCHEMA_ESTIMATE_LIMIT};
use quadrille_object::{FieldError, FieldErrorKind, FieldErrors};
use serde_json::{Map, Value};

/// The largest request: nothing can be in an object more often than fits into it.
const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;
/// How many of the most expensive rules are named.
const NAMED_MAX: usize = 4;

/// How often the values of a part of a schema can be in one object; `None` without a bound of the schema's own.
pub(super) type Cardinality = Option<u64>;

/// How often what is below a schema can be there, for one value of it.
pub(super) fn below(schema: &Map<String, Value>, own: Cardinality) -> Cardinality {
    let bound =
        |key: &str| schema.get(key).and_then(Value::as_i64).map(|n| u64::try_from(n).unwrap_or(0));
    let each = match schema.get("type").and_then(Value::as_str) {
        Some("object") if schema.get("additionalProperties").is_some_and(|of| !of.is_null()) => {
            bound("maxProperties")
        }
        Some("array") => bound("maxItems"),
        _ => Some(1),
    };
    Some(own?.saturating_mul(each?))
}

/// What a rule costs for a whole object.
pub(super) fn whole(cost: u64, cardinality: Cardinality, serialized_min: u64) -> u64 {
    let times = cardinality.unwrap_or(REQUEST_BYTES_MAX / (serialized_min + 1));
    cost.saturating_mul(times)
}

/// The costs of all rules of a schema.
#[derive(Debug, Default)]
pub(super) struct Total {
    sum: u64,
    /// The most expensive ones, the most expensive first.
    named: Vec<(u64, String)>,
}

impl Total {
    pub(super) fn add(&mut self, path: &str, cost: u64) {
        self.sum = self.sum.saturating_add(cost);
        if cost == 0 {
            return;
        }
        let at = self.named.partition_point(|(known, _)| *known >= cost);
        self.named.insert(at, (cost, path.to_owned()));
        self.named.truncate(NAMED_MAX);
    }

    /// Refuses a schema whose rules cost too much together.
    pub(super) fn refuse(&self, path: &str, errors: &mut FieldErrors) {
        if self.sum <= SCHEMA_ESTIMATE_LIMIT {
            return;
        }
        for (_, at) in &self.named {
            let why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(forbidden(at, why));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(forbidden(path, &exceeds(what, self.sum, SCHEMA_ESTIMATE_LIMIT)));
    }
}

/// Refuses one expression that costs too much.
pub(super) fn refuse(what: &str, path: &str, cost: u64, errors: &mut FieldErrors) {
    if cost > RULE_ESTIMATE_LIMIT {
        errors.push(forbidden(path, &exceeds(what, cost, RULE_ESTIMATE_LIMIT)));
    }
}

fn forbidden(path: &str, why: &str) -> FieldError {
    FieldError::new(FieldErrorKind::Forbidden, path, format!("Forbidden: {why}"))
}

#[expect(clippy::cast_precision_loss, reason = "the factor is for people")]
fn exceeds(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, \
         and maxLength where arrays, maps, and strings are declared)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_told_as_precisely_as_they_help() {
        let factor = |cost| {
            let text = exceeds("it", cost, 10);
            text.split(" factor of ").nth(1).and_then(|t| t.split(" (").next().map(str::to_owned))
        };
        assert_eq!(factor(11).as_deref(), Some("1.100000x"));
        assert_eq!(factor(25).as_deref(), Some("2.5x"));
        assert_eq!(factor(2000).as_deref(), Some("more than 100x"));
    }

    #[test]
    fn the_most_expensive_rules_are_named() {
        let mut total = Total::default();
        for cost in [1, 5, 0, 3, 4, 2] {
            total.add(&format!("p{cost}"), cost * SCHEMA_ESTIMATE_LIMIT);
        }
        let mut errors = FieldErrors::default();
        total.refuse("s", &mut errors);
        let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["p5", "p4", "p3", "p2", "s"]);
    }
}
