//! What plugins cost while they do nothing: memory of 1,000 distinct idle ones, and the start of ten from the cache.
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use quadrille_bench::say;
use quadrille_component::{
    CompileMode, ComponentEngine, LoadConfig, LoadedComponent, Loader, PluginLog,
};
use quadrille_guests::Guest;
use quadrille_kit::{Clock, SeededRandom, Supervisor, SystemClock};

const PLUGINS: usize = 1_000;
const CACHED: usize = 10;

/// Anonymous and file-backed resident memory of this process, in KiB.
fn resident() -> Result<(i64, i64)> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| -> Result<i64> {
        let line =
            status.lines().find(|line| line.starts_with(name)).context("a field of status")?;
        Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
    };
    Ok((field("RssAnon:")?, field("RssFile:")?))
}

fn guest(at: usize) -> Vec<u8> {
    Guest { mark: Some(at.to_le_bytes().to_vec()), ..Guest::reads_and_writes() }.build()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let supervisor = Supervisor::default();
    let engine = ComponentEngine::build()?;
    engine.run(&supervisor)?;
    let dir = tempfile::tempdir()?;
    let config = LoadConfig::new(dir.path().join("code"), CompileMode::InProcess);
    let random = SeededRandom::new(1);
    let loader = Loader::build(config, engine, Arc::clone(&clock), &random)?;
    let began = clock.monotonic();
    let mut kept = Vec::new();
    for at in 0..PLUGINS {
        let bytes = guest(at);
        let loaded = loader.load(&bytes, Arc::new(PluginLog::default())).await?;
        kept.push((loaded.digest().clone(), bytes.len()));
    }
    say(&format!(
        "compile, check and describe, per plugin: {:.2} ms",
        millis(clock.monotonic().saturating_sub(began)) / PLUGINS as f64
    ));
    let began = clock.monotonic();
    for (digest, size) in kept.iter().take(CACHED) {
        cached(&loader, digest, *size).await?;
    }
    say(&format!(
        "start of {CACHED} plugins from the cache: {:.2} ms",
        millis(clock.monotonic().saturating_sub(began))
    ));
    let (anonymous, file) = resident()?;
    let mut idle = Vec::with_capacity(PLUGINS);
    for (digest, size) in &kept {
        idle.push(cached(&loader, digest, *size).await?);
    }
    let (anonymous_after, file_after) = resident()?;
    let per = |before: i64, after: i64| (after - before) as f64 / PLUGINS as f64;
    say(&format!(
        "resident memory per idle plugin at {}: {:.1} KiB anonymous, {:.1} KiB of files",
        idle.len(),
        per(anonymous, anonymous_after),
        per(file, file_after)
    ));
    Ok(())
}

async fn cached(
    loader: &Loader,
    digest: &quadrille_component::Digest,
    size: usize,
) -> Result<(LoadedComponent, Arc<PluginLog>)> {
    let log = Arc::new(PluginLog::default());
    let loaded = loader.load_cached(digest, size, Arc::clone(&log)).await?;
    Ok((loaded.context("it is in the cache")?, log))
}

fn millis(taken: Duration) -> f64 {
    taken.as_secs_f64() * 1e3
}
