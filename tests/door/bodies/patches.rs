//! Patches of every kind.

use serde_json::{Value, json};

use super::{APPLY, Case, MERGE, PATCH, STRATEGIC, case};
use crate::CONFIG_MAPS;

/// Patches that grow, or dig.
pub(super) fn patches() -> Vec<Case> {
    let witness = format!("{CONFIG_MAPS}/witness");
    let patch = ("PATCH", witness.as_str());
    let copies: Vec<Value> = (0..60)
        .map(|n| {
            if n == 0 {
                json!({"op": "add", "path": "/data", "value": {"k": "v".repeat(1000)}})
            } else {
                json!({"op": "copy", "from": "/data", "path": format!("/data/{n}")})
            }
        })
        .collect();
    let nested = |open: &str, close: &str, depth: usize| open.repeat(depth) + &close.repeat(depth);
    let ops = |count: usize| {
        Value::from(vec![json!({"op": "test", "path": "/kind", "value": "ConfigMap"}); count])
            .to_string()
    };
    vec![
        case(
            "copies that double",
            patch,
            (PATCH, Value::from(copies).to_string()),
            &[400, 413, 422],
        ),
        case("10,000 operations", patch, (PATCH, ops(10_000)), &[200]),
        case("30,000 operations", patch, (PATCH, ops(30_000)), &[413]),
        case(
            "a pointer that is deep",
            patch,
            (PATCH, json!([{"op": "add", "path": "/data".repeat(20_000), "value": 1}]).to_string()),
            &[422, 400],
        ),
        case(
            "a pointer to nowhere",
            patch,
            (PATCH, r#"[{"op":"remove","path":"/x~2y"}]"#),
            &[422, 400],
        ),
        case(
            "an index beyond counting",
            patch,
            (
                PATCH,
                r#"[{"op":"add","path":"/metadata/managedFields/99999999999999999999","value":{}}]"#,
            ),
            &[422, 400],
        ),
        case(
            "a move into itself",
            patch,
            (PATCH, r#"[{"op":"move","from":"/metadata","path":"/metadata/labels"}]"#),
            &[422, 400],
        ),
        case("no list of operations", patch, (PATCH, "{}"), &[400]),
        case(
            "an operation that nobody knows",
            patch,
            (PATCH, r#"[{"op":"spend","path":"/x"}]"#),
            &[400, 422],
        ),
        case(
            "the whole replaced",
            patch,
            (PATCH, r#"[{"op":"replace","path":"","value":[]}]"#),
            &[400, 422],
        ),
        case("a deep merge patch", patch, (MERGE, nested("{\"a\":", "}", 50_000)), &[400]),
        case("a merge patch that is no map", patch, (MERGE, "[1]"), &[400]),
        case("a name that changes", patch, (MERGE, r#"{"metadata":{"name":"else"}}"#), &[400]),
        case(
            "a namespace that changes",
            patch,
            (MERGE, r#"{"metadata":{"namespace":"else"}}"#),
            &[400],
        ),
        case("a uid that changes", patch, (MERGE, r#"{"metadata":{"uid":"else"}}"#), &[409, 422]),
        case(
            "100,000 finalizers that are merged",
            ("PATCH", &format!("{witness}?dryRun=All")),
            (
                STRATEGIC,
                json!({"metadata": {"finalizers": (0..100_000).map(|n| format!("a.b/{n}")).collect::<Vec<_>>()}})
                    .to_string(),
            ),
            &[200],
        ),
        case(
            "50,000 owners that are deleted",
            ("PATCH", &format!("{witness}?dryRun=All")),
            (
                STRATEGIC,
                json!({"metadata": {"ownerReferences": (0..50_000)
                    .map(|n| json!({"$patch": "delete", "uid": n.to_string()}))
                    .collect::<Vec<_>>()}})
                .to_string(),
            ),
            &[200],
        ),
        case("a deep strategic patch", patch, (STRATEGIC, nested("{\"a\":", "}", 50_000)), &[400]),
        case(
            "a directive that is none",
            patch,
            (STRATEGIC, r#"{"data":{"$patch":"explode"}}"#),
            &[500],
        ),
        case(
            "an order of nothing",
            patch,
            (
                STRATEGIC,
                r#"{"metadata":{"$setElementOrder/finalizers":[{"a":1}],"finalizers":[1]}}"#,
            ),
            &[500],
        ),
        case(
            "directives in directives",
            patch,
            (STRATEGIC, r#"{"$retainKeys":[["$patch"]],"$patch":{"$patch":"delete"}}"#),
            &[500],
        ),
        case(
            "forged field managers",
            patch,
            (
                MERGE,
                r#"{"metadata":{"managedFields":[{"manager":"x","operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:a":{"k:{":{}}}}]}}"#,
            ),
            &[200, 400, 422],
        ),
        case("an apply without a manager", ("PATCH", witness.as_str()), (APPLY, "{}"), &[400, 422]),
        case(
            "an apply to somebody else's name",
            ("PATCH", &format!("{witness}?fieldManager=x")),
            (APPLY, r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"else"}}"#),
            &[400],
        ),
        case(
            "a manager of 10,000 letters",
            ("PATCH", &format!("{witness}?fieldManager={}", "m".repeat(10_000))),
            (MERGE, "{}"),
            &[422, 400],
        ),
    ]
}
