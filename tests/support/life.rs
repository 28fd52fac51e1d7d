//! Ordinary life in a host, for a minute or for hours: Deployments come, change and go, with watchers that come and go.
//!
//! [`Life::look`] says what the host holds at one moment; a healthy host holds the same an hour later. History and journal
//! are small, so that compaction is at work all the time.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Client, TestHost, guest};

/// What history and journal may hold, and how long the Events of what happened are kept.
const SETTINGS: &str =
    "event_ttl = \"10s\"\n[history]\nbytes_max = \"16MiB\"\n[runs]\njournal_bytes_max = \"4MiB\"\n";
/// Deployments that live at a time.
const DEPLOYMENTS: usize = 40;
/// One in so many steps is followed by a watch that is left again.
const WATCHED: usize = 7;
const COLLECTION: &str = "/apis/apps/v1/namespaces/default/deployments";

/// A host and where its life stands.
#[derive(Debug)]
pub struct Life {
    /// The host.
    pub host: TestHost,
    client: Client,
    round: usize,
    _settings: TempDir,
}

/// What a host holds at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Holding {
    /// Resident memory, in bytes.
    pub resident: u64,
    /// Everything in the data directory, in bytes.
    pub files: u64,
    /// Open files and connections.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
}

impl Life {
    /// Starts a host with the controllers of Deployments and `ReplicaSets`.
    ///
    /// # Errors
    /// When the host does not start or refuses them.
    pub fn begin(program: &str) -> anyhow::Result<Self> {
        let settings = TempDir::new()?;
        let config = settings.path().join("config.toml");
        std::fs::write(&config, SETTINGS)?;
        let host = TestHost::start_with(program, &["--config", &config.to_string_lossy()])?;
        let client = host.client()?;
        for plugin in ["deployment", "replicaset"] {
            client.load(plugin, &guest(plugin))?;
        }
        Ok(Self { host, client, round: 0, _settings: settings })
    }

    /// Creates, changes and deletes until the time is over; answers how long each write took.
    ///
    /// # Errors
    /// When the host refuses one, or does not settle.
    pub fn live(&mut self, until: Instant) -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::new();
        while Instant::now() < until {
            times.push(self.step()?);
        }
        Ok(times)
    }

    fn step(&mut self) -> anyhow::Result<Duration> {
        let (client, round) = (&self.client, self.round);
        let name = format!("d{}", round % DEPLOYMENTS);
        let path = format!("{COLLECTION}/{name}");
        let begun = Instant::now();
        let answer = match round / DEPLOYMENTS % 4 {
            0 => client.post(COLLECTION, &deployment(&name))?,
            1 => client.merge(&path, &json!({"spec": {"replicas": 5}}))?,
            2 => client.merge(&path, &image(round))?,
            _ => client.delete(&path)?,
        };
        let took = begun.elapsed();
        ensure!(answer.code < 300, "{name}: {}", answer.body);
        if round.is_multiple_of(DEPLOYMENTS) {
            client.settled()?;
        }
        if round.is_multiple_of(WATCHED) {
            // As an informer begins; there is always an end of the present to be told of.
            let mut watch = client.lines(
                "/api/v1/pods?watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan",
            )?;
            let _first = watch.next();
        }
        self.round += 1;
        Ok(took)
    }

    /// What the host holds now.
    ///
    /// # Errors
    /// When the host is gone.
    pub fn look(&self) -> anyhow::Result<Holding> {
        let process = format!("/proc/{}", self.host.pid());
        let count =
            |what: &str| anyhow::Ok(std::fs::read_dir(format!("{process}/{what}"))?.count());
        Ok(Holding {
            resident: self.host.resident_bytes()?,
            files: bytes_of(self.host.dir())?,
            descriptors: count("fd")?,
            threads: count("task")?,
        })
    }
}

fn image(round: usize) -> Value {
    let container = json!({"name": "web", "image": format!("nginx:{round}")});
    json!({"spec": {"template": {"spec": {"containers": [container]}}}})
}

fn deployment(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "replicas": 3, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "web", "image": "nginx:1"}]},
        },
    }})
}

fn bytes_of(dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        // A file may go while it is looked at.
        let Ok(found) = path.symlink_metadata() else { continue };
        bytes += if found.is_dir() { bytes_of(&path)? } else { found.len() };
    }
    Ok(bytes)
}
