//! The engine: one per process, with the pool of instances and the epoch that moves every 10 ms.
//!
//! The pool is what makes a fresh instance per run cheap, so it is never replaced silently: when the machine
//! cannot give its address space the host says so, loudly, and shows it in the plugins' status.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blake3::Hasher as Blake3;
use quadrille_kit::Supervisor;
use wasmtime::{
    Config, Enabled, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig,
    Result,
};

use crate::limit::EPOCH_TICK;

/// The largest linear memory that any plugin may be given.
pub(crate) const MEMORY_SLOT_BYTES: usize = 256 << 20;

/// How many instances exist at once, at most; further runs wait for their turn.
pub(crate) const INSTANCES_MAX: usize = 128;

/// Below this many open files or mappings the host warns at start: 10,000 idle plugins use 1 file and 3 mappings each.
const FILES_WANTED: u64 = 16_384;
const MAPS_WANTED: u64 = 262_144;

/// Why no engine could be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine refused its configuration, or the machine its memory.
    #[error("cannot start the Wasm engine: {0}")]
    Start(String),
    /// The operating system has no thread for the epoch.
    #[error("cannot start the thread that moves the epoch")]
    Ticker(#[source] std::io::Error),
}

/// The engine; cheap to clone.
#[derive(Clone)]
pub struct ComponentEngine {
    engine: Engine,
    compatibility: Arc<str>,
    warnings: Arc<[String]>,
    pooled: bool,
    /// Whether the epoch moves on after the end of a host.
    outlived: Arc<AtomicBool>,
}

impl fmt::Debug for ComponentEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComponentEngine")
            .field("compatibility", &self.compatibility)
            .field("pooled", &self.pooled)
            .finish_non_exhaustive()
    }
}

impl ComponentEngine {
    /// Makes the engine and checks what the machine gives; starts no thread.
    ///
    /// # Errors
    /// When not even the slower allocation works.
    pub fn build() -> Result<Self, EngineError> {
        let mut warnings = machine_warnings();
        let (engine, pooled) = match Engine::new(&pooled_config()) {
            Ok(engine) => (engine, true),
            Err(error) => {
                warnings.push(format!(
                    "the pool of instances cannot be reserved ({error:#}): every run is two to three times slower; raise \
                     the limit of address space (ulimit -v) and vm.max_map_count"
                ));
                let engine = Engine::new(&code_config()).map_err(|e| start_error(&e))?;
                (engine, false)
            }
        };
        for warning in &warnings {
            tracing::warn!(limit = warning, "the machine's limits are low");
        }
        let compatibility = compatibility(&engine);
        let (warnings, outlived) = (warnings.into(), Arc::default());
        Ok(Self { engine, compatibility, warnings, pooled, outlived })
    }

    /// An engine that only compiles, for the compiling child: the same code, no pool.
    ///
    /// # Errors
    /// When the engine refuses its configuration.
    pub(crate) fn compiler() -> Result<Self, EngineError> {
        let engine = Engine::new(&code_config()).map_err(|e| start_error(&e))?;
        let compatibility = compatibility(&engine);
        let (warnings, outlived) = (Arc::default(), Arc::default());
        Ok(Self { engine, compatibility, warnings, pooled: false, outlived })
    }

    /// Starts the thread that moves the epoch. Nobody waits for it after the shutdown, and the epoch moves on: else a
    /// guest that never ends would hold up the end of the process.
    ///
    /// # Errors
    /// When the operating system has no thread to give.
    pub fn run(&self, supervisor: &Supervisor) -> Result<(), EngineError> {
        let (engine, shutdown) = (self.engine.weak(), supervisor.shutdown());
        let outlived = Arc::clone(&self.outlived);
        let tick = move || {
            move_epoch(&engine, || shutdown.is_started());
            if !outlived.swap(true, Ordering::Relaxed) {
                outlive(engine);
            }
        };
        supervisor.spawn_thread("epoch", tick).map_err(EngineError::Ticker)
    }

    /// What of the machine's limits is too low; empty when all is well.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether instances come from the pool.
    pub fn is_pooled(&self) -> bool {
        self.pooled
    }

    /// Names the engine's version and settings: compiled code of another one is not loaded.
    pub(crate) fn compatibility(&self) -> &str {
        &self.compatibility
    }

    pub(crate) fn inner(&self) -> &Engine {
        &self.engine
    }
}

#[expect(clippy::disallowed_methods, reason = "the epoch is the machine's time by design")]
fn move_epoch(engine: &EngineWeak, ends: impl Fn() -> bool) {
    while !ends() {
        std::thread::sleep(EPOCH_TICK);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
    }
}

/// Moves the epoch until the engine is gone.
fn outlive(engine: EngineWeak) {
    let moving = std::thread::Builder::new().name("last-epochs".to_owned());
    if let Err(error) = moving.spawn(move || move_epoch(&engine, || false)) {
        tracing::warn!(%error, "no thread for the epoch: guests that never end are not stopped any more");
    }
}

fn start_error(error: &wasmtime::Error) -> EngineError {
    EngineError::Start(format!("{error:#}"))
}

/// Everything that decides what code is made: equal in the host and in the compiling child.
fn code_config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .memory_init_cow(true)
        .concurrency_support(false)
        .generate_address_map(true)
        .max_wasm_stack(512 << 10)
        .async_stack_size(1 << 20)
        .wasm_component_model(true)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .wasm_memory64(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false)
        .wasm_multi_memory(false);
    config
}

fn pooled_config() -> Config {
    let instances = u32::try_from(INSTANCES_MAX).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_stacks(instances)
        .total_core_instances(instances * 16)
        .total_memories(instances * 2)
        .total_tables(instances * 4)
        .max_core_instances_per_component(200)
        .max_memories_per_component(32)
        .max_tables_per_component(64)
        .max_tables_per_module(16)
        .max_memory_size(MEMORY_SLOT_BYTES)
        .table_elements(50_000)
        .max_unused_warm_slots(instances)
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto);
    let mut config = code_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

fn compatibility(engine: &Engine) -> Arc<str> {
    struct Stable(Blake3);
    impl Hasher for Stable {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut hasher = Stable(Blake3::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().to_hex().as_str()[..32].into()
}

fn machine_warnings() -> Vec<String> {
    let mut warnings = Vec::new();
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    if let Some(files) = files.filter(|n| *n < FILES_WANTED) {
        warnings.push(format!(
            "only {files} open files are allowed, which is room for as many plugins and connections; raise it with ulimit -n {FILES_WANTED}"
        ));
    }
    let maps = std::fs::read_to_string("/proc/sys/vm/max_map_count");
    let maps = maps.ok().and_then(|text| text.trim().parse::<u64>().ok());
    if let Some(maps) = maps.filter(|n| *n < MAPS_WANTED) {
        warnings.push(format!(
            "vm.max_map_count is {maps}, which is room for about {} plugins; raise it with sysctl vm.max_map_count={MAPS_WANTED}",
            maps / 4
        ));
    }
    warnings
}
