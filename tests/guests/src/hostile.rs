//! What a stranger may upload: refused with a clear error, or stopped while its neighbours run on.

use crate::guest::{Capability, Guest};

/// Bytes that no step of the load path may let through, with the reason that each must be refused with.
pub fn refused() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let good = Guest::default().build();
    let text = |text: &str| wat::parse_str(text).expect("the corpus is WebAssembly");
    let half = good.len() / 2;
    vec![
        ("nothing", Vec::new(), "NotWasm"),
        ("text", b"#!/bin/sh\necho hello\n".to_vec(), "NotWasm"),
        ("elf", b"\x7fELF\x02\x01\x01".to_vec(), "NotWasm"),
        ("magic-alone", b"\0asm".to_vec(), "Malformed"),
        ("truncated", good.get(..half).unwrap_or_default().to_vec(), "Malformed"),
        ("garbage-inside", garbage(&good), "Malformed"),
        ("core-module", text(include_str!("../wat/core-module.wat")), "CoreModule"),
        ("empty-component", text("(component)"), "MissingExport"),
        ("wrong-world", text(include_str!("../wat/wrong-world.wat")), "MissingExport"),
        ("foreign-import", text(include_str!("../wat/foreign-import.wat")), "ForeignImport"),
        ("later-wasi", text(include_str!("../wat/later-wasi.wat")), "ForeignImport"),
        ("wrong-type", text(include_str!("../wat/wrong-type.wat")), "WrongType"),
    ]
}

/// Guests whose `describe` is an attack, with a word that the refusal must have.
pub fn bad_at_describe() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let guest = |describe: &str, definitions: &str| Guest {
        describe: describe.to_owned(),
        definitions: definitions.to_owned(),
        ..Guest::default()
    };
    let objects = "(call $get (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1100))
        (if (i32.load8_u (i32.const 1100)) (then unreachable))";
    vec![
        ("trap-in-describe", guest("unreachable", "").build(), "trapped"),
        ("loop-in-describe", guest(LOOP, "").build(), "CPU limit"),
        (
            "loop-in-start",
            guest("", &format!("(func $start {LOOP}) (start $start)")).build(),
            "CPU limit",
        ),
        ("memory-in-describe", guest(MEMORY_BOMB, "").build(), "64 MiB memory limit"),
        ("memory-declared", Guest::default().memory(2_000), "memory limit"),
        ("recursion-in-describe", guest("(call $deep)", DEEP).build(), "stack"),
        ("host-calls-in-describe", guest(HOST_CALL_FLOOD, "").build(), "host calls"),
        ("log-flood-in-describe", guest(LOG_FLOOD, "").build(), "limit"),
        ("objects-in-describe", guest(objects, "").build(), "trapped"),
        (
            "bad-name",
            Guest { controller: "../../etc".to_owned(), ..Guest::default() }.build(),
            "DNS label",
        ),
        ("no-crd", Guest { crds: vec!["{}".to_owned()], ..Guest::default() }.build(), "crds[0]"),
    ]
}

/// Guests whose `reconcile` is an attack, with the kind of failure and a word that it must have.
pub fn bad_at_reconcile() -> Vec<(&'static str, Vec<u8>, &'static str, &'static str)> {
    let guest = |reconcile: &str, definitions: &str| Guest {
        reconcile: format!("{reconcile} (i32.const 1024)"),
        definitions: definitions.to_owned(),
        ..Guest::default()
    };
    let fill = "(drop (memory.grow (i32.const 900))) (loop $again
        (memory.fill (i32.const 65536) (i32.const 1) (i32.const 50000000)) (br $again))";
    let pointer = Guest { reconcile: "(i32.const -8)".to_owned(), ..Guest::default() };
    vec![
        ("trap", guest("unreachable", "").build(), "trap", "unreachable"),
        ("loop", guest(LOOP, "").build(), "deadline", "CPU limit"),
        ("bulk-memory", guest(fill, "").build(), "deadline", "CPU limit"),
        ("memory", guest(MEMORY_BOMB, "").build(), "limit", "64 MiB memory limit"),
        ("tables", guest(TABLE_BOMB, "(table $t 1 funcref)").build(), "limit", "table elements"),
        ("recursion", guest("(call $deep)", DEEP).build(), "trap", "stack"),
        ("host-calls", guest(HOST_CALL_FLOOD, "").build(), "limit", "host calls"),
        ("giant-argument", guest(GIANT_ARGUMENT, "").build(), "limit", "host call"),
        ("bad-pointer", pointer.build(), "trap", ""),
        (
            "not-granted",
            not_granted().build(),
            "transient",
            "lack the verb \"create\" on resource \"secrets\"",
        ),
    ]
}

/// A guest that floods its log and ends well.
pub fn log_flood() -> Vec<u8> {
    let reconcile = "(local.set $i (i32.const 5000)) (loop $again
        (call $log (i32.const 1) (i32.const $line_at) (i32.const $line_len))
        (local.set $i (i32.sub (local.get $i) (i32.const 1)))
        (br_if $again (local.get $i))) (i32.const 1024)";
    let texts = vec![("line", "flood".to_owned())];
    Guest { reconcile: reconcile.to_owned(), texts, ..Guest::default() }.build()
}

const LOOP: &str = "(loop $again (br $again))";
const MEMORY_BOMB: &str = "(loop $again (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) (br $again))";
const TABLE_BOMB: &str = "(if (i32.eq (table.grow $t (ref.null func) (i32.const 10000000)) (i32.const -1)) (then unreachable))";
const DEEP: &str = "(func $deep (result) (call $deep) (call $deep))";
const HOST_CALL_FLOOD: &str = "(loop $again (drop (call $now)) (br $again))";
const LOG_FLOOD: &str =
    "(loop $again (call $log (i32.const 1) (i32.const 0) (i32.const 1000)) (br $again))";
const GIANT_ARGUMENT: &str = "(drop (memory.grow (i32.const 900)))
    (call $log (i32.const 1) (i32.const 0) (i32.const 50000000))";

fn not_granted() -> Guest {
    Guest {
        reconcile: include_str!("../wat/create-secret.wat").to_owned(),
        texts: vec![
            ("version", "v1".to_owned()),
            ("resource", "secrets".to_owned()),
            ("object", r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x","namespace":"default"}}"#.to_owned()),
        ],
        capabilities: vec![Capability { group: "", resource: "configmaps", verbs: vec!["get", "list"] }],
        ..Guest::default()
    }
}

fn garbage(good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    let middle = bytes.len() / 3;
    for byte in bytes.iter_mut().skip(middle).take(64) {
        *byte ^= 0xa5;
    }
    bytes
}
