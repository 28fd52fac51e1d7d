//! The checker: every node gets a type, every call its overloads.
//!
//! Owns overload resolution and the wording of what does not fit. Inference is in `infer`. Must not know of
//! values.

use std::sync::Arc;

use crate::ast::{
    Ast, Entry, Expr, Fold, FoldKind, Id, Kind, Literal, Select, StructField, Unwraps,
};
use crate::environment::Environment;
use crate::error::Issue;
use crate::infer::Inference;
use crate::parse::qualified;
use crate::signature::{FUNCTIONS, Overload};
use crate::types::{ObjectType, Type};

/// What a node refers to.
#[derive(Clone, Default)]
pub(crate) enum Reference {
    #[default]
    Nothing,
    /// A variable of the environment, by its number.
    Variable(usize),
    /// A variable of a macro, by its place on the stack.
    Local(usize),
    /// A type's name as a value.
    TypeName(Arc<str>),
    /// Ways to call a function, any of which may be meant.
    Overloads(Vec<&'static Overload>),
    /// An object's type.
    Object(Arc<ObjectType>),
}

impl std::fmt::Debug for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Variable(number) => write!(f, "Variable({number})"),
            Self::Local(place) => write!(f, "Local({place})"),
            Self::TypeName(name) => write!(f, "TypeName({name})"),
            Self::Overloads(overloads) => {
                f.debug_list().entries(overloads.iter().map(|overload| overload.id)).finish()
            }
            Self::Object(object) => write!(f, "Object({})", object.name),
        }
    }
}

/// What the checker found out, by the nodes' numbers.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) types: Vec<Type>,
    pub(crate) references: Vec<Reference>,
    pub(crate) issues: Vec<Issue>,
}

pub(crate) fn check(ast: &Ast, environment: &Environment) -> Checked {
    let count = ast.offsets.len();
    let mut checker = Checker {
        environment,
        offsets: &ast.offsets,
        types: vec![Type::Dyn; count],
        references: vec![Reference::Nothing; count],
        inference: Inference::default(),
        locals: Vec::new(),
        issues: Vec::new(),
    };
    checker.expr(&ast.root);
    let Checker { mut types, references, inference, mut issues, .. } = checker;
    for ty in &mut types {
        *ty = inference.finish(ty);
    }
    if inference.is_exhausted() {
        issues.push(Issue { offset: 0, message: "types are too complex".to_owned() });
    }
    Checked { types, references, issues }
}

struct Checker<'e> {
    environment: &'e Environment,
    offsets: &'e [u32],
    types: Vec<Type>,
    references: Vec<Reference>,
    inference: Inference,
    locals: Vec<(Arc<str>, Type)>,
    issues: Vec<Issue>,
}

impl Checker<'_> {
    fn fail(&mut self, id: Id, message: String) -> Type {
        self.issues.push(Issue { offset: self.offsets[id], message });
        Type::Error
    }

    fn expr(&mut self, expr: &Expr) -> Type {
        let ty = match &expr.kind {
            Kind::Literal(literal) => literal_type(literal),
            Kind::Ident(name) => self.ident(expr.id, name),
            Kind::Select { operand, field, mode } => self.select(expr, operand, field, *mode),
            Kind::Call { function, target, args } => {
                self.call(expr.id, function, target.as_deref(), args)
            }
            Kind::List(elements) => self.list(elements),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => self.structure(expr.id, name, fields),
            Kind::Fold(fold) => self.fold(expr.id, fold),
            Kind::Bind { var, init, body, unwraps } => {
                self.bind(expr.id, var, init, body, *unwraps)
            }
        };
        self.types[expr.id] = ty.clone();
        ty
    }

    fn ident(&mut self, id: Id, name: &str) -> Type {
        match self.lookup(id, name) {
            Some(ty) => ty,
            None => self.fail(id, undeclared(name)),
        }
    }

    /// A name of a macro's variable, of the environment's, or of a type.
    fn lookup(&mut self, id: Id, name: &str) -> Option<Type> {
        if let Some(place) = self.locals.iter().rposition(|(local, _)| **local == *name) {
            self.references[id] = Reference::Local(place);
            return Some(self.locals[place].1.clone());
        }
        if let Some((number, ty)) = self.environment.variable_of(name) {
            self.references[id] = Reference::Variable(number);
            return Some(ty.clone());
        }
        let ty = type_named(name)?;
        self.references[id] = Reference::TypeName(ty.runtime_name().into());
        Some(Type::Type(Arc::new(ty)))
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &str, mode: Select) -> Type {
        // A dotted name may be declared as a whole, unless its first part is a macro's variable.
        if mode == Select::Plain
            && let Some(name) = qualified(expr)
            && !self.locals.iter().any(|(local, _)| name.split('.').next() == Some(local))
            && let Some(ty) = self.lookup(expr.id, &name)
        {
            return ty;
        }
        let operand_type = self.expr(operand);
        let operand_type = self.inference.known(&operand_type);
        let (inner, optional) = match &operand_type {
            Type::Optional(inner) => (self.inference.known(inner), true),
            _ => (operand_type, false),
        };
        let ty = self.field_of(expr.id, &inner, field);
        match mode {
            Select::Test => Type::Bool,
            Select::Optional => Type::optional(ty),
            Select::Plain if optional => Type::optional(ty),
            Select::Plain => ty,
        }
    }

    fn field_of(&mut self, id: Id, ty: &Type, field: &str) -> Type {
        match ty {
            Type::Map(_, value) => (**value).clone(),
            Type::Object(object) => match object.field(field) {
                Some(field) => field.declared.ty.clone(),
                None => self.fail(id, format!("undefined field '{field}'")),
            },
            Type::Param(_) => {
                self.inference.assignable(ty, &Type::Dyn);
                Type::Dyn
            }
            Type::Dyn => Type::Dyn,
            Type::Error => Type::Error,
            other => self.fail(id, format!("type '{other}' does not support field selection")),
        }
    }

    fn call(&mut self, id: Id, function: &str, target: Option<&Expr>, args: &[Expr]) -> Type {
        if let Some(target) = target {
            // A dotted name before a call may be a namespace, as in `ip.isCanonical(x)`.
            if let Some(prefix) = qualified(target) {
                let name = format!("{prefix}.{function}");
                let shadowed = self.locals.iter().any(|(local, _)| **local == *prefix);
                if !shadowed && let Some(overloads) = FUNCTIONS.get(name.as_str()) {
                    let types = self.each(args);
                    return self.resolve(id, &name, overloads, &types, Style::Global);
                }
            }
            let mut types = vec![self.expr(target)];
            types.extend(self.each(args));
            let Some(overloads) = FUNCTIONS.get(function) else {
                return self.fail(id, undeclared(function));
            };
            let ty = self.resolve(id, function, overloads, &types, Style::Member);
            self.literal_argument(function, args.first());
            return ty;
        }
        let Some(overloads) = FUNCTIONS.get(function) else {
            self.each(args);
            return self.fail(id, undeclared(function));
        };
        if args.len() > 2 && matches!(function, "_&&_" | "_||_") {
            return self.logical(id, function, overloads, args);
        }
        let types = self.each(args);
        let ty = self.resolve(id, function, overloads, &types, Style::Global);
        self.literal_argument(function, args.last());
        ty
    }

    fn each(&mut self, args: &[Expr]) -> Vec<Type> {
        args.iter().map(|arg| self.expr(arg)).collect()
    }

    fn logical(
        &mut self,
        id: Id,
        function: &str,
        overloads: &'static [Overload],
        args: &[Expr],
    ) -> Type {
        let mut whole = self.expr(&args[0]);
        for arg in &args[1..] {
            let types = vec![whole, self.expr(arg)];
            whole = self.resolve(id, function, overloads, &types, Style::Global);
        }
        whole
    }

    fn resolve(
        &mut self,
        id: Id,
        function: &str,
        overloads: &'static [Overload],
        types: &[Type],
        style: Style,
    ) -> Type {
        if types.iter().any(|ty| matches!(ty, Type::Error)) {
            return Type::Error;
        }
        let mut found: Vec<&'static Overload> = Vec::new();
        let mut result: Option<Type> = None;
        for overload in overloads {
            let member = style == Style::Member;
            if overload.member != member || overload.args.len() != types.len() {
                continue;
            }
            let (wanted, gives) = self.inference.fresh(&overload.args, &overload.result);
            if !self.inference.all_assignable(types, &wanted) {
                continue;
            }
            found.push(overload);
            let gives = self.inference.known(&gives);
            result = Some(match result {
                None => gives,
                Some(before) if self.inference.same(&before, &gives) => before,
                Some(_) => Type::Dyn,
            });
        }
        let Some(result) = result else {
            let types: Vec<String> =
                types.iter().map(|ty| self.inference.finish(ty).to_string()).collect();
            return self.fail(id, no_overload(function, &types, style));
        };
        self.references[id] = Reference::Overloads(found);
        result
    }

    /// A literal that is parsed when the expression runs has to be right when it is compiled.
    fn literal_argument(&mut self, function: &str, arg: Option<&Expr>) {
        let Some(Expr { id, kind: Kind::Literal(Literal::String(text)) }) = arg else { return };
        let right = match function {
            "matches" => crate::library::regex_of(text).is_ok(),
            "duration" => crate::time::Duration::parse(text).is_some(),
            "timestamp" => crate::time::Timestamp::parse(text).is_some(),
            _ => true,
        };
        if !right {
            self.fail(*id, format!("invalid {function} argument"));
        }
    }

    fn list(&mut self, elements: &[crate::ast::Element]) -> Type {
        let mut joined: Option<Type> = None;
        for element in elements {
            let mut ty = self.expr(&element.value);
            if element.optional {
                ty = self.unwrapped(element.value.id, &ty);
            }
            joined = Some(self.join(element.value.id, joined, ty));
        }
        Type::list(joined.unwrap_or_else(|| self.inference.variable()))
    }

    fn map(&mut self, entries: &[Entry]) -> Type {
        let mut key: Option<Type> = None;
        let mut value: Option<Type> = None;
        for entry in entries {
            let ty = self.expr(&entry.key);
            key = Some(self.join(entry.key.id, key, ty));
            let mut ty = self.expr(&entry.value);
            if entry.optional {
                ty = self.unwrapped(entry.value.id, &ty);
            }
            value = Some(self.join(entry.value.id, value, ty));
        }
        let key = key.unwrap_or_else(|| self.inference.variable());
        let value = value.unwrap_or_else(|| self.inference.variable());
        Type::map(key, value)
    }

    /// What an optional element holds.
    fn unwrapped(&mut self, id: Id, ty: &Type) -> Type {
        match self.inference.known(ty) {
            Type::Optional(inner) => (*inner).clone(),
            Type::Dyn => Type::Dyn,
            Type::Error => Type::Error,
            other => {
                let wanted = Type::optional(other.clone());
                self.fail(id, format!("expected type '{wanted}' but found '{other}'"))
            }
        }
    }

    /// The elements of a literal have one type.
    fn join(&mut self, id: Id, before: Option<Type>, ty: Type) -> Type {
        let Some(before) = before else { return ty };
        if self.inference.assignable(&before, &ty) {
            return self.inference.more_general(before, ty);
        }
        let (before, ty) = (self.inference.finish(&before), self.inference.finish(&ty));
        self.fail(id, format!("expected type '{before}' but found '{ty}'"))
    }

    fn structure(&mut self, id: Id, name: &str, fields: &[StructField]) -> Type {
        let Some(object) = self.environment.object_of(name) else {
            for field in fields {
                self.expr(&field.value);
            }
            let message = match type_named(name) {
                Some(_) => format!("'{name}' is not a message type"),
                None => undeclared(name),
            };
            return self.fail(id, message);
        };
        for field in fields {
            let mut ty = self.expr(&field.value);
            if field.optional {
                ty = self.unwrapped(field.value.id, &ty);
            }
            let Some(declared) = object.field(&field.name) else {
                self.fail(field.id, format!("undefined field '{}'", field.name));
                continue;
            };
            let wanted = declared.declared.ty.clone();
            if !self.inference.assignable(&wanted, &ty) {
                let ty = self.inference.finish(&ty);
                let name = &field.name;
                self.fail(
                    field.id,
                    format!(
                        "expected type of field '{name}' is '{wanted}' but provided type is '{ty}'"
                    ),
                );
            }
        }
        self.references[id] = Reference::Object(Arc::clone(&object));
        Type::Object(object)
    }

    fn bind(&mut self, id: Id, var: &Arc<str>, init: &Expr, body: &Expr, unwraps: Unwraps) -> Type {
        let mut ty = self.expr(init);
        if unwraps != Unwraps::No {
            ty = match self.inference.known(&ty) {
                Type::Optional(inner) => (*inner).clone(),
                Type::Dyn => Type::Dyn,
                Type::Error => Type::Error,
                other => {
                    let types = [other.to_string()];
                    self.fail(id, no_overload("hasValue", &types, Style::Member))
                }
            };
        }
        self.locals.push((Arc::clone(var), ty));
        let body_type = self.expr(body);
        self.locals.pop();
        match unwraps {
            Unwraps::No | Unwraps::FlatMap => body_type,
            Unwraps::Map => Type::optional(body_type),
        }
    }

    fn fold(&mut self, id: Id, fold: &Fold) -> Type {
        let range = self.expr(&fold.range);
        let (first, second) = self.elements_of(&fold.range, &range, fold.var2.is_some());
        let locals = self.locals.len();
        self.locals.push((Arc::clone(&fold.var), first));
        if let Some(var2) = &fold.var2 {
            self.locals.push((Arc::clone(var2), second));
        }
        let filter = fold.filter.as_ref().map(|filter| self.expr(filter));
        let body = self.expr(&fold.body);
        self.locals.truncate(locals);
        let result = match fold.kind {
            FoldKind::List => Type::list(body.clone()),
            FoldKind::Map => {
                let key = match self.inference.known(&range) {
                    Type::Map(key, _) => (*key).clone(),
                    Type::List(_) => Type::Int,
                    _ => Type::Dyn,
                };
                Type::map(key, body.clone())
            }
            FoldKind::MapEntry => match self.inference.known(&body) {
                Type::Map(key, value) => Type::Map(key, value),
                _ => Type::map(Type::Dyn, Type::Dyn),
            },
            FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => Type::Bool,
        };
        let condition = match fold.kind {
            FoldKind::All => Some(("_&&_", vec![Type::Bool, body])),
            FoldKind::Exists => Some(("_||_", vec![Type::Bool, body])),
            FoldKind::ExistsOne => Some(("_?_:_", vec![body, Type::Int, Type::Int])),
            FoldKind::List | FoldKind::Map | FoldKind::MapEntry => {
                filter.map(|filter| ("_?_:_", vec![filter, result.clone(), result.clone()]))
            }
        };
        if let Some((function, types)) = condition {
            let overloads = FUNCTIONS.get(function).map_or(&[][..], Vec::as_slice);
            if matches!(self.resolve(id, function, overloads, &types, Style::Global), Type::Error) {
                return Type::Error;
            }
        }
        result
    }

    /// The types of what a fold goes over: with two variables the keys or indices come first.
    fn elements_of(&mut self, range: &Expr, ty: &Type, pair: bool) -> (Type, Type) {
        let ty = self.inference.known(ty);
        match &ty {
            Type::List(element) if pair => (Type::Int, (**element).clone()),
            Type::List(element) => ((**element).clone(), Type::Dyn),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn | Type::Param(_) => {
                self.inference.assignable(&Type::Dyn, &ty);
                (Type::Dyn, Type::Dyn)
            }
            Type::Error => (Type::Error, Type::Error),
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, \
                     map, or dynamic)"
                );
                self.fail(range.id, message);
                (Type::Error, Type::Error)
            }
        }
    }
}

/// Whether a call has a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Global,
    Member,
}

fn undeclared(name: &str) -> String {
    format!("undeclared reference to '{name}' (in container '')")
}

fn no_overload(function: &str, types: &[String], style: Style) -> String {
    let applied = match style {
        Style::Global => format!("({})", types.join(", ")),
        Style::Member => format!("{}.({})", types[0], types[1..].join(", ")),
    };
    format!("found no matching overload for '{function}' applied to '{applied}'")
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "type" => Type::Type(Arc::new(Type::Dyn)),
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        "optional_type" => Type::optional(Type::Dyn),
        _ => {
            let opaque = crate::types::OpaqueType::ALL.into_iter();
            return opaque.into_iter().find(|opaque| opaque.name() == name).map(Type::Opaque);
        }
    })
}
