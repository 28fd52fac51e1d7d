//! Who a pod is: its number, name, host name and storage.

use quadrille_sdk::k8s::{PodTemplate, Raw};
use quadrille_sdk::prelude::*;
use serde_json::{Value, json};

use crate::kinds::{Claim, StatefulSet};

/// The label that carries a pod's revision.
pub(crate) const REVISION: &str = "controller-revision-hash";
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The number in a pod's name, when the name is one of the set's.
pub(crate) fn number(set: &StatefulSet, pod: &Pod) -> Option<i64> {
    let digits = pod.name().strip_prefix(set.name())?.strip_prefix('-')?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// The revision that a pod was made of.
pub(crate) fn revision(pod: &Pod) -> &str {
    pod.metadata.labels.get(REVISION).map_or("", String::as_str)
}

/// A pod of the set.
pub(crate) fn pod(
    set: &StatefulSet,
    number: i64,
    template: &PodTemplate,
    revision: &str,
) -> Result<Pod> {
    let mut pod = Pod::from_template(template);
    let name = format!("{}-{number}", set.name());
    pod.metadata.generate_name = format!("{}-", set.name());
    let labels = &mut pod.metadata.labels;
    labels.insert(POD_NAME.to_owned(), name.clone());
    labels.insert(POD_INDEX.to_owned(), number.to_string());
    labels.insert(REVISION.to_owned(), revision.to_owned());
    let mut spec = match &template.spec {
        Some(spec) => spec.to_value()?,
        None => json!({}),
    };
    spec["hostname"] = name.as_str().into();
    spec["subdomain"] = set.spec.service_name.as_str().into();
    let volumes = volumes(set, number, spec.get("volumes"));
    if !volumes.is_empty() {
        spec["volumes"] = volumes.into();
    }
    pod.spec = Some(Raw::from(spec));
    pod.metadata.name = name;
    Ok(pod)
}

/// The claims' volumes, and those of the template that no claim stands for.
fn volumes(set: &StatefulSet, number: i64, of_template: Option<&Value>) -> Vec<Value> {
    let claims = &set.spec.volume_claim_templates;
    let claimed = claims.iter().map(|claim| {
        let name = claim_name(set, claim, number);
        json!({"name": claim.name(), "persistentVolumeClaim": {"claimName": name}})
    });
    let others = of_template.and_then(Value::as_array).into_iter().flatten();
    let others = others.filter(|volume| {
        let name = volume.get("name").and_then(Value::as_str).unwrap_or_default();
        claims.iter().all(|claim| claim.name() != name)
    });
    claimed.chain(others.cloned()).collect()
}

fn claim_name(set: &StatefulSet, claim: &Claim, number: i64) -> String {
    format!("{}-{}-{number}", claim.name(), set.name())
}

/// The claims of one pod.
pub(crate) fn claims(set: &StatefulSet, number: i64) -> Vec<Claim> {
    let made = set.spec.volume_claim_templates.iter().map(|template| {
        let mut labels = template.metadata.labels.clone();
        labels.extend(set.spec.selector.match_labels.clone());
        let metadata = Metadata {
            name: claim_name(set, template, number),
            namespace: set.namespace().to_owned(),
            labels,
            annotations: template.metadata.annotations.clone(),
            ..Metadata::default()
        };
        Claim { metadata, spec: template.spec.clone() }
    });
    made.collect()
}
