//! The parameters that a binding hands to its policy.

use std::sync::Arc;

use quadrille_object::{Gvk, LabelSelector};
use quadrille_store::{Key, Query, Range, Selection};
use serde_json::Value;

use crate::convert;
use crate::write::{Attempt, parse};

/// How many parameters one binding may select; the objects of one page.
const PARAMS_MAX: usize = 500;

/// Where a binding's parameters are.
#[derive(Debug)]
pub(crate) struct ParamRef {
    name: Box<str>,
    namespace: Arc<str>,
    selector: Option<LabelSelector>,
    /// Whether missing parameters refuse the request.
    deny: bool,
}

impl ParamRef {
    pub(crate) fn parse(of: &Value) -> Self {
        let text = |key: &str| of.get(key).and_then(Value::as_str).unwrap_or_default();
        let selector = of.get("selector").filter(|v| !v.is_null());
        Self {
            name: text("name").into(),
            namespace: text("namespace").into(),
            selector: selector.and_then(|v| LabelSelector::from_value(v).ok()),
            deny: text("parameterNotFoundAction") == "Deny",
        }
    }
}

/// What to evaluate a policy with, one after the other; null where it takes no parameters.
///
/// # Errors
/// With the reason why the policy or its binding cannot be followed.
pub(crate) fn collect(
    kind: Option<&Gvk>,
    reference: Option<&ParamRef>,
    namespace: &Arc<str>,
    attempt: &Attempt<'_>,
) -> Result<Vec<Value>, String> {
    let view = attempt.view;
    let (Some(kind), Some(reference)) = (kind, reference) else { return Ok(vec![Value::Null]) };
    let Some(resource) = attempt.catalog.by_kind(kind) else {
        let version = kind.group_version();
        let kind = &kind.kind;
        return Err(format!("paramKind kind `{version}, Kind={kind}` not known"));
    };
    let place = match (resource.namespaced, reference.namespace.is_empty()) {
        (false, true) => "".into(),
        (false, false) => {
            let why = "paramRef.namespace must not be provided for a cluster-scoped `paramKind`";
            return Err(why.to_owned());
        }
        (true, false) => Arc::clone(&reference.namespace),
        (true, true) => Arc::clone(namespace),
    };
    if resource.namespaced && place.is_empty() {
        let why = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
        return Err(why.to_owned());
    }
    let objects = if let Some(selector) = &reference.selector {
        let selection = Selection::Labels(selector.clone());
        let range =
            Range { resource: resource.group_resource(), namespace: Some(place), selection };
        view.list(&Query { limit: Some(PARAMS_MAX), ..Query::whole(range) })
    } else {
        let key = Key::new(resource.group_resource(), place, &*reference.name);
        view.get(&key).into_iter().collect()
    };
    if objects.is_empty() && reference.deny {
        let why = "no params found for policy binding with `Deny` parameterNotFoundAction";
        return Err(why.to_owned());
    }
    let show = |object: Arc<quadrille_store::Object>| {
        let mut object = parse(&object).map_err(|status| status.message)?;
        if resource.converter().is_some() {
            let converted = attempt.convert(resource, &object, &resource.api_version);
            object = converted.map_err(|status| status.message)?;
        }
        convert::from_storage(resource, &mut object);
        Ok(Value::Object(object))
    };
    objects.into_iter().map(show).collect()
}
