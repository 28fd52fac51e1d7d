//! From Wasm to machine code, in a child process that can be killed.
//!
//! Compiling is where a small component can cost a host gigabytes and minutes, so it happens in a child of the
//! same program with limits on memory, CPU and time. Only what this host's own child wrote on its own pipe is
//! taken, and only when the child says that it compiles for the same engine.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use quadrille_kit::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

use super::child::{COMPILED, REFUSED};
use super::error::LoadError;
use super::header::one_line;
use crate::engine::ComponentEngine;

/// Where compiling happens.
#[derive(Clone, Debug)]
pub enum CompileMode {
    /// In a child process: `program args…` must end in [`crate::compile_child`].
    Child {
        /// The program, usually the host's own.
        program: PathBuf,
        /// Its arguments, usually `__compile`.
        args: Vec<OsString>,
    },
    /// In the host's own process, without limits: for tests and benches with components of their own.
    InProcess,
}

/// Ceilings of one compilation.
#[derive(Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "a ceiling is named so, with its unit")]
pub struct CompileLimits {
    /// Address space of the child. Default 2 GiB; the largest known guest (Python) needs 0.4 GiB.
    pub memory_bytes_max: u64,
    /// CPU time of the child. Default 60 s; the largest known guest needs 15.
    pub cpu_max: Duration,
    /// Time on the wall. Default 60 s.
    pub wall_max: Duration,
    /// Bytes of machine code. Default 256 MiB.
    pub code_bytes_max: usize,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 2 << 30,
            cpu_max: Duration::from_mins(1),
            wall_max: Duration::from_mins(1),
            code_bytes_max: 256 << 20,
        }
    }
}

/// Compiles one component at a time.
#[derive(Debug)]
pub(super) struct Compiler {
    mode: CompileMode,
    limits: CompileLimits,
    clock: Arc<dyn Clock>,
    turn: Semaphore,
}

impl Compiler {
    pub(super) fn new(mode: CompileMode, limits: CompileLimits, clock: Arc<dyn Clock>) -> Self {
        Self { mode, limits, clock, turn: Semaphore::new(1) }
    }

    /// The machine code of a component.
    pub(super) async fn compile(
        &self,
        engine: &ComponentEngine,
        component: &[u8],
    ) -> Result<Vec<u8>, LoadError> {
        let _turn = self.turn.acquire().await.map_err(|e| unavailable("wait", &e))?;
        match &self.mode {
            CompileMode::InProcess => in_process(engine, component.to_vec()).await,
            CompileMode::Child { program, args } => {
                let mut command = Command::new(program);
                command.args(args).env_clear();
                self.in_child(command, engine.compatibility(), component).await
            }
        }
    }

    async fn in_child(
        &self,
        mut command: Command,
        engine: &str,
        component: &[u8],
    ) -> Result<Vec<u8>, LoadError> {
        command
            .arg(self.limits.memory_bytes_max.to_string())
            .arg(self.limits.cpu_max.as_secs().max(1).to_string())
            .arg(engine)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| unavailable("start the compiler", &e))?;
        let talk = talk(&mut child, component, self.limits.code_bytes_max);
        let said = tokio::select! {
            said = talk => said,
            () = self.clock.sleep(self.limits.wall_max) => {
                kill(&mut child).await;
                return Err(Self::limit(format!("took longer than {} s", self.limits.wall_max.as_secs())));
            }
        };
        let said = match said {
            Ok(said) => said,
            Err(error) => {
                kill(&mut child).await;
                return Err(unavailable("talk to the compiler", &error));
            }
        };
        let status = child.wait().await.map_err(|e| unavailable("wait for the compiler", &e))?;
        self.verdict(said, status)
    }

    fn verdict(&self, said: Said, status: std::process::ExitStatus) -> Result<Vec<u8>, LoadError> {
        use std::os::unix::process::ExitStatusExt;
        if said.output.len() > self.limits.code_bytes_max {
            let max = self.limits.code_bytes_max >> 20;
            return Err(Self::limit(format!("made more than {max} MiB of machine code")));
        }
        let mut output = said.output;
        match (status.success(), output.pop()) {
            (true, Some(COMPILED)) => Ok(output),
            (true, Some(REFUSED)) => {
                Err(LoadError::Compile { detail: one_line(&String::from_utf8_lossy(&output)) })
            }
            _ => {
                let complaint = one_line(&String::from_utf8_lossy(&said.complaint));
                // SIGXCPU or SIGKILL by the CPU limit, SIGABRT after a failed allocation.
                match status.signal() {
                    Some(24 | 9) => {
                        let max = self.limits.cpu_max.as_secs();
                        Err(Self::limit(format!("used more than {max} s of CPU time")))
                    }
                    Some(6 | 11) => {
                        let max = self.limits.memory_bytes_max >> 20;
                        Err(Self::limit(format!(
                            "needs more than {max} MiB of memory ({complaint})"
                        )))
                    }
                    _ => Err(LoadError::Compiler {
                        detail: format!("the compiler ended with {status}: {complaint}"),
                    }),
                }
            }
        }
    }

    fn limit(limit: String) -> LoadError {
        LoadError::CompileLimit { limit }
    }
}

/// What came from the child: bounded.
struct Said {
    output: Vec<u8>,
    complaint: Vec<u8>,
}

async fn talk(child: &mut Child, component: &[u8], output_max: usize) -> std::io::Result<Said> {
    let broken = || std::io::Error::other("the child has no pipes");
    let mut stdin = child.stdin.take().ok_or_else(broken)?;
    let stdout = child.stdout.take().ok_or_else(broken)?;
    let stderr = child.stderr.take().ok_or_else(broken)?;
    let (mut output, mut complaint) = (Vec::new(), Vec::new());
    let write = async {
        // A child that was killed by its limits closes the pipe early; its exit status says why.
        if stdin.write_all(component).await.is_ok() && stdin.shutdown().await.is_err() {
            tracing::debug!("the compiler closed its input early");
        }
        drop(stdin);
    };
    let mut stdout = stdout.take(output_max as u64 + 2);
    let mut stderr = stderr.take(64 << 10);
    let ((), read, heard) =
        tokio::join!(write, stdout.read_to_end(&mut output), stderr.read_to_end(&mut complaint));
    read?;
    heard?;
    Ok(Said { output, complaint })
}

async fn kill(child: &mut Child) {
    if let Err(error) = child.kill().await {
        tracing::warn!(%error, "the compiler could not be killed");
    }
}

async fn in_process(engine: &ComponentEngine, component: Vec<u8>) -> Result<Vec<u8>, LoadError> {
    let engine = engine.inner().clone();
    let work = move || engine.precompile_component(&component);
    let outcome =
        tokio::task::spawn_blocking(work).await.map_err(|e| unavailable("compile", &e))?;
    outcome.map_err(|error| LoadError::Compile { detail: one_line(&format!("{error:#}")) })
}

fn unavailable(act: &str, error: &dyn std::fmt::Display) -> LoadError {
    LoadError::Compiler { detail: format!("cannot {act}: {error}") }
}
