//! What expressions cost: estimated before, and counted when they run. The numbers are those of Kubernetes, which
//! refuses definitions by the former and stops runs by the latter.

use quadrille_cel::{
    Budget, CostEstimate, Decision, Declared, Environment, EvalError, Question, SchemaRoot, Value,
    Variables,
};
use serde_json::json;

/// Whoever asks may do everything.
struct Asked;

impl<'a> Variables<'a> for Asked {
    fn variable(&self, _: &str, _: &mut Budget) -> Result<Value<'a>, EvalError> {
        Ok(Value::authorizer())
    }

    fn authorize(&self, question: &Question) -> Result<Decision, EvalError> {
        Ok(Decision { allowed: !question.verb.is_empty(), ..Decision::default() })
    }
}

#[track_caller]
fn costs(source: &str) -> (CostEstimate, u64) {
    let program = Environment::new().authorizer().compile(source).expect(source);
    let mut budget = Budget::per_object();
    program.evaluate(&Asked, &mut budget).expect(source);
    (program.estimate_cost(), Budget::per_object().remaining() - budget.remaining())
}

#[test]
fn calls_cost_the_same_estimated_and_run() {
    let cases = [
        ("1 + 2", 1),
        ("'a' == 'b'", 1),
        ("'01234567890123456789'.lowerAscii()", 2),
        ("'01234567890123456789'.replace('0', 'a')", 4),
        ("'0123456789'.contains('0123456789')", 1),
        ("'0123456789'.matches('[0-9]')", 4),
        ("[1 + 1, 2, 3]", 11),
        ("[1 + 1, 2, 3, 4, 5].sum()", 16),
        ("1 in [1 + 1, 2, 3]", 14),
        ("{'a': 1 + 1}", 31),
        ("quantity('12345678').isGreaterThan(quantity('1'))", 3),
        ("ip('127.0.0.1').isLoopback()", 2),
        ("cidr('192.168.0.0/24').prefixLength()", 3),
        ("semver('1.2.3').major() == 1", 3),
        ("authorizer.path('/healthz').check('get').allowed()", 350_003),
    ];
    for (source, cost) in cases {
        let (estimate, spent) = costs(source);
        assert!(estimate.min <= cost && cost <= estimate.max, "{source}: {estimate:?}");
        assert_eq!(spent, cost, "{source}");
    }
}

#[test]
fn constants_are_computed_once() {
    let cases = [
        ("[1, 2, 3]", 10, 0),
        ("{'a': [1]}", 40, 0),
        ("[uint(1), uint(2)].max()", 14, 2),
        ("1 in [1, 2, 3]", 13, 0),
        ("timestamp('2020-01-01T00:00:00Z') == timestamp(0)", 3, 1),
        ("sets.contains([1, 2], [2])", 23, 3),
        ("sets.equivalent([1, 2], [2])", 25, 5),
        ("[1, 2].map(i, i + 1)", 49, 29),
        ("[1, 2].exists(i, v, v > 0)", 23, 10),
        ("[1, 2].existsOne(i, v, v > 0)", 20, 10),
        ("{'a': 1, 'b': 2}.exists(k, v, v > 0)", 43, 10),
        ("{'a': 1, 'b': 2}.existsOne(k, v, v > 0)", 40, 10),
    ];
    for (source, estimated, cost) in cases {
        let (estimate, spent) = costs(source);
        assert_eq!((estimate.max, spent), (estimated, cost), "{source}");
    }
}

#[test]
fn estimates_rest_on_what_the_schema_allows() {
    let schema = json!({"type": "object", "properties": {
        "short": {"type": "string", "maxLength": 10},
        "long": {"type": "string"},
        "list": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 10}},
        "open": {"type": "array", "items": {"type": "integer"}}
    }});
    let declared = Declared::of_schema(&schema, SchemaRoot::Part, "self").expect("an object");
    let environment = Environment::new().declared("self", declared);
    let estimate = |source: &str| environment.compile(source).expect(source).estimate_cost();
    assert_eq!(estimate("has(self.short)"), CostEstimate { min: 1, max: 1 });
    assert_eq!(estimate("self.short == self.long"), CostEstimate { min: 5, max: 8 });
    assert_eq!(estimate("self.short.startsWith('a')"), CostEstimate { min: 3, max: 3 });
    // Ten elements: their loop (3), themselves (1) and the comparison of up to 40 bytes (4); list and result.
    assert_eq!(estimate("self.list.all(x, x == self.short)"), CostEstimate { min: 3, max: 103 });
    let open = estimate("self.open.all(x, self.open.all(y, x == y))");
    assert!(open.max > quadrille_cel::RULE_ESTIMATE_LIMIT, "{open:?}");
}
