//! Rules that a real API server was asked to check, and what it said. Where the data is from: `data/README.md`.

use quadrille_cel::{
    Budget, Declared, Environment, Program, RULE_ESTIMATE_LIMIT, SchemaRoot, Type, Value,
};
use serde_json::Value as Json;

fn read(file: &str) -> Vec<Json> {
    serde_json::from_str(file).expect("the recorded data is JSON")
}

fn root_of(schema: &Json) -> SchemaRoot {
    match schema.get("x-kubernetes-embedded-resource") {
        Some(Json::Bool(true)) => SchemaRoot::Resource,
        _ => SchemaRoot::Part,
    }
}

fn environment(schema: &Json, root: SchemaRoot, optional: bool) -> (Environment, Declared) {
    let declared =
        Declared::of_schema(schema, root, "self").expect("schemas with rules are exposed");
    let old = if optional {
        Declared::of_type(Type::optional(declared.ty.clone()))
    } else {
        declared.clone()
    };
    let environment =
        Environment::new().declared("self", declared.clone()).declared("oldSelf", old);
    (environment, declared)
}

fn text<'j>(rule: &'j Json, name: &str) -> &'j str {
    rule.get(name).and_then(Json::as_str).unwrap_or_default()
}

/// Goes to every schema with rules, with how many elements the lists and maps around it can have.
fn each_schema<'j>(
    schema: &'j Json,
    root: SchemaRoot,
    times: u64,
    visit: &mut dyn FnMut(&'j Json, SchemaRoot, u64),
) {
    if schema.get("x-kubernetes-validations").is_some() {
        visit(schema, root, times);
    }
    for (_, part) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
        each_schema(part, root_of(part), times, visit);
    }
    let Some(declared) = Declared::of_schema(schema, root, "self") else { return };
    for name in ["items", "additionalProperties"] {
        if let Some(part) = schema.get(name) {
            let times = times.saturating_mul(declared.size_max.unwrap_or(1));
            each_schema(part, root_of(part), times, visit);
        }
    }
}

/// Fills in what a schema's properties are by default.
fn default_all(schema: &Json, value: &mut Json) {
    for (name, part) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
        let Some(object) = value.as_object_mut() else { return };
        if let (None, Some(default)) = (object.get(name), part.get("default")) {
            object.insert(name.clone(), default.clone());
        }
        if let Some(inner) = object.get_mut(name) {
            default_all(part, inner);
        }
    }
}

/// The messages of the rules that a value breaks.
fn problems(schema: &Json, root: SchemaRoot, value: &Json, found: &mut Vec<String>) {
    let rules = schema.get("x-kubernetes-validations").and_then(Json::as_array);
    for rule in rules.into_iter().flatten() {
        let optional = rule.get("optionalOldSelf").and_then(Json::as_bool).unwrap_or(false);
        let (environment, declared) = environment(schema, root, optional);
        let compile = |source: &str| -> Program {
            let program = environment.compile(source).map_err(|error| error.to_string());
            program.expect("rules of recorded objects were accepted")
        };
        let program = compile(text(rule, "rule"));
        if program.uses("oldSelf") && !optional {
            continue;
        }
        let variables =
            [("self", Value::from_json(value, &declared)), ("oldSelf", Value::Optional(None))];
        let message = || {
            let computed =
                rule.get("messageExpression").and_then(Json::as_str).and_then(|source| {
                    let computed = compile(source);
                    let value = computed.evaluate(&variables, &mut Budget::per_object()).ok()?;
                    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
                });
            computed.unwrap_or_else(|| match text(rule, "message") {
                "" => format!("failed rule: {}", text(rule, "rule")),
                message => message.to_owned(),
            })
        };
        match program.evaluate(&variables, &mut Budget::per_object()) {
            Ok(Value::Bool(true)) => {}
            Ok(_) => found.push(message()),
            Err(error) => found.push(format!("{error} evaluating rule: {}", text(rule, "rule"))),
        }
    }
    for (name, part) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
        if let Some(inner) = value.get(name) {
            problems(part, root_of(part), inner, found);
        }
    }
    if let (Some(part), Some(items)) = (schema.get("items"), value.as_array()) {
        for item in items {
            problems(part, root_of(part), item, found);
        }
    }
    if let (Some(part), Some(entries)) = (schema.get("additionalProperties"), value.as_object()) {
        for inner in entries.values() {
            problems(part, root_of(part), inner, found);
        }
    }
}

#[test]
fn objects_break_the_rules_they_broke() {
    for case in read(include_str!("data/runs.json")) {
        let schema = &case["schema"];
        let mut object = case["object"].clone();
        default_all(schema, &mut object);
        let mut found = Vec::new();
        problems(schema, SchemaRoot::Resource, &object, &mut found);
        found.sort();
        let wanted = case["problems"].as_array().expect("a list of messages");
        let mut wanted: Vec<&str> = wanted.iter().filter_map(Json::as_str).collect();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{} {object}", case["name"]);
    }
}

#[test]
fn rules_that_were_accepted_are_not_too_costly() {
    for case in read(include_str!("data/runs.json")) {
        each_schema(&case["schema"], SchemaRoot::Resource, 1, &mut |schema, root, times| {
            for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                let (environment, _) = environment(schema, root, rule["optionalOldSelf"] == true);
                let program = environment.compile(text(rule, "rule")).expect("it was accepted");
                let cost = program.estimate_cost_times(times);
                assert!(cost.max <= RULE_ESTIMATE_LIMIT, "{} {rule} {cost:?}", case["name"]);
                assert!(cost.min <= cost.max);
            }
        });
    }
}

#[test]
fn schemas_are_accepted_and_refused_as_they_were() {
    for case in read(include_str!("data/schemas.json")) {
        let mut errors = Vec::new();
        let mut costly = false;
        each_schema(&case["schema"], SchemaRoot::Resource, 1, &mut |schema, root, times| {
            for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                let (environment, _) = environment(schema, root, rule["optionalOldSelf"] == true);
                for source in ["rule", "messageExpression"].map(|name| text(rule, name)) {
                    if source.is_empty() {
                        continue;
                    }
                    match environment.compile(source) {
                        Ok(program) => {
                            costly |= program.estimate_cost_times(times).max > RULE_ESTIMATE_LIMIT;
                        }
                        Err(error) => errors.push(error.to_string()),
                    }
                }
            }
        });
        let wanted: Vec<&str> = case["error"].as_str().into_iter().collect();
        assert_eq!(errors, wanted, "{}", case["name"]);
        assert_eq!(costly, case["costly"] == true, "{}", case["name"]);
    }
}
