//! The queue against a model, and its timing.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use quadrille_object::{GroupResource, Meta, Timestamp};
use quadrille_store::{Cause, ChangeKind, Object, SystemCause};

use super::*;
use crate::wakes::{LISTED_MAX, WAKES_MAX};

fn key(number: u8) -> Key {
    Key::new(GroupResource::new("", "things"), "default", format!("k{number}"))
}

fn change(number: u8, revision: u64) -> Arc<Change> {
    let (meta, bytes) = (Meta::default(), bytes::Bytes::from_static(b"{}"));
    let revision = Revision(revision);
    let object = Arc::new(Object { key: key(number), revision, meta, bytes });
    let cause = Arc::new(Cause::System(SystemCause::default()));
    let (kind, txn, at) = (ChangeKind::Created, (revision, revision), Timestamp(0));
    Arc::new(Change { revision, txn, kind, before: None, object, cause, at })
}

fn sight(revision: u64) -> Sight {
    Sight { looked: Revision(revision), snapshot: Revision(revision) }
}

#[test]
fn new_work_comes_before_resync_and_retries() {
    let mut queue = Workqueue::default();
    queue.resync(&key(1), None);
    queue.wake(&key(2), &change(2, 1));
    assert_eq!(queue.take(sight(1)).map(|t| t.key), Some(key(2)));
    assert_eq!(queue.take(sight(1)).map(|t| t.key), Some(key(1)));
    assert!(queue.take(sight(1)).is_none());
}

#[test]
fn a_failed_key_waits_for_its_time_and_keeps_what_woke_it() {
    let mut queue = Workqueue::default();
    queue.wake(&key(1), &change(1, 1));
    let taken = queue.take(sight(1)).expect("ready");
    queue.finish(&taken, End::Failed(Duration::from_millis(5)));
    queue.ripen(Duration::from_millis(4));
    assert_eq!((queue.ready(), queue.failing()), (0, 1));
    queue.ripen(Duration::from_millis(5));
    let again = queue.take(sight(1)).expect("due");
    assert_eq!((again.failures, again.wakes.revisions()), (1, [Revision(1)].as_slice()));
    assert_eq!(again.wakes.occasion(), Some(Occasion::Backoff));
    queue.finish(&again, End::Done(Vec::new()));
    assert_eq!((queue.failing(), queue.waiting()), (0, 0));
}

#[test]
fn merged_wakes_are_all_listed_and_beyond_the_bound_counted() {
    let mut queue = Workqueue::default();
    let many = LISTED_MAX as u64 + 100;
    for revision in 1..=many {
        queue.wake(&key(1), &change(1, revision));
    }
    let wakes = queue.take(sight(0)).expect("ready").wakes;
    assert_eq!((wakes.changes().len(), wakes.dropped()), (WAKES_MAX, 100));
    assert!(wakes.revisions().iter().copied().eq((101..=many).map(Revision)));
}

#[test]
fn a_resync_ends_though_new_work_never_does() {
    let mut queue = Workqueue::default();
    queue.resync(&key(0), None);
    let resynced = (1..=40).find(|revision| {
        queue.wake(&key(1), &change(1, *revision));
        let taken = queue.take(sight(0)).expect("ready");
        queue.finish(&taken, End::Done(Vec::new()));
        taken.key == key(0)
    });
    assert!(resynced.is_some());
}

#[derive(Clone, Debug)]
enum Step {
    Wake(u8),
    Resync(u8),
    Take,
    Finish(u8, u8),
    Pass(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..6_u8).prop_map(Step::Wake),
        (0..6_u8).prop_map(Step::Resync),
        Just(Step::Take),
        Just(Step::Take),
        (0..6_u8, 0..5_u8).prop_map(|(which, how)| Step::Finish(which, how)),
        (0..20_u8).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 1..200)
}

/// What must be run again for each key: the model knows only the newest change that no good run has seen.
#[derive(Default)]
struct Model {
    owed: BTreeMap<Key, u64>,
    running: BTreeMap<Key, (Taken, u64)>,
    timed: BTreeSet<Key>,
}

proptest! {
    #[test]
    fn no_wake_is_lost_and_no_key_runs_twice(steps in steps()) {
        let (mut queue, mut model) = (Workqueue::default(), Model::default());
        let (mut revision, mut now) = (0_u64, Duration::ZERO);
        for step in steps {
            match step {
                Step::Wake(number) => {
                    revision += 1;
                    queue.wake(&key(number), &change(number, revision));
                    model.owed.insert(key(number), revision);
                }
                Step::Resync(number) => {
                    queue.resync(&key(number), None);
                    model.owed.entry(key(number)).or_insert(0);
                }
                Step::Take => if let Some(taken) = queue.take(sight(revision)) {
                    prop_assert!(!model.running.contains_key(&taken.key));
                    prop_assert!(model.owed.contains_key(&taken.key) || model.timed.remove(&taken.key));
                    model.running.insert(taken.key.clone(), (taken, revision));
                },
                Step::Finish(number, how) => {
                    let Some((taken, seen)) = model.running.remove(&key(number)) else { continue };
                    let key = key(number);
                    let newest = model.owed.get(&key).copied().unwrap_or(0);
                    let missed = if newest > seen { vec![change(number, newest)] } else { Vec::new() };
                    let due = now + Duration::from_millis(10);
                    model.timed.remove(&key);
                    match how {
                        0 | 1 => {
                            // A resync asked for during the run stays owed in the queue as well.
                            if missed.is_empty() && queue.entries.get(&key).is_some_and(|e| e.wakes.occasion().is_none()) {
                                model.owed.remove(&key);
                            }
                            if how == 0 {
                                queue.finish(&taken, End::Done(missed));
                            } else {
                                if !model.owed.contains_key(&key) {
                                    model.timed.insert(key.clone());
                                }
                                queue.finish(&taken, End::DoneUntil(due, missed));
                            }
                        }
                        2 => {
                            model.owed.entry(key).or_insert(0);
                            queue.finish(&taken, End::Failed(due));
                        }
                        3 => {
                            model.owed.entry(key).or_insert(0);
                            queue.finish(&taken, End::Conflict);
                        }
                        _ => {
                            model.owed.entry(key).or_insert(0);
                            queue.finish(&taken, End::Fenced);
                        }
                    }
                }
                Step::Pass(millis) => {
                    now += Duration::from_millis(u64::from(millis));
                    queue.ripen(now);
                }
            }
            prop_assert_eq!(queue.running(), model.running.len());
            for key in model.owed.keys().chain(&model.timed) {
                prop_assert!(queue.entries.contains_key(key), "{} is owed a run", key);
            }
            prop_assert_eq!(queue.entries.len(), queue.ready() + queue.running() + queue.waiting());
        }
    }
}
