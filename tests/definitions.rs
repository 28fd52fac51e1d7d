//! Definitions that people install: those of cert-manager, gateway-api and an operator from `PyPI`, and resources of
//! them; prints what a definition costs.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test of a whole process measures in real time, and says what it measured"
)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::ensure;
use quadrille_tests::desk::{Desk, install};
use quadrille_tests::{output_of, workspace};

/// Installs every definition of a folder and prints time, memory and size per definition.
fn install_definitions(desk: &Desk, name: &str, folder: &Path) -> anyhow::Result<()> {
    let client = desk.host.client()?;
    let before = desk.host.resident_bytes()?;
    let (mut count, mut bytes, start) = (0_u32, 0, Instant::now());
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?.flatten().map(|f| f.path()).collect();
    files.sort();
    for file in files {
        let text = std::fs::read(&file)?;
        if !text.windows(30).any(|part| part == b"kind: CustomResourceDefinition") {
            continue;
        }
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let answer = client.send("POST", path, "application/yaml", &text)?;
        ensure!(answer.code == 201, "{}: {} {}", file.display(), answer.code, answer.body);
        count += 1;
        bytes += text.len();
    }
    let grown = desk.host.resident_bytes()?.saturating_sub(before) / 1024;
    ensure!(count > 0, "{name} has definitions");
    let each = start.elapsed() / count;
    eprintln!(
        "{name}: {count} definitions, {} KiB of YAML each; {each:.1?} and {} KiB of memory each",
        bytes / count as usize / 1024,
        grown / u64::from(count)
    );
    Ok(())
}

fn real_definitions() -> anyhow::Result<()> {
    install(&["python"])?;
    let clients = install(&["kubectl", "34"])?;
    let programs = [clients.join("kubectl-1.34")];
    let desk = Desk::open(env!("CARGO_BIN_EXE_quadrille"), &programs)?;
    let folder = workspace().join("tests/definitions");
    output_of(std::process::Command::new("cp").arg("-r").arg(folder.join(".")).arg(&desk.folder))?;
    let dask = clients.join("python/dask");
    std::os::unix::fs::symlink(&dask, desk.folder.join("dask"))?;
    install_definitions(&desk, "cert-manager", &folder.join("cert-manager"))?;
    install_definitions(&desk, "gateway-api", &folder.join("gateway-api"))?;
    let chart = "dask_kubernetes/operator/deployment/helm/dask-kubernetes-operator/crds";
    install_definitions(&desk, "dask-kubernetes", &dask.join(chart))?;
    desk.play("definitions", &folder.join("resources.txt"))
}

#[test]
fn definitions_that_people_install_are_served_validated_and_removed() {
    let done = real_definitions();
    assert!(done.is_ok(), "{}", done.err().map(|error| format!("{error:#}")).unwrap_or_default());
}
