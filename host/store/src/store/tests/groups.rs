//! How transactions join a group, and how large they may be.

use super::*;
use crate::group::TXN_BYTES_MAX;

#[tokio::test]
async fn later_transactions_of_a_group_see_the_earlier_ones() {
    on_both(async |dir| {
        let store = open_at(dir, |_| {}).await;
        let at = key("a", "ns", "counter");
        let commits = (0..64).map(|_| store.commit(txn(vec![put(&at, "1", Expect::Absent)])));
        let outcomes = futures_util::future::join_all(commits).await;
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        assert_eq!(store.revision(), Revision(1));
    })
    .await;
}

/// An object of about so many bytes, to be stored anywhere.
fn padded(bytes: usize) -> (Meta, Template) {
    let value = json!({"metadata": {}, "pad": "x".repeat(bytes)});
    let map = value.as_object().expect("a map");
    (Meta::from_object(map), Template::encode(map))
}

#[tokio::test]
async fn a_transaction_is_bounded_also_in_what_it_deletes() {
    let store = open_at(None, |_| {}).await;
    let stored = |key: &Key, (meta, object): &(Meta, Template)| {
        let (meta, object) = (meta.clone(), object.clone());
        txn(vec![Write::Put { key: key.clone(), meta, object, expect: Expect::Any }])
    };
    let gone = |key: &Key| Write::Delete { key: key.clone(), expect: Expect::Present };
    let keys: Vec<Key> = (0..9).map(|n| key("a", "ns", &format!("large-{n}"))).collect();
    let large = padded(TXN_BYTES_MAX / 8);
    for key in &keys {
        store.commit(stored(key, &large)).await.expect("commits");
    }
    let all = store.commit(txn(keys.iter().map(gone).collect())).await;
    assert!(matches!(all, Err(CommitError::Invalid(_))), "{all:?}");
    let most = store.commit(txn(keys.iter().skip(2).map(gone).collect())).await;
    assert_eq!(most.expect("commits").objects.len(), 7);
    // The most that can be stored; its last state has more: its revision.
    let largest = key("a", "ns", "largest");
    let one = txn(vec![gone(&largest)]);
    let cause = serde_json::to_vec(&one.cause).expect("JSON").len();
    let most = padded(TXN_BYTES_MAX - cause - padded(0).1.unrevised().len());
    store.commit(stored(&largest, &most)).await.expect("commits");
    store.commit(one).await.expect("whatever is stored can be deleted");
}
