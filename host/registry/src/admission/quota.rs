//! `ResourceQuota`: what a namespace may hold and ask for.
//!
//! A write that makes a namespace use more is refused, or committed together with the quota's new `status.used`: no
//! race lets two writers share what is left. What becomes free is given back by [`keep`], which counts anew; it also
//! counts a quota that is new or changed, and until then (no `status.hard`) the quota limits nothing.

mod keep;
mod usage;

use std::sync::Arc;

use quadrille_object::GroupResource;
use quadrille_object::quantity::Quantity;
use quadrille_store::{Expect, Object as Stored, Query, Range};
use serde_json::{Value, json};

use super::{Operation, Plugin, forbidden, is_of};
use crate::field::{self, Object};
use crate::rules::pod_template::{Amounts, amounts};
use crate::status::Status;
use crate::write::{Attempt, parse};

pub use keep::KeepQuotasError;

/// Charges what is created and what grows.
#[derive(Debug)]
pub(super) struct Quotas;

fn quotas() -> GroupResource {
    GroupResource::new("", "resourcequotas")
}

impl Plugin for Quotas {
    fn validate(
        &self,
        attempt: &mut Attempt<'_>,
        object: &Object,
        before: Option<&Object>,
        operation: Operation,
    ) -> Result<(), Status> {
        if !counts(attempt, operation) {
            return Ok(());
        }
        let namespace = Some(Arc::clone(attempt.namespace()));
        let query = Query::whole(Range { namespace, ..Range::all(quotas()) });
        for stored in attempt.view.list(&query) {
            let mut quota = parse(&stored)?;
            if charge(attempt, &mut quota, object, before)? {
                let expect = Expect::Revision(stored.revision);
                let write = attempt.put(&stored.key, expect, &quota)?;
                attempt.also(write);
            }
        }
        Ok(())
    }
}

/// Whether a write can make a namespace use more.
fn counts(attempt: &Attempt<'_>, operation: Operation) -> bool {
    let grows = is_of(attempt, "", "services") || is_of(attempt, "", "persistentvolumeclaims");
    attempt.resource.namespaced
        && match (operation, attempt.subresource()) {
            (Operation::Create, None) => true,
            (Operation::Update, None) => grows,
            (Operation::Update, Some("resize")) => is_of(attempt, "", "pods"),
            _ => false,
        }
}

/// Adds to a quota's `status.used` what the write adds; answers whether it adds anything.
fn charge(
    attempt: &Attempt<'_>,
    quota: &mut Object,
    object: &Object,
    before: Option<&Object>,
) -> Result<bool, Status> {
    let resource = attempt.resource.group_resource();
    let hard = amounts(field::get(quota, &["status", "hard"]));
    let mut concerned: Amounts = hard.clone();
    concerned.retain(|name, _| usage::source_of(name).is_some_and(|source| source == resource));
    if concerned.is_empty() || !usage::in_scope(quota, &resource, object) {
        return Ok(false);
    }
    let name = crate::metadata::text(quota, "name").to_owned();
    if let Some(missing) = usage::missing(&resource, object, &concerned) {
        let why = format!("failed quota: {name}: must specify {missing}");
        return Err(forbidden(attempt, object, &why));
    }
    let mut delta = usage::of(&resource, object);
    if let Some(before) = before.filter(|before| usage::in_scope(quota, &resource, before)) {
        for (name, amount) in usage::of(&resource, before) {
            let entry = delta.entry(name).or_insert_with(|| Quantity::from(0));
            *entry = entry.minus(amount);
        }
    }
    let zero = Quantity::from(0);
    delta.retain(|name, amount| *amount != zero && concerned.contains_key(name));
    if delta.is_empty() {
        return Ok(false);
    }
    let mut used = amounts(field::get(quota, &["status", "used"]));
    let unknown: Vec<&str> =
        delta.keys().filter(|name| !used.contains_key(*name)).map(String::as_str).collect();
    if !unknown.is_empty() {
        let why = format!("status unknown for quota: {name}, resources: {}", unknown.join(","));
        return Err(forbidden(attempt, object, &why));
    }
    refuse_excess(attempt, object, &name, &delta, &used, &hard)?;
    for (name, amount) in delta {
        let entry = used.entry(name).or_insert(zero);
        *entry = entry.plus(amount);
    }
    field::map_mut(quota, &["status"]).insert("used".to_owned(), shown(&used));
    Ok(true)
}

fn refuse_excess(
    attempt: &Attempt<'_>,
    object: &Object,
    name: &str,
    delta: &Amounts,
    used: &Amounts,
    hard: &Amounts,
) -> Result<(), Status> {
    let zero = Quantity::from(0);
    let of = |amounts: &Amounts, name: &str| amounts.get(name).copied().unwrap_or(zero);
    let exceeded: Vec<&str> = delta
        .iter()
        .filter(|(name, more)| **more > zero && of(used, name).plus(**more) > of(hard, name))
        .map(|(name, _)| name.as_str())
        .collect();
    if exceeded.is_empty() {
        return Ok(());
    }
    let list = |amounts: &Amounts| {
        let pairs = exceeded.iter().map(|name| format!("{name}={}", of(amounts, name)));
        pairs.collect::<Vec<_>>().join(",")
    };
    let why = format!(
        "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
        list(delta),
        list(used),
        list(hard)
    );
    Err(forbidden(attempt, object, &why))
}

/// Amounts as JSON has them.
fn shown(amounts: &Amounts) -> Value {
    amounts.iter().map(|(name, amount)| (name.clone(), json!(amount.to_string()))).collect()
}

/// The quotas of a namespace that say something else than a count, with what they should say.
fn recount(
    view: &dyn quadrille_store::View,
    namespace: &Arc<str>,
) -> Result<Vec<(Arc<Stored>, Object)>, Status> {
    let range = |resource| Range { namespace: Some(Arc::clone(namespace)), ..Range::all(resource) };
    let mut stale = Vec::new();
    for stored in view.list(&Query::whole(range(quotas()))) {
        let mut quota = parse(&stored)?;
        let hard = amounts(field::get(&quota, &["spec", "hard"]));
        let zero = Quantity::from(0);
        let mut used: Amounts = hard
            .keys()
            .filter(|name| usage::source_of(name).is_some())
            .map(|name| (name.clone(), zero))
            .collect();
        let sources: std::collections::BTreeSet<GroupResource> =
            used.keys().filter_map(|name| usage::source_of(name)).collect();
        for source in sources {
            for object in view.list(&Query::whole(range(source.clone()))) {
                let object = parse(&object)?;
                if !usage::in_scope(&quota, &source, &object) {
                    continue;
                }
                for (name, amount) in usage::of(&source, &object) {
                    if let Some(entry) = used.get_mut(&name) {
                        *entry = entry.plus(amount);
                    }
                }
            }
        }
        let status = field::map_mut(&mut quota, &["status"]);
        let same = amounts(status.get("hard")) == hard && amounts(status.get("used")) == used;
        if !same {
            status.insert("hard".to_owned(), shown(&hard));
            status.insert("used".to_owned(), shown(&used));
            stale.push((stored, quota));
        }
    }
    Ok(stale)
}
