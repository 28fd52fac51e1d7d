//! `CustomResourceDefinitions`: what is wrong with one, which names it gets, and its end.
//!
//! A definition is served when its commit returns: the conditions that kube-apiserver's controllers set a moment
//! later are set by the same write here.

mod approval;
mod check;
mod conversion;
pub(crate) mod expressions;
pub(crate) mod follow;
mod names;
mod rank;
mod version;

use std::sync::Arc;

use quadrille_object::GroupResource;
use serde_json::{Value, json};

use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::rules::Rules;
use crate::status::Status;
use crate::write::Attempt;
pub(crate) use crate::write::body::is_terminating;

pub(crate) use self::rank::version_rank;

/// Holds a definition until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Where definitions are stored.
pub(crate) fn resource() -> GroupResource {
    GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions")
}

/// Whether a definition's names are accepted: only then it is served.
pub(crate) fn is_served(definition: &Object) -> bool {
    condition(definition, "Established").is_some_and(|c| c.get("status") == Some(&"True".into()))
}

/// Whether some of a definition's names belong to others.
pub(crate) fn lacks_names(definition: &Object) -> bool {
    condition(definition, "NamesAccepted").is_some_and(|c| c.get("status") == Some(&"False".into()))
}

fn condition<'a>(definition: &'a Object, kind: &str) -> Option<&'a Value> {
    let conditions = field::list(definition, &["status", "conditions"]);
    conditions.iter().find(|c| c.get("type").and_then(Value::as_str) == Some(kind))
}

/// The rules of definitions.
#[derive(Debug)]
pub(crate) struct DefinitionRules;

impl Rules for DefinitionRules {
    fn default(&self, object: &mut Object) {
        let spec = field::map_mut(object, &["spec"]);
        if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
            let kind = field::text(names, &["kind"]).unwrap_or_default().to_owned();
            if !kind.is_empty() {
                for (key, value) in
                    [("singular", kind.to_lowercase()), ("listKind", format!("{kind}List"))]
                {
                    if field::text(names, &[key]).is_none_or(str::is_empty) {
                        names.insert(key.to_owned(), value.into());
                    }
                }
            }
        }
        let conversion = field::map_mut(spec, &["conversion"]);
        field::default(conversion, "strategy", "None");
        let service =
            conversion.get_mut("webhook").and_then(|w| w.pointer_mut("/clientConfig/service"));
        if let Some(service) = service.and_then(Value::as_object_mut) {
            field::default(service, "port", 443);
        }
    }

    fn before_create(&self, attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
        object.insert("status".to_owned(), json!({"storedVersions": stored_version(object)}));
        if attempt.request.options.dry_run {
            // Names are accepted once the definition is there, which it will not be.
            let status = field::map_mut(object, &["status"]);
            status.insert("acceptedNames".to_owned(), json!({"kind": "", "plural": ""}));
            status.insert("conditions".to_owned(), Value::Null);
            return Ok(());
        }
        let now = attempt.now.to_rfc3339();
        names::accept(attempt.catalog, object, &now);
        approval::note(object, &now);
        Ok(())
    }

    fn before_update(
        &self,
        attempt: &Attempt<'_>,
        object: &mut Object,
        before: &Object,
    ) -> Result<(), Status> {
        if attempt.subresource() == Some("status") {
            field::copy(object, before, "spec");
            return Ok(());
        }
        for version in stored_version(object) {
            let mut all = field::list(object, &["status", "storedVersions"]).to_vec();
            if !all.contains(&version) {
                all.push(version);
                field::map_mut(object, &["status"]).insert("storedVersions".to_owned(), all.into());
            }
        }
        let now = attempt.now.to_rfc3339();
        if !names_equal(object, before) || !is_served(before) {
            names::accept(attempt.catalog, object, &now);
        }
        approval::note(object, &now);
        Ok(())
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        check::validate(object, errors);
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        check::validate_update(object, before, errors);
    }

    fn before_mark(&self, object: &mut Object) {
        let mut finalizers: Vec<Value> = field::list(object, &["metadata", "finalizers"]).to_vec();
        finalizers.retain(|f| f.as_str() != Some(CLEANUP));
        finalizers.push(CLEANUP.into());
        metadata::of_mut(object).insert("finalizers".to_owned(), finalizers.into());
    }

    fn on_terminating(&self, object: &mut Object, now: &str) {
        let mut conditions = field::list(object, &["status", "conditions"]).to_vec();
        conditions.retain(|c| c.get("type").and_then(Value::as_str) != Some("Terminating"));
        conditions.push(json!({
            "type": "Terminating", "status": "True", "lastTransitionTime": now,
            "reason": "InstanceDeletionPending",
            "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        }));
        field::map_mut(object, &["status"]).insert("conditions".to_owned(), conditions.into());
    }
}

fn names_equal(object: &Object, before: &Object) -> bool {
    field::get(object, &["spec", "names"]) == field::get(before, &["spec", "names"])
}

/// The version in which objects are stored, as a list of one.
fn stored_version(object: &Object) -> Vec<Value> {
    let versions = field::list(object, &["spec", "versions"]).iter();
    let storage = versions.filter(|v| v.get("storage") == Some(&Value::Bool(true)));
    storage.filter_map(|v| v.get("name").cloned()).take(1).collect()
}

/// A name in the definition's spec.
fn name_in<'a>(object: &'a Object, key: &str) -> &'a str {
    field::text(object, &["spec", "names", key]).unwrap_or_default()
}

/// Names of a list in the definition's spec.
fn names_in(object: &Object, key: &str) -> Vec<Arc<str>> {
    let list = field::list(object, &["spec", "names", key]);
    list.iter().filter_map(Value::as_str).map(Into::into).collect()
}
