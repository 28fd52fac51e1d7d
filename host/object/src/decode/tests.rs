//! Facts from recordings of kube-apiserver, and properties of the decoders.

use proptest::prelude::*;
use serde_json::json as value;

use super::*;

#[track_caller]
fn refused(text: &str, message: &str) {
    let error = object(text.as_bytes(), TextEncoding::Json, "ConfigMap").expect_err(text);
    let start = "the object provided is unrecognized (must be of type ConfigMap): \
                 couldn't get version/kind; json parse error: ";
    assert_eq!(error.0.strip_prefix(start), Some(message), "{text}: {error}");
}

#[test]
fn malformed_json_gets_the_recorded_messages() {
    refused("", "unexpected end of JSON input (<empty>)");
    refused("hello", "invalid character 'h' looking for beginning of value (68656c6c6f)");
    refused(
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},}"#,
        r#"invalid character '}' looking for beginning of object key string ({"apiVersion":"v1","kind":"Con ...)"#,
    );
    refused(
        r#"{"apiVersion":"v1",/*x*/"kind":"ConfigMap","metadata":{"name":"a"}}"#,
        r#"invalid character '/' looking for beginning of object key string ({"apiVersion":"v1",/*x*/"kind" ...)"#,
    );
    refused(
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}} x"#,
        r#"invalid character 'x' after top-level value ({"apiVersion":"v1","kind":"Con ...)"#,
    );
    refused(
        r#"{"apiVersion":"v1","kind":7,"metadata":{"name":"a"}}"#,
        r#"json: cannot unmarshal number into Go struct field .kind of type string ({"apiVersion":"v1","kind":7,"m ...)"#,
    );
    refused(
        "[]",
        "json: cannot unmarshal array into Go value of type struct { APIVersion string \
         \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" } (5b5d)",
    );
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    let error = json(deep.as_bytes()).expect_err("too deep");
    assert_eq!(error.0, "invalid character '[' exceeded max depth");
}

#[test]
fn null_is_an_empty_object_and_surrogates_are_paired_or_replaced() {
    let decoded = object(b"null", TextEncoding::Json, "ConfigMap").expect("accepted");
    assert_eq!(decoded.value, value!({}));
    let text = r#"["\ud83d\ude00","\ud83d","\ud83dx\u0041"]"#;
    assert_eq!(
        json(text.as_bytes()).expect("accepted").value,
        value!(["😀", "\u{fffd}", "\u{fffd}xA"])
    );
    assert!(json(b"\"\xff\"").is_err());
}

#[test]
fn duplicate_keys_are_named_by_path_and_the_last_counts() {
    let text = r#"{"data":{"k":"1","k":"2"},"l":[0,{"a":1,"a":2}],"data":{"k":"3"}}"#;
    let decoded = json(text.as_bytes()).expect("accepted");
    assert_eq!(decoded.value, value!({"data": {"k": "3"}, "l": [0, {"a": 2}]}));
    assert_eq!(
        decoded.duplicates,
        ["duplicate field \"data.k\"", "duplicate field \"l[1].a\"", "duplicate field \"data\"",]
    );
}

#[test]
fn integers_keep_their_digits_and_larger_numbers_are_floats() {
    let decoded = json(b"[9223372036854775807,-1,9223372036854775808,1.5,1e3]").expect("accepted");
    assert_eq!(decoded.value, value!([i64::MAX, -1, 9_223_372_036_854_776_000_u64, 1.5, 1000.0]));
    let error = json(b"1e999").expect_err("too big");
    assert_eq!(error.0, "json: cannot unmarshal number 1e999 into Go value of type float64");
}

#[test]
fn yaml_scalars_mean_what_yaml_1_1_says() {
    let text = "a: yes\nb: 'yes'\nc: 0644\nd: 1_000\ne: ~\nf: 1.5\ng: v1\nh: 0x1F\n1: x\ntrue: y\n\
                i: 2026-01-02\nj: |\n  two\n  lines\nk: !!str 7\nl: on\nm: 1e3\nn: -5\no: 1:30\n";
    assert_eq!(
        yaml(text.as_bytes()).expect("accepted").value,
        value!({
            "a": true, "b": "yes", "c": 420, "d": 1000, "e": null, "f": 1.5, "g": "v1", "h": 31,
            "1": "x", "true": true, "i": "2026-01-02", "j": "two\nlines\n", "k": "7", "l": true,
            "m": 1000.0, "n": false, "o": "1:30",
        })
        .as_object()
        .map(|expected| {
            let mut expected = expected.clone();
            // `n` is a boolean as a key, too.
            expected.remove("n");
            expected.insert("false".to_owned(), value!(-5));
            Value::Object(expected)
        })
        .expect("a map")
    );
}

#[test]
fn yaml_duplicates_name_their_line_and_the_last_counts() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: a\n  k: b\n";
    let decoded = object(text.as_bytes(), TextEncoding::Yaml, "ConfigMap").expect("accepted");
    assert_eq!(decoded.duplicates, ["line 7: key \"k\" already set in map"]);
    assert_eq!(decoded.value["data"], value!({"k": "b"}));
}

#[test]
fn malformed_yaml_gets_the_recorded_message() {
    let error = object(b"a: b: c\n  - x", TextEncoding::Yaml, "ConfigMap").expect_err("malformed");
    assert_eq!(
        error.0,
        "the object provided is unrecognized (must be of type ConfigMap): yaml: mapping values \
         are not allowed in this context (613a20623a20630a20202d2078)"
    );
}

#[test]
fn aliases_are_copied_within_a_budget() {
    let text = "a: &x {k: 1, l: 2}\nb: *x\nc:\n  <<: *x\n  k: 3\n";
    assert_eq!(
        yaml(text.as_bytes()).expect("accepted").value,
        value!({"a": {"k": 1, "l": 2}, "b": {"k": 1, "l": 2}, "c": {"k": 3, "l": 2}})
    );
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..10 {
        let alias = format!("*a{}", level - 1);
        let line = format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(","));
        bomb.push_str(&line);
    }
    let error = yaml(bomb.as_bytes()).expect_err("a bomb");
    assert_eq!(error.0, "yaml: document contains excessive aliasing");
    assert!(yaml(b"a: &x [*x]").is_err());
    let deep = "[".repeat(100_000);
    assert!(yaml(deep.as_bytes()).is_err());
}

#[test]
fn documents_of_a_stream_are_told_apart() {
    let all = yaml_documents(b"# none\n---\na: 1\n---\n---\nb: 2\n...\n").expect("accepted");
    let values: Vec<_> = all.into_iter().map(|document| document.value).collect();
    assert_eq!(values, [value!({"a": 1}), value!({"b": 2})]);
}

#[test]
fn one_field_is_read_without_the_rest() {
    let bytes = br#"{"a":{"b":[{"c":1}],"c":{"d":"x\n"},"e":true},"f":7}"#;
    assert_eq!(scalar_at(bytes, "a.c.d").as_deref(), Some("x\n"));
    assert_eq!(scalar_at(bytes, "a.e").as_deref(), Some("true"));
    assert_eq!(scalar_at(bytes, "f").as_deref(), Some("7"));
    assert_eq!(scalar_at(bytes, "a.b.c"), None);
    assert_eq!(scalar_at(bytes, "a"), None);
    assert_eq!(scalar_at(b"{", "a"), None);
}

#[test]
fn what_anchors_keep_and_aliases_repeat_is_bounded() {
    let nested = |depth: usize, items: usize| {
        let open = (0..depth).map(|n| format!("&a{n} [")).collect::<Vec<_>>().concat();
        format!("{open}{}{}", "a,".repeat(items), "]".repeat(depth))
    };
    let excessive = Err(DecodeError("yaml: document contains excessive aliasing".to_owned()));
    assert_eq!(yaml(nested(90, 20_000).as_bytes()), excessive, "each anchor keeps all below it");
    let long = format!("a: &a {}\nb: [{}]", "x".repeat(100_000), vec!["*a"; 1_000].join(","));
    assert_eq!(yaml(long.as_bytes()), excessive, "a long text many times");
    assert!(yaml(nested(20, 1_000).as_bytes()).is_ok());
}

#[test]
fn what_is_told_of_a_body_is_bounded() {
    let key = "k".repeat(30_000);
    let doubled = (0..100).map(|n| format!(r#""d{n}":1,"d{n}":2,"#)).collect::<Vec<_>>().concat();
    let text =
        format!(r#"{}{{{doubled}"e":1}}{}"#, format!(r#"{{"{key}":"#).repeat(90), "}".repeat(90));
    let decoded = json(text.as_bytes()).expect("JSON");
    assert_eq!(decoded.duplicates.len(), 100);
    assert!(decoded.duplicates.iter().all(|told| told.len() < 2_000));
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop((json(&bytes), yaml(&bytes), scalar_at(&bytes, "a.b")));
    }

    #[test]
    fn json_agrees_with_another_decoder(text in "[\\[\\]{}:,\"a0-9.e\\\\u -]{0,30}") {
        let ours = json(text.as_bytes()).map(|decoded| decoded.value);
        match serde_json::from_str::<Value>(&text) {
            // Whole numbers beyond an i64 are floats here.
            Ok(theirs) => {
                let same = ours == Ok(theirs);
                let long = text.bytes().filter(u8::is_ascii_digit).count() > 15;
                prop_assert!(same || long || text.contains("-0"));
            }
            Err(_) => prop_assert!(ours.is_err() || text.contains("\\u")),
        }
    }

    #[test]
    fn yaml_reads_every_json(text in "[a-z]{0,9}", number in any::<i64>(), float in -1e9..1e9_f64) {
        let value = value!({"t": text, "n": number, "f": float, "l": [{}, [], null, true]});
        let decoded = yaml(value.to_string().as_bytes()).expect("JSON is YAML");
        prop_assert_eq!(decoded.value, value);
    }

    #[test]
    fn yaml_like_texts_are_decoded_or_refused(text in "[a-c:&*<\\-\\[\\]{}#!|>'\" \n]{0,60}") {
        drop(yaml_documents(text.as_bytes()));
    }
}
