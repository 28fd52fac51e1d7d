//! What an expression can cost, before it ever runs: from the sizes that schemas allow.
//!
//! Owns the walk over the checked tree and what is known of sizes on the way; the estimates of single functions
//! are in `calls`. The numbers decide which rules a `CustomResourceDefinition` may have, so that even where a
//! rule is rough (a part whose place in the schema was lost counts as the root) it is kept as Kubernetes has it.
//! Must not know of values.

mod calls;
mod range;

pub use range::CostEstimate;

use crate::ast::{Ast, Expr, Fold, FoldKind, Kind, Literal, Select, Unwraps};
use crate::charge;
use crate::check::{Checked, Reference};
use crate::declared::{Declared, Shape};
use crate::environment::Environment;
use crate::types::Type;

use range::SizeEstimate;

/// What an expression costs at least and at most.
pub(crate) fn estimate(ast: &Ast, checked: &Checked, environment: &Environment) -> CostEstimate {
    let mut estimator = Estimator { checked, environment, locals: Vec::new() };
    estimator.expr(&ast.root).cost
}

/// Where in what is declared a part comes from.
#[derive(Debug, Clone, Copy)]
enum Place<'e> {
    At(&'e Declared),
    /// A map's key.
    Key,
    /// Nowhere, though it was looked for.
    Missing,
}

/// A step down from a place.
#[derive(Debug, Clone, Copy)]
enum Step<'s> {
    Items,
    Values,
    Keys,
    Indices,
    Field(&'s str),
}

/// The sizes of what a list or map holds.
#[derive(Debug, Clone, Copy)]
struct Entries {
    key: SizeEstimate,
    value: SizeEstimate,
}

impl Entries {
    fn union(self, other: Self) -> Self {
        Self { key: self.key.union(other.key), value: self.value.union(other.value) }
    }
}

/// What is known of a part of an expression.
#[derive(Debug, Clone, Copy)]
struct Part<'e> {
    cost: CostEstimate,
    size: Option<SizeEstimate>,
    entries: Option<Entries>,
    place: Option<Place<'e>>,
}

impl Part<'_> {
    fn of(cost: CostEstimate) -> Self {
        Self { cost, size: None, entries: None, place: None }
    }

    fn size(&self) -> SizeEstimate {
        self.size.unwrap_or(SizeEstimate::UNKNOWN)
    }
}

struct Local<'e> {
    place: Option<Place<'e>>,
    size: Option<SizeEstimate>,
    entries: Option<Entries>,
}

struct Estimator<'e> {
    checked: &'e Checked,
    environment: &'e Environment,
    locals: Vec<Local<'e>>,
}

impl<'e> Estimator<'e> {
    fn ty(&self, expr: &Expr) -> &'e Type {
        &self.checked.types[expr.id]
    }

    fn root(&self) -> Place<'e> {
        self.environment.declaration(0).map_or(Place::Missing, Place::At)
    }

    /// One step down. From nowhere it leads to the root.
    fn down(&self, from: Option<Place<'e>>, step: Step<'_>) -> Place<'e> {
        let declared = match from {
            None => return self.root(),
            Some(Place::At(declared)) => declared,
            Some(Place::Key | Place::Missing) => return Place::Missing,
        };
        match (step, &declared.shape) {
            (Step::Items | Step::Values, Shape::List(inner, _) | Shape::Map(inner)) => {
                Place::At(inner)
            }
            (Step::Keys, Shape::Map(_)) => Place::Key,
            (Step::Field(name), Shape::Object(object)) => {
                object.field(name).map_or(Place::Missing, |field| Place::At(&field.declared))
            }
            _ => Place::Missing,
        }
    }

    /// The size of a part by its place, or else by its type.
    fn size_of(&self, expr: &Expr, place: Option<Place<'e>>) -> Option<SizeEstimate> {
        match place {
            Some(Place::At(declared)) => {
                return Some(SizeEstimate::up_to(declared.size_max.unwrap_or(0)));
            }
            Some(Place::Key) => return Some(SizeEstimate::up_to(0)),
            Some(Place::Missing) | None => {}
        }
        is_scalar(self.ty(expr)).then_some(SizeEstimate::exactly(1))
    }

    fn placed(&self, expr: &Expr, cost: CostEstimate, place: Option<Place<'e>>) -> Part<'e> {
        Part { cost, size: self.size_of(expr, place), entries: None, place }
    }

    fn expr(&mut self, expr: &Expr) -> Part<'e> {
        let one = CostEstimate::exactly(1);
        match &self.checked.references[expr.id] {
            Reference::Variable(number) => {
                let place = self.environment.declaration(*number).map(Place::At);
                return self.placed(expr, one, place);
            }
            Reference::TypeName(_) => return self.placed(expr, one, Some(self.root())),
            Reference::Local(place) => return self.local(expr, *place),
            Reference::Nothing | Reference::Overloads(_) | Reference::Object(_) => {}
        }
        match &expr.kind {
            Kind::Literal(literal) => literal_part(literal),
            Kind::Ident(_) => Part::of(one),
            Kind::Select { operand, field, mode } => self.select(expr, operand, field, *mode),
            Kind::Call { function, target, args } => {
                self.call(expr, function, target.as_deref(), args)
            }
            Kind::List(elements) => {
                let parts: Vec<Part<'e>> = elements.iter().map(|e| self.expr(&e.value)).collect();
                built(charge::LIST, &[], &parts)
            }
            Kind::Map(entries) => {
                let keys: Vec<Part<'e>> = entries.iter().map(|e| self.expr(&e.key)).collect();
                let values: Vec<Part<'e>> = entries.iter().map(|e| self.expr(&e.value)).collect();
                built(charge::MAP, &keys, &values)
            }
            Kind::Struct { fields, .. } => {
                let parts = fields.iter().map(|field| self.expr(&field.value).cost);
                Part::of(parts.fold(CostEstimate::exactly(charge::OBJECT), CostEstimate::plus))
            }
            Kind::Fold(fold) => self.fold(fold),
            Kind::Bind { init, body, unwraps, .. } => self.bind(expr, init, body, *unwraps),
        }
    }

    fn local(&self, expr: &Expr, place: usize) -> Part<'e> {
        let Some(local) = self.locals.get(place) else { return Part::of(CostEstimate::exactly(1)) };
        let mut part = self.placed(expr, CostEstimate::exactly(1), local.place);
        part.size = part.size.or(local.size);
        part.entries = local.entries;
        part
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &str, mode: Select) -> Part<'e> {
        let from = self.expr(operand);
        match mode {
            // A test costs nothing beside its operand.
            Select::Test => self.placed(expr, from.cost, None),
            Select::Optional => self.placed(expr, from.cost.plus(CostEstimate::exactly(1)), None),
            Select::Plain => {
                let looked_up = matches!(self.ty(operand), Type::Map(..) | Type::Object(_));
                let cost = from.cost.plus(CostEstimate::exactly(u64::from(looked_up)));
                let place = self.down(from.place, Step::Field(field));
                self.placed(expr, cost, Some(place))
            }
        }
    }

    fn fold(&mut self, fold: &Fold) -> Part<'e> {
        let range = self.expr(&fold.range);
        let start = match fold.kind {
            FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => 0,
            FoldKind::List => charge::LIST,
            FoldKind::Map | FoldKind::MapEntry => charge::MAP,
        };
        let depth = self.locals.len();
        self.enter(fold, range);
        let filter = fold.filter.as_ref().map(|filter| self.expr(filter).cost);
        let body = self.expr(&fold.body);
        self.locals.truncate(depth);
        let turn = turn_cost(fold.kind, filter, body.cost);
        let result = CostEstimate::exactly(if fold.kind == FoldKind::ExistsOne { 2 } else { 1 });
        let turns = range.size();
        let cost =
            range.cost.plus(CostEstimate::exactly(start)).plus(result).plus(turns.times_cost(turn));
        let mut part = Part::of(cost);
        match fold.kind {
            FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => {
                part.size = Some(SizeEstimate::exactly(1));
            }
            FoldKind::List => {
                part.size = Some(turns);
                let value = SizeEstimate::up_to(0).union(body.size());
                part.entries = Some(Entries { key: SizeEstimate::exactly(1), value });
            }
            FoldKind::Map | FoldKind::MapEntry => part.size = Some(turns),
        }
        part
    }

    /// The variables of a fold.
    fn enter(&mut self, fold: &Fold, range: Part<'e>) {
        let is_list = match range.entries {
            Some(_) => !matches!(self.ty(&fold.range), Type::Map(..)),
            None => matches!(self.ty(&fold.range), Type::List(_)),
        };
        let key = range.entries.map(|entries| entries.key);
        let value = range.entries.map(|entries| entries.value);
        let mut push = |step, size| {
            let place = Some(self.down(range.place, step));
            self.locals.push(Local { place, size, entries: None });
        };
        match (fold.var2.is_some(), is_list) {
            (false, true) => push(Step::Items, value),
            (false, false) => push(Step::Keys, key),
            (true, true) => {
                push(Step::Indices, key);
                push(Step::Items, value);
            }
            (true, false) => {
                push(Step::Keys, key);
                push(Step::Values, value);
            }
        }
    }

    fn bind(&mut self, expr: &Expr, init: &Expr, body: &Expr, unwraps: Unwraps) -> Part<'e> {
        let from = self.expr(init);
        let one = CostEstimate::exactly(1);
        let loop_cost = CostEstimate::exactly(charge::LIST);
        if unwraps == Unwraps::No {
            self.locals.push(Local { place: from.place, size: from.size, entries: from.entries });
            let inner = self.expr(body);
            self.locals.pop();
            return Part { cost: loop_cost.plus(from.cost).plus(inner.cost), place: None, ..inner };
        }
        self.locals.push(Local { place: None, size: None, entries: None });
        let inner = self.expr(body);
        self.locals.pop();
        // `target.hasValue() ? optional.of(body with target.value()) : optional.none()`
        let mut present = loop_cost.plus(from.cost).plus(one).plus(inner.cost);
        if unwraps == Unwraps::Map {
            present = present.plus(one);
        }
        let cost = from.cost.plus(one).plus(present.union(one));
        self.placed(expr, cost, None)
    }
}

/// One turn of a fold: its condition, and its step with the accumulator.
fn turn_cost(kind: FoldKind, filter: Option<CostEstimate>, body: CostEstimate) -> CostEstimate {
    let exactly = CostEstimate::exactly;
    let step = match kind {
        // The term after the accumulator may not be reached.
        FoldKind::All => return CostEstimate { min: 3, max: body.max.saturating_add(3) },
        FoldKind::Exists => return CostEstimate { min: 4, max: body.max.saturating_add(4) },
        FoldKind::ExistsOne => return body.plus(CostEstimate { min: 1, max: 2 }),
        FoldKind::List => body.plus(exactly(charge::LIST + 2)),
        FoldKind::Map => body.plus(exactly(3)),
        FoldKind::MapEntry => body.plus(exactly(2)),
    };
    match filter {
        Some(filter) => filter.plus(step.union(exactly(1))),
        None => step,
    }
}

fn literal_part<'e>(literal: &Literal) -> Part<'e> {
    let size = match literal {
        Literal::String(text) => text.chars().count() as u64,
        Literal::Bytes(bytes) => bytes.len() as u64,
        Literal::Null
        | Literal::Bool(_)
        | Literal::Int(_)
        | Literal::Uint(_)
        | Literal::Double(_) => 1,
    };
    Part { size: Some(SizeEstimate::exactly(size)), ..Part::of(CostEstimate::exactly(0)) }
}

/// A list (which has no keys) or a map of these parts.
fn built<'e>(base: u64, keys: &[Part<'e>], values: &[Part<'e>]) -> Part<'e> {
    let costs = keys.iter().chain(values).map(|part| part.cost);
    let cost = costs.fold(CostEstimate::exactly(base), CostEstimate::plus);
    let sizes = |parts: &[Part<'_>]| {
        let sizes = parts.iter().map(Part::size);
        sizes.reduce(SizeEstimate::union).unwrap_or(SizeEstimate::exactly(0))
    };
    let key = if base == charge::LIST { SizeEstimate::exactly(1) } else { sizes(keys) };
    let entries = Some(Entries { key, value: sizes(values) });
    let size = Some(SizeEstimate::exactly(values.len() as u64));
    Part { cost, size, entries, place: None }
}

/// Whether values of a type all have the size one.
fn is_scalar(ty: &Type) -> bool {
    match ty {
        Type::Bool | Type::Int | Type::Uint | Type::Double | Type::Duration | Type::Timestamp => {
            true
        }
        Type::Optional(inner) => is_scalar(inner),
        Type::Dyn
        | Type::Error
        | Type::Null
        | Type::String
        | Type::Bytes
        | Type::List(_)
        | Type::Map(..)
        | Type::Object(_)
        | Type::Type(_)
        | Type::Opaque(_)
        | Type::Param(_) => false,
    }
}
