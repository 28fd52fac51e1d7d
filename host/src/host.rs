//! The host, put together: store, registry, runtime, plugins and server, and how they start and end.

use std::sync::Arc;

use anyhow::Context;
use quadrille_component::{
    CompileMode, ComponentEngine, LoadConfig, Loader, ManagerConfig, ManagerParts, PluginManager,
};
use quadrille_insight::Fights;
use quadrille_kit::{Clock, Random, Shutdown, Supervisor, SystemClock, SystemRandom};
use quadrille_registry::Registry;
use quadrille_runtime::Runtime;
use quadrille_server::{Parts, Server, Signer, Tokens, User, identity};
use quadrille_store::{Journal, JournalConfig, Store};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;

use crate::access;
use crate::config::Config;
use crate::descriptors;
use crate::files::Files;
use crate::insight::{HostInsight, JournalPreflight, Rehearsals};
use crate::output;
use crate::plugins::{self, HostPlugins};

/// How many backups are given at once: each holds on to the objects of its revision until its client has them.
const BACKUPS_MAX: usize = 2;

/// Runs a host until it is asked to end; true when everything ended in time and nothing failed. Asked once more, it waits
/// for nothing. Controllers' runs compute on the scheduler `runs`, everything else where this is called.
pub(crate) async fn run(config: Config, runs: Handle) -> anyhow::Result<bool> {
    let supervisor = Supervisor::default().with_work_on(runs);
    // Whoever ends a host does not know how far it is: a start compiles plugins, and takes as long as they are many.
    let mut ends = Ends::listen(&supervisor)?;
    let files = Files::open(&config.data_dir)?;
    tokio::select! {
        () = ends.came() => tracing::info!("ended before it was ready"),
        started = start(&config, &files, &supervisor) => {
            started?;
            ends.came().await;
        }
    }
    tokio::select! {
        drained = supervisor.stop(config.drain_timeout.0) => if !drained {
            tracing::warn!("some requests or runs were still going on when the drain timeout was over");
        },
        () = ends.asked() => {
            tracing::warn!("asked to end once more: what is still going on is cut off");
            return Ok(false);
        }
    }
    Ok(supervisor.failed().is_empty())
}

/// Brings a host up until it serves and has its plugins, and says so.
async fn start(config: &Config, files: &Files, supervisor: &Supervisor) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let random: Arc<dyn Random> = Arc::new(SystemRandom::default());
    let server_config = server_config(config);
    let store = open_store(config, files, &clock, supervisor).await?;
    let authority = files.authority(clock.as_ref())?;
    let config_of_registry = quadrille_registry::Config {
        ca_certificate: authority.certificate.clone(),
        ..quadrille_registry::Config::default()
    };
    let parts = (Arc::clone(&clock), Arc::clone(&random));
    let registry = Registry::build(config_of_registry, store.clone(), parts.0, parts.1)
        .context("cannot build the catalog of resources")?;
    registry.bootstrap().await.context("cannot make the first objects")?;
    let token = files.admin_token(random.as_ref())?;
    let names = identity::loopback_names();
    let certificate = identity::make_server_certificate(&authority, &names, clock.now())
        .context("cannot make the server's certificate")?;
    let journal = open_journal(config, files, &clock, supervisor).await?;
    let runtime_config = runtime_config(config, journal);
    let runtime = Runtime::build(runtime_config, registry.clone(), supervisor.clone());
    let manager = plugin_manager(files, &registry, &runtime, supervisor)?;
    let registry_of_roles = registry.clone();
    let registry_of_quotas = registry.clone();
    let signer = Signer::new(registry.clone(), &authority).context("cannot sign certificates")?;
    let mut parts = Parts::new(registry, certificate, tokens(config, &token)?);
    let shutdown = supervisor.shutdown();
    parts.uploads = Some(Arc::new(HostPlugins { manager: manager.clone(), shutdown }));
    let fights = Fights::build(runtime.clone(), config.runs.fights.into());
    parts.insight = Some(Arc::new(HostInsight {
        store,
        runtime: runtime.clone(),
        manager: manager.clone(),
        rehearsals: Rehearsals::default(),
        fights: fights.clone(),
        backups: Arc::new(Semaphore::new(BACKUPS_MAX)),
    }));
    access::equip(&mut parts, config, files, &authority.certificate)?;
    let server = Server::build(server_config, parts, supervisor).await?;
    let url = format!("https://{}", server.address());
    files.write_kubeconfig(&url, &authority.certificate, &token)?;
    supervisor.spawn("fights", fights.run(supervisor.shutdown()));
    runtime.start();
    supervisor.spawn("roles", registry_of_roles.keep_access(supervisor.shutdown()));
    supervisor.spawn("quotas", registry_of_quotas.keep_quotas(supervisor.shutdown()));
    supervisor.spawn("signer", signer.run(supervisor.shutdown()));
    let from = manager.start().await;
    supervisor.spawn("plugins", manager.clone().run(from, supervisor.clone()));
    supervisor.spawn("server", server.run());
    if let Some(folder) = &config.plugins {
        plugins::load_folder(&manager, folder).await?;
    }
    let (kubeconfig, token_file) = (files.path("kubeconfig"), files.path("admin-token"));
    output::line(format!(
        "ready url={url} kubeconfig={} token-file={}",
        kubeconfig.display(),
        token_file.display()
    ))
}

fn runtime_config(config: &Config, journal: Option<Journal>) -> quadrille_runtime::Config {
    quadrille_runtime::Config {
        slots: config.runs.parallelism,
        journal,
        event_life: Some(config.event_ttl.0).filter(|life| !life.is_zero()),
        ..quadrille_runtime::Config::default()
    }
}

/// The Wasm engine, the loader and the manager. Components are compiled by a child of our own program.
fn plugin_manager(
    files: &Files,
    registry: &Registry,
    runtime: &Runtime,
    supervisor: &Supervisor,
) -> anyhow::Result<PluginManager> {
    let engine = ComponentEngine::build().context("cannot set up the Wasm engine")?;
    engine.run(supervisor).context("cannot start the Wasm engine")?;
    let program = std::env::current_exe().context("cannot find the quadrille program")?;
    let compile = CompileMode::Child { program, args: vec!["__compile".into()] };
    let clock = Arc::clone(registry.clock());
    let config = LoadConfig::new(files.path("code"), compile);
    let random = registry.random().as_ref();
    let loader = Loader::build(config, engine, Arc::clone(&clock), random)
        .context("cannot open the cache of compiled components")?;
    let (registry, runtime, loader) = (registry.clone(), runtime.clone(), Arc::new(loader));
    let preflight = Some(Arc::new(JournalPreflight { runtime: runtime.clone() }) as _);
    let parts = ManagerParts { registry, loader, runtime, clock, preflight };
    PluginManager::build(ManagerConfig::new(files.path("components")), parts)
        .context("cannot open the directory of components")
}

async fn open_store(
    config: &Config,
    files: &Files,
    clock: &Arc<dyn Clock>,
    supervisor: &Supervisor,
) -> anyhow::Result<Store> {
    let config = quadrille_store::Config {
        dir: Some(files.path("store")),
        history_bytes_max: config.history.bytes_max.0.0,
        history_age_max: config.history.age_max.0,
        ..quadrille_store::Config::default()
    };
    Store::open(config, Arc::clone(clock), supervisor).await.context("cannot open the store")
}

/// The journal of runs; `None` when none is to be kept.
async fn open_journal(
    config: &Config,
    files: &Files,
    clock: &Arc<dyn Clock>,
    supervisor: &Supervisor,
) -> anyhow::Result<Option<Journal>> {
    let (bytes_max, age_max) = (config.runs.journal_bytes_max.0.0, config.runs.journal_age_max.0);
    if bytes_max == 0 {
        return Ok(None);
    }
    let dir = Some(files.path("runs"));
    let config = JournalConfig { dir, bytes_max, age_max, ..JournalConfig::default() };
    let journal = Journal::open(config, Arc::clone(clock), supervisor).await;
    journal.map(Some).context("cannot open the journal of runs")
}

fn tokens(config: &Config, admin: &str) -> anyhow::Result<Tokens> {
    let mut tokens = Tokens::default();
    if let Some(path) = &config.token_auth_file {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read token file {}", path.display()))?;
        tokens
            .insert_file(&text)
            .with_context(|| format!("cannot use token file {}", path.display()))?;
    }
    tokens.insert(admin, User::known("admin", "", &["system:masters"]));
    Ok(tokens)
}

fn server_config(config: &Config) -> quadrille_server::Config {
    let mut limits = config.limits.of_server(config.drain_timeout.0);
    limits.connections_max = descriptors::connections_max(limits.connections_max);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    quadrille_server::Config { listen: config.listen, version, limits }
}

/// What ends a host: SIGTERM, SIGINT, or that a part of it has failed.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
    shutdown: Shutdown,
}

impl Ends {
    fn listen(supervisor: &Supervisor) -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        Ok(Self { terminate, interrupt, shutdown: supervisor.shutdown() })
    }

    /// Returns when one of them has come.
    async fn came(&mut self) {
        let shutdown = self.shutdown.clone();
        tokio::select! {
            () = self.asked() => tracing::info!("draining"),
            () = shutdown.started() => tracing::error!("a part of the host has failed: draining"),
        }
    }

    /// Returns when somebody wants the end.
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => tracing::info!("SIGTERM"),
            _ = self.interrupt.recv() => tracing::info!("SIGINT"),
        }
    }
}
