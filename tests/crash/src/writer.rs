//! A writer: creates, replaces, patches, reads and deletes objects without pause, some of them beside all other writers.
//!
//! Every value is written once in a run, so a version of an object tells which request made it.

use std::io;
use std::path::Path;

use quadrille_kit::{Random, SeededRandom};
use serde_json::{Value, json};

use crate::journal::{Act, Journal, Outcome, Said};
use crate::stage::Stage;
use crate::wire::{Answer, Connection};

/// The namespace of the objects that all writers fight over, and how many there are.
pub const HOT: (&str, u64) = ("crash-hot", 10);
/// The namespace of the objects that one writer has for itself.
pub const COLD: &str = "crash-cold";
/// The labels that objects change between.
pub const TEAMS: [&str; 3] = ["red", "blue", "green"];

/// A writer at work.
#[derive(Debug)]
pub struct Writer<'a> {
    number: usize,
    stage: &'a Stage,
    random: SeededRandom,
    journal: Journal,
    /// How many requests it has made.
    count: u64,
    /// How many objects of its own it has made.
    made: u64,
    /// How many bytes it puts into an object at most.
    pad_max: u64,
}

impl<'a> Writer<'a> {
    /// A writer that keeps its journal in `dir`.
    pub fn new(number: usize, seed: u64, stage: &'a Stage, dir: &Path) -> anyhow::Result<Self> {
        let pad_max = 1_500;
        let journal = Journal::create(&dir.join(format!("writer-{number}")))?;
        let random = SeededRandom::new(seed);
        Ok(Self { number, stage, random, journal, count: 0, made: 0, pad_max })
    }

    /// Puts up to so many bytes into an object; 1,500 where nothing is said.
    #[must_use]
    pub fn with_pad_max(self, pad_max: u64) -> Self {
        Self { pad_max, ..self }
    }

    /// Writes until it shall end.
    pub fn run(mut self) -> anyhow::Result<()> {
        while !self.stage.writers_end() {
            let Some(endpoint) = self.stage.endpoint() else { break };
            let Ok(mut connection) = endpoint.connect() else {
                std::thread::sleep(std::time::Duration::from_millis(2));
                continue;
            };
            while !self.stage.writers_end() && self.step(&mut connection)? {
                let pause = self.stage.pause_max();
                if pause > 0 {
                    let pause = self.random.below(pause);
                    std::thread::sleep(std::time::Duration::from_millis(pause));
                }
            }
        }
        Ok(())
    }

    /// One request, or a read and one; false when the connection is no longer good.
    fn step(&mut self, connection: &mut Connection) -> anyhow::Result<bool> {
        let hot = self.random.below(10) < 4;
        let dice = self.random.below(10);
        let own = |this: &Self, n: u64| format!("{COLD}/w{}-{n}", this.number);
        if !hot && (dice < 4 || self.made == 0) {
            self.made += 1;
            let key = own(self, self.made);
            return self.write(connection, Act::Create, &key);
        }
        let key = if hot {
            format!("{}/hot-{}", HOT.0, self.random.below(HOT.1))
        } else {
            let back = self.random.below(20.min(self.made));
            own(self, self.made - back)
        };
        match dice {
            0 | 1 if hot => self.write(connection, Act::Create, &key),
            0..=5 => self.write(connection, Act::Patch, &key),
            6 | 7 => {
                let (good, found) = self.ask(connection, Act::Read, &key, "", &Value::Null)?;
                let Some(mut object) = found.filter(|_| good) else { return Ok(good) };
                let value = self.next_value();
                let act = Act::Update(crate::wire::revision(&object));
                let fresh = self.object(&value);
                object["data"] = fresh["data"].clone();
                object["metadata"]["labels"] = fresh["metadata"]["labels"].clone();
                Ok(self.ask(connection, act, &key, &value, &object)?.0)
            }
            8 => self.write(connection, Act::Delete, &key),
            _ => self.write(connection, Act::Read, &key),
        }
    }

    fn next_value(&mut self) -> String {
        self.count += 1;
        format!("v{}-{}", self.number, self.count)
    }

    fn object(&self, value: &str) -> Value {
        let team = usize::try_from(self.random.below(3)).unwrap_or_default();
        let pad = usize::try_from(self.random.below(self.pad_max)).unwrap_or_default();
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"labels": {"team": TEAMS[team]}},
            "data": {"v": value, "pad": "x".repeat(pad)},
        })
    }

    fn write(&mut self, connection: &mut Connection, act: Act, key: &str) -> anyhow::Result<bool> {
        if matches!(act, Act::Delete | Act::Read) {
            return Ok(self.ask(connection, act, key, "", &Value::Null)?.0);
        }
        let value = self.next_value();
        let mut object = self.object(&value);
        let (_, name) = key.split_once('/').unwrap_or_default();
        object["metadata"]["name"] = name.into();
        Ok(self.ask(connection, act, key, &value, &object)?.0)
    }

    /// Asks, and writes down both the question and the answer.
    fn ask(
        &mut self,
        connection: &mut Connection,
        act: Act,
        key: &str,
        value: &str,
        body: &Value,
    ) -> anyhow::Result<(bool, Option<Value>)> {
        let asked = Said::Asked { at: self.stage.now(), act, key: key.into(), value: value.into() };
        self.journal.note(asked)?;
        let answer = send(connection, act, key, body);
        let at = self.stage.now();
        let good = answer.is_ok();
        let (outcome, object) = outcome(answer.ok().as_ref());
        self.journal.note(Said::Heard { at, outcome })?;
        Ok((good, object))
    }
}

fn send(connection: &mut Connection, act: Act, key: &str, body: &Value) -> io::Result<Answer> {
    let (namespace, name) = key.split_once('/').unwrap_or_default();
    let collection = format!("/api/v1/namespaces/{namespace}/configmaps");
    let one = format!("{collection}/{name}");
    match act {
        Act::Create => connection.ask("POST", &collection, body),
        Act::Update(_) => connection.ask("PUT", &one, body),
        Act::Patch => connection.merge(&one, body),
        Act::Delete => connection.ask("DELETE", &one, body),
        Act::Read => connection.get(&one),
    }
}

/// What an answer promises: a success is one, a refusal by its content is one; everything else leaves both open.
fn outcome(answer: Option<&Answer>) -> (Outcome, Option<Value>) {
    match answer {
        Some(answer) if answer.code < 300 => {
            let object = answer.json();
            let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or("-");
            let of_status = object["kind"] == "Status";
            let uid = text(if of_status { "/details/uid" } else { "/metadata/uid" }).into();
            let value = text("/data/v").into();
            let done = Outcome::Done { revision: answer.revision(), uid, value };
            (done, Some(object))
        }
        Some(answer) if (400..500).contains(&answer.code) => (Outcome::Refused(answer.code), None),
        _ => (Outcome::Unknown, None),
    }
}
