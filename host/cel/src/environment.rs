//! Environments and programs: what an expression may refer to, and an expression ready to run.
//!
//! Owns the crate's outer face. Must not know of how schemas or requests bring their variables about.

use std::sync::Arc;

use crate::ast::Ast;
use crate::budget::Budget;
use crate::check::{Checked, Reference, check};
use crate::cost::{self, CostEstimate};
use crate::declared::Declared;
use crate::error::{CompileError, EvalError};
use crate::eval::{Machine, Variables};
use crate::parse::parse;
use crate::plan::{Node, plan};
use crate::types::{ObjectType, Type};
use crate::value::Value;

/// What expressions may refer to: variables and object types, beside the libraries.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    variables: Vec<(Arc<str>, Declared)>,
    objects: Vec<Arc<ObjectType>>,
    bindings: bool,
}

impl Environment {
    /// The libraries of Kubernetes 1.36 and no variable.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a variable of this type. A name with dots is found when it is written as a whole: `variables.a`.
    #[must_use]
    pub fn variable(self, name: &str, ty: Type) -> Self {
        self.declared(name, Declared::of_type(ty))
    }

    /// With a variable that a schema declares: what it says of sizes counts for estimates.
    #[must_use]
    pub fn declared(mut self, name: &str, declared: Declared) -> Self {
        self.variables.push((name.into(), declared));
        self
    }

    /// With the variable `authorizer`.
    #[must_use]
    pub fn authorizer(self) -> Self {
        self.variable("authorizer", Type::Opaque(crate::types::OpaqueType::Authorizer))
    }

    /// With an object type that expressions can build, as `Object.spec{replicas: 3}`.
    #[must_use]
    pub fn object(mut self, object: ObjectType) -> Self {
        self.objects.push(Arc::new(object));
        self
    }

    /// With the macro `cel.bind`, which Kubernetes' own environments do not have.
    #[must_use]
    pub fn bindings(mut self) -> Self {
        self.bindings = true;
        self
    }

    pub(crate) fn variable_of(&self, name: &str) -> Option<(usize, &Type)> {
        let place = self.variables.iter().rposition(|(known, _)| **known == *name)?;
        Some((place, &self.variables[place].1.ty))
    }

    pub(crate) fn object_of(&self, name: &str) -> Option<Arc<ObjectType>> {
        self.objects.iter().find(|object| object.name == name).cloned()
    }

    /// Reads and checks an expression.
    ///
    /// # Errors
    /// Everything that is wrong with it, as text with places.
    pub fn compile(&self, source: &str) -> Result<Program, CompileError> {
        let ast = parse(source, self.bindings)?;
        let checked = check(&ast, self);
        if !checked.issues.is_empty() {
            return Err(CompileError::new(source, checked.issues));
        }
        let root = plan(&ast.root, &checked);
        let names = self.variables.iter().map(|(name, _)| Arc::clone(name)).collect();
        Ok(Program { root, ast, checked, names, declared: self.clone() })
    }
}

/// An expression that is ready to run, any number of times and from any number of threads.
#[derive(Debug)]
pub struct Program {
    root: Node,
    ast: Ast,
    checked: Checked,
    names: Vec<Arc<str>>,
    declared: Environment,
}

impl Program {
    /// What the expression gives.
    pub fn result_type(&self) -> &Type {
        &self.checked.types[self.ast.root.id]
    }

    /// Whether the expression refers to a variable of the environment.
    pub fn uses(&self, name: &str) -> bool {
        let refers = |reference: &Reference| match reference {
            Reference::Variable(number) => *self.names[*number] == *name,
            Reference::Nothing
            | Reference::Local(_)
            | Reference::TypeName(_)
            | Reference::Overloads(_)
            | Reference::Object(_) => false,
        };
        self.checked.references.iter().any(refers)
    }

    /// Runs the expression. What it costs is taken from the budget, also when it fails.
    ///
    /// # Errors
    /// What went wrong in the expression, or which limit stopped it.
    pub fn evaluate<'a>(
        &'a self,
        variables: &dyn Variables<'a>,
        budget: &mut Budget,
    ) -> Result<Value<'a>, EvalError> {
        let mut machine = Machine::new(variables, &self.names, budget);
        let result = machine.eval(&self.root);
        machine.finish();
        result
    }

    /// What the expression costs at least and at most, given the sizes its variables are declared with.
    pub fn estimate_cost(&self) -> CostEstimate {
        cost::estimate(&self.ast, &self.checked, &self.declared)
    }

    /// Likewise, for an expression that a schema repeats for up to so many elements.
    pub fn estimate_cost_times(&self, cardinality: u64) -> CostEstimate {
        let once = self.estimate_cost();
        CostEstimate {
            min: once.min.saturating_mul(cardinality),
            max: once.max.saturating_mul(cardinality),
        }
    }
}

impl Environment {
    pub(crate) fn declaration(&self, number: usize) -> Option<&Declared> {
        self.variables.get(number).map(|(_, declared)| declared)
    }
}
