//! What `resourceVersion` means: every combination of verb, version, match, limit and initial events, on a fresh host, after
//! a kill, after compaction, and after both. The rules are those of Kubernetes' documentation, as functions; what a
//! combination must show follows from the states that the test itself wrote.

use std::collections::{BTreeMap, BTreeSet};

use quadrille_crash::{Endpoint, say};
use quadrille_tests::{TestHost, eventually};
use serde_json::{Value, json};

use crate::program;

const NAMESPACE: &str = "versions";
const COLLECTION: &str = "/api/v1/namespaces/versions/configmaps";

/// Names and what they hold.
type State = BTreeMap<String, String>;

/// What was written, and where the test is.
struct World {
    /// Holds the configuration, which is read at each start.
    _config: tempfile::TempDir,
    host: TestHost,
    endpoint: Endpoint,
    /// The states after each write, by revision.
    states: BTreeMap<u64, State>,
    /// Whether the versions before the newest write are compacted, and the host has no memory of them.
    compacted: bool,
    forgotten: bool,
    rows: usize,
    /// What is not as it must be.
    wrong: Vec<String>,
}

/// A version to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Unset,
    Zero,
    Old(u64),
    Current(u64),
    Future(u64),
    Text(&'static str),
}

impl Version {
    fn query(self) -> String {
        match self {
            Self::Unset => String::new(),
            Self::Zero => "&resourceVersion=0".to_owned(),
            Self::Old(of) | Self::Current(of) | Self::Future(of) => {
                format!("&resourceVersion={of}")
            }
            Self::Text(of) => format!("&resourceVersion={of}"),
        }
    }
}

const MATCHES: [Option<&str>; 5] =
    [None, Some(""), Some("Exact"), Some("NotOlderThan"), Some("odd")];

fn match_query(of: Option<&str>) -> String {
    of.map(|of| format!("&resourceVersionMatch={of}")).unwrap_or_default()
}

/// What must come of a list.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Refused(u16),
    /// The state at this very revision.
    At(u64),
    /// The state at the revision that the answer names, which is not below this one.
    NotOlderThan(u64),
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn value_of(object: &Value) -> String {
    object["data"]["v"].as_str().unwrap_or_default().to_owned()
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("config.toml");
        std::fs::write(&config, "[history]\nbytes_max = \"1MiB\"\n").expect("written");
        let flags = ["--config", &config.to_string_lossy()];
        let host = TestHost::start_with(&program(), &flags).expect("the host starts");
        let endpoint = Endpoint::of(&host.url, host.dir()).expect("an endpoint");
        let mut world = Self {
            _config: dir,
            host,
            endpoint,
            states: BTreeMap::new(),
            compacted: false,
            forgotten: false,
            rows: 0,
            wrong: Vec::new(),
        };
        let namespace = json!({"metadata": {"name": NAMESPACE}});
        let made = world.ask("POST", "/api/v1/namespaces", &namespace);
        assert_eq!(made.0, 201, "{}", made.1);
        world.ask("POST", "/api/v1/namespaces", &json!({"metadata": {"name": "churn"}}));
        // The host puts its own certificate into each namespace.
        let (revision, state) = eventually("the namespace is complete", || {
            let (_, list) = world.ask("GET", COLLECTION, &Value::Null);
            let items = list["items"].as_array().cloned().unwrap_or_default();
            let state: State = items.iter().map(|item| (name_of(item), value_of(item))).collect();
            anyhow::ensure!(!state.is_empty(), "it is empty");
            Ok((revision(&list), state))
        });
        world.states.insert(revision, state);
        world
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.endpoint.ask(method, path, body).expect("answered");
        (answer.code, answer.json())
    }

    /// Writes an object, or deletes it for no value.
    fn write(&mut self, name: &str, value: Option<&str>) {
        let object = json!({"metadata": {"name": name}, "data": {"v": value}});
        let mut state = self.current().1.clone();
        let path = format!("{COLLECTION}/{name}");
        let code = match (value, state.contains_key(name)) {
            (Some(_), false) => self.ask("POST", COLLECTION, &object).0,
            (Some(_), true) => self.ask("PUT", &path, &object).0,
            (None, _) => self.ask("DELETE", &path, &Value::Null).0,
        };
        assert!(code < 300, "{name}: {code}");
        match value {
            Some(value) => state.insert(name.to_owned(), value.to_owned()),
            None => state.remove(name),
        };
        let (_, list) = self.ask("GET", COLLECTION, &Value::Null);
        let revision = list["metadata"]["resourceVersion"].as_str().expect("a revision");
        self.states.insert(revision.parse().expect("a number"), state);
    }

    fn current(&self) -> (u64, &State) {
        static NONE: State = State::new();
        self.states.last_key_value().map_or((0, &NONE), |(revision, state)| (*revision, state))
    }

    /// The state at a revision: that of the last write up to it.
    fn state(&self, revision: u64) -> &State {
        static NONE: State = State::new();
        self.states.range(..=revision).next_back().map_or(&NONE, |(_, state)| state)
    }

    fn script(&mut self, round: usize) {
        let value = |n: usize| format!("{round}-{n}");
        for (n, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            self.write(name, Some(&value(n)));
        }
        self.write("a", Some(&value(4)));
        self.write("b", None);
        self.write("e", Some(&value(5)));
        self.write("b", Some(&value(6)));
        self.write("c", None);
    }

    fn restart(&mut self) {
        self.host.kill_and_restart().expect("it starts again");
        self.endpoint = Endpoint::of(&self.host.url, self.host.dir()).expect("an endpoint");
    }

    /// Writes elsewhere until everything so far is compacted.
    fn compact(&mut self) {
        let through = self.current().0;
        let object = json!({"metadata": {"name": "big"}, "data": {"v": "x".repeat(200_000)}});
        let path = "/api/v1/namespaces/churn/configmaps";
        eventually("history is compacted", || {
            for _ in 0..8 {
                self.ask("POST", path, &object);
                self.ask("DELETE", &format!("{path}/big"), &Value::Null);
            }
            let list = format!("{COLLECTION}?resourceVersion={through}&resourceVersionMatch=Exact");
            let (code, answer) = self.ask("GET", &list, &Value::Null);
            anyhow::ensure!(code == 410, "{code}: {answer}");
            Ok(())
        });
        self.compacted = true;
    }

    /// Where a paged list goes on; so many others begin behind it that nobody remembers its state.
    fn token(&self) -> String {
        let path = format!("{COLLECTION}?limit=2");
        let token = |list: &Value| list["metadata"]["continue"].as_str().map(str::to_owned);
        let first = token(&self.ask("GET", &path, &Value::Null).1).expect("more pages");
        for number in 0..20 {
            let name = format!("page-{number}");
            let other = "/api/v1/namespaces/churn/configmaps";
            self.ask("POST", other, &json!({"metadata": {"name": name}}));
            let list = self.ask("GET", &path, &Value::Null).1;
            assert!(token(&list).is_some(), "{list}");
        }
        let (code, page) = self.ask("GET", &format!("{path}&continue={first}"), &Value::Null);
        assert_eq!(code, 200, "history remembers it: {page}");
        first
    }

    /// A list whose revision is compacted says so, and how its client can go on at the newest.
    fn check_expired(&mut self, token: &str) {
        let path = format!("{COLLECTION}?limit=2&continue=");
        let (code, status) = self.ask("GET", &format!("{path}{token}"), &Value::Null);
        let next = status["metadata"]["continue"].as_str().unwrap_or_default();
        let right = code == 410 && status["reason"] == "Expired" && !next.is_empty();
        self.row("LIST continue", right.then_some(()).ok_or_else(|| format!("{code}: {status}")));
        let (code, page) = self.ask("GET", &format!("{path}{next}"), &Value::Null);
        let right = code == 200 && revision(&page) >= self.current().0;
        self.row(
            "LIST continue anew",
            right.then_some(()).ok_or_else(|| format!("{code}: {page}")),
        );
    }

    fn versions(&self) -> Vec<Version> {
        let current = self.current().0;
        let first = self.states.first_key_value().map_or(0, |(revision, _)| *revision);
        let middle = self.states.keys().nth(self.states.len() / 2).copied().unwrap_or_default();
        let mut versions = vec![Version::Unset, Version::Zero, Version::Old(first)];
        if !self.compacted {
            // After a compaction the newest writes are in the window again.
            versions.push(Version::Old(middle));
        }
        versions.extend([Version::Current(current), Version::Future(current + 1_000_000)]);
        versions.extend([Version::Text("abc"), Version::Text("-1"), Version::Text("1.5")]);
        versions
    }

    /// What Kubernetes' documentation says of a list.
    fn expected(&self, version: Version, of: Option<&str>, limit: Option<usize>) -> Expected {
        let of = of.filter(|of| !of.is_empty());
        let exact = of == Some("Exact") || (of.is_none() && limit.is_some());
        match (version, of) {
            (Version::Unset, Some(_)) | (_, Some("odd")) | (Version::Zero, Some("Exact")) => {
                Expected::Refused(422)
            }
            (Version::Text(_), _) => Expected::Refused(400),
            (Version::Future(_), _) => Expected::Refused(504),
            (Version::Unset, None) => Expected::At(self.current().0),
            (Version::Zero, _) => Expected::NotOlderThan(0),
            (Version::Old(_), _) if exact && self.compacted => Expected::Refused(410),
            (Version::Old(at) | Version::Current(at), _) if exact => Expected::At(at),
            (Version::Old(at) | Version::Current(at), _) => Expected::NotOlderThan(at),
        }
    }

    fn row(&mut self, what: &str, right: Result<(), String>) {
        self.rows += 1;
        if let Err(wrong) = right {
            self.wrong.push(format!("{what}: {wrong}"));
        }
    }

    fn lists(&mut self) {
        for version in self.versions() {
            for of in MATCHES {
                for limit in [None, Some(2)] {
                    let limited = limit.map(|of| format!("&limit={of}")).unwrap_or_default();
                    let query = format!("?{}{}{limited}", version.query(), match_query(of));
                    let expected = self.expected(version, of, limit);
                    let right = self.check_list(&query, &expected, version, limit);
                    self.row(&format!("LIST {query}"), right);
                }
            }
        }
    }

    fn check_list(
        &self,
        query: &str,
        expected: &Expected,
        version: Version,
        limit: Option<usize>,
    ) -> Result<(), String> {
        let (code, mut list) = self.ask("GET", &format!("{COLLECTION}{query}"), &Value::Null);
        if let Expected::Refused(expected) = expected {
            let said = (code == *expected).then_some(());
            return said.ok_or_else(|| format!("{code} instead of {expected}: {list}"));
        }
        if code != 200 {
            return Err(format!("{code}: {list}"));
        }
        let number = |list: &Value| -> u64 {
            let text = list["metadata"]["resourceVersion"].as_str();
            text.and_then(|text| text.parse().ok()).unwrap_or_default()
        };
        let revision = number(&list);
        let right = match expected {
            // Nothing else is written meanwhile but by the host itself.
            Expected::At(at) if version == Version::Unset => revision >= *at,
            Expected::At(at) => revision == *at,
            Expected::NotOlderThan(at) => revision >= *at,
            Expected::Refused(_) => false,
        };
        if !right {
            return Err(format!("the list is of {revision}, expected {expected:?}"));
        }
        let mut found = State::new();
        loop {
            let items = list["items"].as_array().cloned().unwrap_or_default();
            // A version of 0 is answered whole, as from Kubernetes' cache.
            if limit.is_some_and(|limit| items.len() > limit) && version != Version::Zero {
                return Err(format!("a page of {} items", items.len()));
            }
            for item in &items {
                if found.insert(name_of(item), value_of(item)).is_some() {
                    return Err(format!("{} is there twice", name_of(item)));
                }
            }
            let Some(next) = list["metadata"]["continue"].as_str().filter(|of| !of.is_empty())
            else {
                break;
            };
            let refusals = [("&resourceVersion=7", 400), ("&resourceVersionMatch=Exact", 422)];
            for (with, expected) in refusals {
                let path = format!("{COLLECTION}?limit=2&continue={next}{with}");
                let (code, answer) = self.ask("GET", &path, &Value::Null);
                if code != expected {
                    return Err(format!("continue with {with} gives {code}: {answer}"));
                }
            }
            let path = format!("{COLLECTION}?limit=2&continue={next}");
            let (code, page) = self.ask("GET", &path, &Value::Null);
            if code != 200 || number(&page) != revision {
                return Err(format!("the next page: {code}, {}", page["metadata"]));
            }
            list = page;
        }
        let state = self.state(revision);
        let same = (found == *state).then_some(());
        same.ok_or_else(|| format!("{found:?} at {revision} instead of {state:?}"))
    }

    fn gets(&mut self) {
        let names: BTreeSet<String> =
            self.states.values().flat_map(|s| s.keys().cloned()).collect();
        for version in self.versions() {
            for name in &names {
                let path = format!("{COLLECTION}/{name}?{}", version.query());
                let (code, object) = self.ask("GET", &path, &Value::Null);
                let there = self.current().1.get(name);
                let right = match version {
                    Version::Future(_) => code == 504,
                    Version::Text(_) => code == 500,
                    Version::Unset | Version::Zero | Version::Old(_) | Version::Current(_) => {
                        match there {
                            Some(value) => code == 200 && value_of(&object) == *value,
                            None => code == 404,
                        }
                    }
                };
                let right = right.then_some(()).ok_or_else(|| format!("{code}: {object}"));
                self.row(&format!("GET {path}"), right);
            }
        }
    }

    /// Opens every kind of watch, then writes something: each must show what was before it, and end with it.
    fn watches(&mut self) {
        let mut open = Vec::new();
        for version in self.versions() {
            for of in MATCHES {
                for initial in [None, Some(true), Some(false)] {
                    let initially = initial.map(|of| format!("&sendInitialEvents={of}"));
                    let query = format!(
                        "?watch=1&allowWatchBookmarks=true&timeoutSeconds=60{}{}{}",
                        version.query(),
                        match_query(of),
                        initially.unwrap_or_default()
                    );
                    let path = format!("{COLLECTION}{query}");
                    let of = of.filter(|of| !of.is_empty());
                    let allowed =
                        matches!((of, initial), (None, None) | (Some("NotOlderThan"), Some(_)));
                    let lines =
                        self.endpoint.connect().and_then(|c| c.lines(&path)).expect("answered");
                    let (refused, what) =
                        (lines.as_ref().err().map(|a| a.code), format!("WATCH {query}"));
                    match (lines, version) {
                        (Ok(lines), Version::Future(at)) if allowed => {
                            open.push((what, version, initial, at, lines));
                        }
                        (Ok(lines), _) if allowed => open.push((what, version, initial, 0, lines)),
                        (_, Version::Text(_)) if allowed => {
                            self.row(
                                &what,
                                (refused == Some(500)).then_some(()).ok_or_else(|| "no 500".into()),
                            );
                        }
                        _ => {
                            let right = refused == Some(422);
                            let wrong = || format!("{refused:?} instead of 422");
                            self.row(&what, right.then_some(()).ok_or_else(wrong));
                        }
                    }
                }
            }
        }
        let before = self.current().0;
        let marker = format!("marker-{before}");
        self.write(&marker, Some("here"));
        let marked = self.current().0;
        self.write(&marker, None);
        for (what, version, initial, future, mut lines) in open {
            if future > 0 && initial != Some(true) {
                // It waits for a revision that is not there yet, in silence.
                self.row(&what, Ok(()));
                continue;
            }
            let mut seen = Vec::new();
            while let Ok(Some(line)) = lines.next_line() {
                let event: Value = serde_json::from_slice(line).expect("an event");
                let ends = event["type"] == "ERROR" || name_of(&event["object"]) == marker;
                seen.push(event);
                if ends {
                    break;
                }
            }
            let right = self.check_watch(version, initial, before, marked, &seen);
            self.row(&what, right);
        }
    }

    fn check_watch(
        &self,
        version: Version,
        initial: Option<bool>,
        before: u64,
        marked: u64,
        seen: &[Value],
    ) -> Result<(), String> {
        let text = |event: &Value| {
            let object = &event["object"];
            format!(
                "{} {} {}",
                event["type"].as_str().unwrap_or_default(),
                name_of(object),
                value_of(object)
            )
        };
        let bookmarks: Vec<&Value> =
            seen.iter().filter(|event| event["type"] == "BOOKMARK").collect();
        let events: Vec<String> =
            seen.iter().filter(|event| event["type"] != "BOOKMARK").map(text).collect();
        let wants_present = initial.unwrap_or(matches!(version, Version::Unset | Version::Zero));
        let after = match version {
            Version::Old(at) | Version::Current(at) => at,
            Version::Unset | Version::Zero | Version::Future(_) | Version::Text(_) => before,
        };
        let mut expected = Vec::new();
        if wants_present {
            let present = self.state(before).iter();
            expected.extend(present.map(|(name, value)| format!("ADDED {name} {value}")));
        } else {
            if matches!(version, Version::Old(_)) && self.compacted {
                let gone = seen.first().is_some_and(|event| event["object"]["code"] == 410);
                if gone {
                    return Ok(());
                }
                if self.forgotten {
                    return Err(format!("no 410 but {events:?}"));
                }
            }
            expected.extend(self.events(after, before));
        }
        expected.push(format!("ADDED marker-{before} here"));
        if events != expected {
            return Err(format!("{events:?} instead of {expected:?}"));
        }
        let marks = bookmarks.iter().filter(|event| {
            event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"
        });
        let marks: Vec<u64> = marks.map(|event| revision(&event["object"])).collect();
        let right = match (initial, version) {
            (Some(true), Version::Future(at)) => marks.iter().all(|mark| *mark >= at),
            (Some(true), Version::Old(at) | Version::Current(at)) => {
                matches!(marks.as_slice(), [mark] if *mark >= at && *mark < marked)
            }
            (Some(true), _) => marks.len() == 1,
            _ => marks.is_empty(),
        };
        right.then_some(()).ok_or_else(|| format!("the end of the present is marked at {marks:?}"))
    }

    /// The events after one revision up to another.
    fn events(&self, after: u64, through: u64) -> Vec<String> {
        let mut events = Vec::new();
        for (revision, state) in
            self.states.range(after + 1..).take_while(|(of, _)| **of <= through)
        {
            let before = self.state(revision - 1);
            for (name, value) in state {
                match before.get(name) {
                    None => events.push(format!("ADDED {name} {value}")),
                    Some(of) if of != value => events.push(format!("MODIFIED {name} {value}")),
                    Some(_) => {}
                }
            }
            let gone = before.iter().filter(|(name, _)| !state.contains_key(*name));
            events.extend(gone.map(|(name, value)| format!("DELETED {name} {value}")));
        }
        events
    }

    fn table(&mut self, phase: &str) {
        let (rows, wrong) = (self.rows, self.wrong.len());
        self.lists();
        self.gets();
        self.watches();
        let wrong: Vec<String> =
            self.wrong.drain(wrong..).map(|wrong| format!("{phase}: {wrong}")).collect();
        self.wrong.extend(wrong);
        say(&format!("{phase}: {} rows", self.rows - rows));
    }
}

fn revision(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[test]
fn every_combination_of_resource_versions_means_what_kubernetes_says() {
    let mut world = World::new();
    world.script(0);
    world.table("fresh");
    world.restart();
    world.table("after a kill");
    let token = world.token();
    world.compact();
    world.check_expired(&token);
    world.script(1);
    world.table("after compaction");
    world.restart();
    world.forgotten = true;
    world.table("after compaction and a kill");
    let wrong = &world.wrong;
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), world.rows, wrong.join("\n"));
    say(&format!("B3: {} rows, 0 differences", world.rows));
}
