//! What one call into a guest carries: its view, meter, log, clock and chance. Dropped with the instance.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use quadrille_object::Timestamp;
use quadrille_registry::Catalog;
use quadrille_runtime::Overlay;
use wasmtime::component::HasData;

use super::wasi::Wasi;
use crate::limit::{CallLimits, Meter};
use crate::log::{LogLine, PluginLog, RunLog};

/// Everything that host functions see of a reconcile; absent while a component describes itself.
pub(crate) struct RunState {
    pub(crate) overlay: Overlay,
    pub(crate) catalog: Arc<Catalog>,
    /// How often the plugin was denied something, in all.
    pub(crate) denials: Arc<AtomicU64>,
}

/// The data of one `wasmtime::Store`.
pub(crate) struct CallState {
    pub(crate) meter: Meter,
    pub(crate) run: Option<RunState>,
    pub(crate) log: RunLog,
    pub(crate) now: Timestamp,
    pub(crate) random: u64,
    pub(crate) config: Arc<BTreeMap<String, String>>,
    wasi: Option<Box<Wasi>>,
}

impl fmt::Debug for CallState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallState").field("meter", &self.meter).finish_non_exhaustive()
    }
}

/// What a call begins with.
pub(crate) struct CallStart {
    pub(crate) limits: Arc<CallLimits>,
    pub(crate) log: Arc<PluginLog>,
    pub(crate) origin: LogLine,
    pub(crate) now: Timestamp,
    pub(crate) seed: u64,
    pub(crate) config: Arc<BTreeMap<String, String>>,
    pub(crate) run: Option<RunState>,
}

impl CallState {
    pub(crate) fn new(start: CallStart) -> Self {
        let log = RunLog::new(start.log, start.origin, &start.limits);
        Self {
            meter: Meter::new(start.limits),
            run: start.run,
            log,
            now: start.now,
            random: start.seed,
            config: start.config,
            wasi: None,
        }
    }

    /// The next number of the run's sequence (`SplitMix64`).
    pub(crate) fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The WASI of this call; made when a guest first asks for it.
    pub(crate) fn wasi(&mut self) -> &mut Wasi {
        if self.wasi.is_none() {
            let seed = self.next_random();
            self.wasi = Some(Box::new(Wasi::new(self.now, seed, self.log.output())));
        }
        self.wasi.as_mut().expect("it was made above")
    }
}

/// Host functions work on the whole state of their call.
pub(crate) struct WholeState;

impl HasData for WholeState {
    type Data<'a> = &'a mut CallState;
}
