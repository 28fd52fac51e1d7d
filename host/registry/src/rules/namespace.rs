//! Namespaces: the label with their name, the `kubernetes` finalizer, and a phase.

use serde_json::{Value, json};

use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::rules::Rules;
use crate::status::Status;
use crate::write::Attempt;

const LABEL: &str = "kubernetes.io/metadata.name";
/// Namespaces that the host itself lives in.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// The rules of namespaces.
#[derive(Debug)]
pub(crate) struct Namespaces;

impl Rules for Namespaces {
    fn default(&self, object: &mut Object) {
        let name = metadata::text(object, "name").to_owned();
        if !name.is_empty() {
            let labels = field::map_mut(object, &["metadata", "labels"]);
            labels.insert(LABEL.to_owned(), name.into());
        }
        field::map_mut(object, &["spec"]);
        field::map_mut(object, &["status"]);
    }

    fn before_create(&self, _attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
        // A generated name is known only now.
        self.default(object);
        let mut finalizers: Vec<Value> = field::list(object, &["spec", "finalizers"]).to_vec();
        if finalizers.iter().all(|f| f.as_str() != Some("kubernetes")) {
            finalizers.push("kubernetes".into());
        }
        field::map_mut(object, &["spec"]).insert("finalizers".to_owned(), finalizers.into());
        object.insert("status".to_owned(), json!({"phase": "Active"}));
        Ok(())
    }

    fn before_update(
        &self,
        attempt: &Attempt<'_>,
        object: &mut Object,
        before: &Object,
    ) -> Result<(), Status> {
        if attempt.subresource() != Some("finalize") {
            field::copy(object, before, "spec");
        }
        self.default(object);
        Ok(())
    }

    fn before_delete(&self, attempt: &Attempt<'_>, before: &Object) -> Result<(), Status> {
        let name = metadata::text(before, "name");
        if IMMORTAL.contains(&name) {
            let why = "this namespace may not be deleted";
            return Err(Status::forbidden(&attempt.resource.qualified(), name, why));
        }
        Ok(())
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        let is_terminating = !metadata::text(before, "deletionTimestamp").is_empty();
        let phase = field::text(object, &["status", "phase"]).unwrap_or_default();
        if !is_terminating && phase == "Terminating" {
            let why = "may only be 'Active' if `deletionTimestamp` is empty";
            errors.invalid("status.phase", &phase.into(), why);
        } else if is_terminating && phase != "Terminating" {
            let why = "may only be 'Terminating' if `deletionTimestamp` is not empty";
            errors.invalid("status.phase", &phase.into(), why);
        }
    }

    fn may_go(&self, object: &Object) -> bool {
        field::list(object, &["spec", "finalizers"]).is_empty()
    }

    fn on_terminating(&self, object: &mut Object, _now: &str) {
        field::map_mut(object, &["metadata"]).remove("deletionGracePeriodSeconds");
        field::map_mut(object, &["status"]).insert("phase".to_owned(), "Terminating".into());
    }
}
