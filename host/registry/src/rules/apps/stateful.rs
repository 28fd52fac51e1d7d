//! `StatefulSets`: Pods with names, and claims of their own.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::workload::{self, Words};
use crate::field::{self, Errors, Object};
use crate::rules::Rules;
use crate::rules::pod_template::{self, At, maps_mut};
use crate::status::Status;
use crate::write::Attempt;

const WORDS: Words =
    Words { of_selector: "statefulset", of_deadline: "StatefulSet", needs_selector: true };

/// The rules of `StatefulSets`.
#[derive(Debug)]
pub(crate) struct StatefulSets;

/// What of a `StatefulSet`'s spec may change.
const MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "minReadySeconds",
    "persistentVolumeClaimRetentionPolicy",
];

impl Rules for StatefulSets {
    fn default(&self, object: &mut Object) {
        let spec = field::map_mut(object, &["spec"]);
        workload::defaults(spec, &[("replicas", 1), ("revisionHistoryLimit", 10)]);
        field::default(spec, "podManagementPolicy", "OrderedReady");
        let strategy = field::map_mut(spec, &["updateStrategy"]);
        field::default(strategy, "type", "RollingUpdate");
        if field::text(strategy, &["type"]) == Some("RollingUpdate") {
            field::default(field::map_mut(strategy, &["rollingUpdate"]), "partition", 0);
        }
        let retention = field::map_mut(spec, &["persistentVolumeClaimRetentionPolicy"]);
        field::default(retention, "whenDeleted", "Retain");
        field::default(retention, "whenScaled", "Retain");
        for claim in maps_mut(spec, "volumeClaimTemplates") {
            claim.insert("apiVersion".to_owned(), "v1".into());
            claim.insert("kind".to_owned(), "PersistentVolumeClaim".into());
            pod_template::claim_defaults(field::map_mut(claim, &["spec"]));
            field::default(field::map_mut(claim, &["status"]), "phase", "Pending");
        }
        workload::template_defaults(spec);
        let status = field::map_mut(object, &["status"]);
        workload::defaults(status, &[("replicas", 0), ("availableReplicas", 0)]);
    }

    fn before_create(&self, _attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
        object.insert("status".to_owned(), json!({"replicas": 0, "availableReplicas": 0}));
        Ok(())
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        let root = At::new(object, "");
        let spec = root.child_or_empty("spec");
        match spec.text("podManagementPolicy") {
            "OrderedReady" | "Parallel" => {}
            other => {
                let why = "must be 'OrderedReady' or 'Parallel'";
                errors.invalid("spec.podManagementPolicy", &other.into(), why);
            }
        }
        validate_strategy(&spec, errors);
        let retention = spec.child_or_empty("persistentVolumeClaimRetentionPolicy");
        for key in ["whenDeleted", "whenScaled"] {
            errors.known(&retention, key, &["Retain", "Delete"]);
        }
        workload::not_negative(object, &["replicas", "minReadySeconds"], errors);
        errors.natural(&spec.child_or_empty("ordinals"), "start");
        workload::validate_selector(object, WORDS, errors);
        let with_claims = with_claims(object, &spec);
        pod_template::validate_template(&with_claims, &["spec", "template"], errors);
        workload::validate_endless(object, WORDS, errors);
        errors.dns_label(&spec, "serviceName");
        for claim in spec.items("volumeClaimTemplates") {
            pod_template::validate_claim(&claim.child_or_empty("spec"), errors);
        }
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        self.validate(object, errors);
        let fixed = |o: &Object| -> Object {
            let spec = field::get(o, &["spec"]).and_then(Value::as_object).cloned();
            let mut spec = spec.unwrap_or_default();
            spec.retain(|key, _| !MUTABLE.contains(&key.as_str()));
            spec
        };
        if fixed(object) != fixed(before) {
            errors.forbidden(
                "spec",
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                 'minReadySeconds' are forbidden",
            );
        }
    }

    fn validate_below(
        &self,
        subresource: &str,
        object: &Object,
        before: &Object,
        errors: &mut Errors,
    ) {
        if subresource != "status" {
            return self.validate_update(object, before, errors);
        }
        let parts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        let counts = [
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
            "observedGeneration",
        ];
        workload::validate_status(object, &counts, &parts, errors);
        workload::validate_collisions(object, before, errors);
    }

    fn warn(&self, object: &Object, before: Option<&Object>, warnings: &mut Vec<String>) {
        workload::warn(object, before, &["spec", "template"], true, warnings);
        if field::integer(object, &["spec", "revisionHistoryLimit"]).is_some_and(|n| n < 0) {
            warnings.push(
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is \
                 recommended"
                    .to_owned(),
            );
        }
    }
}

fn validate_strategy(spec: &At<'_>, errors: &mut Errors) {
    let strategy = spec.child_or_empty("updateStrategy");
    let rolling = strategy.child("rollingUpdate");
    match strategy.text("type") {
        "OnDelete" => {
            if let Some(rolling) = rolling {
                let shown = Value::Object(rolling.map.clone());
                let why = "only allowed for updateStrategy 'RollingUpdate'";
                errors.invalid(rolling.path, &shown, why);
            }
        }
        "RollingUpdate" => {
            let Some(rolling) = rolling else { return };
            errors.natural(&rolling, "partition");
            if let Some(value) = rolling.get("maxUnavailable") {
                let path = rolling.path("maxUnavailable");
                pod_template::validate_int_or_percent(value, &path, true, errors);
                if value.as_i64() == Some(0) || value.as_str() == Some("0%") {
                    errors.invalid(path, value, "cannot be 0");
                }
            }
        }
        "" => errors.required("spec.updateStrategy", ""),
        other => {
            let rolling = rolling.map_or(Value::Null, |rolling| Value::Object(rolling.map.clone()));
            // kube-apiserver shows its own form of the struct.
            let shown = format!("{{\"Type\":{},\"RollingUpdate\":{rolling}}}", Value::from(other));
            let why = "must be 'RollingUpdate' or 'OnDelete'";
            errors.invalid_shown("spec.updateStrategy", &shown, why);
        }
    }
}

/// The object with the volumes that the claims become.
fn with_claims(object: &Object, spec: &At<'_>) -> Object {
    let mut object = object.clone();
    let claims: Vec<&str> = spec
        .items("volumeClaimTemplates")
        .map(|claim| claim.child_or_empty("metadata").text("name"))
        .collect();
    if claims.is_empty() {
        return object;
    }
    let pod = field::map_mut(&mut object, &["spec", "template", "spec"]);
    let mut volumes = field::list(pod, &["volumes"]).to_vec();
    let replaced: BTreeSet<&str> = claims.iter().copied().collect();
    volumes.retain(|volume| {
        let name = volume.get("name").and_then(Value::as_str).unwrap_or_default();
        !replaced.contains(name)
    });
    volumes.extend(
        claims
            .iter()
            .map(|name| json!({"name": name, "persistentVolumeClaim": {"claimName": name}})),
    );
    pod.insert("volumes".to_owned(), volumes.into());
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promptly::promptly;

    #[test]
    fn claims_take_the_place_of_volumes_of_their_names_promptly() {
        let named = |of: &str, n: usize| json!({"name": format!("{of}{n}")});
        let volumes: Vec<Value> = (0..80_000).map(|n| named("v", n)).collect();
        let claims: Vec<Value> =
            (79_999..160_000).map(|n| json!({"metadata": named("v", n)})).collect();
        let spec =
            json!({"volumeClaimTemplates": claims, "template": {"spec": {"volumes": volumes}}});
        let object: Object = [("spec".to_owned(), spec)].into_iter().collect();
        let spec = At::new(&object, "").child_or_empty("spec");
        let whole = promptly(|| with_claims(&object, &spec));
        let volumes = field::list(&whole, &["spec", "template", "spec", "volumes"]);
        assert_eq!(volumes.len(), 160_000);
        assert!(volumes[79_999]["persistentVolumeClaim"].is_object());
    }
}
