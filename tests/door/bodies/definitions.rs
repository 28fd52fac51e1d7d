//! Definitions with patterns and expressions.

use serde_json::{Value, json};

use super::{Case, DEFINITIONS, JSON, case, many};

/// A definition whose one field has such a schema.
fn definition(name: &str, field: &Value) -> String {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{name}s.bomb.example")},
        "spec": {"group": "bomb.example", "scope": "Namespaced",
            "names": {"plural": format!("{name}s"), "singular": name, "kind": name.to_uppercase(), "listKind": format!("{}List", name.to_uppercase())},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {"f": field}}}}}}]},
    })
    .to_string()
}

/// Patterns and expressions that would take for ever if they were run as they stand.
pub(super) fn definitions() -> Vec<Case> {
    let of = |name: &str, field: Value, codes: &'static [u16]| {
        case(
            &format!("a definition: {name}"),
            ("POST", DEFINITIONS),
            (JSON, definition(name, &field)),
            codes,
        )
    };
    let rule = |rule: &str| json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-validations": [{"rule": rule}]});
    let all = |depth: usize| "self.all(a, ".repeat(depth) + "true" + &")".repeat(depth);
    // As text: to build it as a value would overflow our own stack.
    let deep = definition("deep", &json!("DEEP")).replace(
        "\"DEEP\"",
        &("{\"type\":\"object\",\"properties\":{\"a\":".repeat(3_000)
            + "{\"type\":\"string\"}"
            + &"}}".repeat(3_000)),
    );
    vec![
        of("patternexponential", json!({"type": "string", "pattern": "(a+)+(a+)+(a+)+$"}), &[201]),
        of(
            "patternrepeated",
            json!({"type": "string", "pattern": "((a{1000}){1000}){1000}"}),
            &[422],
        ),
        of("patternopen", json!({"type": "string", "pattern": "(".repeat(10_000)}), &[422]),
        of(
            "patternclasses",
            json!({"type": "string", "pattern": r"\pL{500}\w{500}".repeat(20)}),
            &[201, 422],
        ),
        of("celnested", rule(&all(6)), &[422]),
        of("celdeep", rule(&("(".repeat(20_000) + "true" + &")".repeat(20_000))), &[422]),
        of("celnot", rule(&("!".repeat(50_000) + "true")), &[201, 422]),
        of("celtext", rule(&format!("self.all(a, a.matches('{}'))", "(a+)+".repeat(200))), &[422]),
        of("celsum", rule(&(vec!["1"; 20_000].join("+") + " > 0")), &[422, 201]),
        of("celregex", rule("self.all(a, self.all(b, a.matches(b)))"), &[422]),
        of("celunknown", rule("secrets.get('x')"), &[422]),
        case("a definition that is deep", ("POST", DEFINITIONS), (JSON, deep), &[400, 422]),
        of(
            "enumlong",
            json!({"type": "string", "enum": (0..many(50_000)).map(|n| format!("v{n}")).collect::<Vec<_>>()}),
            &[201, 422],
        ),
        of("reference", json!({"$ref": "#/definitions/x"}), &[422, 400]),
    ]
}
