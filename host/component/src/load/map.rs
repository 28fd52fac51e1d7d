//! Maps compiled code into memory: the one place that is `unsafe`.
//!
//! Deserialising compiled code that somebody else wrote is executing it. So this file has one function, and it
//! takes what only [`super::cache`] can make: a file whose bytes were authenticated through the same descriptor.
#![expect(
    unsafe_code,
    reason = "deserialising compiled code is unsafe by nature; see SAFETY below"
)]

use wasmtime::Engine;
use wasmtime::component::Component;

use super::cache::Authenticated;

/// Maps the code of a component.
pub(super) fn component(engine: &Engine, code: &Authenticated) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize_file` demands bytes that this engine's `precompile_component` made and that nobody
    // changes while they are mapped.
    // * Made by us: `Authenticated` holds a path whose whole content carried a keyed BLAKE3 tag over engine
    //   compatibility, digest and code, made with this data directory's secret key by the host that received the code
    //   from its own compiling child. The engine checks its version and settings once more.
    // * Unchanged: the file lies in a directory with mode 0700 that only the host's user can enter; the host writes
    //   new files under new names and renames them, and never writes into an existing one. Whoever can act as the
    //   host's user can also replace the host.
    unsafe { Component::deserialize_file(engine, code.path()) }
}
