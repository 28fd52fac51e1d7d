//! The host's side of every interface that a guest may import: one module per WIT interface.
//!
//! Each has the same parts: what the grant allows, what of the call's state it uses, the host functions.
//! Every host function draws on the call's budget before it does anything.

pub(crate) mod bindings;
mod clock;
mod config;
mod log;
mod objects;
mod random;
mod reason;
pub(crate) mod state;
mod wasi;

use wasmtime::Engine;
use wasmtime::component::Linker;

use bindings::quadrille::controller as wit;
use state::{CallState, WholeState};

/// A linker that offers our contract, and WASI 0.2 with nothing in it.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<CallState>> {
    let mut linker = Linker::new(engine);
    wasi::add_to_linker(&mut linker)?;
    wit::types::add_to_linker::<_, WholeState>(&mut linker, |state| state)?;
    wit::objects::add_to_linker::<_, WholeState>(&mut linker, |state| state)?;
    wit::clock::add_to_linker::<_, WholeState>(&mut linker, |state| state)?;
    wit::random::add_to_linker::<_, WholeState>(&mut linker, |state| state)?;
    wit::log::add_to_linker::<_, WholeState>(&mut linker, |state| state)?;
    wit::config::add_to_linker::<_, WholeState>(&mut linker, |state| state)?;
    Ok(linker)
}
