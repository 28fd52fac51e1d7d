//! What a relay keeps, and for how long it holds events back.

use quadrille_object::{GroupResource, Meta, Timestamp};
use quadrille_store::{Cause, ChangeKind, Key, Object, SystemCause};

use super::*;

fn change(revision: u64, bytes: usize) -> Arc<Change> {
    let revision = Revision(revision);
    let key = Key::new(GroupResource::new("", "configmaps"), "shop", "a");
    let bytes = Bytes::from(vec![b'x'; bytes]);
    let object = Object { key, revision, meta: Meta::default(), bytes };
    Arc::new(Change {
        revision,
        txn: (revision, revision),
        kind: ChangeKind::Updated,
        before: None,
        object: Arc::new(object),
        cause: Arc::new(Cause::System(SystemCause::default())),
        at: Timestamp::from_seconds(0),
    })
}

fn batch(revisions: std::ops::RangeInclusive<u64>, bytes: usize, through: u64) -> ChangeBatch {
    let changes = revisions.map(|revision| change(revision, bytes)).collect();
    ChangeBatch { changes, through: Revision(through) }
}

/// The revisions that a watch gets which has seen everything up to `seen`; `None` when it is behind.
fn gets(kept: &Kept, mut seen: Revision) -> Option<Vec<u64>> {
    let mut got = Vec::new();
    loop {
        match kept.after(seen) {
            Reach::Behind => return None,
            Reach::Closed(_) => return Some(got),
            Reach::Chunks(chunks) if chunks.is_empty() => return Some(got),
            Reach::Chunks(chunks) => {
                for chunk in chunks {
                    assert!(chunk.from() <= seen, "a gap before {:?}", chunk.from());
                    let new = chunk.entries.iter().map(|entry| entry.change.revision);
                    got.extend(new.filter(|revision| *revision > seen).map(|revision| revision.0));
                    seen = chunk.through();
                }
            }
        }
    }
}

#[test]
fn a_watch_that_comes_late_gets_the_rest_of_a_chunk_and_what_follows() {
    let mut kept = Kept::new(Revision(10));
    for chunk in Chunk::cut(Revision(10), batch(11..=14, 100, 15)) {
        kept.push(chunk);
    }
    for chunk in Chunk::cut(Revision(15), batch(16..=17, 100, 17)) {
        kept.push(chunk);
    }
    assert_eq!(gets(&kept, Revision(10)), Some(vec![11, 12, 13, 14, 16, 17]));
    assert_eq!(gets(&kept, Revision(12)), Some(vec![13, 14, 16, 17]));
    assert_eq!(gets(&kept, Revision(15)), Some(vec![16, 17]));
    assert_eq!(gets(&kept, Revision(17)), Some(vec![]));
    assert_eq!(gets(&kept, Revision(30)), Some(vec![]), "one that is ahead waits");
    assert_eq!(gets(&kept, Revision(9)), None);
}

#[test]
fn a_large_batch_is_cut_into_chunks_without_gaps() {
    let chunks = Chunk::cut(Revision(0), batch(1..=40, 10 * 1024, 44));
    assert!(chunks.len() > 4);
    let mut at = Revision(0);
    for chunk in &chunks {
        assert_eq!(chunk.from(), at);
        assert!(chunk.bytes <= CHUNK_BYTES + 10 * 1024);
        at = chunk.through();
    }
    assert_eq!(at, Revision(44));
}

#[test]
fn what_is_kept_is_bounded_and_the_slow_are_left_behind() {
    let mut kept = Kept::new(Revision(0));
    for revision in 1..=200 {
        let from = Revision(revision - 1);
        for chunk in Chunk::cut(from, batch(revision..=revision, 128 * 1024, revision)) {
            kept.push(chunk);
        }
        assert!(kept.bytes <= KEPT_BYTES_MAX);
    }
    assert_eq!(gets(&kept, Revision(0)), None);
    assert_eq!(gets(&kept, Revision(190)), Some((191..=200).collect()));
    for revision in 201..=2000 {
        let from = Revision(revision - 1);
        for chunk in Chunk::cut(from, batch(revision..=revision, 1, revision)) {
            kept.push(chunk);
        }
        assert!(kept.chunks.len() <= KEPT_CHUNKS_MAX);
    }
    assert_eq!(gets(&kept, Revision(1400)), None);
}

#[test]
fn the_end_comes_after_the_last_change() {
    let mut kept = Kept::new(Revision(0));
    for chunk in Chunk::cut(Revision(0), batch(1..=2, 1, 2)) {
        kept.push(chunk);
    }
    kept.end = Some(End::Closed);
    assert!(matches!(kept.after(Revision(0)), Reach::Chunks(chunks) if chunks.len() == 1));
    assert!(matches!(kept.after(Revision(2)), Reach::Closed(End::Closed)));
}

#[test]
fn what_is_shown_otherwise_is_not_read_in_the_old_form() {
    let mut kept = Kept::new(Revision(10));
    assert!(matches!(kept.after(Revision(9)), Reach::Behind));
    for end in [End::Changed, End::Gone] {
        kept.end = Some(end);
        assert!(matches!(kept.after(Revision(9)), Reach::Closed(of) if of == end));
        assert!(matches!(kept.after(Revision(10)), Reach::Closed(of) if of == end));
    }
    kept.end = Some(End::Closed);
    assert!(matches!(kept.after(Revision(9)), Reach::Behind), "the store says so itself");
}

#[test]
fn few_watches_wait_for_nothing_and_many_never_long() {
    assert_eq!(pace(1), Duration::ZERO);
    assert_eq!(pace(19), Duration::ZERO);
    assert_eq!(pace(100), Duration::from_millis(5));
    assert_eq!(pace(1000), PACE_MAX);
    assert_eq!(pace(usize::MAX), PACE_MAX);
}
