//! What a refused apply takes: few words, whatever it is refused for.

use super::*;

#[test]
fn of_many_conflicts_below_a_long_key_the_first_are_told_in_few_words() {
    let key = "k".repeat(10_000);
    let of = |n: i64| -> Value {
        let items: Vec<Value> =
            (0..5_000).map(|k| json!({"name": k.to_string(), "v": n})).collect();
        json!({"m": items, "gm": {key.as_str(): n.to_string()}})
    };
    let live = applied(None, of(1), &by("m1", 0), false).expect("first");
    let refused = applied(Some(&live), of(2), &by("m2", 1), false).expect_err("m1 owns them");
    let text = refused.to_string();
    assert!(text.starts_with("Apply failed with 5001 conflicts: conflicts with \"m1\":\n- .spec."));
    assert!(text.ends_with("and 4001 more") && text.len() < 1_000_000, "{}", text.len());
    let ApplyError::Conflicts { told, .. } = refused else { panic!("{text}") };
    assert_eq!(told.len(), 1_000);
}

#[test]
fn a_configuration_that_misfits_in_many_places_below_a_long_key_is_refused_in_few_words() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
        "additionalProperties": {"type": "array", "items": {"type": "string"}}}}});
    let schema = Schema::from_crd(&schema, "s").expect("structural");
    let config = config(json!({"k".repeat(10_000): vec![1; 10_000]}));
    let refused = apply(&schema, None, &config, &by("m1", 0), false).expect_err("no texts");
    let size = refused.to_string().len();
    assert!((1_000..2_000_000).contains(&size), "{size} bytes");
}
