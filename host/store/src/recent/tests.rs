//! What of the recent changes is kept, and what holding them against a read set may cost.

use quadrille_object::{LabelSelector, Meta, Timestamp};

use super::*;
use crate::bus::{Bus, TICK};
use crate::cause::{Cause, SystemCause};
use crate::change::ChangeKind;

fn pods() -> GroupResource {
    GroupResource::new("", "pods")
}

fn recent(changes: u64) -> Recent {
    let limits = Limits { changes_max: usize::MAX, bytes_max: usize::MAX };
    let mut recent = Recent::new(limits, Revision(0));
    for number in 1..=changes {
        let revision = Revision(number);
        let key = Key::new(pods(), "default", format!("p{number}").as_str());
        let meta = Meta { labels: vec![("app".into(), "web".into())].into(), ..Meta::default() };
        let object =
            Arc::new(Object { key, revision, meta, bytes: bytes::Bytes::from_static(b"{}") });
        recent.push(&Arc::new(Change {
            revision,
            txn: (revision, revision),
            kind: ChangeKind::Created,
            before: None,
            object,
            cause: Arc::new(Cause::System(SystemCause::default())),
            at: Timestamp(0),
        }));
    }
    recent
}

fn reads(ranges: usize, values: usize) -> ReadSet {
    let range = |number: usize| {
        let values: Vec<String> = (0..values).map(|value| format!("v{value}")).collect();
        let selector = LabelSelector::parse(&format!("k{number} in ({})", values.join(",")));
        let selection = Selection::Labels(selector.expect("a selector"));
        Range { resource: pods(), namespace: None, selection }
    };
    ReadSet { at: Revision(0), ranges: (0..ranges).map(range).collect(), ..ReadSet::default() }
}

#[test]
fn reads_that_take_too_long_to_check_count_as_too_old() {
    let recent = recent(2_000);
    assert!(recent.touched(&reads(100, 2)).is_none(), "usual ones are checked");
    assert!(matches!(recent.touched(&reads(1_000, 1_000)), Some(Conflict::TooOld)));
    // What has just been read is never too much.
    let fresh = ReadSet { at: Revision(2_000), ..reads(1_000, 1_000) };
    assert!(recent.touched(&fresh).is_none());
}

fn created(resource: &str, revision: u64) -> Arc<Change> {
    let (key, revision) = (Key::new(GroupResource::new("", resource), "", "a"), Revision(revision));
    let (meta, bytes) = (Meta::default(), bytes::Bytes::from_static(b"{}"));
    let object = Arc::new(Object { key, revision, meta, bytes });
    let (txn, kind, at) = ((revision, revision), ChangeKind::Created, Timestamp(0));
    let cause = Arc::new(Cause::System(SystemCause::default()));
    Arc::new(Change { revision, txn, kind, before: None, object, cause, at })
}

#[test]
fn resources_that_are_quiet_and_unheard_are_forgotten() {
    let limits = Limits { changes_max: 1, bytes_max: usize::MAX };
    let bus = Bus::new(limits, Revision(0));
    let heard = GroupResource::new("", "heard");
    let listener = bus.subscribe(Some(&heard));
    for n in 1..=20 {
        bus.publish(&[created(&format!("passing-{n}"), n)]);
    }
    bus.publish(&[created("heard", 21)]);
    let busy = [created("busy", TICK)];
    let published = bus.publish(&busy);
    assert_eq!(bus.recent().feeds.len(), 22);
    bus.wake(published, &busy);
    let left: Vec<_> = bus.recent().feeds.keys().map(|of| of.resource.to_string()).collect();
    assert_eq!(left, ["busy", "heard"]);
    let quiet = bus.recent().after(Some(&heard), Revision(21), 1);
    assert_eq!(quiet.map(|(changes, through)| (changes.len(), through)), Some((0, Revision(TICK))));
    let reaches = |of: &str, at| bus.recent().after(Some(&GroupResource::new("", of)), at, 1);
    assert!(reaches("passing-7", Revision(20)).is_none(), "the log knows");
    assert!(reaches("passing-7", Revision(TICK)).is_some());
    drop(listener);
}
