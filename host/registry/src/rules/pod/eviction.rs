//! `eviction`: a Pod is deleted unless a disruption budget forbids it.

use std::sync::Arc;

use quadrille_object::{GroupResource, LabelSelector};
use quadrille_store::{Expect, Object as Stored, Query, Range};
use serde_json::{Value, json};

use super::binding::set_condition;
use crate::field::{self, Object};
use crate::metadata;
use crate::registry::Prepared;
use crate::request::{Body, DeleteOptions, Preconditions, Propagation};
use crate::rules::pod_template::meta_of;
use crate::status::{Reason, Status, StatusCause};
use crate::write::{Attempt, Before, bad_request, parse};

/// The most Pods that a budget waits for at a time.
const DISRUPTED_MAX: usize = 2_000;
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// Evicts the Pod of the path.
pub(super) fn evict(attempt: &mut Attempt<'_>, body: &Body) -> Result<Prepared, Status> {
    let body = Value::Object(attempt.admitted(body)?);
    let given = body.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    if given != attempt.name() {
        return Err(bad_request("name in URL does not match name in Eviction object"));
    }
    let options = options(&body)?;
    let before = Before::of(attempt.find()?)?;
    charge(attempt, &before)?;
    let mut object = before.object.clone();
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastProbeTime": null,
        "lastTransitionTime": attempt.now.to_rfc3339(),
    });
    set_condition(&mut object, condition);
    let mut prepared = attempt.delete_changed(before, object, &options)?;
    if body.pointer("/deleteOptions/dryRun/0").is_some() {
        prepared.writes.clear();
    }
    prepared.answer = Some(crate::registry::done(201));
    Ok(prepared)
}

fn options(body: &Value) -> Result<DeleteOptions, Status> {
    let Some(options) = body.get("deleteOptions").filter(|o| !o.is_null()) else {
        return Ok(DeleteOptions::default());
    };
    let bad = || bad_request("deleteOptions of the Eviction cannot be read");
    let text = |value: Option<&Value>| match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(bad()),
    };
    let propagation = match text(options.get("propagationPolicy"))?.as_deref() {
        None | Some("") => None,
        Some("Background") => Some(Propagation::Background),
        Some("Foreground") => Some(Propagation::Foreground),
        Some("Orphan") => Some(Propagation::Orphan),
        Some(_) => return Err(bad()),
    };
    let grace = options.get("gracePeriodSeconds").filter(|g| !g.is_null());
    if grace.is_some_and(|grace| !grace.is_i64()) {
        return Err(bad());
    }
    Ok(DeleteOptions {
        preconditions: Preconditions {
            uid: text(options.pointer("/preconditions/uid"))?,
            resource_version: text(options.pointer("/preconditions/resourceVersion"))?,
        },
        propagation,
        grace_period_seconds: grace.and_then(Value::as_i64),
    })
}

/// Takes the eviction out of the budget that covers the Pod, if one does.
fn charge(attempt: &mut Attempt<'_>, before: &Before) -> Result<(), Status> {
    let phase = field::text(&before.object, &["status", "phase"]).unwrap_or_default();
    let is_over = matches!(phase, "Pending" | "Succeeded" | "Failed");
    if is_over || before.stored.meta.deleted_at.is_some() {
        return Ok(());
    }
    let mut budgets = budgets_of(attempt, &before.object)?;
    let Some((stored, mut budget)) = budgets.pop() else { return Ok(()) };
    if !budgets.is_empty() {
        let text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does \
                    not support.";
        return Err(Status::new(Reason::InternalError, text));
    }
    if spares_budget(&before.object, &budget) {
        return Ok(());
    }
    check(&budget)?;
    let now = attempt.now.to_rfc3339();
    let name = metadata::text(&before.object, "name").to_owned();
    let status = field::map_mut(&mut budget, &["status"]);
    let allowed = field::integer(status, &["disruptionsAllowed"]).unwrap_or(0);
    status.insert("disruptionsAllowed".to_owned(), (allowed - 1).into());
    field::map_mut(status, &["disruptedPods"]).insert(name, now.into());
    let write = attempt.put(&stored.key, Expect::Revision(stored.revision), &budget)?;
    attempt.also(write);
    Ok(())
}

fn budgets_of(attempt: &Attempt<'_>, pod: &Object) -> Result<Vec<(Arc<Stored>, Object)>, Status> {
    let labels = field::get(pod, &["metadata", "labels"]);
    if labels.and_then(Value::as_object).is_none_or(serde_json::Map::is_empty) {
        return Ok(Vec::new());
    }
    let meta = meta_of(labels);
    let budgets = GroupResource::new("policy", "poddisruptionbudgets");
    let namespace = Some(Arc::clone(attempt.namespace()));
    let query = Query::whole(Range { namespace, ..Range::all(budgets) });
    let mut found = Vec::new();
    for stored in attempt.view.list(&query) {
        let budget = parse(&stored)?;
        let selector = field::get(&budget, &["spec", "selector"]);
        let selector = selector.and_then(|s| LabelSelector::from_value(s).ok());
        if selector.is_some_and(|selector| selector.matches(&meta)) {
            found.push((stored, budget));
        }
    }
    Ok(found)
}

/// Whether a Pod that is not ready may go without being counted.
fn spares_budget(pod: &Object, budget: &Object) -> bool {
    let conditions = field::list(pod, &["status", "conditions"]);
    let is_ready = conditions.iter().any(|condition| {
        condition.get("type") == Some(&"Ready".into())
            && condition.get("status") == Some(&"True".into())
    });
    if is_ready {
        return false;
    }
    let policy = field::text(budget, &["spec", "unhealthyPodEvictionPolicy"]);
    let number = |key| field::integer(budget, &["status", key]).unwrap_or(0);
    let (healthy, wanted) = (number("currentHealthy"), number("desiredHealthy"));
    policy == Some("AlwaysAllow") || (wanted > 0 && healthy >= wanted)
}

fn check(budget: &Object) -> Result<(), Status> {
    let name = metadata::text(budget, "name");
    let number = |key| field::integer(budget, &["status", key]).unwrap_or(0);
    let resource = GroupResource::new("policy", "poddisruptionbudgets");
    let generation = field::integer(budget, &["metadata", "generation"]).unwrap_or(0);
    if number("observedGeneration") < generation {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(&why, Some(10)));
    }
    let allowed = number("disruptionsAllowed");
    if allowed < 0 {
        return Err(Status::forbidden(&resource, name, "pdb disruptions allowed is negative"));
    }
    let disrupted = field::get(budget, &["status", "disruptedPods"]).and_then(Value::as_object);
    if disrupted.map_or(0, serde_json::Map::len) > DISRUPTED_MAX {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Status::forbidden(&resource, name, why));
    }
    if allowed > 0 {
        return Ok(());
    }
    let (wanted, healthy) = (number("desiredHealthy"), number("currentHealthy"));
    let why = format!(
        "The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently"
    );
    Err(refused(&why, None))
}

fn refused(why: &str, retry_after_seconds: Option<u32>) -> Status {
    let mut status = Status::new(Reason::TooManyRequests, REFUSED).with_empty_details();
    if let Some(details) = &mut status.details {
        details.retry_after_seconds = retry_after_seconds;
        details.causes.push(StatusCause {
            reason: "DisruptionBudget".to_owned(),
            message: why.to_owned(),
            field: String::new(),
        });
    }
    status
}
