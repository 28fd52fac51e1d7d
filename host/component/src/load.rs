//! From uploaded bytes to a component that may run, each step with its own refusal:
//! size → header → componentise → types against our world → compile in a child → cache → link → describe.
//!
//! It owns the compiled code on disk. It must know nothing of plugins' names, versions or status.

mod cache;
mod child;
mod compile;
mod error;
mod header;
mod map;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use quadrille_kit::{Clock, Random};
use quadrille_object::Timestamp;
use wasmtime::component::Component;

pub(crate) use cache::write_whole;
pub use child::compile_child;
pub use compile::{CompileLimits, CompileMode};
pub use error::LoadError;
pub(crate) use header::one_line;

use crate::call::Caller;
use crate::component::LoadedComponent;
use crate::description::Description;
use crate::digest::Digest;
use crate::engine::ComponentEngine;
use crate::limit::CallLimits;
use crate::link;
use crate::link::bindings::ControllerPluginPre;
use crate::link::state::CallStart;
use crate::log::{LogLine, PluginLog};
use crate::unused::Unused;
use cache::{Authenticated, CodeCache};
use compile::Compiler;

/// How components are loaded.
#[derive(Clone, Debug)]
pub struct LoadConfig {
    /// The directory of compiled code; made with mode 0700.
    pub cache_dir: PathBuf,
    /// Where compiling happens.
    pub compile: CompileMode,
    /// Its ceilings.
    pub compile_limits: CompileLimits,
    /// The largest component, in bytes. Default 64 MiB.
    pub component_bytes_max: usize,
    /// Ceilings of `describe`.
    pub describe_limits: CallLimits,
}

impl LoadConfig {
    /// The defaults, with a directory and a way to compile.
    pub fn new(cache_dir: PathBuf, compile: CompileMode) -> Self {
        Self {
            cache_dir,
            compile,
            compile_limits: CompileLimits::default(),
            component_bytes_max: 64 << 20,
            describe_limits: CallLimits::default(),
        }
    }
}

/// Loads components.
#[derive(Debug)]
pub struct Loader {
    config: LoadConfig,
    engine: ComponentEngine,
    cache: CodeCache,
    compiler: Compiler,
    clock: Arc<dyn Clock>,
}

impl Loader {
    /// Opens the cache of compiled code.
    ///
    /// # Errors
    /// When its directory cannot be made or read.
    pub fn build(
        config: LoadConfig,
        engine: ComponentEngine,
        clock: Arc<dyn Clock>,
        random: &dyn Random,
    ) -> Result<Self, LoadError> {
        let cache = CodeCache::open(&config.cache_dir, random)?;
        let compiler = Compiler::new(
            config.compile.clone(),
            config.compile_limits.clone(),
            Arc::clone(&clock),
        );
        Ok(Self { config, engine, cache, compiler, clock })
    }

    /// The engine that its components run in.
    pub fn engine(&self) -> &ComponentEngine {
        &self.engine
    }

    /// The largest component that is accepted, in bytes.
    pub fn component_bytes_max(&self) -> usize {
        self.config.component_bytes_max
    }

    /// Takes bytes from outside through every step. What the component says while it describes itself goes to `log`.
    ///
    /// # Errors
    /// The first step that refuses.
    pub async fn load(
        &self,
        bytes: &[u8],
        log: Arc<PluginLog>,
    ) -> Result<LoadedComponent, LoadError> {
        let digest = Digest::of(bytes);
        if let Some(code) = self.cache.get(&digest, self.engine.compatibility()) {
            return self.finish(digest, code, bytes.len(), log).await;
        }
        let component = header::componentise(bytes, self.config.component_bytes_max)?;
        world::check(&header::decode(&component)?)?;
        let code = self.compiler.compile(&self.engine, &component).await?;
        let code = self.cache.put(&digest, self.engine.compatibility(), &code)?;
        let loaded = self.finish(digest.clone(), code, bytes.len(), log).await;
        if loaded.is_err() {
            self.forget(&digest);
        }
        loaded
    }

    /// A component from the cache alone; `None` when it has to be compiled.
    ///
    /// # Errors
    /// When the component no longer links or describes itself.
    pub async fn load_cached(
        &self,
        digest: &Digest,
        size: usize,
        log: Arc<PluginLog>,
    ) -> Result<Option<LoadedComponent>, LoadError> {
        match self.cache.get(digest, self.engine.compatibility()) {
            Some(code) => self.finish(digest.clone(), code, size, log).await.map(Some),
            None => Ok(None),
        }
    }

    /// Deletes a component's compiled code.
    pub fn forget(&self, digest: &Digest) {
        self.cache.remove(digest, self.engine.compatibility());
    }

    /// Deletes compiled code that is not of this engine or not named, when its time is over.
    pub(crate) fn delete_unused(
        &self,
        unused: &Unused,
        now: Timestamp,
        named: &BTreeSet<String>,
    ) -> std::io::Result<usize> {
        self.cache.delete_unused(unused, now, (self.engine.compatibility(), named))
    }

    async fn finish(
        &self,
        digest: Digest,
        code: Authenticated,
        size: usize,
        log: Arc<PluginLog>,
    ) -> Result<LoadedComponent, LoadError> {
        let link_error =
            |error: wasmtime::Error| LoadError::Link { detail: one_line(&format!("{error:#}")) };
        let component = map::component(self.engine.inner(), &code).map_err(link_error)?;
        let caller = self.link(&component).map_err(link_error)?;
        let description = self.describe(&caller, log).await?;
        Ok(LoadedComponent { digest, size, description, caller: Arc::new(caller) })
    }

    fn link(&self, component: &Component) -> wasmtime::Result<Caller> {
        let pre = link::linker(self.engine.inner())?.instantiate_pre(component)?;
        Ok(Caller {
            engine: self.engine.clone(),
            pre: ControllerPluginPre::new(pre)?,
            clock: Arc::clone(&self.clock),
        })
    }

    /// The smoke test: a fresh instance that says what it is, without objects, under limits.
    async fn describe(
        &self,
        caller: &Caller,
        log: Arc<PluginLog>,
    ) -> Result<Description, LoadError> {
        let now = self.clock.now();
        let origin = LogLine { at: now, controller: "describe".into(), ..LogLine::default() };
        let start = CallStart {
            limits: Arc::new(self.config.describe_limits.clone()),
            log,
            origin,
            now,
            seed: 0,
            config: Arc::new(BTreeMap::new()),
            run: None,
        };
        let called = caller.describe(start).await;
        let said = called.result.map_err(|source| LoadError::Describe { source })?;
        Description::read(said)
    }
}
