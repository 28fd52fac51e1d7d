//! What a component says about itself, checked.
//!
//! Whatever `describe` answered comes from a stranger: every name, selector, verb and definition is bounded and
//! read here, so that everything after it can rely on it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quadrille_object::{Gvr, LabelSelector};
use quadrille_runtime::GrantRule;
use serde_json::Value;

use crate::link::bindings::exports::quadrille::controller::controller as wit;
use crate::load::{LoadError, one_line};

const CONTROLLERS_MAX: usize = 64;
const CRDS_MAX: usize = 64;
const CRD_BYTES_MAX: usize = 1 << 20;
const CAPABILITIES_MAX: usize = 256;
const CONCURRENCY_MAX: u32 = 64;
/// How many runs of a controller go at once where it does not say.
const CONCURRENCY_DEFAULT: usize = 4;
const RESYNC_SECONDS_MAX: u32 = 30 * 24 * 3600;
/// Kubernetes' bound for the name of a field manager.
const FIELD_MANAGER_BYTES_MAX: usize = 128;
const VERBS: [&str; 6] = ["get", "list", "create", "update", "patch", "delete"];

/// What a component contains and asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// The package's version, for people.
    pub version: String,
    /// Its controllers.
    pub controllers: Vec<ControllerDescription>,
    /// The `CustomResourceDefinition`s that it brings.
    pub crds: Vec<Value>,
    /// What it asks for.
    pub capabilities: Vec<GrantRule>,
}

/// One controller of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerDescription {
    /// Unique in the component; a DNS label.
    pub name: Arc<str>,
    /// The resource of its objects.
    pub primary: Gvr,
    /// Only objects with these labels.
    pub selector: LabelSelector,
    /// Runs at once.
    pub concurrency: usize,
    /// How often everything is reconciled; `None` for never.
    pub resync: Option<Duration>,
    /// The finalizer that the host keeps for it.
    pub finalizer: Option<Arc<str>>,
    /// The field manager of its writes, where it names one.
    pub field_manager: Option<Arc<str>>,
}

impl Description {
    /// Reads what a guest said.
    pub(crate) fn read(said: wit::Description) -> Result<Self, LoadError> {
        at_most("controllers", said.controllers.len(), CONTROLLERS_MAX)?;
        at_most("crds", said.crds.len(), CRDS_MAX)?;
        at_most("capabilities", said.capabilities.len(), CAPABILITIES_MAX)?;
        if said.controllers.is_empty() {
            return Err(wrong("controllers: none; a plugin has at least one"));
        }
        let mut names = BTreeSet::new();
        let mut controllers = Vec::new();
        for controller in said.controllers {
            let controller = read_controller(controller)?;
            if !names.insert(Arc::clone(&controller.name)) {
                return Err(wrong(&format!(
                    "controllers: {:?} stands there twice",
                    controller.name
                )));
            }
            controllers.push(controller);
        }
        Ok(Self {
            version: one_line(&said.version).chars().take(64).collect(),
            controllers,
            crds: said.crds.iter().enumerate().map(read_crd).collect::<Result<_, _>>()?,
            capabilities: said
                .capabilities
                .into_iter()
                .enumerate()
                .map(read_capability)
                .collect::<Result<_, _>>()?,
        })
    }
}

fn read_controller(said: wit::ControllerDescription) -> Result<ControllerDescription, LoadError> {
    if !is_label(&said.name) {
        return Err(wrong(&format!(
            "controllers: the name {:?} is not a DNS label",
            cut(&said.name)
        )));
    }
    let about = |what: String| wrong(&format!("controller {:?}: {what}", said.name));
    let primary = &said.primary;
    if !is_subdomain_or_empty(&primary.group)
        || !is_label(&primary.version)
        || !is_label(&primary.resource)
    {
        let shown = format!("{}/{}/{}", primary.group, primary.version, primary.resource);
        return Err(about(format!("primary {:?} is not a resource", cut(&shown))));
    }
    let selector = LabelSelector::parse(&said.label_selector);
    let selector = selector.map_err(|error| about(format!("label-selector: {error}")))?;
    if said.concurrency > CONCURRENCY_MAX {
        return Err(about(format!("concurrency {} is over {CONCURRENCY_MAX}", said.concurrency)));
    }
    if said.resync_seconds > RESYNC_SECONDS_MAX {
        return Err(about(format!("resync-seconds {} is over 30 days", said.resync_seconds)));
    }
    if let Some(finalizer) = &said.finalizer
        && !is_finalizer(finalizer)
    {
        return Err(about(format!(
            "finalizer {:?} is not of the form domain/name",
            cut(finalizer)
        )));
    }
    if !is_field_manager(&said.field_manager) {
        return Err(about(format!(
            "field-manager {:?} is not printable text of at most {FIELD_MANAGER_BYTES_MAX} bytes",
            cut(&said.field_manager)
        )));
    }
    let resync = Duration::from_secs(said.resync_seconds.into());
    Ok(ControllerDescription {
        primary: Gvr::new(&*primary.group, &*primary.version, &*primary.resource),
        selector,
        concurrency: match said.concurrency {
            0 => CONCURRENCY_DEFAULT,
            n => usize::try_from(n).unwrap_or(CONCURRENCY_DEFAULT),
        },
        resync: (!resync.is_zero()).then_some(resync),
        finalizer: said.finalizer.map(Into::into),
        field_manager: Some(said.field_manager).filter(|name| !name.is_empty()).map(Into::into),
        name: said.name.into(),
    })
}

fn read_crd((at, text): (usize, &String)) -> Result<Value, LoadError> {
    let about = |what: &str| wrong(&format!("crds[{at}]: {what}"));
    if text.len() > CRD_BYTES_MAX {
        return Err(about("larger than 1 MiB"));
    }
    let value: Value = serde_json::from_str(text).map_err(|e| about(&format!("not JSON: {e}")))?;
    let text_at = |path: &str| value.pointer(path).and_then(Value::as_str);
    if text_at("/kind") != Some("CustomResourceDefinition")
        || text_at("/apiVersion") != Some("apiextensions.k8s.io/v1")
    {
        return Err(about("not a CustomResourceDefinition of apiextensions.k8s.io/v1"));
    }
    if text_at("/metadata/name").is_none_or(str::is_empty) {
        return Err(about("it has no metadata.name"));
    }
    Ok(value)
}

fn read_capability((at, said): (usize, wit::Capability)) -> Result<GrantRule, LoadError> {
    let about = |what: String| wrong(&format!("capabilities[{at}]: {what}"));
    let (resource, subresource) = match said.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource)),
        None => (said.resource.as_str(), None),
    };
    let named = is_label(resource) && subresource.is_none_or(is_label);
    if !named || !is_subdomain_or_empty(&said.group) {
        let shown = format!("{} of {}", said.resource, said.group);
        return Err(about(format!("{:?} is not a resource", cut(&shown))));
    }
    if said.verbs.is_empty() {
        return Err(about("no verbs".to_owned()));
    }
    if let Some(verb) = said.verbs.iter().find(|verb| !VERBS.contains(&verb.as_str())) {
        return Err(about(format!(
            "{:?} is not a verb; there are {}",
            cut(verb),
            VERBS.join(", ")
        )));
    }
    let mut verbs: Vec<Arc<str>> = said.verbs.into_iter().map(Into::into).collect();
    verbs.sort();
    verbs.dedup();
    Ok(GrantRule {
        group: said.group.into(),
        resource: said.resource.into(),
        verbs,
        namespaces: Vec::new(),
    })
}

fn at_most(what: &str, count: usize, max: usize) -> Result<(), LoadError> {
    if count > max {
        return Err(wrong(&format!("{what}: {count} are more than {max}")));
    }
    Ok(())
}

fn wrong(detail: &str) -> LoadError {
    LoadError::Description { detail: detail.to_owned() }
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

fn is_label(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_subdomain_or_empty(text: &str) -> bool {
    text.is_empty() || (text.len() <= 253 && text.split('.').all(is_label))
}

fn is_finalizer(text: &str) -> bool {
    text.split_once('/').is_some_and(|(domain, name)| {
        !domain.is_empty()
            && is_subdomain_or_empty(domain)
            && (1..=63).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    })
}

fn is_field_manager(text: &str) -> bool {
    text.len() <= FIELD_MANAGER_BYTES_MAX && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said() -> wit::Description {
        let primary = crate::link::bindings::quadrille::controller::types::ResourceRef {
            group: "apps".to_owned(),
            version: "v1".to_owned(),
            resource: "deployments".to_owned(),
        };
        wit::Description {
            version: "1".to_owned(),
            controllers: vec![wit::ControllerDescription {
                name: "deployment".to_owned(),
                primary,
                label_selector: String::new(),
                concurrency: 0,
                resync_seconds: 0,
                finalizer: None,
                field_manager: String::new(),
            }],
            crds: Vec::new(),
            capabilities: vec![wit::Capability {
                group: String::new(),
                resource: "pods/status".to_owned(),
                verbs: vec!["update".to_owned(), "get".to_owned(), "get".to_owned()],
            }],
        }
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut wit::Description), words: &str) {
        let mut said = said();
        change(&mut said);
        let error = Description::read(said).expect_err("it is wrong").to_string();
        assert!(error.contains(words), "{error}");
    }

    #[test]
    fn a_good_description_is_read() {
        let description = Description::read(said()).expect("it is right");
        assert_eq!(description.controllers[0].concurrency, CONCURRENCY_DEFAULT);
        assert_eq!(description.capabilities[0].verbs.len(), 2);
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        refused(|d| d.controllers.clear(), "none");
        refused(|d| d.controllers[0].name = "../x".to_owned(), "not a DNS label");
        refused(|d| d.controllers.extend(said().controllers), "twice");
        refused(|d| d.controllers[0].primary.resource = "Pods".to_owned(), "not a resource");
        refused(|d| d.controllers[0].label_selector = "a in".to_owned(), "label-selector");
        refused(|d| d.controllers[0].concurrency = 1_000, "concurrency");
        refused(|d| d.controllers[0].finalizer = Some("x".to_owned()), "domain/name");
        refused(|d| d.controllers[0].field_manager = "a\n".to_owned(), "field-manager");
        refused(|d| d.crds.push("{".to_owned()), "crds[0]: not JSON");
        refused(|d| d.crds.push("{}".to_owned()), "not a CustomResourceDefinition");
        refused(|d| d.capabilities[0].verbs = vec!["own".to_owned()], "not a verb");
        refused(|d| d.capabilities = vec![d.capabilities[0].clone(); 300], "more than 256");
    }
}
