//! The author's loop, from outside: make a project, run it, edit it, see the new version run.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test of a whole process has no supervisor and waits in real time"
)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use quadrille_tests::{TestHost, eventually, output_of, workspace};

const HOST: &str = env!("CARGO_BIN_EXE_quadrille");
/// The first build compiles the SDK for the target.
const BUILD_MAX: Duration = Duration::from_mins(10);

/// Ends `quadrille dev` with the test.
struct Dev {
    child: Child,
    lines: Receiver<String>,
}

impl Drop for Dev {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Dev {
    fn start(host: &TestHost, project: &Path) -> Self {
        let mut command = Command::new(HOST);
        command.arg("dev").arg(project).arg("--kubeconfig").arg(host.kubeconfig());
        command.env("CARGO_TARGET_DIR", project.join("target"));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("dev starts");
        let stdout = child.stdout.take().expect("stdout");
        let (sender, lines) = sync_channel(1000);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Waits for a line that begins with a word.
    fn line(&self, word: &str) -> String {
        let deadline = Instant::now() + BUILD_MAX;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).expect("dev says it in time");
            println!("{line}");
            if line.starts_with(word) {
                return line;
            }
        }
    }
}

/// Replaces a file by a new text in one step: `dev` sees one save, not a file that is half written.
fn save(file: &Path, folder: &Path, text: &str) {
    let draft = folder.join("draft");
    std::fs::write(&draft, text).expect("written");
    std::fs::rename(&draft, file).expect("renamed");
}

#[test]
fn a_new_project_runs_and_an_edit_is_live_after_a_save() {
    let host = TestHost::start(HOST).expect("the host starts");
    let client = host.client().expect("a client");
    let folder = tempfile::tempdir().expect("a directory");
    let project = folder.path().join("greeter");
    let mut new = Command::new(HOST);
    new.args(["new", "greeter"]).arg(&project).arg("--sdk").arg(workspace().join("sdk"));
    output_of(&mut new).expect("the project is made");
    let dev = Dev::start(&host, &project);
    let first = dev.line("live");
    dev.line("save a file");
    let map = "/api/v1/namespaces/default/configmaps/first";
    let text = || client.get(map).map(|answer| answer.body["data"]["text"].clone());
    eventually("the example is reconciled", || {
        let text = text()?;
        anyhow::ensure!(text == "Hello", "{text}");
        Ok(())
    });
    let source = project.join("src/lib.rs");
    let code = std::fs::read_to_string(&source).expect("readable");
    let edited = code.replace(".with(\"text\", &object.spec.text)", ".with(\"text\", \"edited\")");
    assert_ne!(edited, code, "the template has changed: adapt this test");
    save(&source, folder.path(), &edited);
    let saved = Instant::now();
    let second = dev.line("live");
    dev.line("save a file");
    eventually("the new version runs", || {
        let text = text()?;
        anyhow::ensure!(text == "edited", "{text}");
        Ok(())
    });
    println!("from the save to the new behaviour: {} ms", saved.elapsed().as_millis());
    assert_ne!(first, second);
    let plugin = || client.get("/apis/quadrille.dev/v1/plugins/greeter").expect("answered").body;
    let before = plugin()["status"]["digest"].clone();
    save(&source, folder.path(), "this is not Rust");
    // It asks for the next save once the build has failed; that changes nothing of what runs.
    dev.line("save a file");
    let after = plugin();
    assert_eq!(
        (&after["status"]["phase"], &after["status"]["digest"]),
        (&"Active".into(), &before)
    );
    assert_eq!(text().expect("read"), "edited");
}
