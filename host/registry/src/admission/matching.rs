//! Whether a policy, binding or webhook is for a write: by rules, selectors, and equivalent versions.

use std::sync::Arc;

use quadrille_object::{GroupResource, Gvr, LabelSelector, Meta};
use quadrille_store::{Key, View};
use serde_json::Value;

use crate::admission::subject::Subject;
use crate::catalog::{Catalog, Resource};

/// For which writes somebody is.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    namespaces: LabelSelector,
    objects: LabelSelector,
    /// Only the very version that a rule names counts.
    exact: bool,
}

#[derive(Debug, Default)]
struct Rule {
    operations: Vec<Box<str>>,
    groups: Vec<Box<str>>,
    versions: Vec<Box<str>>,
    /// Resource and subresource.
    resources: Vec<(Box<str>, Box<str>)>,
    /// Only objects with these names; empty for all.
    names: Vec<Box<str>>,
    scope: Scope,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Scope {
    #[default]
    All,
    Cluster,
    Namespaced,
}

/// What stands in the way of a decision.
#[derive(Debug)]
pub(crate) struct Unknown(pub(crate) String);

impl Matcher {
    /// Reads `matchConstraints` or `matchResources`; an absent one matches everything.
    pub(crate) fn of_resources(of: Option<&Value>) -> Self {
        let Some(of) = of else { return Self::default() };
        Self {
            rules: rules(of, "resourceRules"),
            excluded: rules(of, "excludeResourceRules"),
            ..Self::common(of)
        }
    }

    /// Reads the rules and selectors of a webhook; without rules it matches nothing.
    pub(crate) fn of_webhook(of: &Value) -> Self {
        let mut rules = rules(of, "rules");
        if rules.is_empty() {
            rules.push(Rule::default());
        }
        Self { rules, ..Self::common(of) }
    }

    fn common(of: &Value) -> Self {
        let selector = |key: &str| {
            // Validation has refused what cannot be read; such a selector selects everything.
            let given = of.get(key).filter(|v| !v.is_null());
            given.and_then(|v| LabelSelector::from_value(v).ok()).unwrap_or_default()
        };
        Self {
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
            exact: of.get("matchPolicy").and_then(Value::as_str) == Some("Exact"),
            ..Self::default()
        }
    }

    /// The resource as which the subject matches; `None` when it does not.
    ///
    /// # Errors
    /// When the namespace that a selector asks for is not there.
    pub(crate) fn matches(
        &self,
        subject: &Subject<'_>,
        catalog: &Catalog,
        view: &dyn View,
    ) -> Result<Option<Arc<Resource>>, Unknown> {
        let own = || catalog.by_gvr(&subject.resource.gvr).cloned();
        let found = if self.rules.is_empty() {
            own()
        } else {
            self.matching_resource(&self.rules, subject, catalog)
        };
        if found.is_none() || !self.matches_object(subject) {
            return Ok(None);
        }
        if self.matching_resource(&self.excluded, subject, catalog).is_some() {
            return Ok(None);
        }
        Ok(if self.matches_namespace(subject, view)? { found } else { None })
    }

    fn matching_resource(
        &self,
        rules: &[Rule],
        subject: &Subject<'_>,
        catalog: &Catalog,
    ) -> Option<Arc<Resource>> {
        let own = &subject.resource.gvr;
        if rules.iter().any(|rule| rule.matches(own, subject)) {
            return catalog.by_gvr(own).cloned();
        }
        if self.exact || rules.is_empty() {
            return None;
        }
        equivalents(subject.resource, catalog)
            .find(|other| rules.iter().any(|rule| rule.matches(&other.gvr, subject)))
    }

    fn matches_object(&self, subject: &Subject<'_>) -> bool {
        let holds = |meta: Option<&Meta>| meta.is_some_and(|meta| self.objects.matches(meta));
        self.objects.is_everything() || holds(subject.meta()) || holds(subject.meta_before())
    }

    fn matches_namespace(&self, subject: &Subject<'_>, view: &dyn View) -> Result<bool, Unknown> {
        if self.namespaces.is_everything()
            || (subject.namespace.is_empty() && !subject.is_namespace())
        {
            return Ok(true);
        }
        // A Namespace that is written selects by what it becomes.
        if subject.is_namespace()
            && subject.subresource.is_empty()
            && let Some(meta) = subject.meta()
        {
            return Ok(self.namespaces.matches(meta));
        }
        let key = namespace_key(&subject.namespace);
        let Some(namespace) = view.get(&key) else {
            return Err(Unknown(format!("namespaces \"{}\" not found", subject.namespace)));
        };
        Ok(self.namespaces.matches(&namespace.meta))
    }
}

/// Where a Namespace is stored.
pub(crate) fn namespace_key(name: &Arc<str>) -> Key {
    Key::new(GroupResource::new("", "namespaces"), "", Arc::clone(name))
}

/// The other resources whose objects are the same: other versions, or the other group of Events.
fn equivalents<'c>(
    resource: &'c Resource,
    catalog: &'c Catalog,
) -> Box<dyn Iterator<Item = Arc<Resource>> + 'c> {
    if resource.custom {
        let others = catalog.versions(&resource.gvr).filter(|other| other.gvr != resource.gvr);
        return Box::new(others.cloned());
    }
    if *resource.gvr.resource == *"events" {
        let group = if resource.gvr.group.is_empty() { "events.k8s.io" } else { "" };
        let other = Gvr::new(group, "v1", "events");
        return Box::new(catalog.by_gvr(&other).cloned().into_iter());
    }
    Box::new(std::iter::empty())
}

impl Rule {
    fn matches(&self, gvr: &Gvr, subject: &Subject<'_>) -> bool {
        self.matches_resource(gvr, subject.subresource)
            && any(&self.operations, subject.operation.name())
            && any(&self.groups, &gvr.group)
            && any(&self.versions, &gvr.version)
            && self.matches_scope(subject)
            && (self.names.is_empty() || self.names.iter().any(|name| **name == *subject.name))
    }

    fn matches_resource(&self, gvr: &Gvr, subresource: &str) -> bool {
        let is = |pattern: &str, text: &str| pattern == "*" || pattern == text;
        self.resources.iter().any(|(of, sub)| is(of, &gvr.resource) && is(sub, subresource))
    }

    fn matches_scope(&self, subject: &Subject<'_>) -> bool {
        let clustered = subject.is_namespace() || subject.namespace.is_empty();
        match self.scope {
            Scope::All => true,
            Scope::Cluster => clustered,
            Scope::Namespaced => !clustered,
        }
    }
}

fn any(patterns: &[Box<str>], text: &str) -> bool {
    patterns.iter().any(|pattern| **pattern == *"*" || **pattern == *text)
}

fn rules(of: &Value, key: &str) -> Vec<Rule> {
    let rules = of.get(key).and_then(Value::as_array);
    rules.into_iter().flatten().map(rule).collect()
}

fn rule(of: &Value) -> Rule {
    let texts = |key: &str| -> Vec<Box<str>> {
        let list = of.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect()
    };
    let split = |resource: Box<str>| match resource.split_once('/') {
        Some((of, sub)) => (of.into(), sub.into()),
        None => (resource, "".into()),
    };
    Rule {
        operations: texts("operations"),
        groups: texts("apiGroups"),
        versions: texts("apiVersions"),
        resources: texts("resources").into_iter().map(split).collect(),
        names: texts("resourceNames"),
        scope: match of.get("scope").and_then(Value::as_str) {
            Some("Cluster") => Scope::Cluster,
            Some("Namespaced") => Scope::Namespaced,
            Some(_) | None => Scope::All,
        },
    }
}
