//! Foreign clients at work: scripts of shell commands and what they must say, run against a real host.
//!
//! `tests/clients/kubectl.txt` describes the form of a script. A script is run to its end and every failure is told, so
//! that one run shows the whole row of the table of clients.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use anyhow::{Context, bail, ensure};

use crate::{TestHost, output_of, plugins, workspace};

/// A command of a script.
#[derive(Debug)]
struct Step {
    section: String,
    line: usize,
    command: String,
    must_fail: bool,
    texts: Vec<String>,
}

/// The folder of clients' scripts.
pub fn scripts() -> PathBuf {
    workspace().join("tests/clients")
}

fn steps(script: &Path) -> anyhow::Result<Vec<Step>> {
    let text = std::fs::read_to_string(script)?;
    let mut steps: Vec<Step> = Vec::new();
    let mut section = String::new();
    for (number, line) in text.lines().enumerate() {
        let (mark, rest) = line.split_at_checked(2).unwrap_or((line, ""));
        match mark {
            "##" => rest.trim().clone_into(&mut section),
            "$ " | "! " => steps.push(Step {
                section: section.clone(),
                line: number + 1,
                command: rest.to_owned(),
                must_fail: mark == "! ",
                texts: Vec::new(),
            }),
            "> " => {
                let step = steps.last_mut().context("a text before the first command")?;
                step.texts.push(rest.to_owned());
            }
            "" | "# " => {}
            _ => bail!("{}:{}: {line:?} is no step", script.display(), number + 1),
        }
    }
    ensure!(!steps.is_empty(), "{} has no steps", script.display());
    Ok(steps)
}

/// A client at work: a host, a folder with the files that scripts name, and the programs.
#[derive(Debug)]
pub struct Desk {
    /// The host.
    pub host: TestHost,
    path: String,
    /// Where commands run.
    pub folder: PathBuf,
}

/// Installs a client and answers the folder of all clients.
pub fn install(what: &[&str]) -> anyhow::Result<PathBuf> {
    let folder = workspace().join("target/clients");
    output_of(Command::new(scripts().join("install")).arg(&folder).args(what))?;
    Ok(folder)
}

impl Desk {
    /// A host (`program`: the binary under test) with all plugins, and `programs` before everything else on the path.
    pub fn open(program: &str, programs: &[PathBuf]) -> anyhow::Result<Self> {
        let components = plugins();
        let host = TestHost::start_with(program, &["--plugins", &components.to_string_lossy()])?;
        let folder = host.dir().join("desk");
        std::fs::create_dir(&folder)?;
        for from in ["files", "chart"] {
            let from = scripts().join(from);
            output_of(Command::new("cp").arg("-r").arg(&from).arg(&folder))?;
        }
        output_of(Command::new("sh").args(["-c", "mv files/* ."]).current_dir(&folder))?;
        let mut path = format!("{}:", folder.display());
        for program in programs {
            write!(path, "{}:", program.display())?;
        }
        path.push_str(&std::env::var("PATH").unwrap_or_default());
        Ok(Self { host, path, folder })
    }

    /// A command line of the shell, in the folder and with the programs.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(&self.folder);
        command.env("PATH", &self.path).env("HOME", &self.folder);
        command.env("KUBECONFIG", self.host.kubeconfig());
        command
    }

    fn shell(&self, line: &str) -> anyhow::Result<(bool, String)> {
        let output = self.command(line).output()?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok((output.status.success(), text))
    }

    fn run(&self, step: &Step) -> anyhow::Result<()> {
        let (success, said) = self.shell(&step.command)?;
        ensure!(success != step.must_fail, "it ended with success: {success}; it said:\n{said}");
        for text in &step.texts {
            ensure!(said.contains(text.as_str()), "it does not say {text:?} but:\n{said}");
        }
        Ok(())
    }

    /// Runs a script to its end; the error lists what failed.
    pub fn play(&self, client: &str, script: &Path) -> anyhow::Result<()> {
        let mut failures = String::new();
        let mut sections: Vec<(String, bool)> = Vec::new();
        for step in steps(script)? {
            let done = self.run(&step);
            if sections.last().is_none_or(|(name, _)| *name != step.section) {
                sections.push((step.section.clone(), true));
            }
            if let Err(error) = done {
                writeln!(failures, "line {}: {}\n  {error:#}", step.line, step.command)?;
                if let Some((_, ok)) = sections.last_mut() {
                    *ok = false;
                }
            }
        }
        for (section, ok) in &sections {
            eprintln!("| {client} | {section} | {} |", if *ok { "yes" } else { "NO" });
        }
        ensure!(failures.is_empty(), "{client}:\n{failures}");
        Ok(())
    }
}

/// A process beside the script, ended with it.
#[derive(Debug)]
pub struct Beside(pub Child);

impl Drop for Beside {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
