//! A controller of a component made ready to run: whether its grants let it start, and what it is registered as.
//!
//! It knows a plugin's spec and a description, and nothing of what runs at the moment.

use std::sync::Arc;

use quadrille_registry::Catalog;
use quadrille_runtime::{ControllerSpec, Grant, GrantRule, Reconciler};

use super::manager::Entry;
use super::spec::PluginSpec;
use super::status::{Blocked, missing};
use crate::component::{ComponentReconciler, LoadedComponent, PluginContext};
use crate::description::ControllerDescription;

/// A controller of a component, ready to run: what it is registered as, and its code.
pub(super) type Part = (ControllerSpec, Arc<dyn Reconciler>);

/// A controller of a component, ready to run, when its objects may be read.
pub(super) fn part_of(
    name: &str,
    spec: &PluginSpec,
    entry: &Entry,
    (component, controller): (&LoadedComponent, &ControllerDescription),
    catalog: &Catalog,
) -> Result<Part, Blocked> {
    may_start(controller, &spec.grants, catalog)?;
    let about = controller_spec(name, component, controller, spec);
    let context = context_of(name, spec, entry);
    let code = ComponentReconciler::new(component.clone(), context, controller.clone());
    Ok((about, Arc::new(code)))
}

/// A controller starts only when its objects may be read, and its finalizer kept on them.
///
/// A grant in some namespaces is enough where the objects have one; objects that have none are in no namespace's grant.
pub(super) fn may_start(
    controller: &ControllerDescription,
    grants: &[GrantRule],
    catalog: &Catalog,
) -> Result<(), Blocked> {
    let primary = controller.primary.group_resource();
    let has_namespace = catalog.by_group_resource(&primary).is_none_or(|found| found.namespaced);
    let narrowed = |rule: &&GrantRule| !rule.namespaces.is_empty();
    let usable: Vec<GrantRule> =
        grants.iter().filter(|rule| has_namespace || !narrowed(rule)).cloned().collect();
    let lacks = |verb: &str, resource: &str| {
        let asked = [GrantRule {
            group: Arc::clone(&primary.group),
            resource: resource.into(),
            verbs: vec![verb.into()],
            namespaces: Vec::new(),
        }];
        !missing(&asked, &usable).is_empty()
    };
    let finalizers = format!("{}/finalizers", primary.resource);
    let needed = if lacks("get", &primary.resource) {
        format!("get on {primary}")
    } else if controller.finalizer.is_some()
        && lacks("update", &finalizers)
        && lacks("update", &primary.resource)
        && lacks("patch", &primary.resource)
    {
        format!("update on {finalizers} for its finalizer")
    } else {
        return Ok(());
    };
    let whole = if has_namespace { "" } else { " without namespaces, as they are in none" };
    Err(Blocked {
        name: controller.name.to_string(),
        primary: primary.to_string(),
        reason: format!(
            "controller {:?} needs {needed}{whole}: add it to spec.grants, or upload with ?grant=all",
            controller.name
        ),
    })
}

pub(super) fn context_of(name: &str, spec: &PluginSpec, entry: &Entry) -> PluginContext {
    PluginContext {
        plugin: name.into(),
        config: Arc::new(spec.config.clone()),
        limits: Arc::new(spec.limits.clone()),
        log: Arc::clone(&entry.log),
        denials: Arc::clone(&entry.denials),
    }
}

pub(super) fn controller_spec(
    plugin: &str,
    component: &LoadedComponent,
    controller: &ControllerDescription,
    spec: &PluginSpec,
) -> ControllerSpec {
    ControllerSpec {
        name: Arc::clone(&controller.name),
        plugin: plugin.into(),
        digest: component.digest().shared(),
        primary: controller.primary.group_resource(),
        version: Arc::clone(&controller.primary.version),
        selector: controller.selector.clone(),
        concurrency: controller.concurrency.min(spec.concurrency_max.unwrap_or(usize::MAX)),
        resync: controller.resync,
        finalizer: controller.finalizer.clone(),
        field_manager: controller.field_manager.clone().unwrap_or_else(|| {
            // A plugin of one controller of its name has no need to say it twice.
            if *plugin == *controller.name {
                Arc::clone(&controller.name)
            } else {
                format!("{plugin}/{}", controller.name).into()
            }
        }),
        grant: Grant { rules: spec.grants.clone(), unlimited: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quadrille_object::{Gvr, LabelSelector};

    fn controller(resource: &str) -> ControllerDescription {
        ControllerDescription {
            name: "c".into(),
            primary: Gvr::new("", "v1", resource),
            selector: LabelSelector::default(),
            concurrency: 1,
            resync: None,
            finalizer: None,
            field_manager: None,
        }
    }

    fn get(resource: &str, namespaces: &[&str]) -> GrantRule {
        GrantRule {
            group: "".into(),
            resource: resource.into(),
            verbs: vec!["get".into()],
            namespaces: namespaces.iter().map(|name| (*name).into()).collect(),
        }
    }

    #[test]
    fn a_grant_in_some_namespaces_starts_nothing_over_objects_that_are_in_none() {
        let catalog = Catalog::builtin().expect("it is sound");
        let starts = |resource: &str, namespaces: &[&str]| {
            may_start(&controller(resource), &[get(resource, namespaces)], &catalog)
        };
        assert_eq!(starts("configmaps", &["a"]), Ok(()));
        assert_eq!(starts("nodes", &[]), Ok(()));
        let blocked = starts("nodes", &["a"]).expect_err("no node is in a namespace");
        assert!(blocked.reason.contains("needs get on nodes without namespaces"), "{blocked:?}");
        // A definition that is yet to come may be of either scope.
        assert_eq!(starts("unknowns", &["a"]), Ok(()));
    }
}
