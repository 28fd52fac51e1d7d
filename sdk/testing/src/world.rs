//! The world: what a test says and sees.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quadrille_kit::{Clock, ManualClock, Random, SeededRandom, Supervisor};
use quadrille_registry::Registry;
use quadrille_sdk::plugin::ControllerDescription;
use quadrille_sdk::{Level, Plugin};
use quadrille_store::{ChangeFilter, ChangeStream, Key, ReadSet, Store};

use crate::drive;

/// Controllers, the objects that they work on, and a clock that stands still.
///
/// Methods that a test would unwrap anyway panic, with the whole story in the message.
#[derive(Debug)]
pub struct World {
    pub(crate) tasks: tokio::runtime::Runtime,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) chance: SeededRandom,
    pub(crate) registry: Registry,
    pub(crate) stream: ChangeStream,
    pub(crate) plugins: Vec<Plugin>,
    pub(crate) controllers: Vec<Entry>,
    pub(crate) keys: BTreeMap<WorkKey, KeyState>,
    pub(crate) ready: BTreeSet<WorkKey>,
    pub(crate) runs: u64,
    pub(crate) log: Vec<(Level, String)>,
    pub(crate) config: BTreeMap<String, String>,
    _supervisor: Supervisor,
}

/// A controller by its number, and one of its objects.
pub(crate) type WorkKey = (usize, Key);

/// One controller of one plugin.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) plugin: usize,
    pub(crate) described: ControllerDescription,
    pub(crate) selector: quadrille_object::LabelSelector,
    pub(crate) grant: quadrille_runtime::Grant,
}

/// What is known of one key.
#[derive(Debug, Default)]
pub(crate) struct KeyState {
    /// What its last run read.
    pub(crate) reads: Option<ReadSet>,
    /// When it runs again though nothing changes.
    pub(crate) due: Option<Duration>,
    /// Failures in a row.
    pub(crate) failures: u32,
    /// What the last run failed with.
    pub(crate) error: Option<String>,
}

impl World {
    /// A world with the controllers of one plugin, and the namespace `default`.
    pub fn new(plugin: Plugin) -> Self {
        Self::seeded(plugin, 1)
    }

    /// The same with another seed of chance.
    ///
    /// # Panics
    /// When the plugin's definitions are refused.
    pub fn seeded(plugin: Plugin, seed: u64) -> Self {
        let tasks = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime without threads needs nothing");
        let clock = Arc::new(ManualClock::default());
        let random: Arc<dyn Random> = Arc::new(SeededRandom::new(seed));
        let supervisor = Supervisor::default();
        let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let registry = tasks.block_on(async {
            let config = quadrille_store::Config::default();
            let store = Store::open(config, Arc::clone(&shared), &supervisor).await;
            let store = store.expect("a store in memory opens");
            let config = quadrille_registry::Config::default();
            let registry = Registry::build(config, store, shared, random);
            let registry = registry.expect("the built-in kinds are good");
            registry.bootstrap().await.expect("an empty store takes the first objects");
            registry
        });
        let stream = registry.store().changes(ChangeFilter::default(), registry.store().revision());
        let world = Self {
            tasks,
            clock,
            chance: SeededRandom::new(seed),
            registry,
            stream,
            plugins: Vec::new(),
            controllers: Vec::new(),
            keys: BTreeMap::new(),
            ready: BTreeSet::new(),
            runs: 0,
            log: Vec::new(),
            config: BTreeMap::new(),
            _supervisor: supervisor,
        };
        world.with(plugin)
    }

    /// With the controllers of one plugin more.
    ///
    /// # Panics
    /// When its definitions are refused.
    #[must_use]
    pub fn with(mut self, plugin: Plugin) -> Self {
        let described = plugin.describe();
        for crd in &described.crds {
            self.apply_json(crd).expect("the plugin's definition is good");
        }
        let grant = drive::grant(&described.capabilities);
        let number = self.plugins.len();
        for controller in described.controllers {
            let selector = quadrille_object::LabelSelector::parse(&controller.label_selector);
            self.controllers.push(Entry {
                plugin: number,
                selector: selector.expect("the controller's selector is good"),
                described: controller,
                grant: grant.clone(),
            });
        }
        self.plugins.push(plugin);
        self
    }

    /// With one value of the plugins' configuration.
    #[must_use]
    pub fn with_config(mut self, key: &str, value: &str) -> Self {
        self.config.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Runs controllers until nothing is left to do, timers aside. Answers how many runs it took.
    ///
    /// # Panics
    /// When it does not end, or when a run fails for good: the message says which.
    #[track_caller]
    pub fn settle(&mut self) -> u64 {
        let before = self.runs;
        if let Err(problem) = self.try_settle() {
            panic_with(&problem);
        }
        self.runs - before
    }

    /// Like [`World::settle`], and leaves failures to the test.
    ///
    /// # Errors
    /// What a run failed with, or that it does not end.
    pub fn try_settle(&mut self) -> Result<(), String> {
        self.settle_within(drive::RUNS_MAX, |_| ())
    }

    /// Like [`World::settle`], and looks at the world after every run: for what must hold at every commit.
    ///
    /// # Panics
    /// As [`World::settle`], and when `look` does.
    #[track_caller]
    pub fn settle_watching(&mut self, look: impl FnMut(&Self)) {
        if let Err(problem) = self.settle_within(drive::RUNS_MAX, look) {
            panic_with(&problem);
        }
    }

    /// Moves time on and settles at every timer on the way.
    ///
    /// # Panics
    /// As [`World::settle`].
    #[track_caller]
    pub fn advance(&mut self, step: Duration) {
        let end = self.clock.monotonic() + step;
        loop {
            self.settle();
            let due = self.keys.values().filter_map(|state| state.due).min();
            let now = self.clock.monotonic();
            match due.filter(|due| *due <= end) {
                Some(due) => {
                    self.clock.advance(due.saturating_sub(now).max(Duration::from_millis(1)));
                }
                None => break self.clock.advance(end.saturating_sub(now)),
            }
        }
        self.settle();
    }

    /// The lines that controllers have logged.
    pub fn log(&self) -> &[(Level, String)] {
        &self.log
    }

    /// How many runs there were.
    pub fn runs(&self) -> u64 {
        self.runs
    }
}

/// The one place where a test's failure leaves this crate.
#[track_caller]
#[expect(clippy::panic, reason = "a failed expectation of a test ends the test")]
pub(crate) fn panic_with(problem: &str) -> ! {
    panic!("{problem}")
}
