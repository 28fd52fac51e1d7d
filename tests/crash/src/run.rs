//! A run: a real host is killed without warning, again and again, under the load of clients that keep journals.

use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use quadrille_kit::{Random, SeededRandom};
use quadrille_tests::TestHost;
use serde_json::{Value, json};

use crate::check::{Found, Record, judge};
use crate::journal::{Item, Text};
use crate::stage::Stage;
use crate::watcher::{Habit, Object, Scope, Watcher};
use crate::wire::Endpoint;
use crate::writer::{COLD, HOT, TEAMS, Writer};
use crate::{backup, percentile, referee};

/// What a run is.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The binary under test.
    pub program: String,
    /// Further flags of `serve`.
    pub flags: Vec<String>,
    /// How often the host ends.
    pub ends: usize,
    /// How it ends.
    pub how: How,
    /// How long the host lives at most each time.
    pub life_max: Duration,
    /// Clients that write.
    pub writers: usize,
    /// Clients that watch; to each eight of them one that lists in pages without end, and one that watches from the past.
    pub watchers: usize,
    /// How many bytes an object has at most, about.
    pub pad_max: u64,
    /// How much history is kept: `4MiB`.
    pub history: String,
    /// How many backups are taken meanwhile; each is restored and compared at the end.
    pub backups: usize,
    /// Whether the first life lasts until history is compacted.
    pub compacts: bool,
    /// Where chance begins.
    pub seed: u64,
}

/// How a host ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// SIGKILL; each fourth time also once while it starts.
    Killed,
    /// SIGTERM; it must end by itself, with success.
    Asked,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What the judge found.
    pub found: Found,
    /// How often the host was killed while it started.
    pub killed_at_start: usize,
    /// How long starts took, sorted.
    pub starts: Vec<Duration>,
    /// How long ends took that were asked for, sorted.
    pub stops: Vec<Duration>,
    /// How large the store's files were, at the end of each life.
    pub file_bytes: Vec<u64>,
    /// Up to which revision history was compacted at the end, and how many bytes of it were left.
    pub window: (u64, u64),
    /// Bytes of the objects that were left.
    pub live_bytes: u64,
    /// Where the journals are, when something was found.
    pub folder: Option<PathBuf>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let found = &self.found;
        let ends = self.starts.len() + self.killed_at_start;
        write!(
            f,
            "{ends} ends ({} of them while starting); {} changes; {} writes acknowledged, {} unknown of which {} \
             happened; {} reads, {} not found; {} lists; {} watch events, {} resumed streams, {} bookmarks, {} backups, {} places lost, {} journeys too far; ready again \
             after p50 {:?}, p99 {:?}; {} violations",
            self.killed_at_start,
            found.changes,
            found.acknowledged,
            found.unknown.0,
            found.unknown.1,
            found.reads,
            found.absences,
            found.lists,
            found.events,
            found.resumed,
            found.bookmarks,
            found.backups,
            found.relists,
            found.expired,
            percentile(&self.starts, 50),
            percentile(&self.starts, 99),
            found.violations.len(),
        )?;
        if !self.stops.is_empty() {
            let (middle, longest) = (percentile(&self.stops, 50), percentile(&self.stops, 100));
            write!(f, "; ended after p50 {middle:?}, at most {longest:?}")?;
        }
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let largest = self.file_bytes.iter().max().copied().unwrap_or_default();
        let (oldest, window) = self.window;
        write!(
            f,
            "; store at most {} MiB for {} MiB of objects; history after {oldest}: {} KiB",
            mib(largest),
            mib(self.live_bytes),
            window / 1024
        )
    }
}

impl Plan {
    /// Runs it.
    ///
    /// # Errors
    /// When the host does not start again, or a client could not do its work; not for what the judge finds.
    pub fn run(&self) -> anyhow::Result<Report> {
        crate::say(&format!("QUADRILLE_CRASH_SEED={}", self.seed));
        let journals = tempfile::tempdir()?;
        let config = journals.path().join("config.toml");
        std::fs::write(&config, format!("[history]\nbytes_max = \"{}\"\n", self.history))?;
        let config = config.to_string_lossy().into_owned();
        let mut flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        flags.extend(["--config", &config]);
        let mut host = TestHost::start_with(&self.program, &flags)?;
        let endpoint = Endpoint::of(&host.url, host.dir())?;
        for namespace in [HOT.0, COLD] {
            let object = json!({"metadata": {"name": namespace}});
            let answer = endpoint.ask("POST", "/api/v1/namespaces", &object)?;
            ensure!(answer.code == 201, "{namespace}: {}", answer.json());
        }
        let stage = Stage::default();
        let scopes = scopes(self.watchers);
        let mut report = Report::default();
        stage.open(endpoint);
        let last = std::thread::scope(|scope| {
            let clients = self.clients(&stage, &scopes, journals.path(), scope)?;
            let played = self.play(&mut host, &stage, &mut report);
            if played.is_err() {
                stage.end();
            }
            for client in clients {
                let done = client.join().map_err(|_| anyhow!("a client panicked"))?;
                done.inspect_err(|_| stage.end())?;
            }
            played
        });
        let last = last.inspect_err(|_| keep(&journals))?;
        let mut record = Record::read(journals.path(), self.writers, &scopes)?;
        record.last = last;
        let oldest = report.window.0;
        let kept = record.changes.iter().filter(|change| change.item.revision > oldest);
        report.window.1 = kept.map(|change| change.bytes).sum();
        let (history, mut found) = judge(&record);
        for file in backup::taken(journals.path(), self.backups) {
            backup::check(&self.program, &file, &history, &mut found)?;
        }
        report.found = found;
        if !report.found.violations.is_empty() {
            report.folder = Some(journals.keep());
        }
        Ok(report)
    }

    /// Starts the clients.
    fn clients<'scope, 'a: 'scope>(
        &self,
        stage: &'a Stage,
        scopes: &'a [(String, Scope)],
        dir: &Path,
        scope: &'scope std::thread::Scope<'scope, 'a>,
    ) -> anyhow::Result<Vec<ScopedJoinHandle<'scope, anyhow::Result<()>>>> {
        let mut clients = Vec::new();
        let (at, backups) = (dir.to_owned(), self.backups);
        clients.push(scope.spawn(move || ended(stage, backup::take(stage, &at, backups))));
        let at = dir.to_owned();
        clients.push(scope.spawn(move || ended(stage, referee::follow(stage, &at))));
        for number in 0..self.writers {
            let writer = Writer::new(number, self.seed + number as u64, stage, dir)?;
            let writer = writer.with_pad_max(self.pad_max);
            let writing = stage.writing();
            clients.push(scope.spawn(move || {
                let done = ended(stage, writer.run());
                drop(writing);
                done
            }));
        }
        for (number, (name, of)) in scopes.iter().enumerate() {
            let seed = self.seed + 1_000 + number as u64;
            let mut watcher = Watcher::new(name, of.clone(), seed, stage, dir)?;
            if scopes.len() > 24 {
                watcher = watcher.stays_for(8);
            }
            if name.starts_with("lister") {
                watcher = watcher.with_habit(Habit::Lists);
            } else if name.starts_with("traveller") {
                watcher = watcher.with_habit(Habit::Travels);
            }
            clients.push(scope.spawn(move || ended(stage, watcher.run())));
        }
        Ok(clients)
    }

    /// Ends the host again and again; answers the last list.
    fn play(
        &self,
        host: &mut TestHost,
        stage: &Stage,
        report: &mut Report,
    ) -> anyhow::Result<(u64, Vec<Item>)> {
        let random = SeededRandom::new(self.seed);
        let life = u64::try_from(self.life_max.as_millis())?;
        if self.compacts {
            self.write_until_compacted(stage)?;
        }
        for round in 0..self.ends {
            // Every other life has little load: what is idle then meets the end, too.
            let pause = if round % 2 == 0 { Duration::ZERO } else { Duration::from_millis(100) };
            stage.set_pause_max(pause);
            std::thread::sleep(Duration::from_millis(random.below(life)));
            ensure!(!stage.is_through(0), "a client gave up");
            self.end(host, stage, report)?;
            report.file_bytes.push(size_of(&host.dir().join("store"))?);
            if self.how == How::Killed && round % 4 == 3 {
                host.spawn_and_kill(Duration::from_millis(random.below(150)))?;
                report.killed_at_start += 1;
            }
            let begun = Instant::now();
            host.spawn().with_context(|| format!("it does not start after end {round}"))?;
            report.starts.push(begun.elapsed());
            stage.open(Endpoint::of(&host.url, host.dir())?);
        }
        std::thread::sleep(Duration::from_millis(500));
        stage.end_writers();
        stage.wait_for_writers();
        report.starts.sort();
        report.stops.sort();
        let endpoint = stage.endpoint().context("a client gave up")?;
        let through = mark(&endpoint, "through")?;
        let answer = endpoint.ask("GET", "/api/v1/configmaps", &Value::Null)?;
        report.window.0 = oldest(&endpoint)?;
        stage.end_watchers(through);
        // One more, which wakes whoever has seen that already.
        mark(&endpoint, "after")?;
        report.live_bytes = answer.body.len() as u64;
        Ok((answer.revision(), items(&answer.json())?))
    }

    /// Waits until the writers have filled the history, so that each life that follows compacts.
    fn write_until_compacted(&self, stage: &Stage) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_mins(2);
        loop {
            let endpoint = stage.endpoint().context("a client gave up")?;
            if oldest(&endpoint)? > 0 {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} is never full", self.history);
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn end(&self, host: &mut TestHost, stage: &Stage, report: &mut Report) -> anyhow::Result<()> {
        if self.how == How::Killed {
            host.kill()?;
            stage.shut();
            return Ok(());
        }
        let begun = Instant::now();
        let code = host.terminate()?;
        stage.shut();
        report.stops.push(begun.elapsed());
        ensure!(code == Some(0), "it ended with {code:?}:\n{}", host.stderr());
        Ok(())
    }
}

/// Writes something, and answers its revision.
fn mark(endpoint: &Endpoint, name: &str) -> anyhow::Result<u64> {
    let object = json!({"metadata": {"name": name}});
    let path = format!("/api/v1/namespaces/{COLD}/configmaps");
    let answer = endpoint.ask("POST", &path, &object)?;
    ensure!(answer.code == 201, "{name}: {}", answer.json());
    Ok(answer.revision())
}

/// Up to which revision history is compacted.
fn oldest(endpoint: &Endpoint) -> anyhow::Result<u64> {
    let answer = match endpoint.connect()?.lines("/quadrille/bus?follow=false&from=0")? {
        Ok(_) => return Ok(0),
        Err(answer) => answer.json(),
    };
    let said = answer["message"].as_str().unwrap_or_default();
    let number = |word: &str| word.trim_matches(|of: char| !of.is_ascii_digit()).parse().ok();
    said.split_whitespace().filter_map(number).max().with_context(|| format!("{answer}"))
}

/// The items of a list.
pub(crate) fn items(list: &Value) -> anyhow::Result<Vec<Item>> {
    let items = list["items"].as_array().context("a list")?.iter();
    items.map(|item| serde_json::from_value::<Object>(item.clone())?.item()).collect()
}

/// Nobody waits any longer when a client cannot go on.
fn ended(stage: &Stage, done: anyhow::Result<()>) -> anyhow::Result<()> {
    done.inspect_err(|_| stage.end())
}

fn keep(journals: &tempfile::TempDir) {
    crate::say(&format!("the journals were in {}", journals.path().display()));
}

/// What is watched: everything, namespaces, teams, single objects; and who lists only.
fn scopes(watchers: usize) -> Vec<(String, Scope)> {
    let text = |of: &str| -> Text { of.into() };
    let of = |number: usize| match number % 8 {
        // A crowd follows single objects: the host's work, not the clients', is what is to be seen.
        _ if number >= 24 => Scope::Name(format!("{}/hot-{}", HOT.0, number as u64 % HOT.1).into()),
        0 => Scope::All,
        1 => Scope::Namespace(text(HOT.0)),
        2 => Scope::Namespace(text(COLD)),
        3..=5 => Scope::Team(text(TEAMS[number % 3])),
        _ => Scope::Name(format!("{}/hot-{}", HOT.0, number as u64 % HOT.1).into()),
    };
    let watching = (0..watchers).map(|number| (format!("watcher-{number}"), of(number)));
    let listing = (0..watchers.div_ceil(8)).map(|n| (format!("lister-{n}"), of(n)));
    let travelling = (0..watchers.div_ceil(8)).map(|n| (format!("traveller-{n}"), of(n)));
    watching.chain(listing).chain(travelling).collect()
}

fn size_of(folder: &Path) -> anyhow::Result<u64> {
    let sizes = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.metadata()?.len()));
    sizes.sum::<std::io::Result<u64>>().map_err(Into::into)
}
