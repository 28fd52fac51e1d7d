//! Refusing a definition for its rules.

use quadrille_cel::{Declared, SchemaRoot};
use quadrille_object::schema::{Findings, property_path, shown_text};
use quadrille_object::{FieldError, FieldErrorKind, FieldErrors};
use serde_json::{Map, Value};

use super::estimate::{self, Cardinality, Total};
use super::messages::shown;
use super::run::run_default;
use super::{Old, Rule, Rules, TYPE_NAME, Wrong, has_rules, root_of, text};

/// Compiles every rule of a schema that stands at `path`; `findings` are what else is wrong with it.
pub(crate) fn check(schema: &Value, path: &str, findings: &Findings) -> FieldErrors {
    if !findings.structure.is_empty() || !has_rules(schema) {
        return FieldErrors::default();
    }
    let mut checker = Checker { findings, errors: FieldErrors::default(), total: Total::default() };
    let place = Place { path: path.to_owned(), cardinality: Some(1), unrelated: None };
    checker.part(schema, SchemaRoot::Resource, &place);
    checker.total.refuse(path, &mut checker.errors);
    if checker.errors.is_empty() && findings.keywords.is_empty() {
        checker.errors = defaults(schema, path);
    }
    checker.errors
}

/// Where a part of the schema stands.
#[derive(Clone)]
struct Place {
    path: String,
    cardinality: Cardinality,
    /// The list above whose items cannot be told from each other.
    unrelated: Option<String>,
}

impl Place {
    fn below(&self, path: String, cardinality: Cardinality) -> Self {
        Self { path, cardinality, unrelated: self.unrelated.clone() }
    }
}

struct Checker<'a> {
    findings: &'a Findings,
    errors: FieldErrors,
    total: Total,
}

impl Checker<'_> {
    fn part(&mut self, schema: &Value, root: SchemaRoot, place: &Place) {
        let Some(map) = schema.as_object() else { return };
        if !has_rules(schema) {
            return;
        }
        let cardinality = estimate::below(map, place.cardinality);
        if let Some(of) = map.get("additionalProperties").filter(|of| of.is_object()) {
            let at = format!("{}.additionalProperties", place.path);
            self.part(of, root_of(of), &place.below(at, cardinality));
        }
        let properties = map.get("properties").and_then(Value::as_object).into_iter().flatten();
        for (name, of) in properties {
            let at = property_path(&place.path, name);
            self.part(of, root_of(of), &place.below(at, cardinality));
        }
        if let Some(of) = map.get("items").filter(|of| of.is_object()) {
            let mut items = place.below(format!("{}.items", place.path), cardinality);
            if text(map, "x-kubernetes-list-type") != "map" && items.unrelated.is_none() {
                items.unrelated = Some(place.path.clone());
            }
            self.part(of, root_of(of), &items);
        }
        self.own(schema, map, root, place);
    }

    fn own(&mut self, schema: &Value, map: &Map<String, Value>, root: SchemaRoot, place: &Place) {
        let rules = map.get("x-kubernetes-validations").and_then(Value::as_array);
        let Some(rules) = rules.filter(|rules| !rules.is_empty()) else { return };
        if !self.findings.is_clean_at(&place.path) {
            return;
        }
        let Some(declared) = Declared::of_schema(schema, root, TYPE_NAME) else {
            let why = "Internal error: internal error: failed to construct type information for \
                       x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";
            let at = format!("{}.x-kubernetes-validations", place.path);
            self.errors.push(FieldError::new(FieldErrorKind::Internal, at, why));
            return;
        };
        for (index, rule) in rules.iter().enumerate() {
            if let Some(rule) = rule.as_object() {
                let at = format!("{}.x-kubernetes-validations[{index}]", place.path);
                self.rule(rule, map, &declared, place, &at);
            }
        }
    }

    fn rule(
        &mut self,
        rule: &Map<String, Value>,
        schema: &Map<String, Value>,
        declared: &Declared,
        place: &Place,
        at: &str,
    ) {
        let at_rule = format!("{at}.rule");
        let (compiled, wrong) = match Rule::compile(rule, schema, declared) {
            Ok(compiled) => (compiled, None),
            Err(Wrong::Message(why, compiled)) => {
                (Some(*compiled), Some((".messageExpression", why)))
            }
            Err(Wrong::Rule(why)) => (None, Some((".rule", why))),
        };
        if let Some(compiled) = &compiled {
            let cost = compiled.program.estimate_cost().max;
            let cost = estimate::whole(cost, place.cardinality, declared.serialized_min);
            estimate::refuse("estimated rule cost", &at_rule, cost, &mut self.errors);
            self.total.add(&at_rule, cost);
        }
        if let Some((key, why)) = wrong {
            let message = format!("Invalid value: {}: {why}", shown(rule));
            self.invalid(format!("{at}{key}"), message);
        }
        let Some(compiled) = compiled else {
            return self.optional_old(rule, at, Old::Unused);
        };
        if let Some(message) = &compiled.message_program {
            let at = format!("{at}.messageExpression");
            let cost = message.estimate_cost().max;
            estimate::refuse("estimated messageExpression cost", &at, cost, &mut self.errors);
            self.total.add(&at, cost);
        }
        if let Some(list) = place.unrelated.as_deref().filter(|_| compiled.old != Old::Unused) {
            let rule = shown_text(text(rule, "rule"));
            self.invalid(
                at_rule,
                format!(
                    "Invalid value: {rule}: oldSelf cannot be used on the uncorrelatable portion of the schema within \
                     {list}"
                ),
            );
        }
        self.optional_old(rule, at, compiled.old);
    }

    fn optional_old(&mut self, rule: &Map<String, Value>, at: &str, old: Old) {
        let given = rule.get("optionalOldSelf").filter(|given| !given.is_null());
        if let Some(given) = given.filter(|_| old == Old::Unused) {
            let why = "may not be set if oldSelf is not used in rule";
            self.invalid(format!("{at}.optionalOldSelf"), format!("Invalid value: {given}: {why}"));
        }
    }

    fn invalid(&mut self, at: String, message: String) {
        self.errors.push(FieldError::new(FieldErrorKind::Invalid, at, message));
    }
}

/// Defaults must pass the rules of their own schema, as a new value and as one that stays.
fn defaults(schema: &Value, path: &str) -> FieldErrors {
    let mut errors = FieldErrors::default();
    if let Some(rules) = super::compile(schema) {
        defaults_below(schema, &rules, path, &mut errors);
    }
    errors
}

fn defaults_below(schema: &Value, rules: &Rules, path: &str, errors: &mut FieldErrors) {
    let default = schema.get("default").filter(|default| !default.is_null());
    if let Some(default) = default {
        errors.extend(run_default(rules, default, &format!("{path}.default")));
    }
    for (name, below) in &rules.fields {
        if let Some(of) = schema.get("properties").and_then(|fields| fields.get(&**name)) {
            defaults_below(of, below, &property_path(path, name), errors);
        }
    }
    for (key, below) in [("additionalProperties", &rules.others), ("items", &rules.items)] {
        if let (Some(of), Some(below)) = (schema.get(key), below) {
            defaults_below(of, below, &format!("{path}.{key}"), errors);
        }
    }
}
