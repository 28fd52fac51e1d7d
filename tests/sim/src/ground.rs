//! Where the store lies: in memory, where only what is above it crashes, or on a simulated disk.

use std::sync::Arc;

use quadrille_disk::{Plan, SimDisk};
use quadrille_kit::{Clock, Random, SeededRandom, Supervisor};
use quadrille_store::{Config, OpenError, Store};

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As it should: everything is closed.
    Stop,
    /// The process is killed; what the machine holds for the disk gets there.
    Kill,
    /// The power goes, and what was not flushed with it, in part.
    PowerCut,
}

/// The disk, and how the store is set up on it.
#[derive(Debug)]
pub struct Ground {
    disk: SimDisk,
    config: Config,
}

impl Ground {
    /// A disk with a store that has its first objects, and settings that the seed chooses: small ones, so that what is
    /// rare on large hosts happens.
    pub fn new(base: &SimDisk, seed: u64) -> Self {
        let random = SeededRandom::new(seed ^ 0x6d_5a);
        let small = |random: &SeededRandom| random.below(3) == 0;
        let config = Config {
            checkpoint_bytes: if small(&random) { 4_000 } else { 100_000 },
            history_bytes_max: if small(&random) { 20_000 } else { 100_000_000 },
            recent_changes_max: if small(&random) { 8 } else { 10_000 },
            ..Config::default()
        };
        Self { disk: base.copy(seed), config }
    }

    /// A disk with a store that has its first objects, and the usual settings.
    pub fn plain(base: &SimDisk) -> Self {
        Self { disk: base.copy(1), config: Config::default() }
    }

    /// The disk.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Whether history is short, so that slow watchers may find it gone.
    pub fn forgets(&self) -> bool {
        self.config.history_bytes_max < 1_000_000
    }

    /// Opens the store.
    ///
    /// # Errors
    /// What the store says.
    pub async fn open(
        &self,
        clock: Arc<dyn Clock>,
        supervisor: &Supervisor,
    ) -> Result<Store, OpenError> {
        let config = Config { disk: Some(self.disk.boot()), ..self.config.clone() };
        Store::open(config, clock, supervisor).await
    }

    /// Plans that something goes wrong with the disk while it works.
    pub fn trouble(&self, random: &SeededRandom) {
        if random.below(3) < 2 {
            return self.passing_trouble(random);
        }
        self.disk.plan(Plan::power_cut(1 + random.below(40)));
    }

    /// The same, of what ends by itself.
    pub fn passing_trouble(&self, random: &SeededRandom) {
        let (after, calls) = (1 + random.below(40), 1 + random.below(12));
        let plan = if random.below(2) == 0 { Plan::errors } else { Plan::full };
        self.disk.plan(plan(after, calls));
    }
}
