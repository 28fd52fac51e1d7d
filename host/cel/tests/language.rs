//! The language by examples: what an expression gives, or how it fails.

use quadrille_cel::{Budget, Environment, EvalError, Type, Value};
use serde_json::{Value as Json, json};

/// Evaluates on one dynamic variable `x`.
fn run(source: &str, x: &Json) -> Result<Json, String> {
    let environment = Environment::new().variable("x", Type::Dyn).bindings();
    let program = environment.compile(source).map_err(|error| error.to_string())?;
    let variables = [("x", Value::dynamic(x))];
    let value = program.evaluate(&variables, &mut Budget::per_object());
    value.and_then(|value| value.to_json()).map_err(|error: EvalError| error.to_string())
}

#[track_caller]
fn gives(cases: &[(&str, Json)]) {
    let x = json!({"a": 1, "b": "text", "l": [3, 1, 2], "m": {"k": "v"}, "n": null, "d": 1.5});
    for (source, wanted) in cases {
        assert_eq!(run(source, &x).as_ref(), Ok(wanted), "{source}");
    }
}

#[track_caller]
fn fails(cases: &[(&str, &str)]) {
    let x = json!({"a": 1, "b": "text", "l": [3, 1, 2], "m": {"k": "v"}});
    for (source, wanted) in cases {
        assert_eq!(run(source, &x), Err((*wanted).to_owned()), "{source}");
    }
}

#[test]
fn literals_are_read() {
    gives(&[
        ("1 + 2 * 3 - 4", json!(3)),
        ("0x10", json!(16)),
        ("-9223372036854775808", json!(i64::MIN)),
        ("12u + 3u", json!(15)),
        ("1.5e1", json!(15.0)),
        ("'a' + \"b\" + r'\\n' + '''c'd'''", json!("ab\\nc'd")),
        ("'\\x41\\u0042\\103\\n'", json!("ABC\n")),
        ("string(b'\\xc3\\xa4')", json!("ä")),
        ("[1, 2, 3]", json!([1, 2, 3])),
        ("{'a': 1, 'b': 2}", json!({"a": 1, "b": 2})),
        ("[1, 2,]", json!([1, 2])),
        ("null", json!(null)),
        ("true ? 1 : 2", json!(1)),
        ("!false && !!true", json!(true)),
        ("-(1) == -1 && --1 == 1", json!(true)),
    ]);
}

#[test]
fn macros_loop() {
    gives(&[
        ("x.l.all(i, i > 0)", json!(true)),
        ("x.l.exists(i, i == 2)", json!(true)),
        ("x.l.exists_one(i, i > 2)", json!(true)),
        ("x.l.map(i, i * 2)", json!([6, 2, 4])),
        ("x.l.map(i, i > 1, i * 2)", json!([6, 4])),
        ("x.l.filter(i, i > 1)", json!([3, 2])),
        ("x.m.all(k, k == 'k')", json!(true)),
        ("x.l.all(i, v, i < 3 && v > 0)", json!(true)),
        ("x.m.transformList(k, v, k + v)", json!(["kv"])),
        ("x.m.transformMap(k, v, v + '!')", json!({"k": "v!"})),
        ("x.l.transformMapEntry(i, v, {string(v): i})", json!({"3": 0, "1": 1, "2": 2})),
        ("x.l.sortBy(v, -v)", json!([3, 2, 1])),
        ("cel.bind(y, x.a + 1, y * y)", json!(4)),
        ("[[1, 2], [3]].map(i, i.map(j, j + 1))", json!([[2, 3], [4]])),
        ("has(x.a) && !has(x.zz)", json!(true)),
        // An error is outweighed by an element that decides.
        ("[1, 0].exists(i, 1 / i == 1)", json!(true)),
        ("[0, 1].all(i, 1 / i == 2)", json!(false)),
    ]);
    fails(&[("[0, 1].all(i, 1 / i == 1)", "division by zero")]);
}

#[test]
fn logic_absorbs_errors() {
    gives(&[
        ("x.zz == 1 || true", json!(true)),
        ("true || x.zz == 1", json!(true)),
        ("x.zz == 1 && false", json!(false)),
    ]);
    fails(&[("x.zz == 1 || false", "no such key: zz"), ("x.zz == 1 && true", "no such key: zz")]);
}

#[test]
fn optional_values_chain() {
    gives(&[
        ("x.?a.orValue(7)", json!(1)),
        ("x.?zz.?y.orValue(7)", json!(7)),
        ("x.?m.k.hasValue()", json!(true)),
        ("x.l[?9].hasValue()", json!(false)),
        ("x.l[?0].value()", json!(3)),
        ("[?x.?zz, ?x.?a]", json!([1])),
        ("{?'z': x.?zz, ?'a': x.?a}", json!({"a": 1})),
        ("x.?a.optMap(v, v + 1).value()", json!(2)),
        ("x.?zz.optMap(v, v + 1).hasValue()", json!(false)),
        ("optional.ofNonZeroValue('').or(optional.of('b')).value()", json!("b")),
    ]);
    fails(&[("optional.none().value()", "optional.none() dereference")]);
}

#[test]
fn numbers_of_different_types_compare() {
    gives(&[
        ("x.a == 1.0 && x.a < 1.5 && x.a >= 1u", json!(true)),
        ("1 < 2.5 && 3u > 2 && 1.0 <= 1", json!(true)),
        ("dyn(1) == dyn(1u) && dyn(1) == dyn(1.0)", json!(true)),
        ("1 in [1.0, 2.0].map(d, dyn(d))", json!(true)),
        ("dyn('a') == dyn(1)", json!(false)),
        ("{1: 'a'}[dyn(1u)]", json!("a")),
    ]);
}

#[test]
fn mistakes_are_named_as_other_servers_name_them() {
    fails(&[
        ("x.zz", "no such key: zz"),
        ("x.l[3]", "index out of bounds: 3"),
        ("x.l[-1]", "index out of bounds: -1"),
        ("x.a / 0", "division by zero"),
        ("x.a % 0", "modulus by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("0u - 1u", "unsigned integer overflow"),
        ("int(x.b)", "type conversion error from 'string' to 'int'"),
        ("bool(x.b)", "type conversion error from 'string' to 'bool'"),
        (
            "quantity(x.b)",
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        ("quantity('1K')", "unable to parse quantity's suffix"),
        (
            "ip('1.2.3')",
            "IP Address \"1.2.3\" parse error during conversion from string: ParseAddr(\"1.2.3\"): IPv4 address too short",
        ),
        (
            "ip(x.b)",
            "IP Address \"text\" parse error during conversion from string: ParseAddr(\"text\"): unable to parse IP",
        ),
        ("ip('::ffff:1.2.3.4')", "IPv4-mapped IPv6 address \"::ffff:1.2.3.4\" is not allowed"),
        (
            "cidr('10.0.0.0')",
            "network address parse error during conversion from string: netip.ParsePrefix(\"10.0.0.0\"): no '/'",
        ),
        (
            "cidr('10.0.0.0/33')",
            "network address parse error during conversion from string: netip.ParsePrefix(\"10.0.0.0/33\"): prefix length out of range",
        ),
        (
            "url(x.b)",
            "URL parse error during conversion from string: parse \"text\": invalid URI for request",
        ),
        (
            "url('https://a/%zz')",
            "URL parse error during conversion from string: parse \"https://a/%zz\": invalid URL escape \"%zz\"",
        ),
        ("semver('1.2')", "No Major.Minor.Patch elements found"),
        ("semver('1.02.3')", "Minor number must not contain leading zeroes \"02\""),
        ("x.a + x.b", "no such overload"),
        ("x.a.startsWith('a')", "no such overload: startsWith(int, string)"),
    ]);
}

#[test]
fn problems_are_shown_in_their_place() {
    let expecting = "expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, \
        NUM_UINT, STRING, BYTES, IDENTIFIER}";
    let shown = |place: &str, message: &str, source: &str, caret: &str| {
        format!("ERROR: <input>:{place}: {message}\n | {source}\n | {caret}")
    };
    let cases = [
        ("foo == 1", "1:1", "undeclared reference to 'foo' (in container '')", "^"),
        ("frob(x.a)", "1:5", "undeclared reference to 'frob' (in container '')", "....^"),
        (
            "1 == 'x'",
            "1:3",
            "found no matching overload for '_==_' applied to '(int, string)'",
            "..^",
        ),
        (
            "1 == null",
            "1:3",
            "found no matching overload for '_==_' applied to '(int, null)'",
            "..^",
        ),
        (
            "quantity('1').sign()",
            "1:19",
            "found no matching overload for 'sign' applied to 'kubernetes.Quantity.()'",
            "..................^",
        ),
        ("has(x)", "1:5", "invalid argument to has() macro", "....^"),
        ("'a'.matches('(')", "1:13", "invalid matches argument", "............^"),
        ("'a' +", "1:6", &format!("Syntax error: mismatched input '<EOF>' {expecting}"), ".....^"),
        ("[1, 'a']", "1:5", "expected type 'int' but found 'string'", "....^"),
        ("a == )", "1:6", &format!("Syntax error: mismatched input ')' {expecting}"), ".....^"),
        ("(a", "1:3", "Syntax error: missing ')' at '<EOF>'", "..^"),
        ("((a", "1:4", "Syntax error: mismatched input '<EOF>' expecting ')'", "...^"),
        ("f(1 2)", "1:5", "Syntax error: extraneous input '2' expecting ')'", "....^"),
        ("a ? 1", "1:6", "Syntax error: mismatched input '<EOF>' expecting ':'", ".....^"),
        ("[1, 2", "1:6", "Syntax error: mismatched input '<EOF>' expecting {']', ','}", ".....^"),
        ("a..b", "1:3", "Syntax error: no viable alternative at input '..'", "..^"),
        ("int{}", "1:4", "'int' is not a message type", "...^"),
        ("[].length", "1:3", "type 'list(_var0)' does not support field selection", "..^"),
        ("x.true", "1:3", "Syntax error: mismatched input 'true' expecting IDENTIFIER", "..^"),
        ("a b c", "1:3", "Syntax error: mismatched input 'b' expecting <EOF>", "..^"),
        ("[1].map(2, 3)", "1:9", "argument is not an identifier", "........^"),
        ("[1].all(2, true)", "1:9", "argument must be a simple name", "........^"),
        ("{a}", "1:3", "Syntax error: mismatched input '}' expecting ':'", "..^"),
        ("a b", "1:3", "Syntax error: extraneous input 'b' expecting <EOF>", "..^"),
        ("for == 1", "1:1", "reserved identifier: for", "^"),
    ];
    for (source, place, message, caret) in cases {
        let wanted = shown(place, message, source, caret);
        assert_eq!(run(source, &json!({})), Err(wanted), "{source}");
    }
}

#[test]
fn texts_are_taken_apart() {
    gives(&[
        ("'tacocat'.charAt(3) + 'abc'.substring(1) + 'abc'.substring(0, 2)", json!("obcab")),
        (
            "'äbc'.indexOf('b') == 1 && 'abcb'.lastIndexOf('b') == 3 && 'abc'.indexOf('z') == -1",
            json!(true),
        ),
        ("' a '.trim() + 'Ab'.lowerAscii() + 'Ab'.upperAscii()", json!("aabAB")),
        ("'a,b,c'.split(',') + 'a,b,c'.split(',', 2)", json!(["a", "b", "c", "a", "b,c"])),
        ("['a', 'b'].join('-') + ['a', 'b'].join()", json!("a-bab")),
        ("'hello'.replace('l', 'L', 1)", json!("heLlo")),
        ("'%s is %d and %.2f'.format([dyn('a'), 2, 1.5])", json!("a is 2 and 1.50")),
        ("'abc 123 de45'.find('[0-9]+')", json!("123")),
        ("'123 abc 456'.findAll('[0-9]+')", json!(["123", "456"])),
        ("strings.quote('a\"b')", json!("\"a\\\"b\"")),
        ("jsonpatch.escapeKey('a/b~c')", json!("a~1b~0c")),
        ("'abc'.size() + size('äö')", json!(5)),
        ("string(1.0) + string(1e30) + string(true)", json!("11e+30true")),
    ]);
}

#[test]
fn lists_are_worked_on() {
    gives(&[
        ("x.l.sum() + x.l.min() + x.l.max()", json!(10)),
        ("[1, 2].isSorted() && !x.l.isSorted()", json!(true)),
        ("x.l.indexOf(2) == 2 && x.l.lastIndexOf(7) == -1", json!(true)),
        ("x.l.sort()", json!([1, 2, 3])),
        ("x.l.reverse() + x.l.slice(0, 1)", json!([2, 1, 3, 3])),
        ("[1, 1, 2].distinct()", json!([1, 2])),
        ("[[1], [2, 3]].flatten()", json!([1, 2, 3])),
        ("lists.range(3)", json!([0, 1, 2])),
        ("[1, 2].first().value() + [1, 2].last().value()", json!(3)),
        ("sets.contains([1, 2], [2]) && sets.intersects([1], [1, 2])", json!(true)),
        ("sets.equivalent([1, 2, 2], [2, 1])", json!(true)),
        ("3 in x.l && 'k' in x.m && !(4 in x.l)", json!(true)),
    ]);
}

#[test]
fn times_are_calculated_with() {
    gives(&[
        (
            "timestamp('2020-01-01T00:00:00Z') + duration('1h') == timestamp('2020-01-01T01:00:00Z')",
            json!(true),
        ),
        ("timestamp('2020-05-02T03:04:05.006Z').getMonth()", json!(4)),
        ("timestamp('2020-05-02T03:04:05Z').getHours('America/New_York')", json!(23)),
        ("timestamp('2020-05-02T03:04:05Z').getHours('+01:30')", json!(4)),
        ("duration('90m').getHours() + duration('90m').getMinutes()", json!(91)),
        ("string(duration('1h1.5s'))", json!("3601.5s")),
        (
            "timestamp('2020-01-02T00:00:00Z') - timestamp('2020-01-01T00:00:00Z') == duration('24h')",
            json!(true),
        ),
        ("int(timestamp('1970-01-01T00:01:00Z'))", json!(60)),
        ("type(timestamp(0)) == google.protobuf.Timestamp", json!(true)),
    ]);
}

#[test]
fn kubernetes_libraries_are_there() {
    gives(&[
        (
            "quantity('1Gi').isGreaterThan(quantity('1G')) && isQuantity('1') && !isQuantity('x')",
            json!(true),
        ),
        ("quantity('2k').asInteger() + sign(quantity('-1'))", json!(1999)),
        ("quantity('1').add(quantity('500m')).sub(1) == quantity('0.5')", json!(true)),
        ("url('https://u@a.example:81/p%20q?x=1&x=2').getHost()", json!("a.example:81")),
        ("url('https://h:9/p%20q?x=1&x=2').getQuery()", json!({"x": ["1", "2"]})),
        (
            "url('https://h:9/p%20q').getEscapedPath() + url('https://[::1]:9/').getHostname()",
            json!("/p%20q::1"),
        ),
        ("isURL('/path') && !isURL('path') && !isURL('https://a:b:c/')", json!(true)),
        ("ip('127.0.0.1').isLoopback() && ip('::1').family() == 6 && !isIP('1.2.3')", json!(true)),
        (
            "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR(cidr('10.1.0.0/16'))",
            json!(true),
        ),
        (
            "cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && string(cidr('10.1.2.3/8').ip()) == '10.1.2.3'",
            json!(true),
        ),
        ("ip.isCanonical('::1') && !ip.isCanonical('0:0::1')", json!(true)),
        ("semver('1.10.0').isGreaterThan(semver('1.9.0')) && isSemver('v1.2', true)", json!(true)),
        ("format.dns1123Label().validate('a-b').hasValue()", json!(false)),
        ("format.named('uuid').value().validate('x').hasValue()", json!(true)),
        ("type(quantity('1')) == kubernetes.Quantity", json!(true)),
    ]);
}

#[test]
fn a_run_that_costs_too_much_is_stopped() {
    let x = json!({"l": (0..1000).collect::<Vec<_>>()});
    let source = "x.l.all(a, x.l.all(b, x.l.all(c, a + b + c >= 0)))";
    assert_eq!(run(source, &x), Err("operation cancelled: actual cost limit exceeded".to_owned()));
    let environment = Environment::new().variable("x", Type::Dyn);
    let program = environment.compile("x.l.all(a, a >= 0)").expect("compiles");
    let mut budget = Budget::new(100);
    let result = program.evaluate(&[("x", Value::dynamic(&x))], &mut budget);
    assert_eq!(result.err(), Some(EvalError::OutOfBudget));
    assert_eq!(budget.remaining(), 0);
}

#[test]
fn several_problems_are_shown_together() {
    let expecting = "expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, \
        NUM_UINT, STRING, BYTES, IDENTIFIER}";
    let error = |source: &str| run(source, &json!({})).expect_err("it is wrong");
    assert_eq!(
        error("*@a | b"),
        format!(
            "ERROR: <input>:1:1: Syntax error: extraneous input '*' {expecting}\n | *@a | b\n | ^\n\
             ERROR: <input>:1:2: Syntax error: token recognition error at: '@'\n | *@a | b\n | .^\n\
             ERROR: <input>:1:5: Syntax error: token recognition error at: '| '\n | *@a | b\n | ....^\n\
             ERROR: <input>:1:7: Syntax error: extraneous input 'b' expecting <EOF>\n | *@a | b\n | ......^"
        )
    );
    assert_eq!(
        error("1 + +"),
        format!(
            "ERROR: <input>:1:5: Syntax error: mismatched input '+' {expecting}\n | 1 + +\n | ....^\n\
             ERROR: <input>:1:6: Syntax error: mismatched input '<EOF>' {expecting}\n | 1 + +\n | .....^"
        )
    );
    // A text with a wrong escape ends where it is wrong, and the rest is read by itself.
    assert_eq!(
        error("\"\\d+\""),
        format!(
            "ERROR: <input>:1:1: Syntax error: token recognition error at: '\"\\d'\n | \"\\d+\"\n | ^\n\
             ERROR: <input>:1:4: Syntax error: mismatched input '+' {expecting}\n | \"\\d+\"\n | ...^\n\
             ERROR: <input>:1:5: Syntax error: token recognition error at: '\"'\n | \"\\d+\"\n | ....^\n\
             ERROR: <input>:1:6: Syntax error: mismatched input '<EOF>' {expecting}\n | \"\\d+\"\n | .....^"
        )
    );
    assert_eq!(
        error("y + z"),
        "ERROR: <input>:1:1: undeclared reference to 'y' (in container '')\n | y + z\n | ^\n\
         ERROR: <input>:1:5: undeclared reference to 'z' (in container '')\n | y + z\n | ....^"
    );
}
