//! `RuntimeClass`: a Pod's runtime exists, and brings its overhead and the nodes that have it.

use std::collections::HashSet;

use quadrille_object::GroupResource;
use quadrille_store::Key;
use serde_json::Value;

use super::{Operation, Plugin, forbidden, is_new_pod};
use crate::field::{self, Object};
use crate::status::Status;
use crate::write::{Attempt, parse};

/// Completes Pods by their runtime class.
#[derive(Debug)]
pub(super) struct RuntimeClass;

impl Plugin for RuntimeClass {
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
        let Some(class) = find(attempt, object)? else { return Ok(()) };
        set_overhead(attempt, object, &class)?;
        set_scheduling(attempt, object, &class)
    }

    fn validate(
        &self,
        attempt: &mut Attempt<'_>,
        object: &Object,
        _before: Option<&Object>,
        operation: Operation,
    ) -> Result<(), Status> {
        if !is_new_pod(attempt, operation) {
            return Ok(());
        }
        let given = field::get(object, &["spec", "overhead"]);
        let class = find(attempt, object)?;
        let wanted = class.as_ref().and_then(|c| field::get(c, &["overhead", "podFixed"]));
        if given.is_some() && class.is_none() {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined \
                       Overhead";
            return Err(forbidden(attempt, object, why));
        }
        if class.is_some() && given.is_some() && given != wanted {
            let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
            return Err(forbidden(attempt, object, why));
        }
        Ok(())
    }
}

fn find(attempt: &Attempt<'_>, object: &Object) -> Result<Option<Object>, Status> {
    let name = field::text(object, &["spec", "runtimeClassName"]).unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let classes = GroupResource::new("node.k8s.io", "runtimeclasses");
    let Some(found) = attempt.view.get(&Key::new(classes, "", name)) else {
        let why = format!("pod rejected: RuntimeClass \"{name}\" not found");
        return Err(forbidden(attempt, object, &why));
    };
    parse(&found).map(Some)
}

fn set_overhead(attempt: &Attempt<'_>, object: &mut Object, class: &Object) -> Result<(), Status> {
    let Some(wanted) = field::get(class, &["overhead", "podFixed"]).cloned() else { return Ok(()) };
    let given = field::get(object, &["spec", "overhead"]);
    if given.is_some_and(|given| *given != wanted) {
        let why = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";
        return Err(forbidden(attempt, object, why));
    }
    field::map_mut(object, &["spec"]).insert("overhead".to_owned(), wanted);
    Ok(())
}

fn set_scheduling(
    attempt: &Attempt<'_>,
    object: &mut Object,
    class: &Object,
) -> Result<(), Status> {
    let selector = field::get(class, &["scheduling", "nodeSelector"]).and_then(Value::as_object);
    for (key, value) in selector.into_iter().flatten() {
        let own = field::get(object, &["spec", "nodeSelector", key.as_str()]);
        if own.is_some_and(|own| own != value) {
            let why = format!(
                "pod rejected: conflict: runtimeClass.scheduling.nodeSelector[{key}] = {}; \
                 pod.spec.nodeSelector[{key}] = {}",
                value.as_str().unwrap_or_default(),
                own.and_then(Value::as_str).unwrap_or_default()
            );
            return Err(forbidden(attempt, object, &why));
        }
        let selector = field::map_mut(object, &["spec", "nodeSelector"]);
        selector.insert(key.clone(), value.clone());
    }
    let added = field::list(class, &["scheduling", "tolerations"]);
    if added.is_empty() {
        return Ok(());
    }
    let tolerations = joined(field::list(object, &["spec", "tolerations"]), added);
    field::map_mut(object, &["spec"]).insert("tolerations".to_owned(), tolerations.into());
    Ok(())
}

/// A Pod's own tolerations, and those of its class that it does not have.
fn joined(own: &[Value], added: &[Value]) -> Vec<Value> {
    let known: HashSet<&Value> = own.iter().collect();
    let added = added.iter().filter(|added| !known.contains(added));
    own.iter().chain(added).cloned().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::promptly::promptly;

    #[test]
    fn a_class_adds_the_tolerations_that_a_pod_does_not_have_promptly() {
        let of = |names: std::ops::Range<usize>| -> Vec<Value> {
            names.map(|n| json!({"key": format!("k{n}"), "operator": "Exists"})).collect()
        };
        let all = promptly(|| joined(&of(0..30_000), &of(20_000..50_000)));
        assert_eq!(all, of(0..50_000));
    }
}
