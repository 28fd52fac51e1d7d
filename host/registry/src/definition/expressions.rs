//! `x-kubernetes-validations`: what a definition asks of its objects in expressions.
//!
//! Owns when rules are compiled (at their definition to refuse it, and once more when the first object is checked), which
//! rules see an earlier value, and what an object may cost. Must not know of requests.
//!
//! A tree of [`Rules`] stands beside the schema and has only the branches that lead to a rule, so that an object is
//! looked at only where there is something to check.

mod check;
mod estimate;
mod messages;
mod run;

use std::collections::BTreeMap;
use std::sync::Arc;

use quadrille_cel::{Declared, Environment, Program, SchemaRoot, Type};
use quadrille_object::schema::ListKind;
use quadrille_object::schema::field_path::{self, Brackets};
use serde_json::{Map, Value};

pub(crate) use self::check::check;
pub(crate) use self::run::run;

/// What the types of a schema are called in messages.
const TYPE_NAME: &str = "selfType";

/// The rules of one part of a schema, and of what is below.
#[derive(Debug)]
pub(crate) struct Rules {
    own: Vec<Rule>,
    /// How expressions see the value.
    declared: Declared,
    /// The `type` of the schema; empty for int-or-string.
    kind: Box<str>,
    fields: BTreeMap<Box<str>, Rules>,
    /// Fields that the schema knows, without rules in them: what stands there can be told from what was.
    others: Option<Arc<Rules>>,
    items: Option<Arc<Rules>>,
    list: ListKind,
}

#[derive(Debug)]
struct Rule {
    program: Program,
    /// The rule as it is written, without space around it.
    text: Box<str>,
    message: Box<str>,
    message_program: Option<Program>,
    message_expression: Box<str>,
    old: Old,
    reason: Reason,
    /// Where the error is reported, below the rule's own place.
    place: Box<str>,
}

/// What a rule knows of the value that was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Old {
    /// It does not ask.
    Unused,
    /// It is about changes alone.
    Needed,
    /// It sees that there was none.
    Optional,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reason {
    #[default]
    Invalid,
    Forbidden,
    Required,
    Duplicate,
}

/// Whether a schema has any rule.
pub(crate) fn has_rules(schema: &Value) -> bool {
    let Some(schema) = schema.as_object() else { return false };
    let below = |key: &str| schema.get(key).is_some_and(has_rules);
    let own = schema.get("x-kubernetes-validations").and_then(Value::as_array);
    own.is_some_and(|rules| !rules.is_empty())
        || schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .any(|(_, of)| has_rules(of))
        || below("items")
        || below("additionalProperties")
}

/// Compiles the rules of a schema that was checked when it was stored; a rule that does not compile is left out.
pub(crate) fn compile(schema: &Value) -> Option<Rules> {
    compile_part(schema, SchemaRoot::Resource)
}

fn compile_part(schema: &Value, root: SchemaRoot) -> Option<Rules> {
    if !has_rules(schema) {
        return None;
    }
    let map = schema.as_object()?;
    let rules = map.get("x-kubernetes-validations").and_then(Value::as_array);
    let rules: Vec<_> = rules.into_iter().flatten().filter_map(Value::as_object).collect();
    // What only leads to rules is never seen by one.
    let declared = match rules.as_slice() {
        [] => None,
        _ => Declared::of_schema(schema, root, TYPE_NAME),
    };
    let compile =
        |rule: &&Map<String, Value>| Rule::compile(rule, map, declared.as_ref()?).ok().flatten();
    let own = rules.iter().filter_map(compile).collect();
    let below = |of: &Value| compile_part(of, root_of(of));
    let properties = map.get("properties").and_then(Value::as_object).into_iter().flatten();
    let fields = properties.filter_map(|(name, of)| Some((name.as_str().into(), below(of)?)));
    let only = |key: &str| map.get(key).and_then(below).map(Arc::new);
    Some(Rules {
        own,
        kind: text(map, "type").into(),
        fields: fields.collect(),
        others: only("additionalProperties"),
        items: only("items"),
        list: list_kind(map),
        declared: declared.unwrap_or_else(Declared::dynamic),
    })
}

fn root_of(schema: &Value) -> SchemaRoot {
    let embedded = schema.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true));
    if embedded { SchemaRoot::Resource } else { SchemaRoot::Part }
}

fn list_kind(schema: &Map<String, Value>) -> ListKind {
    if text(schema, "x-kubernetes-list-type") != "map" {
        return ListKind::Atomic;
    }
    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
    ListKind::Map(keys.into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect())
}

/// What is wrong with a rule.
enum Wrong {
    Rule(String),
    Message(String, Box<Rule>),
}

impl Rule {
    /// Compiles a rule of a schema; `None` when it is empty.
    fn compile(
        rule: &Map<String, Value>,
        schema: &Map<String, Value>,
        declared: &Declared,
    ) -> Result<Option<Self>, Wrong> {
        let source = text(rule, "rule");
        if source.trim().is_empty() {
            return Ok(None);
        }
        let optional = rule.get("optionalOldSelf") == Some(&Value::Bool(true));
        let environment = environment(declared, optional);
        let program = environment
            .compile(source)
            .map_err(|error| Wrong::Rule(format!("compilation failed: {error}")))?;
        if *program.result_type() != Type::Bool {
            return Err(Wrong::Rule("cel expression must evaluate to a bool".to_owned()));
        }
        let old = match (program.uses("oldSelf"), optional) {
            (false, _) => Old::Unused,
            (true, false) => Old::Needed,
            (true, true) => Old::Optional,
        };
        let place = field_path::resolve(schema, text(rule, "fieldPath"), Brackets::Allowed);
        let mut compiled = Self {
            program,
            text: source.trim().into(),
            message: text(rule, "message").trim().into(),
            message_program: None,
            message_expression: text(rule, "messageExpression").into(),
            old,
            reason: reason(text(rule, "reason")),
            place: place.map(|place| place.path).unwrap_or_default().into(),
        };
        if compiled.message_expression.is_empty() {
            return Ok(Some(compiled));
        }
        match message(&environment, &compiled.message_expression) {
            Ok(program) => compiled.message_program = Some(program),
            Err(why) => return Err(Wrong::Message(why, Box::new(compiled))),
        }
        Ok(Some(compiled))
    }
}

fn message(environment: &Environment, source: &str) -> Result<Program, String> {
    let program = environment
        .compile(source)
        .map_err(|error| format!("messageExpression compilation failed: {error}"))?;
    if *program.result_type() != Type::String {
        return Err("messageExpression must evaluate to a string".to_owned());
    }
    Ok(program)
}

fn environment(declared: &Declared, optional: bool) -> Environment {
    let environment = Environment::new().declared("self", declared.clone());
    if optional {
        environment.variable("oldSelf", Type::optional(declared.ty.clone()))
    } else {
        environment.declared("oldSelf", declared.clone())
    }
}

fn reason(text: &str) -> Reason {
    match text {
        "FieldValueForbidden" => Reason::Forbidden,
        "FieldValueRequired" => Reason::Required,
        "FieldValueDuplicate" => Reason::Duplicate,
        _ => Reason::Invalid,
    }
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
