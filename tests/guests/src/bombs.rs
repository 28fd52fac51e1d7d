//! Small components that cost a compiler, a validator or a decoder far more than their size.

use std::ops::Range;

use crate::guest::Guest;

/// Every bomb by name. None of them is larger than a few mebibytes.
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("locals-and-blocks", compile_bomb()),
        ("branch-table", branch_tables()),
        ("nested-loops", nested_loops()),
        ("many-functions", many_functions()),
        ("long-expression", long_expression()),
        ("nested-components", nested_components()),
        ("nested-types", nested_types()),
        ("wide-types", wide_types()),
        ("many-imports", many_imports()),
        ("data", data()),
    ]
}

fn guest(definitions: String) -> Vec<u8> {
    Guest { definitions, ..Guest::default() }.build()
}

/// One function with very many locals and blocks: minutes and gigabytes.
pub fn compile_bomb() -> Vec<u8> {
    let locals = "(local i64) ".repeat(40_000);
    let block = "(if (local.get 0) (then (local.set 1 (i32.add (local.get 1) (i32.const 1)))))";
    guest(format!("(func $bomb (param i32) (local i32) {locals} {})", block.repeat(40_000)))
}

/// Tables of branches to blocks that each merge many locals.
fn branch_tables() -> Vec<u8> {
    let locals = "(local i32) ".repeat(1_000);
    let (depth, targets) = (300, "0 ".repeat(10_000));
    let sets = joined(1..200, |n| format!("(local.set {n} (local.get {}))", n + 1));
    let table = format!("(br_table {targets} (local.get 0))");
    guest(format!(
        "(func $bomb (param i32) {locals} {} {table} {})",
        "(block ".repeat(depth),
        format!("{sets})").repeat(depth)
    ))
}

/// Loops in loops, with locals that change in each.
fn nested_loops() -> Vec<u8> {
    let locals = "(local i64) ".repeat(5_000);
    let depth = 400;
    let change =
        joined(1..60, |n| format!("(local.set {n} (i64.add (local.get {n}) (i64.const 1)))"));
    guest(format!(
        "(func $bomb (param i32) {locals} {} {})",
        format!("(loop {change}").repeat(depth),
        "(br_if 0 (local.get 0)))".repeat(depth)
    ))
}

fn many_functions() -> Vec<u8> {
    guest("(func (param i32) (result i32) (i32.mul (local.get 0) (i32.const 7)))".repeat(30_000))
}

/// An expression of one basic block, deep to the left.
fn long_expression() -> Vec<u8> {
    let add = "(local.set 0 (i64.mul (i64.add (local.get 0) (i64.const 3)) (local.get 1)))";
    guest(format!("(func $bomb (param i64 i64) {})", add.repeat(40_000)))
}

/// Components in components.
fn nested_components() -> Vec<u8> {
    let mut inner = b"\0asm\x0d\0\x01\0".to_vec();
    for _ in 0..3_000 {
        let mut outer = b"\0asm\x0d\0\x01\0\x04".to_vec();
        leb(&mut outer, inner.len());
        outer.extend_from_slice(&inner);
        inner = outer;
    }
    inner
}

/// A list of a list of a list …
fn nested_types() -> Vec<u8> {
    let mut types = vec![0x70, 0x7f];
    for at in 0..100_000_usize {
        types.push(0x70);
        leb(&mut types, at);
    }
    component_of_types(100_001, &types)
}

/// Tuples that each hold the one before ten times: types of exponential size.
fn wide_types() -> Vec<u8> {
    let mut types = vec![0x70, 0x7f];
    for at in 0..200_usize {
        types.extend([0x6f, 10]);
        for _ in 0..10 {
            leb(&mut types, at);
        }
    }
    component_of_types(201, &types)
}

fn component_of_types(count: usize, types: &[u8]) -> Vec<u8> {
    let mut section = Vec::new();
    leb(&mut section, count);
    section.extend_from_slice(types);
    let mut component = b"\0asm\x0d\0\x01\0\x07".to_vec();
    leb(&mut component, section.len());
    component.extend_from_slice(&section);
    component
}

fn many_imports() -> Vec<u8> {
    let imports = joined(0..20_000, |n| format!("(import \"acme:a{n}/b\" (instance))"));
    wat::parse_str(format!("(component {imports})")).expect("the bomb is WebAssembly")
}

/// Data that is much memory before it is refused.
fn data() -> Vec<u8> {
    let text = "x".repeat(1 << 20);
    guest(format!("(data (i32.const 0) \"{text}\")").repeat(4))
}

fn joined(numbers: Range<usize>, part: impl Fn(usize) -> String) -> String {
    numbers.map(part).collect::<Vec<_>>().concat()
}

fn leb(out: &mut Vec<u8>, mut n: usize) {
    loop {
        let low = u8::try_from(n & 0x7f).expect("seven bits");
        n >>= 7;
        out.push(if n == 0 { low } else { low | 0x80 });
        if n == 0 {
            return;
        }
    }
}
