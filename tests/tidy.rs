//! Structural rules of the workspace, as tests: the direction of dependencies, file lengths, module docs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which crates of the host a crate may depend on: arrows point one way.
const ALLOWED: &[(&str, &[&str])] = &[
    ("object", &[]),
    ("kit", &["object"]),
    ("store", &["object", "kit"]),
    ("registry", &["object", "kit", "store"]),
    ("server", &["object", "kit", "store", "registry"]),
    ("runtime", &["object", "kit", "store", "registry"]),
    ("component", &["object", "kit", "store", "registry", "runtime"]),
    ("insight", &["object", "kit", "store", "registry", "runtime"]),
];

/// Crates that only one part of the host may name.
const EXCLUSIVE: &[(&str, &[&str])] = &[
    ("wasmtime", &["component"]),
    ("wasmtime-wasi", &["component"]),
    ("redb", &["store"]),
    ("axum", &["server"]),
    ("hyper", &["server"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the workspace").to_owned()
}

fn dependencies(manifest: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(manifest).expect("manifests are readable");
    let mut inside = false;
    let mut names = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line.trim() == "[dependencies]";
        } else if inside && !line.starts_with('#') {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if !name.is_empty() {
                names.push(name.to_owned());
            }
        }
    }
    names
}

#[test]
fn dependencies_point_one_way() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    for (part, allowed) in &allowed {
        for name in dependencies(&root().join("host").join(part).join("Cargo.toml")) {
            if let Some(other) = name.strip_prefix("quadrille-") {
                assert!(allowed.contains(&other), "host/{part} must not depend on {other}");
            }
            if let Some((_, owners)) = EXCLUSIVE.iter().find(|(dependency, _)| *dependency == name)
            {
                assert!(owners.contains(part), "only {owners:?} may name {name}, not host/{part}");
            }
        }
    }
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

#[test]
fn every_module_opens_with_its_sign() {
    let mut files = Vec::new();
    rust_files(&root(), &mut files);
    for file in files {
        let text = std::fs::read_to_string(&file).expect("sources are readable");
        let signed = text.lines().take(5).any(|line| line.starts_with("//!"));
        assert!(signed, "{} has no module documentation", file.display());
    }
}
