//! What watchers saw, against what happened: every list is the state at its revision, and every stream, however often it
//! was cut and resumed, is every event after it once, in order, and nothing else.

use std::collections::BTreeMap;

use crate::check::{Found, History};
use crate::journal::{Item, Kind, Seen};
use crate::watcher::Scope;

/// Where a watcher is.
struct Place<'a> {
    name: String,
    events: &'a [(Kind, Item)],
    /// Everything up to here was seen; `None` before the first list and after an expiry.
    position: Option<u64>,
    /// The event that comes next.
    next: usize,
    /// The newest revision that it was shown.
    newest: u64,
}

pub(super) fn check(
    number: usize,
    scope: &Scope,
    seen: &[Seen],
    history: &History,
    found: &mut Found,
) {
    let events = history.events(scope);
    let name = format!("watcher {number} of {scope}");
    let mut place = Place { name, events: &events, position: None, next: 0, newest: 0 };
    let (mut lines, mut streams, mut watched) = (seen.iter(), 0_usize, false);
    while let Some(line) = lines.next() {
        match line {
            Seen::Listed(revision, count) => {
                let items: Vec<Item> = lines.by_ref().take(*count).filter_map(item).collect();
                check_list(&place.name, scope, *revision, &items, history, found);
                place.move_to(*revision, found);
            }
            Seen::Item(item) => found.violate(format!("{}: {item} is of no list", place.name)),
            Seen::At(revision) => {
                place.newest = 0;
                place.move_to(*revision, found);
            }
            Seen::Begun(after) => {
                streams += 1;
                watched = true;
                if place.position != Some(*after) && *after <= history.newest() {
                    found.violate(format!("{}: begun after {after}", place.name));
                }
            }
            Seen::Event(_, item) if item.revision > history.newest() => {}
            Seen::Bookmark(revision) if *revision > history.newest() => {}
            Seen::Event(kind, item) => place.check_event(*kind, item, found),
            Seen::Bookmark(revision) => {
                found.bookmarks += 1;
                place.check_bookmark(*revision, found);
            }
            Seen::Expired(oldest) => {
                let travels = seen.first().is_some_and(|line| matches!(line, Seen::At(_)));
                *(if travels { &mut found.expired } else { &mut found.relists }) += 1;
                if place.position.is_some_and(|position| position >= *oldest) {
                    let name = &place.name;
                    found.violate(format!("{name}: expired within the window of {oldest}"));
                }
                place.position = None;
            }
            Seen::Cut => {}
        }
    }
    found.resumed += streams.saturating_sub(1);
    if watched {
        place.check_end(found);
    }
}

fn item(seen: &Seen) -> Option<Item> {
    if let Seen::Item(item) = seen { Some(item.clone()) } else { None }
}

impl Place<'_> {
    fn move_to(&mut self, revision: u64, found: &mut Found) {
        if revision < self.newest {
            let (name, newest) = (&self.name, self.newest);
            found.violate(format!("{name}: a list at {revision}, after {newest} was seen"));
        }
        self.position = Some(revision);
        self.newest = self.newest.max(revision);
        self.next = self.events.partition_point(|(_, item)| item.revision <= revision);
    }

    fn check_event(&mut self, kind: Kind, item: &Item, found: &mut Found) {
        found.events += 1;
        let expected = self.events.get(self.next);
        if expected.is_none_or(|(of, expected)| (*of, expected) != (kind, item)) {
            let expected = expected.map(|(kind, item)| format!("{kind} {item}"));
            let name = &self.name;
            found.violate(format!("{name}: {kind} {item} came, expected {expected:?}"));
            self.next = self.events.partition_point(|(_, of)| of.revision <= item.revision);
        } else {
            self.next += 1;
        }
        self.position = Some(item.revision);
        self.newest = self.newest.max(item.revision);
    }

    fn check_bookmark(&mut self, revision: u64, found: &mut Found) {
        let (name, position) = (&self.name, self.position.unwrap_or_default());
        if revision < position {
            found.violate(format!("{name}: a bookmark at {revision} after {position}"));
        }
        if let Some((kind, item)) = self.events.get(self.next).filter(|e| e.1.revision <= revision)
        {
            found.violate(format!("{name}: a bookmark at {revision} is ahead of {kind} {item}"));
        }
        self.move_to(revision, found);
    }

    fn check_end(&self, found: &mut Found) {
        let Some(position) = self.position else { return };
        let missed = self.events.get(self.next).filter(|(_, item)| item.revision <= position);
        if let Some((kind, item)) = missed {
            found.violate(format!("{}: {kind} {item} never came", self.name));
        }
    }
}

/// A list is the state at its revision.
pub(super) fn check_list(
    name: &str,
    scope: &Scope,
    revision: u64,
    items: &[Item],
    history: &History,
    found: &mut Found,
) {
    if revision > history.newest() {
        return;
    }
    found.lists += 1;
    let expected = history.state(scope, revision);
    let listed: BTreeMap<&str, &Item> = items.iter().map(|item| (&*item.key, item)).collect();
    if listed.len() != items.len() {
        found.violate(format!("{name}: the list at {revision} has an object twice"));
    }
    if listed != expected {
        let of = |from: &BTreeMap<&str, &Item>, other: &BTreeMap<&str, &Item>| {
            let differs = from.iter().find(|(key, item)| other.get(*key) != Some(*item));
            differs.map(|(_, item)| item.to_string())
        };
        let (has, lacks) = (of(&listed, &expected), of(&expected, &listed));
        found.violate(format!("{name}: the list at {revision} has {has:?} and lacks {lacks:?}"));
    }
}
