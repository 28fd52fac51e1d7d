//! The expressions of policies and match conditions: what they may name, what they must give, and their evaluation.

use std::cell::RefCell;

use quadrille_cel::{
    Budget, Decision, Declared, Environment, EvalError, OpaqueType, Program, Question, Target,
    Type, Value as Cel, Variables,
};
use serde_json::Value;

use crate::access::{Access, Attributes, ResourceAttributes, User};
use crate::admission::constructed;
use crate::admission::subject::Subject;
use crate::admission::types::{NAMESPACE, REQUEST};

/// The most variables that are looked at in one policy.
const VARIABLES_MAX: usize = 256;

/// What an expression must give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Returns {
    /// True or false.
    Bool,
    /// Text.
    Text,
    /// Text, or null for none.
    TextOrNull,
    /// Anything: a variable.
    Any,
    /// An `Object`.
    Configuration,
    /// A list of `JSONPatch`.
    JsonPatch,
}

/// What expressions may name beside the object, its state before, the request and the namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// Whether there are parameters.
    pub(crate) params: bool,
    /// Whether permissions may be asked for.
    pub(crate) authorizer: bool,
    /// The variables that are declared so far.
    pub(crate) variables: Vec<(String, Type)>,
}

impl Scope {
    /// The scope of a policy before its first variable.
    pub(crate) fn new(params: bool) -> Self {
        Self { params, authorizer: true, variables: Vec::new() }
    }

    /// The same without permissions.
    pub(crate) fn without_authorizer(&self) -> Self {
        Self { authorizer: false, ..self.clone() }
    }

    /// Compiles an expression.
    ///
    /// # Errors
    /// With kube-apiserver's words for what is wrong.
    pub(crate) fn compile(&self, text: &str, returns: Returns) -> Result<Program, String> {
        compile_in(self.environment(Type::Dyn), text, returns)
    }

    /// The same against a known type of object.
    pub(crate) fn compile_for(
        &self,
        object: &Declared,
        text: &str,
        returns: Returns,
    ) -> Result<Program, String> {
        let environment = self.environment(object.ty.clone());
        let environment = environment.declared("object", object.clone());
        compile_in(environment.declared("oldObject", object.clone()), text, returns)
    }

    /// Adds a variable; later expressions may name it.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub(crate) fn declare(&mut self, name: &str, text: &str) -> Result<Program, String> {
        if self.variables.len() >= VARIABLES_MAX {
            return Err(format!("more than {VARIABLES_MAX} variables"));
        }
        let program = self.compile(text, Returns::Any)?;
        self.variables.push((format!("variables.{name}"), program.result_type().clone()));
        Ok(program)
    }

    fn environment(&self, object: Type) -> Environment {
        let mut environment = Environment::new()
            .variable("object", object.clone())
            .variable("oldObject", object)
            .declared("request", REQUEST.clone())
            .declared("namespaceObject", NAMESPACE.clone());
        if self.params {
            environment = environment.variable("params", Type::Dyn);
        }
        if self.authorizer {
            environment = environment
                .authorizer()
                .variable("authorizer.requestResource", Type::Opaque(OpaqueType::ResourceCheck));
        }
        for (name, ty) in &self.variables {
            environment = environment.variable(name, ty.clone());
        }
        environment
    }
}

fn compile_in(
    mut environment: Environment,
    text: &str,
    returns: Returns,
) -> Result<Program, String> {
    if matches!(returns, Returns::Configuration | Returns::JsonPatch | Returns::Any) {
        for object in constructed::types_in(text) {
            environment = environment.object(object);
        }
    }
    let program = environment.compile(text);
    let program = program.map_err(|error| format!("compilation failed: {error}"))?;
    let found = program.result_type();
    let fits = match returns {
        Returns::Any => true,
        Returns::Bool => *found == Type::Bool,
        Returns::Text => *found == Type::String,
        Returns::TextOrNull => matches!(found, Type::String | Type::Null),
        Returns::Configuration => constructed::is_object(found),
        Returns::JsonPatch => constructed::is_patch(found),
    };
    if fits {
        return Ok(program);
    }
    let wanted = match returns {
        Returns::Bool => "bool",
        Returns::Text => "string",
        Returns::TextOrNull => "one of [string null_type]",
        Returns::Configuration => "Object",
        Returns::JsonPatch => "list(JSONPatch)",
        Returns::Any => "any",
    };
    Err(format!("must evaluate to {wanted} but got {found}"))
}

/// An expression that was compiled when its policy was stored.
#[derive(Debug)]
pub(crate) struct Expression {
    text: Box<str>,
    program: Result<Program, String>,
}

impl Expression {
    pub(crate) fn compile(text: &str, scope: &Scope, returns: Returns) -> Self {
        Self { text: text.into(), program: scope.compile(text, returns) }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// A named expression of a policy, evaluated when somebody asks for it.
#[derive(Debug)]
pub(crate) struct Variable {
    /// As expressions write it: `variables.NAME`.
    name: Box<str>,
    expression: Expression,
}

impl Variable {
    pub(crate) fn compile(name: &str, text: &str, scope: &mut Scope) -> Self {
        let program = scope.declare(name, text);
        let expression = Expression { text: text.into(), program };
        Self { name: format!("variables.{name}").into(), expression }
    }
}

/// What expressions look at.
#[derive(Debug)]
pub(crate) struct Evaluation<'a> {
    pub(crate) object: &'a Value,
    pub(crate) old_object: &'a Value,
    pub(crate) request: &'a Value,
    pub(crate) params: &'a Value,
    pub(crate) namespace: &'a Value,
    pub(crate) variables: &'a [Variable],
    pub(crate) access: &'a Access,
    pub(crate) subject: &'a Subject<'a>,
}

impl<'a> Evaluation<'a> {
    /// What the expressions of one policy and binding may cost together.
    pub(crate) fn budget() -> Budget {
        Budget::per_object()
    }

    /// What the conditions of one policy or webhook may cost together.
    pub(crate) fn conditions_budget() -> Budget {
        Budget::new(quadrille_cel::MATCH_CONDITIONS_BUDGET)
    }

    /// Expressions that share a budget and the values of variables.
    pub(crate) fn begin<'b>(&'a self, budget: &'b mut Budget) -> Run<'a, 'b> {
        let known = RefCell::new(vec![None; self.variables.len()]);
        Run { inputs: Inputs { evaluation: self, known }, budget }
    }
}

/// Evaluations that share a budget.
pub(crate) struct Run<'a, 'b> {
    inputs: Inputs<'a>,
    budget: &'b mut Budget,
}

impl<'a> Run<'a, '_> {
    /// True or false.
    ///
    /// # Errors
    /// With the text of what failed, as kube-apiserver has it.
    pub(crate) fn truth(&mut self, expression: &'a Expression) -> Result<bool, String> {
        Ok(self.value(expression)?.as_bool() == Some(true))
    }

    /// A text; `None` for null.
    ///
    /// # Errors
    /// As [`Self::truth`].
    pub(crate) fn text(&mut self, expression: &'a Expression) -> Result<Option<String>, String> {
        Ok(self.value(expression)?.as_str().map(str::to_owned))
    }

    /// JSON.
    ///
    /// # Errors
    /// As [`Self::truth`].
    pub(crate) fn json(&mut self, expression: &'a Expression) -> Result<Value, String> {
        self.value(expression)?.to_json().map_err(|error| error.to_string())
    }

    fn value(&mut self, expression: &'a Expression) -> Result<Cel<'a>, String> {
        let text = &expression.text;
        let program = expression.program.as_ref();
        let program = program.map_err(|why| format!("compilation error: {why}"))?;
        program.evaluate(&self.inputs, self.budget).map_err(|error| match error {
            EvalError::OutOfBudget => {
                "validation failed due to running out of cost budget, no further validation rules will be run"
                    .to_owned()
            }
            EvalError::CostLimit | EvalError::Failed(_) => {
                format!("expression '{text}' resulted in error: {error}")
            }
        })
    }
}

/// The values of names.
struct Inputs<'a> {
    evaluation: &'a Evaluation<'a>,
    /// The variables that somebody asked for.
    known: RefCell<Vec<Option<Result<Cel<'a>, EvalError>>>>,
}

impl<'a> Variables<'a> for Inputs<'a> {
    fn variable(&self, name: &str, budget: &mut Budget) -> Result<Cel<'a>, EvalError> {
        let of = self.evaluation;
        Ok(match name {
            "object" => Cel::dynamic(of.object),
            "oldObject" => Cel::dynamic(of.old_object),
            "params" => Cel::dynamic(of.params),
            "request" => Cel::from_json(of.request, &REQUEST),
            "namespaceObject" => Cel::from_json(of.namespace, &NAMESPACE),
            "authorizer" => Cel::authorizer(),
            "authorizer.requestResource" => Cel::resource_check(self.own_resource()),
            _ => return self.composed(name, budget),
        })
    }

    fn authorize(&self, question: &Question) -> Result<Decision, EvalError> {
        Ok(decide(self.evaluation, question))
    }
}

impl<'a> Inputs<'a> {
    fn composed(&self, name: &str, budget: &mut Budget) -> Result<Cel<'a>, EvalError> {
        let variables = self.evaluation.variables;
        let unknown = || EvalError::new(format!("no such attribute(s): {name}"));
        // Of two with one name the later one is meant.
        let index = variables.iter().rposition(|of| *of.name == *name).ok_or_else(unknown)?;
        if let Some(known) = self.known.borrow().get(index).and_then(Clone::clone) {
            return known;
        }
        let variable = variables.get(index).ok_or_else(unknown)?;
        let value = match &variable.expression.program {
            Ok(program) => program.evaluate(self, budget).map_err(|error| {
                if error.is_limit() {
                    return error;
                }
                let name = name.trim_start_matches("variables.");
                let text = format!("composited variable {name:?} fails to evaluate: {error}");
                EvalError::new(text)
            }),
            Err(why) => Err(EvalError::new(format!("compilation error: {why}"))),
        };
        if let Some(slot) = self.known.borrow_mut().get_mut(index) {
            *slot = Some(value.clone());
        }
        value
    }

    /// What the request is about.
    fn own_resource(&self) -> Target {
        let subject = self.evaluation.subject;
        let gvr = &subject.resource.gvr;
        Target::Resource {
            group: gvr.group.as_ref().to_owned(),
            resource: gvr.resource.as_ref().to_owned(),
            subresource: subject.subresource.to_owned(),
            namespace: subject.namespace.as_ref().to_owned(),
            name: subject.name.clone(),
            field_selector: None,
            label_selector: None,
        }
    }
}

/// Asks the roles and bindings.
fn decide(evaluation: &Evaluation<'_>, question: &Question) -> Decision {
    let verb = question.verb.as_str();
    let attributes = match &question.target {
        Target::Nothing => return Decision::default(),
        Target::Path(path) => Attributes { verb, path, resource: None },
        Target::Resource { group, resource, subresource, namespace, name, .. } => {
            let version = "*";
            let of = ResourceAttributes { group, version, resource, subresource, namespace, name };
            Attributes::of(verb, of)
        }
    };
    let actor = evaluation.subject.actor;
    let decision = match &question.service_account {
        // What a part of the host may do is not written in roles.
        None if actor.is_host() => return Decision { allowed: true, ..Decision::default() },
        None => evaluation.access.decide(actor.asker(), &attributes),
        Some((namespace, name)) => {
            let account = User::known(
                &format!("system:serviceaccount:{namespace}:{name}"),
                "",
                &["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}")],
            );
            evaluation.access.decide(account.asker(), &attributes)
        }
    };
    Decision { allowed: decision.allowed, reason: decision.reason, error: None }
}
