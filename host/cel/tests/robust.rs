//! Whatever is written, an expression is compiled or refused, and what runs ends: no panic, no overflow of the
//! stack, no run that takes longer than its budget allows.

#[path = "../../../tests/fuzz/src/words/cel.rs"]
mod words;

use proptest::prelude::*;
use quadrille_cel::{Budget, Declared, Environment, OBJECT_BUDGET, SchemaRoot, Type, Value};
use serde_json::{Value as Json, json};

fn object() -> Json {
    json!({
        "a": 1, "b": true, "s": "text", "d": 1.5, "l": ["a", "b"], "li": [3, 1, 2], "m": {"k": "v"},
        "t": "2020-01-01T00:00:00Z", "n": null, "u": "https://a.example/p?q=1"
    })
}

fn schema() -> Json {
    json!({"type": "object", "properties": {
        "a": {"type": "integer"}, "b": {"type": "boolean"}, "s": {"type": "string"}, "d": {"type": "number"},
        "l": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "li": {"type": "array", "items": {"type": "integer"}},
        "m": {"type": "object", "additionalProperties": {"type": "string"}},
        "t": {"type": "string", "format": "date-time"}, "n": {"type": "string", "nullable": true},
        "u": {"type": "string"}
    }})
}

/// Compiles, estimates and runs an expression, on values that are declared and on ones that are not.
fn exercise(source: &str) {
    run_declared(source);
    run_dynamic(source);
}

fn run_declared(source: &str) {
    let (object, schema) = (object(), schema());
    let declared = Declared::of_schema(&schema, SchemaRoot::Part, "self").expect("an object");
    let environment = Environment::new().declared("self", declared.clone()).bindings();
    run(source, &environment, Value::from_json(&object, &declared));
}

fn run_dynamic(source: &str) {
    let environment = Environment::new().variable("self", Type::Dyn).bindings();
    run(source, &environment, Value::dynamic(&object()));
}

fn run(source: &str, environment: &Environment, value: Value<'_>) {
    let Ok(program) = environment.compile(source) else { return };
    let estimate = program.estimate_cost();
    assert!(estimate.min <= estimate.max, "{source}");
    let mut budget = Budget::per_object();
    let result = program.evaluate(&[("self", value)], &mut budget);
    assert!(budget.remaining() <= OBJECT_BUDGET);
    if let Ok(value) = result {
        drop(value.to_json());
    }
}

/// Expressions that compile, to be changed a little.
const EXPRESSIONS: &[&str] = &[
    "self.l.all(x, x.size() > 0) && self.m.exists(k, self.m[k] == 'v')",
    "has(self.n) ? self.n : self.s + string(self.a * 2)",
    "self.li.map(x, x > 1, x + 1).sum() in [self.a, 2, 3]",
    "self.t + duration('1h') > timestamp('2020-01-01T00:00:00Z') || self.t.getMonth('UTC') == 3",
    "url(self.u).getQuery()['q'][0].matches('^[0-9]+$')",
    "self.m.transformMap(k, v, v + k).size() == self.?m.?k.orValue('x').size()",
    "'%s: %d'.format([dyn(self.s), self.a]).split(': ')[1].charAt(0) == r'1'",
    "quantity('1.5Gi').add(quantity('1')).compareTo(quantity('2Gi')) < 0",
    "cel.bind(x, [1, 2, 3], x.sortBy(e, -e).slice(0, 2) == [3, 2])",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_text_is_compiled_or_refused(source in ".{0,80}") {
        exercise(&source);
    }

    #[test]
    fn any_tokens_are_compiled_or_refused(tokens in prop::collection::vec(prop::sample::select(words::CEL), 0..25)) {
        exercise(&tokens.concat());
    }

    #[test]
    fn expressions_with_mistakes_are_compiled_or_refused(
        source in prop::sample::select(EXPRESSIONS),
        place in any::<prop::sample::Index>(),
        removed in 0_usize..4,
        inserted in prop::sample::select(words::CEL),
    ) {
        let at = place.index(source.len());
        let end = (at + removed).min(source.len());
        exercise(&format!("{}{inserted}{}", &source[..at], &source[end..]));
    }
}

#[test]
fn nesting_is_bounded() {
    for (open, middle, close) in [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("-", "1", ""),
        ("!", "true", ""),
        ("{'a': ", "1", "}"),
        ("size([", "", "])"),
        ("[1].map(x, ", "x", ")"),
        ("true ? ", "1", " : 2"),
        ("true ? 1 : ", "1", ""),
        ("1 + ", "1", ""),
        ("true && ", "true", ""),
        ("self.", "a", ""),
        ("self.?", "a", ""),
        ("", "self", ".a"),
        ("", "self", "[0]"),
        ("optional.of(", "1", ")"),
    ] {
        for depth in [200, 1000, 10_000] {
            exercise(&format!("{}{middle}{}", open.repeat(depth), close.repeat(depth)));
        }
    }
    let long = "1".repeat(100_001);
    let error = Environment::new().compile(&long).expect_err("it is too long");
    let limit = "expression code point size exceeds limit: size: 100001, limit 100000";
    assert!(error.to_string().ends_with(limit), "{error}");
}

/// Expressions that would fill memory or take for ever, if nothing stopped them.
#[test]
fn what_grows_is_stopped() {
    let doubled = |count: usize, step: &str| format!("['aaaaaaaaaaaaaaaa']{}", step.repeat(count));
    let endless = [
        doubled(60, ".map(x, x + x)"),
        doubled(60, ".map(x, [x, x].join())"),
        doubled(20, ".map(x, x.replace('a', 'aaaaaaaaaaaaaaaa'))"),
        doubled(60, ".map(x, '%s%s'.format([x, x]))"),
        format!("[[1, 2]]{}", ".map(x, x + x)".repeat(60)),
        format!("[[1, 2]]{} == [[[1]]]", ".map(x, [x, x])".repeat(60)),
        format!("[1]{0} == [1]{0}", ".map(x, {'a': x, 'b': x})".repeat(60)),
        format!("[1]{}.map(x, '%s'.format([x]))", ".map(x, [x, x])".repeat(60)),
        format!("[1]{}", ".map(x, {x: x})".repeat(60)),
        "lists.range(900000).map(x, lists.range(900000))".to_owned(),
        "lists.range(1000).map(x, lists.range(1000).map(y, string(y).matches('a{100}' + string(y))))"
            .to_owned(),
        "lists.range(100000).distinct()".to_owned(),
        "sets.contains(lists.range(100000), lists.range(100000))".to_owned(),
    ];
    for source in endless {
        run_dynamic(&source);
    }
}
