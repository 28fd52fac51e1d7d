//! The judge judged: a run without fault passes, and each fault that is planted in its journals is told.

use super::{Found, Record, check};
use crate::journal::Item;
use crate::watcher::Scope;

const REFEREE: &str = "\
ADDED namespaces 9 1 1 1 /a n - -
ADDED configmaps 9 2 2 2 a/x u1 v1-1 red
MODIFIED configmaps 9 3 4 3 a/x u1 v1-2 blue
ADDED configmaps 9 3 4 4 a/y u2 v2-1 red
DELETED configmaps 9 5 5 5 a/x u1 v1-2 blue
ADDED configmaps 9 6 6 6 a/x u3 v1-3 red";
const FIRST: &str = "\
asked 10 a/x v1-1 create
done 20 2 u1 v1-1
asked 30 a/x v1-2 update 2
done 40 3 u1 v1-2
asked 60 a/x - delete
done 70 0 u1 -
asked 80 a/x v1-3 create
unknown 90";
const SECOND: &str = "\
asked 35 a/y v2-1 create
done 45 4 u2 v2-1
asked 50 a/y v2-2 create
refused 55 409
asked 56 a/x - read
done 58 3 u1 v1-2
asked 75 a/y v2-3 patch
unknown 95";
const ALL: &str = "\
listed 1 0
begun 1
ADDED 2 a/x u1 v1-1 red
MODIFIED 3 a/x u1 v1-2 blue
cut
begun 3
ADDED 4 a/y u2 v2-1 red
bookmark 4
DELETED 5 a/x u1 v1-2 blue
cut
begun 5
ADDED 6 a/x u3 v1-3 red
bookmark 6";
const RED: &str = "\
listed 2 1
item 2 a/x u1 v1-1 red
begun 2
DELETED 3 a/x u1 v1-1 red
ADDED 4 a/y u2 v2-1 red
expired 5
listed 6 2
item 4 a/y u2 v2-1 red
item 6 a/x u3 v1-3 red
begun 6
bookmark 6";

fn parse<T: std::str::FromStr<Err = anyhow::Error>>(text: &str) -> Vec<T> {
    text.lines().map(|line| line.parse().expect("a line")).collect()
}

/// The run, with a text in one of its journals replaced.
fn judged(from: &str, to: &str) -> Found {
    let texts = [REFEREE, FIRST, SECOND, ALL, RED];
    assert!(from.is_empty() || texts.iter().any(|text| text.contains(from)), "{from} is there");
    let [referee, first, second, all, red] = texts.map(|text| match from {
        "" => text.to_owned(),
        from => text.replacen(from, to, 1),
    });
    let last: Vec<Item> = [REFEREE.lines().nth(3), REFEREE.lines().nth(5)]
        .into_iter()
        .flatten()
        .map(|line| line.parse::<crate::journal::Change>().expect("a change").item)
        .collect();
    check(&Record {
        changes: parse(&referee),
        writers: vec![parse(&first), parse(&second)],
        watchers: vec![(Scope::All, parse(&all)), (Scope::Team("red".into()), parse(&red))],
        last: (6, last),
    })
}

#[track_caller]
fn told(from: &str, to: &str, expected: &str) {
    let found = judged(from, to);
    let told = found.violations.iter().any(|violation| violation.contains(expected));
    assert!(told, "{from:?} instead of {to:?}: {:?}", found.violations);
}

#[test]
fn a_run_without_fault_passes_and_is_counted() {
    let found = judged("", "");
    assert_eq!(found.violations, Vec::<String>::new());
    assert_eq!((found.changes, found.acknowledged, found.unknown, found.reads), (6, 4, (2, 1), 1));
    assert_eq!((found.events, found.resumed, found.lists), (7, 3, 4));
    assert_eq!((found.bookmarks, found.relists), (3, 1));
}

#[test]
fn a_fault_of_the_store_is_told() {
    told("ADDED configmaps 9 6 6 6", "ADDED configmaps 9 7 7 7", "revision 7 follows");
    told("ADDED configmaps 9 6 6 6", "ADDED configmaps 9 5 5 5", "revision 5 follows");
    told("MODIFIED configmaps 9 3 4 3", "MODIFIED configmaps 9 3 3 3", "tears");
    told("ADDED configmaps 9 6 6 6", "ADDED configmaps 9 6 7 6", "half there");
    told("6 6 6 a/x u3", "6 6 6 a/x u1", "does not follow");
    told("5 5 5 a/x u1 v1-2", "5 5 5 a/x u1 v1-1", "does not follow");
}

#[test]
fn a_lost_doubled_or_invented_write_is_told() {
    told("done 45 4 u2 v2-1", "done 45 7 u2 v2-1", "LOST");
    told("done 45 4 u2 v2-1", "done 45 4 u9 v2-1", "acknowledged at 4, is");
    told("2 2 2 a/x u1 v1-1", "2 2 2 a/x u1 v1-9", "PHANTOM");
    told("2 2 2 a/x u1 v1-1", "2 2 2 a/x u1 v1-2", "TWICE");
    told("unknown 90", "refused 90 409", "was refused with 409, and happened");
    told("done 70 0 u1", "done 70 0 u7", "the deletion of a/x (u7) is lost");
    told("asked 60 a/x - delete", "asked 60 a/y - delete", "PHANTOM");
    told("update 2", "update 1", "is MODIFIED");
}

#[test]
fn an_order_that_cannot_be_is_told() {
    told("asked 10 a/x v1-1 create\ndone 20", "asked 60 a/x v1-1 create\ndone 65", "comes before");
    told("done 58 3 u1 v1-2", "done 58 2 u1 v1-1", "STALE");
    told("done 58 3 u1 v1-2", "done 58 3 u1 v1-1", "a read of a/x saw");
}

#[test]
fn an_object_that_is_there_and_is_not_found_is_told() {
    // It is deleted by whoever asked for that at 60.
    told("done 58 3 u1 v1-2", "refused 58 404", "UNSEEN: Read of a/x from 56 to 58");
    told(
        "asked 56 a/x - read\ndone 58 3 u1 v1-2",
        "asked 56 a/x v2-9 patch\nrefused 58 404",
        "UNSEEN",
    );
    told("refused 55 409", "refused 55 409\nasked 46 a/y - read\nrefused 90 404", "UNSEEN");
    let overlaps = judged("done 58 3 u1 v1-2", "refused 60 404");
    assert_eq!((overlaps.violations, overlaps.absences), (Vec::new(), 1));
    let before = "asked 1 a/x - read\nrefused 15 404\nasked 10 a/x v1-1 create\n";
    let before = judged("asked 10 a/x v1-1 create\n", before);
    assert_eq!(before.violations, Vec::<String>::new());
}

#[test]
fn a_stream_that_skips_repeats_or_reorders_is_told() {
    told("MODIFIED 3 a/x u1 v1-2 blue\ncut\nbegun 3", "cut\nbegun 2", "expected Some(\"MODIFIED 3");
    told("cut\nbegun 3", "cut\nbegun 3\nMODIFIED 3 a/x u1 v1-2 blue", "expected Some(\"ADDED 4");
    told("bookmark 4\nDELETED", "bookmark 5\nDELETED", "is ahead of");
    told("begun 5\nADDED 6 a/x u3 v1-3 red\n", "begun 5\n", "is ahead of");
    told("begun 5", "begun 4", "begun after 4");
    told("DELETED 5 a/x", "MODIFIED 5 a/x", "expected Some(\"DELETED 5");
    told("DELETED 3 a/x u1 v1-1 red", "DELETED 3 a/x u1 v1-2 red", "expected Some(\"DELETED 3");
}

#[test]
fn a_list_that_never_was_is_told() {
    told("listed 6 2", "listed 5 2", "the list at 5");
    told("item 4 a/y u2 v2-1 red", "item 6 a/x u3 v1-3 red", "an object twice");
    told("listed 6 2\nitem 4 a/y u2 v2-1 red", "listed 6 1", "lacks Some(\"4 a/y");
    told("expired 5", "expired 4", "expired within the window");
    told("begun 5\n", "at 3\nbegun 3\n", "expected Some(\"ADDED 4");
}
