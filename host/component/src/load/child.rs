//! The compiling child's side: limits itself, reads Wasm from stdin, writes machine code to stdout.
//!
//! Output: the code and the byte [`COMPILED`], or a message and the byte [`REFUSED`]. Everything else (an
//! abort, a kill, no last byte) is a failure that the parent names from the exit status.

use std::io::{self, Read, Write};

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::engine::ComponentEngine;

/// The last byte after machine code.
pub(super) const COMPILED: u8 = 1;
/// The last byte after a message.
pub(super) const REFUSED: u8 = 2;

/// The child's whole work; `args` are the three that the parent put last: memory, CPU seconds, engine.
///
/// # Errors
/// When the arguments are wrong, a limit cannot be set or a pipe breaks; the caller prints it and ends with 1.
pub fn compile_child(args: &[String]) -> io::Result<()> {
    let wrong = || io::Error::other("not for people: the host runs this to compile a component");
    let [memory, cpu, wanted] = args else { return Err(wrong()) };
    let memory: u64 = memory.parse().map_err(|_| wrong())?;
    let cpu: u64 = cpu.parse().map_err(|_| wrong())?;
    confine(memory, cpu)?;
    let engine = ComponentEngine::compiler().map_err(io::Error::other)?;
    if engine.compatibility() != wanted {
        let message = "the compiler is another version than the host: was the program replaced?";
        return Err(io::Error::other(message));
    }
    let mut component = Vec::new();
    io::stdin().lock().read_to_end(&mut component)?;
    let (output, end) = match engine.inner().precompile_component(&component) {
        Ok(code) => (code, COMPILED),
        Err(error) => (format!("{error:#}").into_bytes(), REFUSED),
    };
    let mut stdout = io::stdout().lock();
    stdout.write_all(&output)?;
    stdout.write_all(&[end])?;
    stdout.flush()
}

fn confine(memory_bytes: u64, cpu_seconds: u64) -> io::Result<()> {
    let limit =
        |current: u64, maximum: u64| Rlimit { current: Some(current), maximum: Some(maximum) };
    setrlimit(Resource::Core, limit(0, 0))?;
    setrlimit(Resource::Fsize, limit(0, 0))?;
    setrlimit(Resource::As, limit(memory_bytes, memory_bytes))?;
    setrlimit(Resource::Cpu, limit(cpu_seconds, cpu_seconds.saturating_add(1)))?;
    Ok(())
}
