//! What writers were told, against what happened: nothing acknowledged is lost, nothing refused happened, nothing happened
//! that nobody asked for or happened twice, and whatever was over before something else began comes before it. Whoever
//! read an object, or was told that it is not there, was told what was so at some moment between question and answer.

use std::collections::BTreeMap;

use crate::check::{Found, History};
use crate::journal::{Act, Change, Item, Kind, Outcome, Said, Text};

/// What is answered about an object that is not there.
const NOT_FOUND: u16 = 404;

/// A request and what came of it.
struct Request<'a> {
    act: Act,
    key: &'a Text,
    value: &'a Text,
    asked: u64,
    heard: u64,
    outcome: &'a Outcome,
}

pub(super) fn check(journals: &[Vec<Said>], history: &History, found: &mut Found) {
    let mut requests = Vec::new();
    for journal in journals {
        pair(journal, &mut requests, found);
    }
    let mut made = Vec::new();
    for request in &requests {
        if request.act == Act::Read {
            continue;
        }
        match request.outcome {
            Outcome::Done { revision, uid, .. } => {
                found.acknowledged += 1;
                match acknowledged(request, *revision, uid, history) {
                    Ok(revision) => made.push((request, revision)),
                    Err(what) => found.violate(what),
                }
            }
            Outcome::Unknown => found.unknown.0 += 1,
            Outcome::Refused(_) => {}
        }
    }
    check_order(&made, found);
    let times = Times::new(&made);
    check_reads(&requests, &times, history, found);
    check_absences(&requests, &times, history, found);
    check_phantoms(&requests, history, found);
}

fn pair<'a>(journal: &'a [Said], requests: &mut Vec<Request<'a>>, found: &mut Found) {
    let mut lines = journal.iter().peekable();
    while let Some(line) = lines.next() {
        let Said::Asked { at, act, key, value } = line else {
            found.violate(format!("{line} answers nothing"));
            continue;
        };
        let (heard, outcome) = match lines.peek() {
            Some(Said::Heard { at, outcome }) => {
                lines.next();
                (*at, outcome)
            }
            // The run ended while it was under way.
            _ => (u64::MAX, &Outcome::Unknown),
        };
        requests.push(Request { act: *act, key, value, asked: *at, heard, outcome });
    }
}

/// The revision at which an acknowledged write happened, or what is wrong with it.
fn acknowledged(
    request: &Request<'_>,
    revision: u64,
    uid: &Text,
    history: &History,
) -> Result<u64, String> {
    let Request { act, key, value, .. } = request;
    let revision = if *act == Act::Delete {
        history.deleted(uid).ok_or_else(|| format!("the deletion of {key} ({uid}) is lost"))?
    } else {
        revision
    };
    let lost = || format!("LOST: {act:?} of {key} = {value} was acknowledged at {revision}");
    let change = history.at(revision).ok_or_else(lost)?;
    let before = history.before(key, revision);
    let expected = Item { uid: Text::clone(uid), ..change.item.clone() };
    let same = change.item == expected && change.item.key == **key;
    let fits = match act {
        Act::Create => change.kind == Kind::Added,
        Act::Update(read) => {
            change.kind == Kind::Modified && before.is_some_and(|of| of.item.revision == *read)
        }
        Act::Patch => change.kind == Kind::Modified,
        Act::Delete => return if same { Ok(revision) } else { Err(lost()) },
        Act::Read => true,
    };
    if same && fits && change.item.value == **value {
        Ok(revision)
    } else {
        Err(format!("{act:?} of {key} = {value}, acknowledged at {revision}, is {change}"))
    }
}

/// What was acknowledged before something else was asked for has a smaller revision.
fn check_order(made: &[(&Request<'_>, u64)], found: &mut Found) {
    let mut by_asked: Vec<_> = made.iter().collect();
    by_asked.sort_by_key(|(request, _)| request.asked);
    let mut by_heard = by_asked.clone();
    by_heard.sort_by_key(|(request, _)| request.heard);
    let (mut heard, mut newest) = (by_heard.into_iter().peekable(), 0);
    for (request, revision) in by_asked {
        while let Some((_, before)) = heard.next_if(|(of, _)| of.heard < request.asked) {
            newest = newest.max(*before);
        }
        if *revision <= newest {
            let Request { key, value, .. } = request;
            found.violate(format!("{key} = {value} at {revision} comes before {newest}"));
        }
    }
}

/// Between what moments a revision came about, as far as acknowledged writes tell.
struct Times {
    /// By the revision of each acknowledged write: the latest question of those up to it, since none came about before
    /// it was asked for.
    begun: BTreeMap<u64, u64>,
    /// The same: the earliest answer of those from it on, since whatever comes before an answered one is there too.
    over: BTreeMap<u64, u64>,
}

impl Times {
    fn new(made: &[(&Request<'_>, u64)]) -> Self {
        let mut times: Vec<_> = made.iter().map(|(of, at)| (*at, of.asked, of.heard)).collect();
        times.sort_unstable();
        let latest = times.iter().scan(0, |latest: &mut u64, (at, asked, _)| {
            *latest = (*latest).max(*asked);
            Some((*at, *latest))
        });
        let earliest = times.iter().rev().scan(u64::MAX, |earliest: &mut u64, (at, _, heard)| {
            *earliest = (*earliest).min(*heard);
            Some((*at, *earliest))
        });
        Self { begun: latest.collect(), over: earliest.collect() }
    }

    /// It came about after this.
    fn begun(&self, revision: u64) -> u64 {
        self.begun.range(..=revision).next_back().map_or(0, |(_, asked)| *asked)
    }

    /// Everybody sees it who asks after this.
    fn over(&self, revision: u64) -> u64 {
        self.over.range(revision..).next().map_or(u64::MAX, |(_, heard)| *heard)
    }
}

/// A read shows a state that was there, and none that it was known to be over before the read began.
fn check_reads(requests: &[Request<'_>], times: &Times, history: &History, found: &mut Found) {
    for request in requests.iter().filter(|request| request.act == Act::Read) {
        let Outcome::Done { revision, uid, value } = request.outcome else { continue };
        found.reads += 1;
        let there = history.at(*revision).is_some_and(|change| {
            let item = &change.item;
            item.key == *request.key && item.uid == *uid && item.value == *value
        });
        if !there {
            found.violate(format!("a read of {} saw {value} at {revision}", request.key));
        }
        let next = history.after(request.key, *revision);
        if next.is_some_and(|next| times.over(next.item.revision) < request.asked) {
            found.violate(format!("STALE: a read of {} saw {revision}", request.key));
        }
    }
}

/// Whoever was told that an object is not there asked at a moment at which it may not have been.
fn check_absences(requests: &[Request<'_>], times: &Times, history: &History, found: &mut Found) {
    let told = |request: &&Request<'_>| {
        request.act != Act::Create && matches!(request.outcome, Outcome::Refused(NOT_FOUND))
    };
    for request in requests.iter().filter(told) {
        found.absences += 1;
        let ended = |next: Option<&Change>| {
            next.is_some_and(|next| times.over(next.item.revision) < request.asked)
        };
        let mut gone = history.of(request.key).filter(|change| change.kind == Kind::Deleted);
        let absent = !ended(history.after(request.key, 0))
            || gone.any(|change| {
                let revision = change.item.revision;
                times.begun(revision) <= request.heard
                    && !ended(history.after(request.key, revision))
            });
        if !absent {
            let Request { act, key, asked, heard, .. } = request;
            found.violate(format!("UNSEEN: {act:?} of {key} from {asked} to {heard} was answered {NOT_FOUND}, and it was there"));
        }
    }
}

/// Every version was asked for, was not refused, and is there once.
fn check_phantoms(requests: &[Request<'_>], history: &History, found: &mut Found) {
    let asked: BTreeMap<&str, &Request<'_>> = requests
        .iter()
        .filter(|request| matches!(request.act, Act::Create | Act::Update(_) | Act::Patch))
        .map(|request| (&**request.value, request))
        .collect();
    let mut seen = BTreeMap::new();
    for change in history.changes().filter(|of| of.kind != Kind::Deleted && &*of.item.value != "-")
    {
        let item = &change.item;
        if let Some(before) = seen.insert(&*item.value, item.revision) {
            found.violate(format!("TWICE: {} at {before} and {}", item.value, item.revision));
        }
        match asked.get(&*item.value) {
            Some(request) if request.key == &item.key => match request.outcome {
                Outcome::Refused(code) => {
                    found.violate(format!("{change} was refused with {code}, and happened"));
                }
                Outcome::Unknown => found.unknown.1 += 1,
                Outcome::Done { .. } => {}
            },
            _ => found.violate(format!("PHANTOM: nobody asked for {change}")),
        }
    }
    let mut deletions: BTreeMap<&str, i64> = BTreeMap::new();
    for request in requests.iter().filter(|request| request.act == Act::Delete) {
        if !matches!(request.outcome, Outcome::Refused(_)) {
            *deletions.entry(request.key).or_default() += 1;
        }
    }
    for change in history.changes().filter(|change| change.kind == Kind::Deleted) {
        let left = deletions.entry(&change.item.key).or_default();
        *left -= 1;
        if *left < 0 {
            found.violate(format!("PHANTOM: nobody asked for {change}"));
        }
    }
}
