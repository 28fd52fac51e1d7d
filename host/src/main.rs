//! The `quadrille` binary: the command line and the wiring of the host's parts.
//!
//! It owns configuration, processes and what people see. Every part of the host is built here and handed its
//! clock, its randomness and its tasks; no part is reached except through its handle.

mod access;
mod cli;
mod client;
mod config;
mod descriptors;
mod files;
mod host;
mod insight;
mod kubeconfig;
mod output;
mod plugins;

use std::process::ExitCode;

/// Objects are trees of small texts that one task makes and another drops: the system's allocator takes twice as long for
/// a server-side apply.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}
