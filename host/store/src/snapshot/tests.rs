//! Lists against a plain filter over all objects, and what the indexes leave behind.

use quadrille_object::OwnerReference;

use super::*;
use crate::query::Range;

fn owner(uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: "v1".into(),
        kind: "Owner".into(),
        name: "o".into(),
        uid: uid.into(),
        controller: true,
        block_owner_deletion: false,
    }
}

fn object(namespace: &str, name: &str, uid: &str) -> Arc<Object> {
    let key = Key::new(GroupResource::new("", "things"), namespace, name);
    let meta = Meta { owners: Box::new([owner(uid)]), ..Meta::default() };
    Arc::new(Object { key, revision: Revision(1), meta, bytes: Bytes::new() })
}

fn sample() -> (Snapshot, Vec<Arc<Object>>) {
    let mut all = Vec::new();
    for namespace in ["", "a", "a-b", "b"] {
        for name in ["x", "y", "z"] {
            all.push(object(namespace, name, if name == "y" { "u2" } else { "u1" }));
        }
    }
    let mut snapshot = Snapshot::default();
    all.iter().rev().for_each(|object| snapshot.insert(object));
    (snapshot, all)
}

#[test]
fn every_page_of_every_list_is_what_a_filter_gives() {
    let (snapshot, all) = sample();
    let names = || Selection::Names(vec!["z".into(), "x".into(), "no".into(), "x".into()]);
    for selection in [Selection::All, Selection::Owner("u2".into()), names()] {
        for namespace in [None, Some(""), Some("a"), Some("b"), Some("no")] {
            let namespace = namespace.map(Into::into);
            let resource = GroupResource::new("", "things");
            let range = Range { resource, namespace, selection: selection.clone() };
            let starts =
                all.iter().map(|o| (Arc::clone(&o.key.namespace), Arc::clone(&o.key.name)));
            for after in std::iter::once(None).chain(starts.map(Some)) {
                let behind = |o: &&Arc<Object>| {
                    let place = (Arc::clone(&o.key.namespace), Arc::clone(&o.key.name));
                    range.contains(o) && after.as_ref().is_none_or(|after| place > *after)
                };
                let wanted: Vec<_> = all.iter().filter(behind).take(2).cloned().collect();
                let query = Query { range: range.clone(), after: after.clone(), limit: Some(2) };
                assert_eq!(snapshot.list(&query), wanted, "{query:?}");
            }
        }
    }
}

#[test]
fn counts_follow_and_the_last_object_leaves_nothing() {
    let (mut snapshot, all) = sample();
    let things = GroupResource::new("", "things");
    assert_eq!((snapshot.count(&things, None), snapshot.count(&things, Some("a"))), (12, 3));
    let moved = object("a", "x", "u3");
    snapshot.insert(&moved);
    let owned = |uid: &str| {
        let selection = Selection::Owner(uid.into());
        Query::whole(Range { resource: things.clone(), namespace: None, selection })
    };
    assert_eq!((snapshot.list(&owned("u3")), snapshot.list(&owned("u1")).len()), (vec![moved], 7));
    for object in &all {
        snapshot.remove(&object.key);
    }
    assert_eq!((snapshot.resources().count(), snapshot.count(&things, Some("a"))), (0, 0));
}
