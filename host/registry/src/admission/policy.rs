//! A policy and its bindings, compiled once and then evaluated against every write that they match.

use std::sync::Arc;

use quadrille_object::{GroupVersion, Gvk};
use serde_json::Value;

use crate::admission::expression::{Expression, Returns, Scope, Variable};
use crate::admission::matching::Matcher;
use crate::admission::params::ParamRef;
use crate::field::{self, Object};
use crate::metadata;
use crate::status::Reason;

/// What happens when a policy or webhook cannot decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailurePolicy {
    /// The request is refused.
    Fail,
    /// The request goes on.
    Ignore,
}

impl FailurePolicy {
    pub(crate) fn parse(of: &Value) -> Self {
        match of.get("failurePolicy").and_then(Value::as_str) {
            Some("Ignore") => Self::Ignore,
            Some(_) | None => Self::Fail,
        }
    }
}

/// A policy, ready to be evaluated.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) name: Box<str>,
    pub(crate) failure: FailurePolicy,
    pub(crate) matcher: Matcher,
    pub(crate) param_kind: Option<Gvk>,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) validations: Vec<Validation>,
    pub(crate) annotations: Vec<Annotation>,
    pub(crate) mutations: Vec<Mutation>,
    /// Whether it is evaluated again when a later mutation changes the object.
    pub(crate) reinvoked: bool,
}

/// A condition of a policy or webhook.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) name: Box<str>,
    pub(crate) expression: Expression,
}

/// One check of a validating policy.
#[derive(Debug)]
pub(crate) struct Validation {
    pub(crate) expression: Expression,
    pub(crate) message: Box<str>,
    pub(crate) dynamic_message: Option<Expression>,
    pub(crate) reason: Reason,
}

/// One annotation for the audit log.
#[derive(Debug)]
pub(crate) struct Annotation {
    pub(crate) key: Box<str>,
    pub(crate) value: Expression,
}

/// One change of a mutating policy.
#[derive(Debug)]
pub(crate) enum Mutation {
    /// Fields to merge into the object.
    Configuration(Expression),
    /// Operations of a JSON patch.
    Patch(Expression),
}

/// What a failed validation leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consequence {
    Deny,
    Warn,
    Audit,
}

/// A binding of a policy.
#[derive(Debug)]
pub(crate) struct Binding {
    pub(crate) name: Box<str>,
    pub(crate) policy: Box<str>,
    pub(crate) matcher: Matcher,
    pub(crate) params: Option<ParamRef>,
    pub(crate) consequences: Vec<Consequence>,
}

/// A policy with all that bind it, in the order of their names.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) policy: Arc<Policy>,
    pub(crate) bindings: Vec<Arc<Binding>>,
}

impl Policy {
    /// Compiles a stored policy. What does not compile (it did when it was stored) fails when it is evaluated.
    pub(crate) fn compile(object: &Object) -> Self {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let param_kind = spec.get("paramKind").filter(|v| !v.is_null()).and_then(param_kind);
        let mut scope = Scope::new(param_kind.is_some());
        let conditions = conditions(list(spec, "matchConditions"), &scope);
        let variables = list(spec, "variables")
            .iter()
            .map(|of| Variable::compile(text(of, "name"), text(of, "expression"), &mut scope))
            .collect();
        Self {
            name: metadata::text(object, "name").into(),
            failure: FailurePolicy::parse(spec),
            matcher: Matcher::of_resources(spec.get("matchConstraints")),
            param_kind,
            conditions,
            variables,
            validations: list(spec, "validations").iter().map(|v| validation(v, &scope)).collect(),
            annotations: list(spec, "auditAnnotations")
                .iter()
                .map(|of| Annotation {
                    key: text(of, "key").into(),
                    value: Expression::compile(
                        text(of, "valueExpression").trim(),
                        &scope,
                        Returns::TextOrNull,
                    ),
                })
                .collect(),
            mutations: list(spec, "mutations").iter().map(|of| mutation(of, &scope)).collect(),
            reinvoked: text(spec, "reinvocationPolicy") == "IfNeeded",
        }
    }
}

impl Binding {
    /// Reads a stored binding.
    pub(crate) fn parse(object: &Object) -> Self {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let consequence = |action: &Value| match action.as_str() {
            Some("Deny") => Some(Consequence::Deny),
            Some("Warn") => Some(Consequence::Warn),
            Some("Audit") => Some(Consequence::Audit),
            Some(_) | None => None,
        };
        Self {
            name: metadata::text(object, "name").into(),
            policy: field::text(object, &["spec", "policyName"]).unwrap_or_default().into(),
            matcher: Matcher::of_resources(spec.get("matchResources").filter(|v| !v.is_null())),
            params: spec.get("paramRef").filter(|v| !v.is_null()).map(ParamRef::parse),
            consequences: list(spec, "validationActions").iter().filter_map(consequence).collect(),
        }
    }
}

/// Compiles the match conditions of a policy or webhook.
pub(crate) fn conditions(of: &[Value], scope: &Scope) -> Vec<Condition> {
    let condition = |of: &Value| Condition {
        name: text(of, "name").into(),
        expression: Expression::compile(text(of, "expression").trim(), scope, Returns::Bool),
    };
    of.iter().map(condition).collect()
}

fn validation(of: &Value, scope: &Scope) -> Validation {
    let dynamic = text(of, "messageExpression");
    let without = scope.without_authorizer();
    Validation {
        expression: Expression::compile(text(of, "expression"), scope, Returns::Bool),
        message: text(of, "message").trim().into(),
        dynamic_message: (!dynamic.is_empty())
            .then(|| Expression::compile(dynamic, &without, Returns::Text)),
        reason: match text(of, "reason") {
            "Unauthorized" => Reason::Unauthorized,
            "Forbidden" => Reason::Forbidden,
            "RequestEntityTooLarge" => Reason::RequestEntityTooLarge,
            _ => Reason::Invalid,
        },
    }
}

fn mutation(of: &Value, scope: &Scope) -> Mutation {
    let expression = |key: &str| of.get(key).map(|v| text(v, "expression")).unwrap_or_default();
    if text(of, "patchType") == "JSONPatch" {
        let text = expression("jsonPatch");
        Mutation::Patch(Expression::compile(text, scope, Returns::JsonPatch))
    } else {
        let text = expression("applyConfiguration");
        Mutation::Configuration(Expression::compile(text, scope, Returns::Configuration))
    }
}

fn param_kind(of: &Value) -> Option<Gvk> {
    let version = GroupVersion::parse(text(of, "apiVersion"))?;
    Some(Gvk::new(version.group, version.version, text(of, "kind")))
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
