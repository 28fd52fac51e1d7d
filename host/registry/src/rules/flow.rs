//! Flow schemas and priority levels.

use serde_json::Value;

use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::rules::facts::Fact::{Default, Named, OneOf, Required};
use crate::rules::facts::Literal::Number;
use crate::rules::facts::{Form, KindRules, items, part, text};

const PRECEDENCE_MAX: i64 = 10_000;
const QUEUES_MAX: i64 = 10_000_000;
/// Bits of a request's hash that choose its queues.
const ENTROPY_BITS_MAX: f64 = 60.0;
const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

/// The rules of flow schemas.
pub(crate) static FLOW_SCHEMAS: KindRules = KindRules {
    facts: &[
        Default("spec.matchingPrecedence", Number(1000)),
        OneOf("spec.distinguisherMethod.type", &["ByNamespace", "ByUser"]),
        Required("spec.priorityLevelConfiguration.name", ""),
        Named("spec.priorityLevelConfiguration.name", Form::Subdomain),
    ],
    validate: |object, errors| {
        let empty = Object::new();
        let spec = part(object, "spec").unwrap_or(&empty);
        let precedence = spec.get("matchingPrecedence").and_then(Value::as_i64).unwrap_or(0);
        let at = "spec.matchingPrecedence";
        if precedence <= 0 {
            errors.invalid(at, &precedence.into(), "must be a positive value");
        } else if precedence > PRECEDENCE_MAX {
            let why = format!("must not be greater than {PRECEDENCE_MAX}");
            errors.invalid(at, &precedence.into(), &why);
        } else if precedence == 1 && metadata::text(object, "name") != "exempt" {
            let why = "only the schema named 'exempt' may have matchingPrecedence 1";
            errors.invalid(at, &precedence.into(), why);
        }
        if part(spec, "distinguisherMethod").is_some_and(|m| text(m, "type").is_empty()) {
            let known = ["ByNamespace", "ByUser"];
            errors.unsupported("spec.distinguisherMethod.type", &"".into(), &known);
        }
        for (at, rule) in items(spec, "rules", "spec") {
            validate_rule(&at, rule, errors);
        }
    },
    ..KindRules::PLAIN
};

fn validate_rule(at: &str, rule: &Object, errors: &mut Errors) {
    let subjects = items(rule, "subjects", at);
    if subjects.is_empty() {
        errors.required(format!("{at}.subjects"), "subjects must contain at least one value");
    }
    for (at, subject) in subjects {
        validate_subject(&at, subject, errors);
    }
    let of_resources = items(rule, "resourceRules", at);
    let of_paths = items(rule, "nonResourceRules", at);
    if of_resources.is_empty() && of_paths.is_empty() {
        let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.required(at, why);
    }
    for (at, rule) in of_resources {
        validate_list(&at, rule, "verbs", "verbs must contain at least one value", errors);
        validate_verbs(&at, rule, errors);
        validate_list(
            &at,
            rule,
            "apiGroups",
            "resource rules must supply at least one api group",
            errors,
        );
        validate_list(
            &at,
            rule,
            "resources",
            "resource rules must supply at least one resource",
            errors,
        );
        let everywhere = rule.get("clusterScope").and_then(Value::as_bool) == Some(true);
        if field::list(rule, &["namespaces"]).is_empty() && !everywhere {
            let why =
                "resource rules that are not cluster scoped must supply at least one namespace";
            errors.required(format!("{at}.namespaces"), why);
        }
    }
    for (at, rule) in of_paths {
        validate_list(&at, rule, "verbs", "verbs must contain at least one value", errors);
        let why = "nonResourceURLs must contain at least one value";
        validate_list(&at, rule, "nonResourceURLs", why, errors);
    }
}

/// A list that is not empty, in which `*` stands alone.
fn validate_list(at: &str, rule: &Object, key: &str, why: &str, errors: &mut Errors) {
    let list = field::list(rule, &[key]);
    if list.is_empty() {
        errors.required(format!("{at}.{key}"), why);
    } else if list.len() > 1 && list.iter().any(|item| item.as_str() == Some("*")) {
        let what = match key {
            "apiGroups" => "api groups",
            "nonResourceURLs" => "non-resource URLs",
            key => key,
        };
        let why = format!("if '*' is present, must not specify other {what}");
        errors.invalid(format!("{at}.{key}"), &Value::Array(list.to_vec()), &why);
    }
}

fn validate_verbs(at: &str, rule: &Object, errors: &mut Errors) {
    let verbs = field::list(rule, &["verbs"]);
    let all = verbs.iter().any(|verb| verb.as_str() == Some("*"));
    let known = |verb: &Value| verb.as_str().is_some_and(|verb| VERBS.contains(&verb));
    if !all && verbs.iter().any(|verb| !known(verb)) {
        errors.unsupported(format!("{at}.verbs"), &Value::Array(verbs.to_vec()), &VERBS);
    }
}

fn validate_subject(at: &str, subject: &Object, errors: &mut Errors) {
    let kinds = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    let kind = text(subject, "kind");
    if !kinds.iter().any(|(known, _)| *known == kind) {
        errors.unsupported(
            format!("{at}.kind"),
            &kind.into(),
            &["Group", "ServiceAccount", "User"],
        );
        return;
    }
    for (known, key) in kinds {
        match (known == kind, part(subject, key)) {
            (true, None) => {
                let why = format!("{key} is required when subject kind is '{kind}'");
                errors.required(format!("{at}.{key}"), &why);
            }
            (true, Some(named)) => {
                let keys: &[&str] =
                    if key == "serviceAccount" { &["namespace", "name"] } else { &["name"] };
                for name in keys.iter().filter(|name| text(named, name).is_empty()) {
                    errors.required(format!("{at}.{key}.{name}"), "");
                }
            }
            (false, Some(_)) => {
                let why = format!("{key} is forbidden when subject kind is not '{known}'");
                errors.forbidden(format!("{at}.{key}"), &why);
            }
            (false, None) => {}
        }
    }
}

/// The rules of priority levels.
pub(crate) static PRIORITY_LEVELS: KindRules = KindRules {
    facts: &[
        Default("spec.exempt.nominalConcurrencyShares", Number(0)),
        Default("spec.exempt.lendablePercent", Number(0)),
        Default("spec.limited.nominalConcurrencyShares", Number(30)),
        Default("spec.limited.lendablePercent", Number(0)),
        Default("spec.limited.limitResponse.queuing.handSize", Number(8)),
        Default("spec.limited.limitResponse.queuing.queues", Number(64)),
        Default("spec.limited.limitResponse.queuing.queueLengthLimit", Number(50)),
    ],
    validate: |object, errors| {
        let empty = Object::new();
        let spec = part(object, "spec").unwrap_or(&empty);
        let (limited, exempt) = (part(spec, "limited"), part(spec, "exempt"));
        match text(spec, "type") {
            "Limited" => {
                if exempt.is_some() {
                    errors.forbidden("spec.exempt", "must be nil if the type is Limited");
                }
                if limited.is_none() {
                    errors.required("spec.limited", "must not be empty when type is Limited");
                }
            }
            "Exempt" => {
                if limited.is_some() {
                    errors.forbidden("spec.limited", "must be nil if the type is not Limited");
                }
            }
            other => {
                errors.unsupported("spec.type", &other.into(), &["Exempt", "Limited"]);
            }
        }
        for (at, part) in [("spec.limited", limited), ("spec.exempt", exempt)] {
            validate_shares(at, part.unwrap_or(&empty), errors);
        }
        if let Some(limited) = limited {
            validate_response(part(limited, "limitResponse").unwrap_or(&empty), errors);
        }
    },
    ..KindRules::PLAIN
};

fn validate_shares(at: &str, part: &Object, errors: &mut Errors) {
    let number = |key: &str| part.get(key).and_then(Value::as_i64);
    if let Some(shares) = number("nominalConcurrencyShares").filter(|n| *n < 0) {
        let at = format!("{at}.nominalConcurrencyShares");
        errors.invalid(at, &shares.into(), "must be a non-negative integer");
    }
    if let Some(percent) = number("lendablePercent").filter(|n| !(0..=100).contains(n)) {
        let at = format!("{at}.lendablePercent");
        errors.invalid(at, &percent.into(), "must be between 0 and 100, inclusive");
    }
    if let Some(percent) = number("borrowingLimitPercent").filter(|n| *n < 0) {
        let at = format!("{at}.borrowingLimitPercent");
        errors.invalid(at, &percent.into(), "if specified, must be a non-negative integer");
    }
}

fn validate_response(response: &Object, errors: &mut Errors) {
    let at = "spec.limited.limitResponse";
    let queuing = part(response, "queuing");
    match (text(response, "type"), queuing) {
        ("Reject", Some(_)) => {
            let why = "must be nil if limited.limitResponse.type is not Limited";
            errors.forbidden(format!("{at}.queuing"), why);
        }
        ("Reject", None) => {}
        ("Queue", None) => {
            let why = "must not be empty if limited.limitResponse.type is Limited";
            errors.required(format!("{at}.queuing"), why);
        }
        ("Queue", Some(queuing)) => validate_queuing(&format!("{at}.queuing"), queuing, errors),
        (other, _) => {
            errors.unsupported(format!("{at}.type"), &other.into(), &["Queue", "Reject"]);
        }
    }
}

fn validate_queuing(at: &str, queuing: &Object, errors: &mut Errors) {
    let number = |key: &str| queuing.get(key).and_then(Value::as_i64).unwrap_or(0);
    let (queues, hand) = (number("queues"), number("handSize"));
    for key in ["queueLengthLimit", "queues", "handSize"] {
        if number(key) <= 0 {
            errors.invalid(format!("{at}.{key}"), &number(key).into(), "must be positive");
        }
    }
    if queues > QUEUES_MAX {
        let why = format!("must not be greater than {QUEUES_MAX}");
        errors.invalid(format!("{at}.queues"), &queues.into(), &why);
    } else if hand > queues {
        let why = format!("should not be greater than queues ({queues})");
        errors.invalid(format!("{at}.handSize"), &hand.into(), &why);
    } else if queues > 0 && hand > 0 && entropy(queues, hand) > ENTROPY_BITS_MAX {
        let bits = entropy(queues, hand).ceil();
        let why = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than 60 ({bits})"
        );
        errors.invalid(format!("{at}.handSize"), &hand.into(), &why);
    }
}

/// How many bits it takes to deal a hand out of the queues.
fn entropy(queues: i64, hand: i64) -> f64 {
    // More cards than this are over the bound with any number of queues.
    const HAND_MAX: i64 = 64;
    let card = |index: i64| f64::from(i32::try_from(queues - index).unwrap_or(i32::MAX)).log2();
    (0..hand.min(HAND_MAX)).map(card).sum()
}
