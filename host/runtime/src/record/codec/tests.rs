//! Records go into bytes and come back as they were.

use quadrille_object::LabelSelector;
use quadrille_store::JournalEntry as _;

use super::super::RunCode;
use super::*;
use crate::testing::{map_key, spec};

fn sample() -> RunRecord {
    let code = RunCode::new(spec("demo").into(), 3, crate::OverlayLimits::default(), "{}".into());
    let labels = LabelSelector::parse("a in (x,y),!b").expect("a selector");
    let pods = GroupResource::new("", "pods");
    let range = |selection| Range { resource: pods.clone(), namespace: None, selection };
    let ranges = vec![
        Range { namespace: Some("default".into()), ..range(Selection::Labels(labels)) },
        range(Selection::All),
        range(Selection::Owner("uid-1".into())),
        range(Selection::Names(vec!["a".into(), "b".into()])),
    ];
    let empty = EmptyReads { keys: vec![map_key("b")], ranges: vec![ranges[2].clone()] };
    let weak = vec![Range { namespace: Some("other".into()), ..range(Selection::All) }];
    let write = |name, revision| RunWrite {
        key: map_key(name),
        kind: ChangeKind::Updated,
        hash: 7,
        revision,
    };
    RunRecord {
        run: 17,
        code: Arc::new(code),
        object: map_key("a"),
        snapshot: Revision(90),
        wakes: vec![RunWake {
            revision: Revision(88),
            kind: ChangeKind::Deleted,
            key: map_key("c"),
        }],
        woken_by: vec![Revision(3), Revision(88), Revision(95)],
        wakes_dropped: 4,
        occasion: Some("backoff"),
        attempt: 2,
        conflicts: 300,
        now: Timestamp(1_700_000_000_000_001),
        seed: u64::MAX,
        answers: vec![RecordedAnswer { question: u128::MAX, answer: "{}".into() }],
        reads: ReadSet { at: Revision(90), keys: vec![map_key("a"), map_key("b")], ranges, weak },
        empty,
        writes: vec![write("a", Some(Revision(91))), write("b", None)],
        end: RunEnd::Failed { kind: "limit", message: "too much".to_owned() },
        reconcile_time: Duration::from_micros(120),
        duration: Duration::from_millis(3),
    }
}

fn stored(record: &RunRecord) -> JournalRecord {
    let mut body = Vec::new();
    record.encode(&mut body);
    let shared = record.shared().iter().map(|piece| piece.bytes().clone()).collect();
    JournalRecord { number: record.run, at: record.now, shared, body: body.into() }
}

#[test]
fn a_record_is_read_back_as_it_was() {
    let ends = [
        RunEnd::Done { requeue: None },
        RunEnd::Done { requeue: Some(Duration::from_secs(5)) },
        RunEnd::Conflict { key: Some(map_key("z")) },
        RunEnd::Conflict { key: None },
        RunEnd::Fenced,
        sample().end,
    ];
    for end in ends {
        let record = RunRecord { end, ..sample() };
        let read = RunRecord::read(&stored(&record)).expect("its own form");
        let (mut read, mut record) = (read, record);
        assert_eq!(format!("{:?}", read.code.spec), format!("{:?}", record.code.spec));
        read.code = Arc::clone(&record.code);
        record.code = Arc::clone(&read.code);
        assert_eq!(format!("{read:?}"), format!("{record:?}"));
    }
}

#[test]
fn a_record_is_small() {
    let size = stored(&sample()).body.len();
    assert!(size < 320, "{size} bytes");
}

#[test]
fn no_bytes_make_reading_panic() {
    let whole = stored(&sample());
    for at in 0..whole.body.len() {
        let short = JournalRecord { body: whole.body.slice(..at), ..whole.clone() };
        assert!(RunRecord::read(&short).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut body = whole.body.to_vec();
            body[at] ^= 1 << bit;
            drop(RunRecord::read(&JournalRecord { body: body.into(), ..whole.clone() }));
        }
    }
}
