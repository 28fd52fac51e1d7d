//! Expressions: whatever the text, it is compiled or refused, and what runs ends within its budget.

use std::str::from_utf8;

use quadrille_cel::{
    Budget, Declared, Environment, PER_CALL_LIMIT, Program, SchemaRoot, Type, Value,
};
use serde_json::{Value as Json, json};

use crate::targets::Outcome;

/// What rules are tried on, declared by a schema and known as nothing but JSON.
#[derive(Debug)]
pub(crate) struct Rules {
    object: Json,
    declared: Declared,
    typed: Environment,
    dynamic: Environment,
}

fn object() -> Json {
    json!({
        "a": 1, "b": true, "s": "text", "d": 1.5, "l": ["a", "b"], "li": [3, 1, 2], "m": {"k": "v"},
        "t": "2020-01-01T00:00:00Z", "n": null, "u": "https://a.example/p?q=1",
        "o": {"x": "1Gi", "y": 2}, "w": [{"k": "a", "v": 1}, {"k": "b", "v": 2}],
    })
}

fn schema() -> Json {
    let text = json!({"type": "string"});
    json!({"type": "object", "properties": {
        "a": {"type": "integer"}, "b": {"type": "boolean"}, "s": text, "d": {"type": "number"},
        "l": {"type": "array", "items": text, "x-kubernetes-list-type": "set"},
        "li": {"type": "array", "items": {"type": "integer"}, "maxItems": 10},
        "m": {"type": "object", "additionalProperties": text},
        "t": {"type": "string", "format": "date-time"}, "n": {"type": "string", "nullable": true},
        "u": text,
        "o": {"type": "object", "properties": {"x": {"x-kubernetes-int-or-string": true}, "y": {"type": "integer"}}},
        "w": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": text, "v": {"type": "integer"}}},
        },
    }})
}

impl Rules {
    pub(crate) fn new() -> Self {
        let declared = Declared::of_schema(&schema(), SchemaRoot::Part, "self")
            .expect("the schema declares an object");
        let typed = Environment::new()
            .declared("self", declared.clone())
            .declared("oldSelf", declared.clone());
        let dynamic = Environment::new()
            .variable("self", Type::Dyn)
            .variable("oldSelf", Type::Dyn)
            .bindings();
        Self { object: object(), declared, typed, dynamic }
    }

    pub(crate) fn try_input(&self, input: &[u8]) -> Outcome {
        let Ok(source) = from_utf8(input) else { return Ok(false) };
        let typed = self.typed.compile(source).ok();
        if let Some(program) = &typed {
            let value = || Value::from_json(&self.object, &self.declared);
            run(program, &[("self", value()), ("oldSelf", value())])?;
        }
        let dynamic = self.dynamic.compile(source).ok();
        if let Some(program) = &dynamic {
            let value = || Value::dynamic(&self.object);
            run(program, &[("self", value()), ("oldSelf", value())])?;
        }
        Ok(typed.is_some() || dynamic.is_some())
    }
}

fn run<'a>(program: &'a Program, variables: &[(&str, Value<'a>); 2]) -> Result<(), String> {
    let estimate = program.estimate_cost();
    if estimate.min > estimate.max {
        return Err("an expression is estimated to cost more at least than at most".to_owned());
    }
    let mut results = Vec::new();
    for _ in 0..2 {
        let mut budget = Budget::per_object();
        let before = budget.remaining();
        let result = program.evaluate(variables, &mut budget);
        let text = match result {
            Ok(value) => format!("{:?}", value.to_json()),
            Err(error) => error.to_string(),
        };
        let spent = before.saturating_sub(budget.remaining());
        if spent > PER_CALL_LIMIT.saturating_mul(2) {
            return Err(format!("a run has spent {spent} of the {PER_CALL_LIMIT} it is allowed"));
        }
        results.push((text, spent));
    }
    match results.as_slice() {
        [once, twice] if once != twice => Err(format!("run twice it gives {once:?} and {twice:?}")),
        _ => Ok(()),
    }
}
