//! Snapshots of the past against those that were kept.

use std::time::Duration;

use quadrille_kit::{ManualClock, Random, SeededRandom, Supervisor};
use quadrille_object::{GroupResource, Meta, Template};
use serde_json::json;

use super::*;
use crate::cause::{Cause, SystemCause};
use crate::key::Key;
use crate::query::{Query, Range, Selection};
use crate::store::Config;
use crate::txn::{Expect, Txn, Write};

fn write(random: &SeededRandom, snapshot: &Snapshot) -> Write {
    let resource = GroupResource::new("", if random.below(2) == 0 { "as" } else { "bs" });
    let (namespace, name) = (format!("ns-{}", random.below(2)), format!("o-{}", random.below(6)));
    let key = Key::new(resource, namespace, name);
    if snapshot.find(&key).is_some() && random.below(3) == 0 {
        return Write::Delete { key, expect: Expect::Any };
    }
    let owner = json!([{"uid": format!("u-{}", random.below(2)), "name": "o", "kind": "K", "apiVersion": "v1"}]);
    let value =
        json!({"n": random.next_u64(), "metadata": {"name": &*key.name, "ownerReferences": owner}});
    let map = value.as_object().expect("a map");
    let (meta, object) = (Meta::from_object(map), Template::encode(map));
    Write::Put { key, meta, object, expect: Expect::Any }
}

async fn commit(store: &Store, writes: Vec<Write>) {
    let cause = Cause::System(SystemCause::default());
    let txn = Txn { writes, requires: Vec::new(), reads: None, fence: None, cause };
    store.commit(txn).await.expect("commits");
}

/// Everything that a snapshot answers, as text.
fn all(snapshot: &Snapshot) -> String {
    let mut parts = vec![snapshot.revision().to_string()];
    for resource in snapshot.resources() {
        let whole = Query::whole(Range::all(resource.clone()));
        parts.push(format!("{:?}", snapshot.list(&whole)));
        for owner in ["u-0", "u-1"] {
            let selection = Selection::Owner(owner.into());
            let range = Range { selection, ..Range::all(resource.clone()) };
            parts.push(snapshot.list(&Query::whole(range)).len().to_string());
        }
        for namespace in ["ns-0", "ns-1"] {
            parts.push(snapshot.count(resource, Some(namespace)).to_string());
        }
    }
    parts.join("\n")
}

async fn random_history(config: Config, seed: u64) -> (Store, Vec<Snapshot>) {
    let clock = Arc::new(ManualClock::default());
    let store = Store::open(config, clock, &Supervisor::default()).await.expect("opens");
    let random = SeededRandom::new(seed);
    let mut past = vec![store.snapshot()];
    for _ in 0..120 {
        let mut writes: Vec<Write> = Vec::new();
        for _ in 0..=random.below(3) {
            let write = write(&random, &store.snapshot());
            if writes.iter().all(|other| other.key() != write.key()) {
                writes.push(write);
            }
        }
        commit(&store, writes).await;
        past.push(store.snapshot());
    }
    (store, past)
}

#[tokio::test]
async fn every_earlier_state_comes_back_exactly() {
    for (seed, recent_changes_max) in [(1, 32_768), (2, 7), (3, 60)] {
        for dir in [None, Some(tempfile::tempdir().expect("a directory"))] {
            let dir = dir.as_ref().map(|dir| dir.path().to_owned());
            let config = Config { dir, recent_changes_max, ..Config::default() };
            let (store, past) = random_history(config, seed).await;
            let mut rewind = store.rewind();
            for was in past.iter().rev() {
                let found = rewind.to(was.revision()).await.expect("within the history");
                assert_eq!(all(&found), all(was));
            }
            for was in past.iter().step_by(17) {
                let found = store.snapshot_at(was.revision()).await.expect("within the history");
                assert_eq!(all(&found), all(was));
            }
        }
    }
}

#[tokio::test]
async fn it_reaches_back_to_the_oldest_revision_and_not_beyond() {
    for dir in [None, Some(tempfile::tempdir().expect("a directory"))] {
        let dir = dir.as_ref().map(|dir| dir.path().to_owned());
        let config = Config {
            dir,
            recent_changes_max: 5,
            history_bytes_max: 20_000,
            history_age_max: Duration::from_hours(1),
            ..Config::default()
        };
        let (store, past) = random_history(config, 4).await;
        store.shrink().await.expect("compacts");
        let oldest = store.oldest();
        assert!(oldest > Revision(10) && oldest < store.revision(), "{oldest}");
        for was in past.iter().rev() {
            let found = store.snapshot_at(was.revision()).await;
            if was.revision() >= oldest {
                assert_eq!(all(&found.expect("within the history")), all(was));
            } else {
                assert!(matches!(found, Err(ChangesError::Expired { .. })));
            }
        }
    }
}
