//! Structural rules of the workspace, as tests: the direction of dependencies, who may be unsafe, file lengths,
//! module docs, what is never left behind.
//!
//! Reads manifests and sources as text; knows nothing of what they do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "prove/table.rs"]
mod table;

use table::Named;

/// Which crates of the workspace a crate may depend on: arrows point one way. Parts of the host go by their
/// folders' names, the others by their crates'.
const ALLOWED: &[(&str, &[&str])] = &[
    ("host/cel", &[]),
    ("host/object", &[]),
    ("host/kit", &["object"]),
    ("host/store", &["object", "kit"]),
    ("host/registry", &["cel", "object", "kit", "store"]),
    ("host/server", &["cel", "object", "kit", "store", "registry"]),
    ("host/runtime", &["object", "kit", "store", "registry"]),
    ("host/component", &["object", "kit", "store", "registry", "runtime"]),
    ("host/insight", &["object", "kit", "store", "registry", "runtime"]),
    ("sdk", &["sdk-macros"]),
    ("sdk/macros", &[]),
    ("sdk/testing", &["object", "kit", "store", "registry", "runtime", "insight", "sdk"]),
];

/// What only the tests of a crate may name besides, in all of its kinds of dependencies.
const ALLOWED_IN_TESTS: &[(&str, &[&str])] = &[
    ("host/component", &["guests"]),
    ("host/registry", &["disk"]),
    ("plugins", &["testing"]),
    ("examples", &["testing"]),
];

/// Crates that only one part of the product may name.
const EXCLUSIVE: &[(&str, &[&str])] = &[
    ("hyper", &["host/server"]),
    ("hyper-util", &["host/server"]),
    ("redb", &["host/store"]),
    ("wasmtime", &["host/component"]),
    ("wasmtime-wasi", &["host/component"]),
];

/// Where `unsafe` may be: what maps compiled code into memory, and the SDK's generated bindings.
const UNSAFE: &[&str] = &["host/component/src/load/map.rs", "sdk/src/guest.rs"];

/// Past this a file is to be split; most have 150 to 400 lines.
const FILE_LINES_MAX: usize = 700;

/// At least so many of the 53 promises are kept.
const PROMISES_MIN: usize = 50;

/// At least so many faults are planted.
const FAULTS_MIN: usize = 45;

/// What no source may contain; written in halves, since this file is looked at too.
const BANNED: &[(&str, &str)] = &[
    (concat!("#[ig", "nore"), "a test that does not run says nothing"),
    (concat!("tod", "o!("), "half of it is not done"),
    (concat!("unimple", "mented!("), "half of it is not done"),
    (concat!("#[all", "ow("), "a silence that goes stale unseen: use `expect` with a reason"),
    (concat!("#![all", "ow("), "a silence that goes stale unseen: use `expect` with a reason"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the workspace").to_owned()
}

/// A path as it is written from the root of the workspace.
fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Product,
    Tests,
}

/// What a manifest depends on, for every target, and whether only its tests do.
fn dependencies(manifest: &Path) -> Vec<(Use, String)> {
    let text = std::fs::read_to_string(manifest).expect("the manifests named here are readable");
    named_by(&text)
}

fn named_by(manifest: &str) -> Vec<(Use, String)> {
    let mut inside = None;
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.split(']').next().unwrap_or_default();
            let (table, one) = match section.split_once("dependencies.") {
                Some((table, name)) => (format!("{table}dependencies"), Some(name)),
                None => (section.to_owned(), None),
            };
            inside = match table.rsplit('.').next() {
                Some("dependencies" | "build-dependencies") => Some(Use::Product),
                Some("dev-dependencies") => Some(Use::Tests),
                Some(_) | None => None,
            };
            if let (Some(inside), Some(name)) = (inside.take_if(|_| one.is_some()), one) {
                names.push((inside, name.trim_matches('"').to_owned()));
            }
        } else if let Some(inside) = inside
            && !line.starts_with('#')
        {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if !name.is_empty() {
                names.push((inside, name.trim_matches('"').to_owned()));
            }
        }
    }
    names
}

/// The folders below `group` that are crates.
fn crates_in(group: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root().join(group)).expect("folders are readable");
    let folders = entries.flatten().filter(|entry| entry.path().join("Cargo.toml").is_file());
    let mut found: Vec<_> =
        folders.map(|entry| format!("{group}/{}", entry.file_name().to_string_lossy())).collect();
    found.sort();
    assert!(!found.is_empty(), "{group} has crates");
    found
}

fn listed(list: &[(&str, &'static [&'static str])], name: &str) -> &'static [&'static str] {
    list.iter().find(|(listed, _)| *listed == name).map_or(&[], |(_, allowed)| allowed)
}

#[test]
fn dependencies_point_one_way() {
    for (part, allowed) in ALLOWED {
        for (by, name) in dependencies(&root().join(part).join("Cargo.toml")) {
            let Some(other) = name.strip_prefix("quadrille-") else { continue };
            let in_tests = by == Use::Tests && listed(ALLOWED_IN_TESTS, part).contains(&other);
            assert!(allowed.contains(&other) || in_tests, "{part} must not depend on {other}");
        }
    }
}

#[test]
fn every_part_of_the_host_has_its_rule() {
    for part in crates_in("host") {
        let known = ALLOWED.iter().any(|(listed, _)| *listed == part);
        assert!(known, "say in ALLOWED what {part} may depend on");
    }
}

#[test]
fn plugins_and_examples_know_of_the_sdk_only() {
    for group in ["plugins", "examples"] {
        let siblings = crates_in(group);
        let in_tests = listed(ALLOWED_IN_TESTS, group);
        for part in &siblings {
            for (by, name) in dependencies(&root().join(part).join("Cargo.toml")) {
                // A plugin's tests may run another plugin beside it.
                let beside = by == Use::Tests && siblings.contains(&format!("{group}/{name}"));
                let Some(other) = name.strip_prefix("quadrille-") else {
                    let ours = siblings.contains(&format!("{group}/{name}"));
                    // What several plugins share is a library of its own.
                    let shared = group == "plugins" && name == "common";
                    assert!(beside || shared || !ours, "{part} must not depend on {name}");
                    continue;
                };
                let tested = by == Use::Tests && in_tests.contains(&other);
                assert!(other == "sdk" || tested, "{part} must not depend on {name}");
            }
        }
    }
}

#[test]
fn engines_are_named_in_one_place() {
    let mut parts = vec!["host".to_owned(), "sdk".to_owned()];
    for group in ["host", "sdk", "plugins", "examples"] {
        parts.extend(crates_in(group));
    }
    for part in parts {
        for (_, name) in dependencies(&root().join(&part).join("Cargo.toml")) {
            let Some((_, owners)) = EXCLUSIVE.iter().find(|(other, _)| *other == name) else {
                continue;
            };
            assert!(owners.contains(&part.as_str()), "only {owners:?} may name {name}, not {part}");
        }
    }
}

#[test]
fn manifests_are_read_whole() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\n# b = \"1\"\n\
        [dev-dependencies]\nc = { path = \"c\" }\n[target.'cfg(unix)'.dependencies]\nd = \"1\"\n\
        [dependencies.e]\nversion = \"1\"\n[lints]\nworkspace = true\n";
    let found = named_by(manifest);
    let names = |wanted| -> Vec<&str> {
        found.iter().filter(|(by, _)| *by == wanted).map(|(_, name)| name.as_str()).collect()
    };
    assert_eq!(names(Use::Product), ["a", "d", "e"]);
    assert_eq!(names(Use::Tests), ["c"]);
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("folders are readable").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every source of the workspace, by its path from the root.
fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    rust_files(&root(), &mut files);
    assert!(files.len() > 100, "the sources are found");
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).expect("sources are readable");
        (shown(&file), text)
    };
    files.into_iter().map(read).collect()
}

/// All complaints at once, so that one run shows everything there is to mend.
#[track_caller]
fn none(complaints: impl Iterator<Item = String>) {
    let complaints: BTreeSet<String> = complaints.collect();
    let text: Vec<&str> = complaints.iter().map(String::as_str).collect();
    assert!(text.is_empty(), "{}", text.join("\n"));
}

#[test]
fn every_module_opens_with_its_sign() {
    let signed = |text: &str| text.lines().take(5).any(|line| line.starts_with("//!"));
    let unsigned = sources().into_iter().filter(|(_, text)| !signed(text));
    none(unsigned.map(|(file, _)| format!("{file} has no module documentation")));
}

#[test]
fn no_file_is_too_long_to_read() {
    let lengths = sources().into_iter().map(|(file, text)| (file, text.lines().count()));
    let long = lengths.filter(|(_, lines)| *lines > FILE_LINES_MAX);
    none(long.map(|(file, lines)| format!("{file} has {lines} lines: split it")));
}

#[test]
fn nothing_is_left_half_done() {
    none(sources().into_iter().flat_map(|(file, text)| {
        let found = BANNED.iter().filter(move |(banned, _)| text.contains(banned));
        found.map(move |(banned, why)| format!("{file} contains `{banned}`: {why}"))
    }));
}

/// Whether an attribute silences the lint against unsafe code; it may span lines.
fn is_unsafe(text: &str) -> bool {
    text.split("expect(").skip(1).any(|rest| {
        let attribute = rest.split(']').next().unwrap_or_default();
        attribute.split([',', '(', ')']).any(|lint| lint.trim() == "unsafe_code")
    })
}

#[test]
fn unsafe_code_has_its_place() {
    let elsewhere = sources()
        .into_iter()
        .filter(|(file, text)| is_unsafe(text) && !UNSAFE.contains(&file.as_str()));
    none(elsewhere.map(|(file, _)| format!("{file} must not be unsafe: only {UNSAFE:?} may")));
}

#[test]
fn an_unsafe_attribute_is_seen_over_several_lines() {
    assert!(is_unsafe(concat!("#[exp", "ect(\n    unsafe_code,\n    reason = \"x\"\n)]")));
    assert!(!is_unsafe(concat!("#[exp", "ect(clippy::panic, reason = \"x\")] // unsafe_code")));
}

fn text_of(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_default()
}

fn missing(by: &str, named: &Named) -> Option<String> {
    let Named { file, function } = named;
    let text = text_of(file);
    let marks = ["#[test]", "#[tokio::test", "fn main("];
    let runs = marks.iter().any(|mark| text.contains(mark));
    let found = runs && text.contains(&format!("fn {function}("));
    (!found).then(|| format!("{by} names {file}::{function}, which is no test"))
}

#[test]
fn every_kept_promise_names_its_tests_a_figure_and_a_command() {
    let rows = table::rows(&text_of("tests/README.md")).expect("the table of promises");
    assert!(rows.len() >= PROMISES_MIN, "{} rows", rows.len());
    none(rows.iter().flat_map(|row| {
        let tests = row.tests.iter().filter_map(|test| missing(&row.id, test));
        let is_told = !row.promise.is_empty()
            && row.figure.contains(|c: char| c.is_ascii_digit())
            && row.command.starts_with('`');
        let untold = (!is_told).then(|| format!("{}: a promise, a figure, a command", row.id));
        tests.chain(untold).collect::<Vec<_>>()
    }));
}

#[test]
fn every_planted_fault_applies_and_names_its_test() {
    let entries = std::fs::read_dir(root().join("tests/planted")).expect("planted faults");
    let mut patches: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    patches.retain(|path| path.extension().is_some_and(|e| e == "patch"));
    assert!(patches.len() >= FAULTS_MIN, "{} patches", patches.len());
    none(patches.iter().flat_map(|path| {
        let (name, text) = (shown(path), std::fs::read_to_string(path).expect("readable"));
        let mut git = Command::new("git");
        let applies = git.args(["apply", "--check"]).arg(path).current_dir(root()).output();
        let applies = applies.expect("git is there").status.success();
        let stale = (!applies).then(|| format!("{name} does not apply any more"));
        let wrong = match table::fault(&text) {
            Ok(fault) if fault.what.is_empty() => Some(format!("{name}: {} is not said", fault.id)),
            Ok(fault) => missing(&name, &fault.test),
            Err(why) => Some(format!("{name}: {why}")),
        };
        stale.into_iter().chain(wrong).collect::<Vec<_>>()
    }));
}

#[test]
fn a_row_without_a_test_or_of_an_unknown_promise_is_refused() {
    let table = |row: &str| table::rows(&format!("## Promises kept\n\n| | |\n| - | - |\n{row}\n"));
    let good = "| A1 | lasts | `tests/x.rs::a`, `tests/y.rs::b` | 1 | `z` |";
    assert_eq!(table(good).expect("a row")[0].tests.len(), 2);
    for bad in
        ["| A1 | lasts | soon | 1 | `z` |", "| A10 | lasts | `x.rs::a` | 1 | `z` |", "| A1 |"]
    {
        assert!(table(bad).is_err(), "{bad}");
    }
    assert!(table(&format!("{good}\n{good}")).is_err(), "two rows");
}
