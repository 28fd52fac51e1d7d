//! What wakes whom, and that finding it does not depend on how many sleep.

use std::sync::Arc;

use quadrille_object::{GroupResource, Meta, OwnerReference, Timestamp};
use quadrille_store::{Cause, ChangeKind, SystemCause};

use super::*;

fn pods() -> GroupResource {
    GroupResource::new("", "pods")
}

fn key(name: &str) -> Key {
    Key::new(pods(), "default", name)
}

fn object(
    name: &str,
    revision: u64,
    label: Option<(&str, &str)>,
    owner: Option<&str>,
) -> Arc<Object> {
    let owner = owner.map(|uid| OwnerReference {
        api_version: "apps/v1".into(),
        kind: "ReplicaSet".into(),
        name: "rs".into(),
        uid: uid.into(),
        controller: true,
        block_owner_deletion: true,
    });
    let meta = Meta {
        labels: label.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
        owners: owner.into_iter().collect(),
        ..Meta::default()
    };
    let bytes = bytes::Bytes::from_static(b"{}");
    Arc::new(Object { key: key(name), revision: Revision(revision), meta, bytes })
}

fn change(before: Option<Arc<Object>>, object: Arc<Object>) -> Change {
    let kind = before.as_ref().map_or(ChangeKind::Created, |_| ChangeKind::Updated);
    let revision = object.revision;
    let cause = Arc::new(Cause::System(SystemCause::default()));
    Change { revision, txn: (revision, revision), kind, before, object, cause, at: Timestamp(0) }
}

fn range(selection: Selection, namespace: Option<&str>) -> ReadSet {
    let namespace = namespace.map(Into::into);
    let range = Range { resource: pods(), namespace, selection };
    ReadSet { at: Revision(1), ranges: vec![range], ..ReadSet::default() }
}

fn labels(text: &str) -> Selection {
    Selection::Labels(LabelSelector::parse(text).expect("a selector"))
}

#[track_caller]
fn check(reads: &ReadSet, change: &Change, wakes: bool) {
    let mut subscriptions = Subscriptions::default();
    subscriptions.replace(7, &key("sleeper"), reads, Revision(1));
    let expected = if wakes { vec![(7, key("sleeper"))] } else { Vec::new() };
    assert_eq!(subscriptions.woken_by(change), expected);
    subscriptions.remove(7, &key("sleeper"));
    assert!(subscriptions.is_empty() && subscriptions.by_interest.is_empty());
}

#[test]
fn a_selector_of_many_values_is_filed_once_and_wakes_for_each_of_them() {
    let values: Vec<String> = (0..1_000).map(|n| format!("v{n}")).collect();
    let reads = range(labels(&format!("app in ({})", values.join(","))), None);
    assert_eq!(interests_of(&reads).0.len(), 1);
    for (value, wakes) in [("v0", true), ("v999", true), ("w0", false)] {
        check(&reads, &change(None, object("a", 5, Some(("app", value)), None)), wakes);
    }
}

#[test]
fn a_change_wakes_who_read_it_and_nobody_else() {
    let web = change(None, object("web", 5, Some(("app", "web")), Some("u-1")));
    for (selection, wakes) in [
        (Selection::All, true),
        (Selection::Owner("u-1".into()), true),
        (Selection::Owner("u-2".into()), false),
        (Selection::Names(vec!["web".into()]), true),
        (Selection::Names(vec!["other".into()]), false),
        (labels("app=web"), true),
        (labels("app in (web,db)"), true),
        (labels("app"), true),
        (labels("app=web,tier=x"), false),
        (labels("app=db"), false),
        (labels("!app"), false),
        (labels("!tier"), true),
        (labels("app!=web"), false),
    ] {
        check(&range(selection.clone(), None), &web, wakes);
        check(&range(selection.clone(), Some("default")), &web, wakes);
        check(&range(selection, Some("elsewhere")), &web, false);
    }
    let absent = ReadSet { at: Revision(1), keys: vec![key("web")], ..ReadSet::default() };
    check(&absent, &web, true);
}

#[test]
fn leaving_a_range_wakes_too() {
    let before = object("web", 5, Some(("app", "web")), Some("u-1"));
    let moved = change(Some(before), object("web", 6, Some(("app", "db")), None));
    check(&range(labels("app=web"), None), &moved, true);
    check(&range(labels("app=db"), None), &moved, true);
    check(&range(Selection::Owner("u-1".into()), None), &moved, true);
}

#[test]
fn what_was_seen_wakes_nobody() {
    let mut subscriptions = Subscriptions::default();
    subscriptions.replace(1, &key("a"), &range(Selection::All, None), Revision(5));
    assert!(subscriptions.woken_by(&change(None, object("web", 5, None, None))).is_empty());
    assert_eq!(subscriptions.woken_by(&change(None, object("web", 6, None, None))).len(), 1);
}

/// The work per change is the number of interests that it has and of the keys that it wakes: the map never holds
/// more than one sleeper under an interest of its own, however many sleep.
#[test]
fn ten_thousand_sleepers_do_not_share_a_place() {
    let mut subscriptions = Subscriptions::default();
    for number in 0..10_000 {
        let reads = range(Selection::Owner(format!("u-{number}").into()), Some("default"));
        subscriptions.replace(1, &key(&format!("rs-{number}")), &reads, Revision(1));
    }
    let web = change(None, object("web", 5, None, Some("u-77")));
    assert_eq!(subscriptions.woken_by(&web), [(1, key("rs-77"))]);
    let shared = subscriptions.by_interest.values().filter(|h| matches!(h, Holders::Many(_)));
    assert_eq!((shared.count(), subscriptions.count(1)), (0, 10_000));
}

#[test]
fn what_came_between_snapshot_and_commit_wakes_where_it_was_read_weakly() {
    let within = |revision| change(None, object("web", revision, Some(("app", "web")), None));
    let weak = Range { resource: pods(), namespace: None, selection: labels("app=web") };
    let checked = Range { resource: pods(), namespace: None, selection: labels("app=db") };
    let reads =
        ReadSet { at: Revision(3), keys: Vec::new(), ranges: vec![checked], weak: vec![weak] };
    let mut subscriptions = Subscriptions::default();
    subscriptions.replace(7, &key("sleeper"), &reads, Revision(6));
    let woken = |change: &Change| subscriptions.woken_by(change).len();
    assert_eq!([2, 3, 4, 5].map(|revision| woken(&within(revision))), [0, 0, 1, 1]);
    assert_eq!(woken(&within(6)), 0, "the commit of the run itself");
    assert_eq!(woken(&Change { txn: (Revision(5), Revision(6)), ..within(5) }), 0, "all of it");
    assert_eq!(woken(&within(7)), 1);
    let database = change(None, object("web", 5, Some(("app", "db")), None));
    assert_eq!(woken(&database), 0, "the store has checked it");
}
