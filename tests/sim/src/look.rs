//! Looking closely: whether a snapshot holds together, and whether what the store tells of the past is so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quadrille_kit::{Clock, Random, SeededRandom};
use quadrille_object::Meta;
use quadrille_registry::Registry;
use quadrille_store::{
    ChangesError, Object, Query, Range, Revision, Selection, Snapshot, Store, View,
};
use serde_json::Value;

use crate::law::Rule;
use crate::witness::{Told, Witness, sum_of};

/// What indexes say is what a look at every object says; answers how many comparisons that took.
///
/// # Errors
/// What differs.
pub fn indexes(snapshot: &Snapshot) -> Result<usize, String> {
    let mut compared = 0;
    for resource in snapshot.resources() {
        let range = |namespace: Option<&Arc<str>>, selection| Range {
            resource: resource.clone(),
            namespace: namespace.cloned(),
            selection,
        };
        let list = |range: Range| snapshot.list(&Query::whole(range));
        let all = list(range(None, Selection::All));
        let mut same = |what: &str, found: &[Arc<Object>], wanted: &[Arc<Object>]| {
            compared += 1;
            if found == wanted {
                return Ok(());
            }
            Err(format!("{resource}: {what} has {} instead of {}", found.len(), wanted.len()))
        };
        let mut sorted = all.clone();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        same("the order", &all, &sorted)?;
        let (mut namespaces, mut uids): (BTreeMap<Arc<str>, Vec<_>>, BTreeSet<Arc<str>>) =
            Default::default();
        for object in &all {
            envelope(object)?;
            namespaces
                .entry(Arc::clone(&object.key.namespace))
                .or_default()
                .push(Arc::clone(object));
            uids.extend(object.meta.owners.iter().map(|owner| Arc::clone(&owner.uid)));
        }
        let known: Vec<&Arc<str>> = snapshot.namespaces(resource).collect();
        if known != namespaces.keys().collect::<Vec<_>>() {
            return Err(format!("{resource}: its namespaces are {known:?}"));
        }
        for (namespace, wanted) in &namespaces {
            same("a namespace", &list(range(Some(namespace), Selection::All)), wanted)?;
            if snapshot.count(resource, Some(namespace)) != wanted.len() {
                return Err(format!("{resource}: {namespace} is counted wrongly"));
            }
        }
        for uid in uids.iter().chain([&Arc::from("nobody")]) {
            for namespace in namespaces.keys().map(Some).chain([None]) {
                let of_it = range(namespace, Selection::Owner(Arc::clone(uid)));
                let wanted: Vec<_> =
                    all.iter().filter(|object| of_it.contains(object)).cloned().collect();
                same("an owner", &list(of_it), &wanted)?;
            }
        }
        if snapshot.count(resource, None) != all.len() {
            return Err(format!("{resource} is counted wrongly"));
        }
    }
    Ok(compared)
}

/// The envelope that was parsed is that of the bytes.
fn envelope(object: &Object) -> Result<(), String> {
    let value: Value = serde_json::from_slice(&object.bytes)
        .map_err(|error| format!("{}: {error}", object.key))?;
    let map = value.as_object().ok_or_else(|| format!("{} is no object", object.key))?;
    let version = value.pointer("/metadata/resourceVersion").and_then(Value::as_str);
    let holds = Meta::from_object(map) == object.meta
        && version == Some(object.revision.to_string().as_str());
    if holds { Ok(()) } else { Err(format!("{} is not as its bytes say", object.key)) }
}

/// What a registry serves is what `base` serves when it begins on the same store.
///
/// # Errors
/// What differs.
pub fn served(registry: &Registry, base: &Registry) -> Result<(), String> {
    let (clock, random) = (Arc::clone(registry.clock()), Arc::clone(registry.random()));
    let anew = base.fork(registry.store().clone(), clock, random);
    let of = |registry: &Registry| -> Vec<String> {
        let catalog = registry.catalog();
        let all = catalog.resources.iter().map(|(gvr, resource)| {
            let facts = resource.definition.as_deref();
            let facts = facts.map(|facts| (&facts.incarnation, facts.terminating, facts.mixed));
            format!("{gvr:?} {facts:?}")
        });
        all.collect()
    };
    let (is, should) = (of(registry), of(&anew));
    let differs = is.iter().zip(&should).find(|(is, should)| is != should);
    let catalog = registry.catalog();
    let snapshot = registry.store().snapshot();
    for resource in snapshot.resources() {
        let count = snapshot.count(resource, None);
        if count > 0 && catalog.by_group_resource(resource).is_none() {
            return Err(format!("{count} {resource} are of a kind that nobody serves"));
        }
    }
    if is == should {
        return Ok(());
    }
    Err(format!("{} kinds are served instead of {}: {differs:?}", is.len(), should.len()))
}

/// What somebody saw, to be compared when all is over.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    revision: u64,
    sum: u64,
    whole: bool,
}

impl Seen {
    /// The sum of what somebody had at a revision, between two transactions.
    pub fn whole(revision: u64, sum: u64) -> Self {
        Self { revision, sum, whole: true }
    }
}

/// Looks until it is dropped, and leaves what it saw in `seen`.
pub async fn keep_looking(
    store: Store,
    witness: Witness,
    (clock, seed): (Arc<dyn Clock>, u64),
    rule: Option<Rule>,
    seen: Arc<std::sync::Mutex<Vec<Seen>>>,
) {
    let random = SeededRandom::new(seed);
    loop {
        clock.sleep(Duration::from_micros(1 + random.below(1_500))).await;
        let snapshot = store.snapshot();
        if let Some(Err(what)) = rule.map(|rule| rule(&snapshot)) {
            witness.claim(false, || format!("a snapshot at {}: {what}", snapshot.revision()));
        }
        let saw = look(&store, &witness, &random).await;
        seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(saw);
    }
}

async fn look(store: &Store, witness: &Witness, random: &SeededRandom) -> Option<Seen> {
    let snapshot = store.snapshot();
    let revision = snapshot.revision();
    match random.below(4) {
        0 => {
            let found = indexes(&snapshot);
            witness.claim(found.is_ok(), || format!("at {revision}: {found:?}"));
            None
        }
        1 => back(store, witness.start(), random).await,
        2 => {
            one(store, witness, random).await;
            None
        }
        _ => {
            // Whoever reads slowly still reads one state.
            tokio::task::yield_now().await;
            Some(Seen { revision: revision.0, sum: sum_of(&snapshot), whole: true })
        }
    }
}

/// What the store says it held some changes ago.
async fn back(store: &Store, start: u64, random: &SeededRandom) -> Option<Seen> {
    let newest = store.revision().0;
    let at = newest.saturating_sub(random.below(30)).max(store.oldest().0).max(start);
    let snapshot = store.snapshot_at(Revision(at)).await.ok()?;
    Some(Seen { revision: snapshot.revision().0, sum: sum_of(&snapshot), whole: false })
}

/// One change by its revision, and the last one of its key up to there.
async fn one(store: &Store, witness: &Witness, random: &SeededRandom) {
    let position = witness.position();
    let at = Revision(position.saturating_sub(random.below(30)));
    let oldest = store.oldest();
    match (store.change(at).await, witness.find(at.0)) {
        (Ok(Some(change)), Some(told)) => {
            let is = Told::of(&change);
            witness.claim(is == told, || format!("{told:?} is now told as {is:?}"));
            let last = store.last_change(change.key(), at).await;
            let same = match &last {
                Ok(found) => found.as_ref().is_some_and(|last| last.revision == at),
                Err(ChangesError::Expired { .. }) => at <= store.oldest(),
                // The disk may fail, and the power be gone.
                Err(ChangesError::Unavailable(_) | ChangesError::Closed) => true,
            };
            witness.claim(same, || format!("the last change of {} at {at} is {last:?}", told.key));
        }
        (Ok(None), Some(told)) => {
            witness.claim(false, || format!("{told:?} is not known any more"));
        }
        (Err(ChangesError::Expired { oldest }), _) => {
            witness.claim(at <= oldest, || format!("{at} is said to be before {oldest}"));
        }
        (Err(ChangesError::Unavailable(_) | ChangesError::Closed), _) | (Ok(_), None) => {}
    }
    witness.claim(store.oldest() >= oldest, || "the oldest revision goes back".to_owned());
}

/// Compares what was seen with what the witness knows; answers how much that is.
pub fn judge(witness: &Witness, seen: &[Seen]) -> usize {
    for Seen { revision, sum, whole } in seen {
        let who = if *whole { "a snapshot" } else { "who looked back" };
        witness.check_sum(who, *revision, *sum, *whole);
    }
    seen.len()
}
