//! Bodies, paths and selectors that cost more than they look, or are not what they say: each is told what is wrong, or
//! taken for what it is, and none is the server's fault.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{CONFIG_MAPS, Target, is_full};

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A request, and the codes that are right for it.
struct Case {
    name: String,
    method: &'static str,
    path: String,
    kind: &'static str,
    body: Vec<u8>,
    codes: &'static [u16],
}

/// So many of something, or a fifth in the short form.
fn many(count: usize) -> usize {
    if is_full() { count } else { count / 5 }
}

fn case(
    name: &str,
    (method, path): (&'static str, &str),
    (kind, body): (&'static str, impl Into<Vec<u8>>),
    codes: &'static [u16],
) -> Case {
    Case { name: name.to_owned(), method, path: path.to_owned(), kind, body: body.into(), codes }
}

fn config_map(data: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"generateName":"x-"}},"data":{data}}}"#
    )
}

/// Text whose reading is expensive, or whose meaning is unsure.
fn documents() -> Vec<Case> {
    let post = ("POST", CONFIG_MAPS);
    let nested = |open: &str, close: &str, depth: usize| open.repeat(depth) + &close.repeat(depth);
    let laughs: String = (1..30)
        .map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(",")))
        .collect();
    let laughs = format!("a0: &a0 [x,x,x,x,x,x,x,x,x]\n{laughs}");
    let merge: String =
        (1..40).map(|n| format!("m{n}: &m{n}\n  <<: [*m{0}, *m{0}]\n", n - 1)).collect();
    let keys = format!(
        "{{{}}}",
        (0..many(60_000)).map(|n| format!(r#""k{n}":"v""#)).collect::<Vec<_>>().join(",")
    );
    let doubled = config_map(r#"{"a":"1","a":"2"}"#);
    let strict = format!("{CONFIG_MAPS}?fieldValidation=Strict");
    vec![
        case("100,000 brackets", post, (JSON, nested("[", "]", 100_000)), &[400]),
        case("100,000 open brackets", post, (JSON, "[".repeat(100_000)), &[400]),
        case("a million maps", post, (JSON, nested("{\"a\":", "}", 500_000)), &[400]),
        case(
            "depth in a field that is not known",
            post,
            (
                JSON,
                format!(
                    r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"generateName":"x-"}},"zzz":{}}}"#,
                    nested("[", "]", 100_000)
                ),
            ),
            &[400],
        ),
        case("100,000 brackets of YAML", post, (YAML, nested("[", "]", 100_000)), &[400]),
        case(
            "100,000 lines that are further in",
            post,
            (YAML, (0..1_500).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>()),
            &[400],
        ),
        case("100,000 dashes of YAML", post, (YAML, "- ".repeat(100_000)), &[400]),
        case("a billion laughs", post, (YAML, laughs.clone()), &[400]),
        case(
            "a billion laughs that are applied",
            ("PATCH", &format!("{CONFIG_MAPS}/laughs?fieldManager=x")),
            (APPLY, laughs),
            &[400],
        ),
        case("merge keys that double", post, (YAML, format!("m0: &m0 {{a: b}}\n{merge}")), &[400]),
        case("an alias of itself", post, (YAML, "a: &a [*a]"), &[400]),
        case(
            "100,000 anchors",
            post,
            (YAML, (0..many(100_000)).map(|n| format!("k{n}: &a{n} x\n")).collect::<String>()),
            &[422],
        ),
        case("100,000 documents", post, (YAML, "---\n".repeat(100_000)), &[400, 415, 422]),
        case("a tag that makes code", post, (YAML, "!!python/object/apply:os.system [id]"), &[400]),
        case("YAML that is binary", post, (YAML, vec![0_u8, 1, 2, 0xff, 0xfe]), &[400]),
        case("a key twice", post, (JSON, doubled.clone()), &[201]),
        case("a key twice, strictly", ("POST", &strict), (JSON, doubled), &[400]),
        case(
            "kind twice",
            post,
            (
                JSON,
                r#"{"apiVersion":"v1","kind":"ConfigMap","kind":"Secret","metadata":{"generateName":"x-"}}"#,
            ),
            &[400],
        ),
        case("60,000 keys", post, (JSON, config_map(&keys)), &[201, 413]),
        case(
            "1e400",
            ("POST", "/api/v1/namespaces/default/services"),
            (JSON, r#"{"metadata":{"generateName":"x-"},"spec":{"ports":[{"port":1e400}]}}"#),
            &[400, 422],
        ),
        case(
            "a number of 100,000 digits",
            ("POST", "/api/v1/namespaces/default/services"),
            (
                JSON,
                format!(
                    r#"{{"metadata":{{"generateName":"x-"}},"spec":{{"ports":[{{"port":{}}}]}}}}"#,
                    "9".repeat(100_000)
                ),
            ),
            &[400, 422],
        ),
        case(
            "an exponent of 100,000 digits",
            ("POST", "/api/v1/namespaces/default/services"),
            (
                JSON,
                format!(
                    r#"{{"metadata":{{"generateName":"x-"}},"spec":{{"ports":[{{"port":1e-{}}}]}}}}"#,
                    "9".repeat(100_000)
                ),
            ),
            &[400, 422],
        ),
        case(
            "an infinite quantity",
            ("POST", "/api/v1/namespaces/default/resourcequotas"),
            (JSON, r#"{"metadata":{"generateName":"x-"},"spec":{"hard":{"pods":"1e999999999"}}}"#),
            &[400, 422],
        ),
        case("a lone surrogate", post, (JSON, config_map(r#"{"a":"\ud800"}"#)), &[201, 400]),
        case(
            "a lone surrogate in a key",
            post,
            (JSON, config_map(r#"{"\udc00":"a"}"#)),
            &[400, 422],
        ),
        case("a NUL in a text", post, (JSON, config_map(r#"{"a":"\u0000"}"#)), &[201, 400]),
        case("a NUL in a name", post, (JSON, r#"{"metadata":{"name":"a\u0000b"}}"#), &[422]),
        case("a broken escape", post, (JSON, config_map(r#"{"a":"\x"}"#)), &[400]),
        case(
            "no UTF-8 in a text",
            post,
            (JSON, [b"{\"data\":{\"a\":\"".as_slice(), &[0xc3, 0x28], b"\"}}"].concat()),
            &[400, 422, 201],
        ),
        case(
            "a mark of byte order",
            post,
            (JSON, [&[0xef, 0xbb, 0xbf][..], config_map("{}").as_bytes()].concat()),
            &[400, 201],
        ),
        case(
            "UTF-16",
            post,
            (JSON, config_map("{}").encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()),
            &[400],
        ),
        case("something after the end", post, (JSON, config_map("{}") + "{}"), &[400]),
        case("a comment", post, (JSON, "/* */".to_owned() + &config_map("{}")), &[400]),
        case("NaN", post, (JSON, r#"{"metadata":{"generation":NaN}}"#), &[400]),
        case(
            "protobuf that is too short",
            post,
            ("application/vnd.kubernetes.protobuf", b"k8s\0\x0a\xff\xff\xff\xff\x0f".to_vec()),
            &[400],
        ),
        case(
            "protobuf that is deep",
            post,
            (
                "application/vnd.kubernetes.protobuf",
                [b"k8s\0".to_vec(), nested_protobuf(60)].concat(),
            ),
            &[400, 422],
        ),
        case("an unknown type", post, ("application/x-msgpack", "x"), &[415]),
        case("a type of 50 KiB", post, (JSON, config_map("{}")), &[201]),
    ]
}

/// A message in a message in a message.
fn nested_protobuf(depth: usize) -> Vec<u8> {
    (0..depth).fold(Vec::new(), |inner, _| {
        let length = u8::try_from(inner.len() % 128).expect("seven bits");
        [vec![0x12, length], inner].concat()
    })
}

/// Patches that grow, or dig.
fn patches() -> Vec<Case> {
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

/// Names, labels and what else metadata may hold.
fn metadata() -> Vec<Case> {
    let post = ("POST", CONFIG_MAPS);
    let of = |metadata: Value| json!({"metadata": metadata}).to_string();
    let mut cases: Vec<Case> = [
        "",
        ".",
        "..",
        "a/b",
        "a%2fb",
        "../../etc",
        "A",
        "-a",
        "a-",
        "a..b",
        "é",
        "a b",
        "a\n",
        "*",
        "$(id)",
        "<script>",
        "\u{202e}x",
    ]
    .iter()
    .map(|name| {
        case(&format!("the name {name:?}"), post, (JSON, of(json!({"name": name}))), &[422])
    })
    .collect();
    let long = "a".repeat(100_000);
    cases.extend([
        case("a name of 100,000 letters", post, (JSON, of(json!({"name": long}))), &[422]),
        case("a prefix of 100,000 letters", post, (JSON, of(json!({"generateName": long}))), &[201, 422]),
        case("a label of 100,000 letters", post, (JSON, of(json!({"generateName": "x-", "labels": {"a": long}}))), &[422]),
        case("a label's name of 100,000 letters", post, (JSON, of(json!({"generateName": "x-", "labels": {long.as_str(): "a"}}))), &[422]),
        case("labels that are no texts", post, (JSON, of(json!({"generateName": "x-", "labels": {"a": {"b": 1}}}))), &[400]),
        case("20,000 labels", post, (JSON, of(json!({"generateName": "x-", "labels": (0..many(20_000)).map(|n| (format!("l{n}"), json!("v"))).collect::<serde_json::Map<_, _>>()}))), &[201, 422]),
        case("a foreign uid", post, (JSON, of(json!({"generateName": "x-", "uid": "00000000-0000-0000-0000-000000000000", "resourceVersion": ""}))), &[201]),
        case("a revision from the start", post, (JSON, of(json!({"generateName": "x-", "resourceVersion": "5"}))), &[500]),
        case("20,000 owners", post, (JSON, of(json!({"generateName": "x-", "ownerReferences": (0..many(10_000)).map(|n| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": format!("o{n}"), "uid": format!("u{n}")})).collect::<Vec<_>>()}))), &[201, 422]),
        case("an owner of itself", post, (JSON, of(json!({"name": "self", "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "self", "uid": "x"}]}))), &[201]),
        case("50,000 finalizers", post, (JSON, of(json!({"generateName": "x-", "finalizers": (0..many(50_000)).map(|n| format!("a.b/{n}")).collect::<Vec<_>>()}))), &[201, 413]),
        case("a time that is none", post, (JSON, of(json!({"generateName": "x-", "creationTimestamp": "99999-99-99T99:99:99Z"}))), &[400]),
    ]);
    cases
}

/// Questions: selectors, pages, revisions.
fn queries() -> Vec<Case> {
    let get = |name: &str, query: &str, codes: &'static [u16]| {
        case(name, ("GET", &format!("{CONFIG_MAPS}?{query}")), (JSON, ""), codes)
    };
    let values = vec!["v"; 12_000].join(",");
    vec![
        get("a set of 12,000", &format!("labelSelector=a%20in%20({values})"), &[200]),
        get(
            "5,000 requirements",
            &format!("labelSelector={}", vec!["a!=b"; 5_000].join(",")),
            &[200],
        ),
        get("parentheses", &format!("labelSelector=a%20in%20{}", "(".repeat(20_000)), &[400]),
        get("commas", &format!("labelSelector={}", ",".repeat(30_000)), &[400]),
        get("a selector of nonsense", "labelSelector=%00%ff", &[400]),
        get("a field that nobody selects", "fieldSelector=data.a=b", &[400]),
        get(
            "5,000 fields",
            &format!("fieldSelector={}", vec!["metadata.name!=b"; 2_500].join(",")),
            &[200, 400],
        ),
        get(
            "backslashes",
            &format!("fieldSelector=metadata.name={}", "%5C".repeat(10_000)),
            &[200, 400],
        ),
        get("a page that nobody began", "limit=5&continue=%F0%9F%92%A9", &[400]),
        get(
            "a page of 10,000 letters",
            &format!("limit=5&continue={}", "A".repeat(10_000)),
            &[400],
        ),
        get(
            "a page before the first",
            "limit=5&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiIn0",
            &[200, 400, 410],
        ),
        get(
            "a path as the start of a page",
            "limit=5&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi8uLi9zZWNyZXRzIn0",
            &[200, 400, 410],
        ),
        get("a limit below 0", "limit=-9223372036854775808", &[200, 400, 422]),
        get("a limit beyond 64 bits", "limit=9223372036854775808", &[400]),
        get(
            "a revision of the future",
            "resourceVersion=18446744073709551615&timeoutSeconds=1",
            &[400, 504],
        ),
        get("a revision below 0", "resourceVersion=-1", &[400, 500]),
        get("a match of nothing", "resourceVersionMatch=Exact", &[422, 400]),
        get(
            "a match that nobody knows",
            "resourceVersion=1&resourceVersionMatch=Nearly",
            &[422, 400],
        ),
        get("a broken escape", "labelSelector=%zz", &[400]),
        get("20,000 parameters", &vec!["dryRun=All"; 4_000].join("&"), &[200]),
        get("an unknown dry run", "dryRun=Some", &[200]),
        get(
            "a watch that ends at once",
            "watch=1&timeoutSeconds=1&resourceVersion=18446744073709551615",
            &[400, 504, 200],
        ),
        get("a time before all", "watch=1&timeoutSeconds=-5&limit=x", &[400]),
    ]
}

/// Paths that mean something else to somebody else.
fn paths() -> Vec<Case> {
    [
        ("/api/v1/namespaces/default/configmaps/..%2f..%2fsecrets", 404),
        ("/api/v1/namespaces/default/configmaps/../secrets", 404),
        ("/api/v1/namespaces/default/configmaps/witness%00", 404),
        ("/api/v1/namespaces/default/configmaps/witness%0d%0aX-A:%20b", 404),
        ("/api/v1/namespaces/default/configmaps/%ff", 400),
        ("/api/v1/namespaces/default/configmaps/%f", 400),
        ("/api/v1/namespaces/default%2fconfigmaps/witness", 404),
        ("//api//v1//namespaces", 404),
        ("/api/v1/namespaces/default/configmaps//witness", 404),
        ("/api/v1/namespaces/default/configmaps/witness/status/status", 404),
        ("/api/v1/namespaces/default/configmaps/witness;a=b", 404),
        ("/api/v1/namespaces/default/configmaps/witness%3fwatch=1", 404),
        ("/api/v1/namespaces/..;/secrets", 200),
        ("/apis/../api/v1/secrets", 404),
        ("/api/v1\\namespaces", 404),
        ("/%61pi/v1/namespaces", 404),
        ("/quadrille/../api/v1/secrets", 404),
        ("/apis/quadrille.dev/v1/plugins/..%2f..%2fetc/component", 404),
        (
            "/apis/quadrille.dev/v1/plugins/witness/component?digest=sha256:..%2f..%2f..%2fca.key",
            404,
        ),
        ("/openapi/v3/../../ca.key", 404),
        ("/quadrille/runs/18446744073709551616", 400),
        ("/quadrille/runs/-1/case", 400),
        ("/quadrille/why?resource=secrets&name=..%2f..", 404),
        ("/quadrille/effects?revision=99999999999999999999", 400),
        ("/quadrille/settled?wait=99999999999999999999s", 400),
        ("/quadrille/settled?revision=18446744073709551615", 200),
    ]
    .into_iter()
    .map(|(path, code)| {
        let codes: &[u16] = match code {
            404 => &[404],
            200 => &[200, 400, 404, 410],
            _ => &[400],
        };
        case(path, ("GET", path), (JSON, ""), codes)
    })
    .collect()
}

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
fn definitions() -> Vec<Case> {
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

fn ask(target: &Target, case: &Case) -> Result<(), String> {
    let begun = Instant::now();
    let answer = target.admin.send(case.method, &case.path, case.kind, &case.body);
    let answer = answer.map_err(|error| format!("{}: no answer: {error:#}", case.name))?;
    let took = begun.elapsed();
    if took.as_millis() >= 500 {
        eprintln!("{}: {took:.1?}", case.name);
    }
    let shown: String = answer.body.to_string().chars().take(300).collect();
    if !case.codes.contains(&answer.code) {
        return Err(format!(
            "{}: wanted {:?}, got {}: {shown}",
            case.name, case.codes, answer.code
        ));
    }
    let message = answer.body["message"].as_str().unwrap_or_default();
    let is_told = answer.body["kind"] == "Status" && message.len() > 5;
    // Where no resource is, a plain text says so.
    let is_plain = answer.code == 404 && answer.body.is_string();
    if answer.code >= 400 && !is_told && !is_plain {
        return Err(format!("{}: {} without a word: {shown}", case.name, answer.code));
    }
    if answer.body.to_string().len() > 1 << 20 && answer.code >= 400 {
        return Err(format!("{}: the refusal is larger than 1 MiB", case.name));
    }
    Ok(())
}

#[test]
fn bodies_paths_and_questions_that_are_bombs_or_nonsense_are_told_what_is_wrong() {
    let target = Target::start(&[]);
    let cases: Vec<Case> = [documents(), patches(), metadata(), queries(), paths(), definitions()]
        .into_iter()
        .flatten()
        .collect();
    let rounds = if is_full() { 20 } else { 1 };
    for _ in 0..rounds {
        let wrong: Vec<String> = cases.iter().filter_map(|case| ask(&target, case).err()).collect();
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
        for case in definitions() {
            drop(target.admin.delete(&format!(
                "{DEFINITIONS}/{}s.bomb.example",
                case.name.rsplit(' ').next().unwrap_or_default()
            )));
        }
    }
    eprintln!("{} requests, {rounds} times", cases.len());
    // Kubernetes' own answer to what a strategic patch or a create may not say is 500, and so it is here.
    target.assert_alive(512 << 20);
}
