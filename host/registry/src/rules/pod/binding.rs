//! `binding`: a scheduler ties a Pod to a node.

use std::sync::Arc;

use quadrille_object::GroupResource;
use quadrille_store::{Expect, Key};
use serde_json::{Value, json};

use crate::field::{self, Object};
use crate::metadata;
use crate::registry::{Prepared, done};
use crate::request::Body;
use crate::rules::Rules;
use crate::status::{Reason, Status};
use crate::write::{Attempt, Before, bad_request};

/// The rules of `bindings`, where a Binding names its Pod itself.
#[derive(Debug)]
pub(crate) struct Bindings;

impl Rules for Bindings {
    fn create_instead(
        &self,
        attempt: &mut Attempt<'_>,
        body: &Body,
    ) -> Option<Result<Prepared, Status>> {
        Some(attempt.admitted(body).and_then(|binding| {
            let name = metadata::text(&binding, "name").to_owned();
            assign(attempt, &name, &binding)
        }))
    }
}

/// Binds the Pod of the path.
pub(super) fn bind(attempt: &mut Attempt<'_>, body: &Body) -> Result<Prepared, Status> {
    let name = attempt.name().to_owned();
    let binding = attempt.admitted(body)?;
    if metadata::text(&binding, "name") != name {
        return Err(bad_request("name in URL does not match name in Binding object"));
    }
    assign(attempt, &name, &binding)
}

fn assign(attempt: &mut Attempt<'_>, name: &str, binding: &Object) -> Result<Prepared, Status> {
    let text = |path: &[&str]| field::text(binding, path).unwrap_or_default();
    let (kind, node) = (text(&["target", "kind"]), text(&["target", "name"]));
    if !matches!(kind, "" | "Node") {
        let shown = Value::from(kind);
        return Err(Status::new(
            Reason::Unknown,
            format!(
                "target.kind: Unsupported value: {shown}: supported values: \"Node\", \"<empty>\""
            ),
        ));
    }
    if node.is_empty() {
        return Err(Status::new(Reason::Unknown, "target.name: Required value"));
    }
    let pods = GroupResource::new("", "pods");
    let key = Key::new(pods.clone(), Arc::clone(attempt.namespace()), name);
    let found = attempt.view.get(&key).ok_or_else(|| Status::not_found(&pods, name))?;
    let before = Before::of(found)?;
    check(name, binding, &before)?;
    let mut object = before.object.clone();
    field::map_mut(&mut object, &["spec"]).insert("nodeName".to_owned(), node.into());
    for key in ["labels", "annotations"] {
        let given = field::get(binding, &["metadata", key]).and_then(Value::as_object);
        for (name, value) in given.into_iter().flatten() {
            field::map_mut(&mut object, &["metadata", key]).insert(name.clone(), value.clone());
        }
    }
    let condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": attempt.now.to_rfc3339(),
    });
    set_condition(&mut object, condition);
    let expect = Expect::Revision(before.stored.revision);
    Ok(Prepared {
        writes: vec![attempt.put(&key, expect, &object)?],
        key,
        requires: std::mem::take(&mut attempt.requires),
        object,
        before: Some(before.stored),
        removed: false,
        answer: Some(done(201)),
        warnings: std::mem::take(&mut attempt.warnings),
        audit: std::mem::take(&mut attempt.audit),
    })
}

fn check(name: &str, binding: &Object, before: &Before) -> Result<(), Status> {
    let conflict = |why: &str| {
        let resource = GroupResource::new("", "pods/binding");
        Err(Status::conflict(&resource, name, why))
    };
    let uid = metadata::text(binding, "uid");
    if !uid.is_empty() && uid != &*before.stored.meta.uid {
        return conflict(&format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            before.stored.meta.uid
        ));
    }
    if before.stored.meta.deleted_at.is_some() {
        return conflict(&format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let node = field::text(&before.object, &["spec", "nodeName"]).unwrap_or_default();
    if !node.is_empty() {
        return conflict(&format!("pod {name} is already assigned to node \"{node}\""));
    }
    if super::gates(&before.object).next().is_some() {
        return conflict(&format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    Ok(())
}

/// Puts a condition in the place of the one of its type; its time stays where its status does.
pub(super) fn set_condition(object: &mut Object, mut condition: Value) {
    let status = field::map_mut(object, &["status"]);
    let mut conditions = field::list(status, &["conditions"]).to_vec();
    match conditions.iter_mut().find(|c| c.get("type") == condition.get("type")) {
        Some(old) => {
            if old.get("status") == condition.get("status")
                && let Some(time) = old.get("lastTransitionTime")
            {
                condition["lastTransitionTime"] = time.clone();
            }
            *old = condition;
        }
        None => conditions.push(condition),
    }
    status.insert("conditions".to_owned(), conditions.into());
}
