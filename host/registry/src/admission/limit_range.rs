//! `LimitRanger`: what a namespace's `LimitRanges` say of containers, Pods and claims.

use std::sync::Arc;

use quadrille_object::GroupResource;
use quadrille_object::quantity::Quantity;
use quadrille_store::{Query, Range};

use super::{Operation, Plugin, forbidden, is_new_pod, is_of};
use crate::field::{self, Object};
use crate::rules::pod_template::{Amounts, At, amounts, maps_mut, of_pod};
use crate::status::Status;
use crate::write::{Attempt, parse};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Fills in what `LimitRanges` give and refuses what they forbid.
#[derive(Debug)]
pub(super) struct LimitRanges;

impl Plugin for LimitRanges {
    fn mutate(
        &self,
        attempt: &mut Attempt<'_>,
        object: &mut Object,
        _before: Option<&Object>,
        operation: Operation,
    ) -> Result<(), Status> {
        if !is_new_pod(attempt, operation) {
            return Ok(());
        }
        for range in ranges_of(attempt)? {
            fill(object, &range);
        }
        Ok(())
    }

    fn validate(
        &self,
        attempt: &mut Attempt<'_>,
        object: &Object,
        before: Option<&Object>,
        operation: Operation,
    ) -> Result<(), Status> {
        let is_pod = is_new_pod(attempt, operation)
            || (is_of(attempt, "", "pods") && attempt.subresource() == Some("resize"));
        let is_claim = is_of(attempt, "", "persistentvolumeclaims")
            && attempt.subresource().is_none()
            && operation != Operation::Delete
            && before.is_none_or(|b| field::get(b, &["metadata", "deletionTimestamp"]).is_none());
        if !is_pod && !is_claim {
            return Ok(());
        }
        for range in ranges_of(attempt)? {
            let mut problems =
                if is_pod { check_pod(object, &range) } else { check_claim(object, &range) };
            problems.dedup();
            let why = match problems.as_slice() {
                [] => continue,
                [one] => one.clone(),
                many => format!("[{}]", many.join(", ")),
            };
            return Err(forbidden(attempt, object, &why));
        }
        Ok(())
    }
}

fn ranges_of(attempt: &Attempt<'_>) -> Result<Vec<Object>, Status> {
    let namespace = Some(Arc::clone(attempt.namespace()));
    let range = Range { namespace, ..Range::all(GroupResource::new("", "limitranges")) };
    attempt.view.list(&Query::whole(range)).iter().map(|found| parse(found)).collect()
}

fn items<'a>(range: &'a Object, kind: &'a str) -> impl Iterator<Item = At<'a>> {
    let spec = At::new(range, "").child_or_empty("spec");
    let items: Vec<At<'a>> =
        spec.items("limits").filter(|item| item.text("type") == kind).collect();
    items.into_iter()
}

/// Gives containers the requests and limits that they do not name themselves.
fn fill(pod: &mut Object, range: &Object) {
    let (mut requests, mut limits) = (Object::new(), Object::new());
    for item in items(range, "Container") {
        requests.extend(item.entries("defaultRequest").map(|(k, v)| (k.to_owned(), v.clone())));
        limits.extend(item.entries("default").map(|(k, v)| (k.to_owned(), v.clone())));
    }
    if requests.is_empty() && limits.is_empty() {
        return;
    }
    let mut notes = Vec::new();
    let spec = field::map_mut(pod, &["spec"]);
    for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
        for container in maps_mut(spec, list) {
            let name = field::text(container, &["name"]).unwrap_or_default().to_owned();
            for (key, singular, defaults) in
                [("requests", "request", &requests), ("limits", "limit", &limits)]
            {
                let set = set_missing(container, key, defaults);
                if !set.is_empty() {
                    notes.push(format!("{} {singular} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if notes.is_empty() {
        return;
    }
    let note = format!("LimitRanger plugin set: {}", notes.join("; "));
    field::map_mut(pod, &["metadata", "annotations"]).insert(ANNOTATION.to_owned(), note.into());
}

fn set_missing(container: &mut Object, key: &str, defaults: &Object) -> Vec<String> {
    let mut set = Vec::new();
    let resources = field::map_mut(container, &["resources"]);
    for (name, value) in defaults {
        if field::get(resources, &[key, name.as_str()]).is_none() {
            field::map_mut(resources, &[key]).insert(name.clone(), value.clone());
            set.push(name.clone());
        }
    }
    set.sort();
    set
}

fn check_pod(pod: &Object, range: &Object) -> Vec<String> {
    let mut problems = Vec::new();
    let spec = At::new(pod, "").child_or_empty("spec");
    for item in items(range, "Container") {
        for list in ["containers", "initContainers"] {
            for container in spec.items(list) {
                let resources = container.child_or_empty("resources");
                let requests = amounts(resources.get("requests"));
                let limits = amounts(resources.get("limits"));
                check(&item, "Container", &requests, &limits, &mut problems);
            }
        }
    }
    for item in items(range, "Pod") {
        let (requests, limits) = (of_pod(spec.map, "requests"), of_pod(spec.map, "limits"));
        check(&item, "Pod", &requests, &limits, &mut problems);
    }
    problems
}

fn check(
    item: &At<'_>,
    kind: &str,
    requests: &Amounts,
    limits: &Amounts,
    problems: &mut Vec<String>,
) {
    for (name, least) in amounts(item.get("min")) {
        let least_of = format!("minimum {name} usage per {kind} is {least}");
        match requests.get(&name) {
            None => problems.push(format!("{least_of}.  No request is specified")),
            Some(request) if *request < least => {
                problems.push(format!("{least_of}, but request is {request}"));
            }
            Some(_) => {
                if let Some(limit) = limits.get(&name).filter(|limit| **limit < least) {
                    problems.push(format!("{least_of}, but limit is {limit}"));
                }
            }
        }
    }
    for (name, most) in amounts(item.get("max")) {
        let most_of = format!("maximum {name} usage per {kind} is {most}");
        match limits.get(&name) {
            None => problems.push(format!("{most_of}.  No limit is specified")),
            Some(limit) if *limit > most => {
                problems.push(format!("{most_of}, but limit is {limit}"));
            }
            Some(_) => {
                if let Some(request) = requests.get(&name).filter(|request| **request > most) {
                    problems.push(format!("{most_of}, but request is {request}"));
                }
            }
        }
    }
    for (name, most) in amounts(item.get("maxLimitRequestRatio")) {
        let problem = check_ratio(most, requests.get(&name), limits.get(&name));
        problems.extend(problem.map(|problem| {
            format!("{name} max limit to request ratio per {kind} is {most}, but {problem}")
        }));
    }
}

fn check_ratio(
    most: Quantity,
    request: Option<&Quantity>,
    limit: Option<&Quantity>,
) -> Option<String> {
    let is_zero = |quantity: &&Quantity| quantity.millis() == 0;
    let Some(request) = request.filter(|q| !is_zero(q)) else {
        return Some("no request is specified or request is 0".to_owned());
    };
    let Some(limit) = limit.filter(|q| !is_zero(q)) else {
        return Some("no limit is specified or limit is 0".to_owned());
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "a ratio of amounts, as kube-apiserver counts it"
    )]
    let (ratio, most) = {
        let ratio = limit.millis() as f64 / request.millis() as f64;
        (ratio, most.millis() as f64 / 1000.0)
    };
    (ratio > most).then(|| format!("provided ratio is {ratio:.6}"))
}

fn check_claim(claim: &Object, range: &Object) -> Vec<String> {
    const KIND: &str = "PersistentVolumeClaim";
    let mut problems = Vec::new();
    let requests = amounts(field::get(claim, &["spec", "resources", "requests"]));
    for item in items(range, KIND) {
        for (key, word) in [("min", "minimum"), ("max", "maximum")] {
            for (name, bound) in amounts(item.get(key)) {
                let bound_of = format!("{word} {name} usage per {KIND} is {bound}");
                match requests.get(&name) {
                    None => problems.push(format!("{bound_of}.  No request is specified")),
                    Some(request)
                        if (key == "min" && *request < bound)
                            || (key == "max" && *request > bound) =>
                    {
                        problems.push(format!("{bound_of}, but request is {request}"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
    problems
}
