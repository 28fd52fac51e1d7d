//! What is read from the log while compaction is at work, and of a fork.

use std::sync::atomic::Ordering;

use quadrille_kit::{Clock, ManualClock, Supervisor};
use quadrille_object::Template;

use super::*;
use crate::cause::SystemCause;
use crate::change::ChangeFilter;
use crate::engine::failing::Failing;
use crate::store::{Config, Store};
use crate::txn::{Expect, Txn, Write};

fn things(name: &str) -> Key {
    Key::new(GroupResource::new("", "things"), "", name)
}

fn txn(write: Write) -> Txn {
    let cause = Cause::System(SystemCause::default());
    Txn { writes: vec![write], requires: Vec::new(), reads: None, fence: None, cause }
}

fn put(key: &Key) -> Txn {
    let value = serde_json::json!({"metadata": {"name": &*key.name}});
    let map = value.as_object().expect("a map");
    let (meta, object) = (Meta::from_object(map), Template::encode(map));
    txn(Write::Put { key: key.clone(), meta, object, expect: Expect::Any })
}

#[tokio::test]
async fn a_stream_gives_no_change_without_the_state_before_it() {
    let engine = Failing::default();
    let lost = Arc::clone(&engine.lost);
    let (clock, supervisor) = (Arc::new(ManualClock::default()), Supervisor::default());
    // Memory reaches back to the last change only.
    let config = Config { recent_changes_max: 1, ..Config::default() };
    let opened = Store::with_engine(config, Box::new(engine), clock, &supervisor).await;
    let store = opened.expect("opens");
    let gone = Write::Delete { key: things("a"), expect: Expect::Any };
    for txn in [put(&things("a")), put(&things("a")), txn(gone), put(&things("b"))] {
        store.commit(txn).await.expect("commits");
    }
    for gone in [1, 2] {
        // Compaction has removed it, and the store does not know yet.
        lost.store(gone, Ordering::SeqCst);
        let mut stream = store.changes(ChangeFilter::default(), Revision(gone));
        let batch = stream.try_next();
        assert!(matches!(batch, Err(ChangesError::Unavailable(_))), "{batch:?}");
    }
    lost.store(0, Ordering::SeqCst);
    let mut stream = store.changes(ChangeFilter::default(), Revision(0));
    let batch = stream.try_next().expect("whole").expect("changes");
    let before: Vec<_> =
        batch.changes.iter().map(|c| c.before.as_ref().map(|b| b.revision.0)).collect();
    assert_eq!(before, [None, Some(1), Some(2), None]);
    store.close().await;
}

#[tokio::test]
async fn a_fork_that_reads_its_log_finds_the_states_it_began_with() {
    let (clock, supervisor) = (Arc::new(ManualClock::default()), Supervisor::default());
    let opened = Store::open(Config::default(), Arc::clone(&clock) as Arc<dyn Clock>, &supervisor);
    let store = opened.await.expect("opens");
    store.commit(put(&things("a"))).await.expect("commits");
    let fork = Store::fork(&store.snapshot(), clock);
    fork.commit(put(&things("a"))).await.expect("commits");
    let (changes, through) =
        fork.reading(|shared| after(shared, None, Revision(1))).await.expect("reads");
    assert_eq!((changes.len(), through), (1, Revision(2)));
    let before = changes[0].before.as_ref().map(|object| object.revision);
    assert_eq!(before, Some(Revision(1)));
    assert_eq!(fork.oldest(), Revision(1));
}
