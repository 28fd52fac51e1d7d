//! Questions to the authorizer.
//!
//! Owns how an expression puts a question together; who answers it is handed in.

use std::sync::Arc;

use super::{Result, text};
use crate::error::EvalError;
use crate::eval::Machine;
use crate::signature::Cost::{Check, One, Selector};
use crate::signature::Row;
use crate::signature::Run::{Host, Pure};
use crate::types::OpaqueType;
use crate::value::{Opaque, Value};

pub(super) const ROWS: &[Row] = &[
    ("authorizer_path", "authorizer::path(string)->pathcheck", Pure(path), One),
    ("authorizer_group", "authorizer::group(string)->groupcheck", Pure(group), One),
    (
        "authorizer_serviceaccount",
        "authorizer::serviceAccount(string,string)->authorizer",
        Pure(service_account),
        One,
    ),
    ("groupcheck_resource", "groupcheck::resource(string)->resourcecheck", Pure(resource), One),
    (
        "resourcecheck_subresource",
        "resourcecheck::subresource(string)->resourcecheck",
        Pure(subresource),
        One,
    ),
    (
        "resourcecheck_namespace",
        "resourcecheck::namespace(string)->resourcecheck",
        Pure(namespace),
        One,
    ),
    ("resourcecheck_name", "resourcecheck::name(string)->resourcecheck", Pure(name), One),
    (
        "authorizer_fieldselector",
        "resourcecheck::fieldSelector(string)->resourcecheck",
        Pure(field_selector),
        Selector,
    ),
    (
        "authorizer_labelselector",
        "resourcecheck::labelSelector(string)->resourcecheck",
        Pure(label_selector),
        Selector,
    ),
    ("pathcheck_check", "pathcheck::check(string)->decision", Host(check), Check),
    ("resourcecheck_check", "resourcecheck::check(string)->decision", Host(check), Check),
    ("decision_errored", "decision::errored()->bool", Pure(errored), One),
    ("decision_error", "decision::error()->string", Pure(error), One),
    ("decision_allowed", "decision::allowed()->bool", Pure(allowed), One),
    ("decision_reason", "decision::reason()->string", Pure(reason), One),
];

/// What a question is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Target {
    /// Nothing so far.
    #[default]
    Nothing,
    /// A path that is no resource's.
    Path(String),
    /// A resource.
    Resource {
        /// The API group; empty for the core.
        group: String,
        /// The resource; empty while the question is put together.
        resource: String,
        /// The subresource, or empty.
        subresource: String,
        /// The namespace, or empty for the cluster.
        namespace: String,
        /// One object's name, or empty for all.
        name: String,
        /// A field selector, as text.
        field_selector: Option<String>,
        /// A label selector, as text.
        label_selector: Option<String>,
    },
}

/// A question: may somebody do something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// Namespace and name of the service account it is about; without one it is about the requester.
    pub service_account: Option<(String, String)>,
    /// What it is about.
    pub target: Target,
    /// The verb.
    pub verb: String,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Why, if anything says so.
    pub reason: String,
    /// What failed on the way to the answer.
    pub error: Option<String>,
}

/// How far a question has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    /// Who asks.
    Authorizer(Arc<Question>),
    /// About a path.
    Path(Arc<Question>),
    /// About a group.
    Group(Arc<Question>),
    /// About a resource.
    Resource(Arc<Question>),
    /// Answered.
    Decision(Arc<Decision>),
}

impl Authorization {
    pub(crate) fn ty(&self) -> OpaqueType {
        match self {
            Self::Authorizer(_) => OpaqueType::Authorizer,
            Self::Path(_) => OpaqueType::PathCheck,
            Self::Group(_) => OpaqueType::GroupCheck,
            Self::Resource(_) => OpaqueType::ResourceCheck,
            Self::Decision(_) => OpaqueType::Decision,
        }
    }
}

impl Value<'_> {
    /// The value of the variable `authorizer`.
    pub fn authorizer() -> Self {
        Self::Opaque(Opaque::Authorization(Authorization::Authorizer(Arc::default())))
    }

    /// The value of `authorizer.requestResource`: a question about this resource.
    pub fn resource_check(target: Target) -> Self {
        let question = Question { target, ..Question::default() };
        Self::Opaque(Opaque::Authorization(Authorization::Resource(Arc::new(question))))
    }
}

fn question(args: &[Value<'_>]) -> Result<Question> {
    match args.first() {
        Some(Value::Opaque(Opaque::Authorization(
            Authorization::Authorizer(question)
            | Authorization::Path(question)
            | Authorization::Group(question)
            | Authorization::Resource(question),
        ))) => Ok((**question).clone()),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn value<'a>(step: Authorization) -> Result<Value<'a>> {
    Ok(Value::Opaque(Opaque::Authorization(step)))
}

fn not_blank(args: &[Value<'_>], what: &str) -> Result<String> {
    let text = text(args, 1)?;
    if text.trim().is_empty() {
        return Err(EvalError::new(format!("{what} must not be empty")));
    }
    Ok(text.to_string())
}

fn path<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let target = Target::Path(not_blank(args, "path")?);
    value(Authorization::Path(Arc::new(Question { target, ..question(args)? })))
}

fn group<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let target = Target::Resource {
        group: text(args, 1)?.to_string(),
        resource: String::new(),
        subresource: String::new(),
        namespace: String::new(),
        name: String::new(),
        field_selector: None,
        label_selector: None,
    };
    value(Authorization::Group(Arc::new(Question { target, ..question(args)? })))
}

/// Whether a text is a DNS label or, with `dots`, a subdomain.
fn is_dns(text: &str, dots: bool) -> bool {
    let label = |label: &str| {
        let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        !label.is_empty()
            && label.chars().all(|c| edge(c) || c == '-')
            && label.starts_with(edge)
            && label.ends_with(edge)
    };
    let length_max = if dots { 253 } else { 63 };
    text.len() <= length_max && if dots { text.split('.').all(label) } else { label(text) }
}

fn service_account<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let (namespace, name) = (text(args, 1)?.to_string(), text(args, 2)?.to_string());
    if !is_dns(&name, true) {
        return Err(EvalError::new("Invalid service account name"));
    }
    if !is_dns(&namespace, false) {
        return Err(EvalError::new("Invalid service account namespace"));
    }
    let service_account = Some((namespace, name));
    value(Authorization::Authorizer(Arc::new(Question { service_account, ..question(args)? })))
}

/// The question about a resource with a part of it changed.
fn changed<'a>(args: &[Value<'a>], change: impl FnOnce(Parts<'_>, String)) -> Result<Value<'a>> {
    let mut question = question(args)?;
    let text = text(args, 1)?.to_string();
    let Target::Resource {
        resource,
        subresource,
        namespace,
        name,
        field_selector,
        label_selector,
        ..
    } = &mut question.target
    else {
        return Err(EvalError::no_such_overload());
    };
    change(Parts { resource, subresource, namespace, name, field_selector, label_selector }, text);
    value(Authorization::Resource(Arc::new(question)))
}

struct Parts<'q> {
    resource: &'q mut String,
    subresource: &'q mut String,
    namespace: &'q mut String,
    name: &'q mut String,
    field_selector: &'q mut Option<String>,
    label_selector: &'q mut Option<String>,
}

fn resource<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    not_blank(args, "resource")?;
    changed(args, |parts, text| *parts.resource = text)
}

fn subresource<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    changed(args, |parts, text| *parts.subresource = text)
}

fn namespace<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    changed(args, |parts, text| *parts.namespace = text)
}

fn name<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    changed(args, |parts, text| *parts.name = text)
}

fn field_selector<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    changed(args, |parts, text| *parts.field_selector = Some(text))
}

fn label_selector<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    changed(args, |parts, text| *parts.label_selector = Some(text))
}

fn check<'a>(machine: &mut Machine<'a, '_>, args: &[Value<'a>]) -> Result<Value<'a>> {
    let verb = text(args, 1)?.to_string();
    let question = Question { verb, ..question(args)? };
    let decision = machine.variables().authorize(&question)?;
    value(Authorization::Decision(Arc::new(decision)))
}

fn decision<'v>(args: &'v [Value<'_>]) -> Result<&'v Decision> {
    match args.first() {
        Some(Value::Opaque(Opaque::Authorization(Authorization::Decision(decision)))) => {
            Ok(decision)
        }
        _ => Err(EvalError::no_such_overload()),
    }
}

fn errored<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(decision(args)?.error.is_some()))
}

fn error<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::text(decision(args)?.error.clone().unwrap_or_default()))
}

fn allowed<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Bool(decision(args)?.allowed))
}

fn reason<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::text(decision(args)?.reason.clone()))
}
