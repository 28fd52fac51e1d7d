//! A watcher: lists once, then watches from where it is, for ever again, and never loses its place unless the host says
//! that it is too old.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use quadrille_kit::{Random, SeededRandom};
use serde::Deserialize;
use serde_json::Value;

use crate::journal::{Item, Journal, Seen, Text};
use crate::stage::Stage;
use crate::wire::{Answer, Endpoint};

/// Which objects a watcher watches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// All of them.
    All,
    /// Those of a namespace.
    Namespace(Text),
    /// Those with a label `team`.
    Team(Text),
    /// The one at `namespace/name`.
    Name(Text),
}

impl Scope {
    /// The path of the collection, with the selector as its query.
    pub fn path(&self) -> String {
        match self {
            Self::All => "/api/v1/configmaps?".to_owned(),
            Self::Namespace(namespace) => format!("/api/v1/namespaces/{namespace}/configmaps?"),
            Self::Team(team) => format!("/api/v1/configmaps?labelSelector=team%3D{team}&"),
            Self::Name(key) => {
                let (namespace, name) = key.split_once('/').unwrap_or_default();
                let path = format!("/api/v1/namespaces/{namespace}/configmaps?");
                format!("{path}fieldSelector=metadata.name%3D{name}&")
            }
        }
    }

    /// Whether an object is one of them.
    pub fn holds(&self, item: &Item) -> bool {
        match self {
            Self::All => true,
            Self::Namespace(namespace) => {
                item.key.split_once('/').is_some_and(|(of, _)| of == &**namespace)
            }
            Self::Team(team) => item.team == *team,
            Self::Name(key) => item.key == *key,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Namespace(of) | Self::Team(of) | Self::Name(of) => f.write_str(of),
        }
    }
}

#[derive(Deserialize)]
struct Event {
    r#type: String,
    object: Object,
}

#[derive(Deserialize)]
struct List {
    metadata: Metadata,
    #[serde(default)]
    items: Vec<Object>,
}

/// What of an object is written down.
#[derive(Debug, Deserialize)]
pub(crate) struct Object {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    data: Data,
    #[serde(default)]
    message: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    resource_version: String,
    r#continue: String,
    labels: Labels,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Labels {
    team: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Data {
    v: String,
}

fn or_dash(text: &str) -> Text {
    if text.is_empty() { "-".into() } else { text.into() }
}

impl Object {
    pub(crate) fn item(&self) -> anyhow::Result<Item> {
        let meta = &self.metadata;
        Ok(Item {
            revision: meta.resource_version.parse().context("no resourceVersion")?,
            key: format!("{}/{}", meta.namespace, meta.name).into(),
            uid: or_dash(&meta.uid),
            value: or_dash(&self.data.v),
            team: or_dash(&meta.labels.team),
        })
    }
}

/// A watcher at work.
#[derive(Debug)]
pub struct Watcher<'a> {
    scope: Scope,
    stage: &'a Stage,
    random: SeededRandom,
    journal: Journal,
    position: Option<u64>,
    habit: Habit,
    /// How long it asks for a stream at most.
    seconds_max: u64,
}

/// What a watcher does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Habit {
    /// Follows what happens, and goes on where it was.
    #[default]
    Follows,
    /// Never watches, but lists in small pages, again and again.
    Lists,
    /// Watches from any revision of the past, again and again.
    Travels,
}

/// How a stream ended.
enum End {
    /// It can be resumed.
    Cut,
    /// The position is too old; the host said what is the oldest.
    Expired(u64),
}

impl<'a> Watcher<'a> {
    /// A watcher that keeps its journal in `dir`.
    pub fn new(
        name: &str,
        scope: Scope,
        seed: u64,
        stage: &'a Stage,
        dir: &Path,
    ) -> anyhow::Result<Self> {
        let journal = Journal::create(&dir.join(name))?;
        let random = SeededRandom::new(seed);
        Ok(Self {
            scope,
            stage,
            random,
            journal,
            position: None,
            habit: Habit::Follows,
            seconds_max: 3,
        })
    }

    /// What it does instead of following what happens.
    #[must_use]
    pub fn with_habit(self, habit: Habit) -> Self {
        Self { habit, ..self }
    }

    /// Asks for streams of so many seconds at most; 3 where nothing is said.
    #[must_use]
    pub fn stays_for(self, seconds_max: u64) -> Self {
        Self { seconds_max, ..self }
    }

    /// Watches until it has seen everything.
    pub fn run(mut self) -> anyhow::Result<()> {
        while !self.stage.is_through(self.position.unwrap_or_default()) {
            let Some(endpoint) = self.stage.endpoint() else { break };
            let done = match (self.habit, self.position) {
                (Habit::Follows, Some(position)) => self.watch(&endpoint, position),
                (Habit::Follows, None) => self.list(),
                (Habit::Lists, _) => {
                    std::thread::sleep(Duration::from_millis(self.random.below(200)));
                    self.list()
                }
                (Habit::Travels, _) => self.travel(&endpoint),
            };
            if let Err(error) = done {
                if error.downcast_ref::<io::Error>().is_none() {
                    return Err(error.context(format!("watcher of {}", self.scope)));
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(())
    }

    /// One list, whole or in pages; the pages may come from different lives of the host.
    fn list(&mut self) -> anyhow::Result<()> {
        let limit = if self.habit == Habit::Lists {
            7 + self.random.below(40)
        } else {
            self.random.below(3) * 50
        };
        let (mut items, mut next, mut revision) = (Vec::new(), String::new(), None);
        while let Some(endpoint) = self.stage.endpoint() {
            let path = format!("{}limit={limit}&continue={next}", self.scope.path());
            let Ok(answer) = endpoint.connect().and_then(|mut of| of.get(&path)) else {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            };
            match answer.code {
                200 => {}
                // The pages take longer than history reaches back; the list begins anew.
                410 => return self.expire(&answer, revision),
                429 | 500.. => continue,
                code => bail!("a list is answered with {code}: {}", answer.json()),
            }
            let list: List = serde_json::from_slice(&answer.body).context("a list")?;
            let of_page: u64 = list.metadata.resource_version.parse().context("no revision")?;
            let first = *revision.get_or_insert(of_page);
            anyhow::ensure!(first == of_page, "pages of one list are of {first} and {of_page}");
            items.extend(list.items);
            next = list.metadata.r#continue;
            if next.is_empty() {
                break;
            }
        }
        let Some(revision) = revision.filter(|_| next.is_empty()) else { return Ok(()) };
        self.journal.note_later(Seen::Listed(revision, items.len()))?;
        for object in &items {
            self.journal.note_later(Seen::Item(object.item()?))?;
        }
        self.position = Some(revision);
        Ok(())
    }

    /// Goes to any revision, and follows what comes after it.
    fn travel(&mut self, endpoint: &Endpoint) -> anyhow::Result<()> {
        let newest = self.stage.newest();
        // Half of the journeys are short, the others go anywhere.
        let back = self
            .random
            .below(newest.min(if self.random.below(2) == 0 { 500 } else { newest }).max(1));
        let from = (newest - back).max(1);
        self.journal.note_later(Seen::At(from))?;
        self.position = Some(from);
        self.watch(endpoint, from)
    }

    fn watch(&mut self, endpoint: &Endpoint, position: u64) -> anyhow::Result<()> {
        let connection = endpoint.connect()?;
        let seconds = 1 + self.random.below(self.seconds_max);
        let path = format!(
            "{}watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={position}",
            self.scope.path()
        );
        let mut lines = match connection.lines(&path)? {
            Ok(lines) => lines,
            Err(answer) if answer.code == 410 => return self.expire(&answer, Some(position)),
            Err(answer) if matches!(answer.code, 429 | 500..) => return Ok(()),
            Err(answer) => bail!("a watch is answered with {}: {}", answer.code, answer.json()),
        };
        self.journal.note_later(Seen::Begun(position))?;
        // A third of the streams are left by their watcher in the middle.
        let leaves_after = match self.random.below(3) {
            0 => self.random.below(200),
            _ => u64::MAX,
        };
        for _ in 0..leaves_after {
            let Ok(Some(line)) = lines.next_line() else { break };
            let event: Event = serde_json::from_slice(line)
                .with_context(|| format!("an event: {}", String::from_utf8_lossy(line)))?;
            if let Some(End::Expired(oldest)) = self.take(&event)? {
                self.journal.note_later(Seen::Expired(oldest))?;
                self.position = None;
                return Ok(());
            }
        }
        self.journal.note_later(Seen::Cut)
    }

    fn take(&mut self, event: &Event) -> anyhow::Result<Option<End>> {
        match event.r#type.as_str() {
            "BOOKMARK" => {
                let revision = event.object.metadata.resource_version.parse().context("none")?;
                self.journal.note_later(Seen::Bookmark(revision))?;
                self.position = Some(revision);
            }
            "ERROR" => {
                let message = event.object.message.as_deref().unwrap_or_default();
                return Ok(Some(oldest_in(message).map_or(End::Cut, End::Expired)));
            }
            kind => {
                let item = event.object.item()?;
                self.position = Some(item.revision);
                self.journal.note_later(Seen::Event(kind.parse()?, item))?;
            }
        }
        Ok(None)
    }

    fn expire(&mut self, answer: &Answer, position: Option<u64>) -> anyhow::Result<()> {
        let message = answer.json();
        let message = message.get("message").and_then(Value::as_str).unwrap_or_default();
        // A continue token's 410 names no revision.
        if let (Some(oldest), Some(_)) = (oldest_in(message), position) {
            self.journal.note_later(Seen::Expired(oldest))?;
        }
        self.position = None;
        Ok(())
    }
}

/// The second number of `too old resource version: 5 (9)`.
fn oldest_in(message: &str) -> Option<u64> {
    let (_, rest) = message.split_once("too old resource version")?;
    rest.split_once('(')?.1.split_once(')')?.0.parse().ok()
}
