//! The neighbours of a host that well-behaved and hostile plugins share.
//!
//! A well-behaved one stamps the objects of its team; the hostile ones all work on the objects with the label `prey=yes`,
//! some of them made here, the others by the plugin `intruder` with one of [`ATTACKS`] in its settings.

use crate::guest::Guest;

/// The label that objects have on which the hostile plugins work.
pub const PREY: (&str, &str) = ("prey", "yes");

/// What the plugin `intruder` can do, each with words that its last error must have; empty where it never fails.
pub const ATTACKS: [(&str, &str); 20] = [
    ("spin", "hit its"),
    ("sleep", "hit its"),
    ("trap", "unreachable"),
    ("again", ""),
    ("names", "limit"),
    ("owners", "limit"),
    ("selectors", "hit its"),
    ("ranges", "limit"),
    ("values", "limit"),
    ("lists", "limit"),
    ("json", "limit"),
    ("deep", "recursion"),
    ("logs", "limit"),
    ("output", "hit its"),
    ("events", ""),
    ("writes", ""),
    ("objects", ""),
    ("turns", ""),
    ("unknown", "no attack"),
    ("memory", "memory limit"),
];

/// A guest that writes `data.done` into the objects with the label `team=tN`.
pub fn well_behaved(team: usize) -> Vec<u8> {
    let patch = format!(r#"{{"data":{{"done":"t{team}"}}}}"#);
    Guest {
        selector: format!("team=t{team}"),
        concurrency: 4,
        texts: vec![("patch", patch)],
        ..Guest::stamps()
    }
    .build()
}

/// Guests of text that attack in ways no compiler of a language would let through, with words of their failure.
pub fn hostile() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let guest = |reconcile: &str, definitions: &str| {
        Guest {
            selector: format!("{}={}", PREY.0, PREY.1),
            concurrency: 64,
            reconcile: reconcile.to_owned(),
            definitions: definitions.to_owned(),
            ..Guest::default()
        }
        .build()
    };
    let done = |attack: &str| format!("{attack} (i32.const 1024)");
    vec![
        ("bulk-memory", guest(&done(FILL), ""), "hit its"),
        ("tables", guest(&done(TABLES), "(table $t 1 funcref)"), "table elements"),
        ("recursion", guest(&done("(call $deep)"), DEEP), "stack"),
        ("host-calls", guest(&done(CALLS), ""), "host calls"),
        ("not-utf-8", guest(&done(NOT_UTF_8), ""), "utf-8"),
        ("bad-pointer", guest("(i32.const -8)", ""), ""),
    ]
}

const FILL: &str = "(drop (memory.grow (i32.const 900))) (loop $again
    (memory.fill (i32.const 65536) (i32.const 1) (i32.const 58000000)) (br $again))";
const TABLES: &str = "(if (i32.eq (table.grow $t (ref.null func) (i32.const 10000000)) (i32.const -1)) (then unreachable))";
const DEEP: &str = "(func $deep (result) (call $deep) (call $deep))";
const CALLS: &str = "(loop $again (drop (call $now)) (br $again))";
const NOT_UTF_8: &str = "(i32.store (i32.const 1100) (i32.const 0xfffefdfc))
    (loop $again (call $log (i32.const 1) (i32.const 1100) (i32.const 4)) (br $again))";

/// Bytes that no run may find which did not put them there.
const CANARY: &str = "0xc5";

/// A guest that looks through all memory and tables that it can get for what another run left, traps when it finds
/// something, and leaves it full of canaries.
pub fn canary(pages: u32) -> Vec<u8> {
    Guest {
        pages,
        reconcile: include_str!("../wat/canary.wat").replace("CANARY", CANARY),
        definitions: "(table $left 100 10000 funcref) (elem declare func $canary) (func $canary)
            (global $seen (mut i32) (i32.const 0))"
            .to_owned(),
        mark: Some(pages.to_le_bytes().to_vec()),
        ..Guest::default()
    }
    .build()
}
