//! The Wasm component host: load, compile, link, limit, call, swap.
//!
//! It implements what the runtime declares a reconciler to be, with a fresh instance of a component for every run,
//! and keeps the `Plugin` objects: which code runs under which name with which grants. Only this crate names wasmtime.
//! It must never know of HTTP, nor decide when something runs.

mod call;
mod component;
mod description;
mod digest;
mod engine;
mod limit;
mod link;
mod load;
mod log;
mod plugin;
mod unused;

pub use call::CallError;
pub use component::{ComponentReconciler, LoadedComponent, PluginContext};
pub use description::{ControllerDescription, Description};
pub use digest::{Digest, NotADigest};
pub use engine::{ComponentEngine, EngineError};
pub use limit::{CallLimits, LimitHit};
pub use load::{CompileLimits, CompileMode, LoadConfig, LoadError, Loader, compile_child};
pub use log::{LogLevel, LogLine, PluginLog};
pub use plugin::{
    CodeError, ManagerConfig, ManagerParts, Phase, PluginManager, PluginUpload, PreflightReport,
    PreflightRunner, Rehearsed, Uploaded, check_is_component,
};
