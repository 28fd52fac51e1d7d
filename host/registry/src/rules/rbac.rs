//! Roles, cluster roles and their bindings: defaults, validation, and that nobody grants what they do not have.

use quadrille_object::{GroupResource, LabelSelector, validate_name};
use serde_json::{Value, json};

use crate::access::GROUP;
use crate::access::escalate::{self, Grantor};
use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::rules::{Rules, pod_template};
use crate::status::Status;
use crate::write::Attempt;

/// The rules of Roles.
#[derive(Debug)]
pub(crate) struct Roles;

impl Rules for Roles {
    fn complete(&self, object: &mut Object) {
        field::default(object, "rules", Value::Null);
    }

    fn before_create(&self, attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
        check_role(attempt, object, None)
    }

    fn before_update(
        &self,
        attempt: &Attempt<'_>,
        object: &mut Object,
        before: &Object,
    ) -> Result<(), Status> {
        check_role(attempt, object, Some(before))
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        validate_rules(object, Scope::Namespace, errors);
    }
}

/// The rules of `ClusterRole`s.
#[derive(Debug)]
pub(crate) struct ClusterRoles;

impl Rules for ClusterRoles {
    fn complete(&self, object: &mut Object) {
        field::default(object, "rules", Value::Null);
    }

    fn before_create(&self, attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
        check_role(attempt, object, None)
    }

    fn before_update(
        &self,
        attempt: &Attempt<'_>,
        object: &mut Object,
        before: &Object,
    ) -> Result<(), Status> {
        check_role(attempt, object, Some(before))
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        validate_rules(object, Scope::Cluster, errors);
        if field::get(object, &["aggregationRule"]).is_none() {
            return;
        }
        let at = "aggregationRule.clusterRoleSelectors";
        let selectors = field::list(object, &["aggregationRule", "clusterRoleSelectors"]);
        if selectors.is_empty() {
            let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            errors.required(at, why);
        }
        for (index, selector) in selectors.iter().enumerate() {
            let at = format!("{at}[{index}]");
            let mut found = Errors::default();
            pod_template::validate_selector(selector, &at, &mut found);
            // What is said of the selector as a whole has other words here.
            errors.0.extend(found.0.into_iter().filter(|error| error.field != at));
            if LabelSelector::from_value(selector).is_err() {
                errors.invalid(at, &Value::Null, "invalid label selector.");
            }
        }
    }
}

/// The rules of `RoleBinding`s and `ClusterRoleBinding`s.
#[derive(Debug)]
pub(crate) struct Bindings(pub(crate) Scope);

impl Rules for Bindings {
    fn default(&self, object: &mut Object) {
        default_binding(object);
    }

    fn before_create(&self, attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
        check_binding(attempt, object, None)
    }

    fn before_update(
        &self,
        attempt: &Attempt<'_>,
        object: &mut Object,
        before: &Object,
    ) -> Result<(), Status> {
        check_binding(attempt, object, Some(before))
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        validate_binding(object, self.0, errors);
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        self.validate(object, errors);
        validate_role_kept(object, before, errors);
    }
}

/// Where a role or binding holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// In its namespace.
    Namespace,
    /// Everywhere.
    Cluster,
}

fn check_role(
    attempt: &Attempt<'_>,
    object: &Object,
    before: Option<&Object>,
) -> Result<(), Status> {
    let resource = attempt.resource.qualified();
    let by = grantor(attempt, &resource, metadata::text(object, "name"));
    escalate::check_role(attempt.access, by, object, before)
}

fn check_binding(
    attempt: &Attempt<'_>,
    object: &Object,
    before: Option<&Object>,
) -> Result<(), Status> {
    let resource = attempt.resource.qualified();
    let by = grantor(attempt, &resource, metadata::text(object, "name"));
    escalate::check_binding(attempt.access, by, object, before)
}

fn grantor<'a>(
    attempt: &'a Attempt<'_>,
    resource: &'a GroupResource,
    name: &'a str,
) -> Grantor<'a> {
    let (actor, namespace) = (&attempt.request.actor, &**attempt.namespace());
    let view = attempt.view;
    Grantor { actor, view, resource, namespace, path_name: attempt.name(), name }
}

fn default_binding(object: &mut Object) {
    let empty = |value: Option<&Value>| value.and_then(Value::as_str).is_none_or(str::is_empty);
    let role = field::map_mut(object, &["roleRef"]);
    if empty(role.get("apiGroup")) {
        role.insert("apiGroup".to_owned(), GROUP.into());
    }
    let subjects = object.get_mut("subjects").and_then(Value::as_array_mut);
    for subject in subjects.into_iter().flatten().filter_map(Value::as_object_mut) {
        let of_group =
            matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group"));
        if !empty(subject.get("apiGroup")) {
            continue;
        }
        if of_group {
            subject.insert("apiGroup".to_owned(), GROUP.into());
        } else {
            subject.remove("apiGroup");
        }
    }
}

fn validate_rules(object: &Object, scope: Scope, errors: &mut Errors) {
    for (index, rule) in field::list(object, &["rules"]).iter().enumerate() {
        let at = |field: &str| format!("rules[{index}].{field}");
        let is_empty = |field: &str| rule[field].as_array().is_none_or(Vec::is_empty);
        if is_empty("verbs") {
            errors.required(at("verbs"), "verbs must contain at least one value");
        }
        if !is_empty("nonResourceURLs") {
            let urls = &rule["nonResourceURLs"];
            if scope == Scope::Namespace {
                let why = "namespaced rules cannot apply to non-resource URLs";
                errors.invalid(at("nonResourceURLs"), urls, why);
            }
            if !["apiGroups", "resources", "resourceNames"].into_iter().all(is_empty) {
                let why = "rules cannot apply to both regular resources and non-resource URLs";
                errors.invalid(at("nonResourceURLs"), urls, why);
            }
            continue;
        }
        if is_empty("apiGroups") {
            errors.required(at("apiGroups"), "resource rules must supply at least one api group");
        }
        if is_empty("resources") {
            errors.required(at("resources"), "resource rules must supply at least one resource");
        }
    }
}

fn validate_binding(object: &Object, scope: Scope, errors: &mut Errors) {
    let text = |key: &str| field::text(object, &["roleRef", key]).unwrap_or_default();
    let group = text("apiGroup");
    if group != GROUP {
        errors.unsupported("roleRef.apiGroup", &group.into(), &[GROUP]);
    }
    let kinds: &[&str] = match scope {
        Scope::Namespace => &["Role", "ClusterRole"],
        Scope::Cluster => &["ClusterRole"],
    };
    if !kinds.contains(&text("kind")) {
        errors.unsupported("roleRef.kind", &text("kind").into(), kinds);
    }
    match text("name") {
        "" => errors.required("roleRef.name", ""),
        name => errors.invalid_each("roleRef.name", name, validate_name::path_segment(name)),
    }
    for (index, subject) in field::list(object, &["subjects"]).iter().enumerate() {
        validate_subject(subject, &format!("subjects[{index}]"), scope, errors);
    }
}

fn validate_subject(subject: &Value, at: &str, scope: Scope, errors: &mut Errors) {
    let text = |key: &str| subject[key].as_str().unwrap_or_default();
    let (name, group) = (text("name"), text("apiGroup"));
    if name.is_empty() {
        errors.required(format!("{at}.name"), "");
    }
    let one_group = |known: &'static str, errors: &mut Errors| {
        if group != known {
            errors.unsupported(format!("{at}.apiGroup"), &group.into(), &[known]);
        }
    };
    match text("kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                let problems = validate_name::dns_subdomain(name);
                errors.invalid_each(&format!("{at}.name"), name, problems);
            }
            one_group("", errors);
            if scope == Scope::Cluster && text("namespace").is_empty() {
                errors.required(format!("{at}.namespace"), "");
            }
        }
        "User" | "Group" => one_group(GROUP, errors),
        kind => {
            let kinds = ["ServiceAccount", "User", "Group"];
            errors.unsupported(format!("{at}.kind"), &kind.into(), &kinds);
        }
    }
}

fn validate_role_kept(object: &Object, before: &Object, errors: &mut Errors) {
    if field::get(object, &["roleRef"]) == field::get(before, &["roleRef"]) {
        return;
    }
    let text = |key: &str| field::text(object, &["roleRef", key]).unwrap_or_default();
    // As kube-apiserver shows it: by the names of its own type's fields.
    let shown = json!({"APIGroup": text("apiGroup"), "Kind": text("kind"), "Name": text("name")});
    errors.invalid("roleRef", &shown, "cannot change roleRef");
}
