//! Bodies of what is created.

use super::{APPLY, Case, JSON, YAML, case, config_map, many};
use crate::CONFIG_MAPS;

/// Text whose reading is expensive, or whose meaning is unsure.
pub(super) fn documents() -> Vec<Case> {
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
        case("anchors in anchors", post, (YAML, anchors_in_anchors()), &[400]),
        case(
            "a long text many times",
            post,
            (YAML, format!("a: &a {}\nb: [{}]", "x".repeat(1 << 20), vec!["*a"; 9_999].join(","))),
            &[400],
        ),
        case("doubled keys far below", post, (JSON, doubled_below()), &[422]),
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

/// Each anchor keeps all that is below it.
fn anchors_in_anchors() -> String {
    let open = (0..99).map(|n| format!("&a{n} [")).collect::<Vec<_>>().concat();
    format!("{open}{}{}", "a,".repeat(900_000), "]".repeat(99))
}

/// Keys that stand twice, below others that are long.
fn doubled_below() -> String {
    let open = format!(r#"{{"{}":"#, "k".repeat(30_000)).repeat(95);
    let doubled = (0..100).map(|n| format!(r#""d{n}":1,"d{n}":2,"#)).collect::<Vec<_>>().concat();
    format!(r#"{open}{{{doubled}"e":1}}{}"#, "}".repeat(95))
}
