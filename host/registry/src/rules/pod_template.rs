//! Pod templates: what every workload kind has in common with a Pod.

mod affinity;
mod annotation;
mod at;
mod check;
mod claim;
mod container;
mod defaults;
mod env;
mod mount;
mod overall;
mod placement;
mod probe;
mod projected;
mod resource;
mod security;
mod selector;
mod volume;
mod warn;
mod windows;

use quadrille_object::Meta;
use serde_json::Value;

pub(crate) use affinity::validate_node_selector;
pub(crate) use annotation::MIRROR;
pub(crate) use at::At;
pub(crate) use check::{Within, validate_pod, validate_template};
pub(crate) use claim::validate as validate_claim;
pub(crate) use defaults::{
    claim_defaults, maps_mut, pod_defaults, spec_defaults, template_defaults,
};
pub(crate) use overall::{Amounts, add as add_amounts, amounts, of_pod};
pub(crate) use placement::validate_tolerations;
pub(crate) use probe::validate_number as validate_port;
pub(crate) use resource::is_extended;
pub(crate) use selector::{validate_int_or_percent, validate_label_selector, validate_selector};
pub(crate) use warn::{warn_pod, warn_template};

use crate::field::{self, Errors, Object};
use crate::rules::Rules;

/// The rules of `PodTemplates`.
#[derive(Debug)]
pub(crate) struct PodTemplates;

impl Rules for PodTemplates {
    fn default(&self, object: &mut Object) {
        template_defaults(field::map_mut(object, &["template"]));
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        validate_template(object, &["template"], errors);
    }

    fn warn(&self, object: &Object, _before: Option<&Object>, warnings: &mut Vec<String>) {
        warn_template(object, &["template"], warnings);
    }
}

/// A Pod's containers in kube-apiserver's order: those that run first, the main ones, those that joined.
pub(crate) fn containers_of<'a>(spec: &At<'a>) -> impl Iterator<Item = At<'a>> {
    let lists = ["initContainers", "containers", "ephemeralContainers"];
    let spec = spec.clone();
    lists.into_iter().flat_map(move |list| spec.items(list).collect::<Vec<_>>())
}

/// Labels alone, as the envelope that selectors match.
pub(crate) fn meta_of(labels: Option<&Value>) -> Meta {
    let mut labels: Vec<(Box<str>, Box<str>)> = labels
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into())))
        .collect();
    labels.sort();
    Meta { labels: labels.into(), ..Meta::default() }
}
