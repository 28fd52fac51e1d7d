//! `MutatingAdmissionPolicy`: expressions that change a write.

use quadrille_object::{JsonPatch, apply};
use serde_json::Value;

use crate::admission::expression::Evaluation;
use crate::admission::policy::{Binding, FailurePolicy, Mutation, Policy};
use crate::admission::subject::Subject;
use crate::admission::{Operation, Plugin, accept, forbidden, params};
use crate::catalog::Resource;
use crate::field::Object;
use crate::shape;
use crate::status::{Reason, Status, StatusCause};
use crate::write::Attempt;

/// The plug-in.
#[derive(Debug)]
pub(crate) struct MutatingPolicy;

impl Plugin for MutatingPolicy {
    fn mutate(
        &self,
        attempt: &mut Attempt<'_>,
        object: &mut Object,
        before: Option<&Object>,
        operation: Operation,
    ) -> Result<(), Status> {
        let hooks = attempt.hooks;
        if hooks.mutating.is_empty() || operation == Operation::Delete || super::is_exempt(attempt)
        {
            return Ok(());
        }
        attempt.reinvocation.policies.enter(object);
        let mut failures = Vec::new();
        // Who matches, and with which parameters, is decided on the object as it comes in.
        let planned = {
            let subject = Subject::new(attempt, object, before, operation);
            let mut planned = Vec::new();
            for bound in &hooks.mutating {
                let found = invocations(attempt, &subject, &bound.policy, &bound.bindings);
                for invocation in found {
                    match invocation {
                        Ok(invocation) => planned.push(invocation),
                        Err(failure) => failures.extend(failure),
                    }
                }
            }
            planned
        };
        for invocation in planned {
            let place = (before, operation);
            if let Err(why) = invocation.run(attempt, object, place) {
                failures.extend(failure(invocation.policy, Some(invocation.binding), &why));
            }
        }
        attempt.reinvocation.policies.leave(object);
        if failures.is_empty() { Ok(()) } else { Err(denied(attempt, object, failures)) }
    }
}

/// One policy with one binding and one parameter.
struct Invocation<'a> {
    policy: &'a Policy,
    binding: &'a Binding,
    params: Value,
    resource: std::sync::Arc<Resource>,
    id: String,
}

/// The text of a failure that counts.
fn failure(policy: &Policy, binding: Option<&Binding>, why: &str) -> Option<String> {
    if policy.failure == FailurePolicy::Ignore {
        return None;
    }
    let name = &policy.name;
    Some(match binding {
        Some(binding) => {
            format!("policy '{name}' with binding '{}' denied request: {why}", binding.name)
        }
        None => format!("policy {name:?} denied request: {why}"),
    })
}

fn invocations<'h>(
    attempt: &Attempt<'_>,
    subject: &Subject<'_>,
    policy: &'h Policy,
    bindings: &'h [std::sync::Arc<Binding>],
) -> Vec<Result<Invocation<'h>, Option<String>>> {
    let (catalog, view) = (attempt.catalog, attempt.view);
    let resource = match policy.matcher.matches(subject, catalog, view) {
        Ok(Some(resource)) => resource,
        Ok(None) => return Vec::new(),
        Err(unknown) => {
            let why = format!("failed to configure policy: {}", unknown.0);
            return vec![Err(failure(policy, None, &why))];
        }
    };
    let mut all = Vec::new();
    for binding in bindings {
        let failed = |why: &str| {
            let why = format!("failed to configure binding: {why}");
            Err(failure(policy, Some(binding), &why))
        };
        match binding.matcher.matches(subject, catalog, view) {
            Ok(Some(_)) => {}
            Ok(None) => continue,
            Err(unknown) => {
                all.push(failed(&unknown.0));
                continue;
            }
        }
        let (kind, place) = (policy.param_kind.as_ref(), super::params_namespace(subject));
        match params::collect(kind, binding.params.as_ref(), &place, attempt) {
            Err(why) => all.push(failed(&why)),
            Ok(found) => all.extend(found.into_iter().map(|params| {
                let of = |key| params.pointer(key).and_then(Value::as_str).unwrap_or_default();
                let (namespace, name) = (of("/metadata/namespace"), of("/metadata/name"));
                let id = format!("{}/{}/{namespace}/{name}", policy.name, binding.name);
                let resource = std::sync::Arc::clone(&resource);
                Ok(Invocation { policy, binding, params, resource, id })
            })),
        }
    }
    all
}

impl Invocation<'_> {
    fn run(
        &self,
        attempt: &mut Attempt<'_>,
        object: &mut Object,
        place: (Option<&Object>, Operation),
    ) -> Result<(), String> {
        if !self.applies(attempt, object, place)? {
            return Ok(());
        }
        let again = attempt.reinvocation.again;
        if again && !attempt.reinvocation.policies.is_due(&self.id) {
            return Ok(());
        }
        let old = object.clone();
        let mut failed = Ok(());
        for mutation in &self.policy.mutations {
            if let Err(why) = self.mutate(attempt, object, place, mutation) {
                failed = failed.and(Err(why));
            }
        }
        if old != *object {
            attempt.reinvocation.policies.changed();
            attempt.reinvocation.wanted = true;
        }
        if self.policy.reinvoked {
            attempt.reinvocation.policies.earlier.insert(self.id.clone());
        }
        failed
    }

    fn applies(
        &self,
        attempt: &Attempt<'_>,
        object: &Object,
        (before, operation): (Option<&Object>, Operation),
    ) -> Result<bool, String> {
        self.look(attempt, object, (before, operation), |evaluation| {
            super::conditions_hold(&self.policy.conditions, self.policy.failure, evaluation)
        })
    }

    fn mutate(
        &self,
        attempt: &Attempt<'_>,
        object: &mut Object,
        place: (Option<&Object>, Operation),
        mutation: &Mutation,
    ) -> Result<(), String> {
        let changed = self.look(attempt, object, place, |evaluation| {
            let mut budget = Evaluation::budget();
            let mut run = evaluation.begin(&mut budget);
            match mutation {
                Mutation::Patch(expression) => {
                    let mut patched = evaluation.object.clone();
                    let patch = JsonPatch::from_value(run.json(expression)?);
                    let applied = patch.and_then(|patch| patch.apply(&mut patched));
                    applied.map_err(|error| format!("JSON Patch: {error}"))?;
                    Ok(patched)
                }
                Mutation::Configuration(expression) => {
                    self.merged(attempt, evaluation.object, run.json(expression)?)
                }
            }
        })?;
        accept(attempt, &self.resource, changed, object)
    }

    /// The object with the fields of an apply configuration.
    fn merged(
        &self,
        attempt: &Attempt<'_>,
        object: &Value,
        config: Value,
    ) -> Result<Value, String> {
        let resource = super::body_resource(attempt, &self.resource);
        let Value::Object(mut config) = config else {
            return Err("unexpected type for the result of the expression".to_owned());
        };
        let Value::Object(live) = object else {
            return Err("there is no object to change".to_owned());
        };
        for key in ["apiVersion", "kind"] {
            if let Some(value) = live.get(key) {
                config.insert(key.to_owned(), value.clone());
            }
        }
        let mut pruned = config.clone();
        let unknown = shape::prune(resource, &mut pruned);
        if !self.resource.custom && !unknown.is_empty() {
            let fields =
                unknown.iter().map(|path| format!(".{path}: field not declared in schema"));
            let fields: Vec<String> = fields.collect();
            return Err(format!("error applying patch: {}", fields.join(", ")));
        }
        Ok(Value::Object(apply::merge(&resource.schema, live, &pruned)))
    }

    fn look<T>(
        &self,
        attempt: &Attempt<'_>,
        object: &Object,
        (before, operation): (Option<&Object>, Operation),
        see: impl FnOnce(&Evaluation<'_>) -> Result<T, String>,
    ) -> Result<T, String> {
        let subject = Subject::new(attempt, object, before, operation);
        let shown = subject.seen_as(&self.resource);
        let namespace = super::namespace_object(attempt, &subject);
        see(&Evaluation {
            object: &shown.object,
            old_object: &shown.old_object,
            request: &shown.request,
            params: &self.params,
            namespace: &namespace,
            variables: &self.policy.variables,
            access: attempt.access,
            subject: &subject,
        })
    }
}

/// The first failure words the refusal, each is a cause.
fn denied(attempt: &Attempt<'_>, object: &Object, failures: Vec<String>) -> Status {
    let mut status = forbidden(attempt, object, "admission request denied by policy");
    status.reason = Reason::Invalid;
    status.message = failures.first().cloned().unwrap_or_default();
    if let Some(details) = &mut status.details {
        let cause = |message| StatusCause { message, ..StatusCause::default() };
        details.causes.extend(failures.into_iter().map(cause));
    }
    status
}
