//! What calls cost, and how large their results are, from the sizes of their arguments.

use super::range::{CostEstimate, SizeEstimate};
use super::{Estimator, Part, Step};
use crate::ast::{Expr, Kind, Literal};
use crate::charge::{CHECK, LIST, OBJECT, PATTERN, TRAVERSAL};
use crate::check::Reference;
use crate::signature::{Cost, Overload};
use crate::types::{OpaqueType, Type};

/// What costs take for the length of any format's pattern.
const FORMAT_PATTERN: f64 = 128.0;
/// What costs take for the length of a format.
const FORMAT_SIZE: u64 = 64;

/// A call's own cost, and the size of its result when it is known.
struct Call {
    cost: CostEstimate,
    size: Option<SizeEstimate>,
}

impl Call {
    fn of(cost: CostEstimate) -> Self {
        Self { cost, size: None }
    }

    fn sized(cost: CostEstimate, size: SizeEstimate) -> Self {
        Self { cost, size: Some(size) }
    }
}

impl<'e> Estimator<'e> {
    pub(super) fn call(
        &mut self,
        expr: &Expr,
        function: &str,
        target: Option<&Expr>,
        args: &[Expr],
    ) -> Part<'e> {
        let overloads: &'e [&'static Overload] = match &self.checked.references[expr.id] {
            Reference::Overloads(overloads) => overloads,
            _ => &[],
        };
        let member = overloads.first().is_some_and(|overload| overload.member);
        let target = target.filter(|_| member);
        let exprs: Vec<&Expr> = target.into_iter().chain(args).collect();
        let parts: Vec<Part<'e>> = exprs.iter().map(|arg| self.expr(arg)).collect();
        match (function, parts.as_slice()) {
            ("_&&_" | "_||_", terms) => return self.logical(expr, terms),
            ("_?_:_", [condition, yes, no]) => return conditional(*condition, *yes, *no),
            ("dyn", [arg]) => {
                let cost = arg.cost.plus(CostEstimate::exactly(1));
                return Part { cost, place: None, ..*arg };
            }
            _ => {}
        }
        let spent = parts.iter().map(|part| part.cost);
        let spent = spent.fold(CostEstimate::exactly(0), CostEstimate::plus);
        let mut part = Part::of(spent);
        let mut calls = CostEstimate { min: u64::MAX, max: 0 };
        for overload in overloads {
            let call = self.one(overload, &exprs, &parts);
            calls = calls.union(call.cost);
            part.size = match (part.size, call.size) {
                (Some(size), Some(other)) => Some(size.union(other)),
                (size, other) => size.or(other),
            };
            self.indexed(overload, &parts, &mut part);
        }
        if !overloads.is_empty() {
            part.cost = spent.plus(calls);
        }
        if part.size.is_none() {
            part.size = self.size_of(expr, part.place);
        }
        if let (Cost::Concat | Cost::AddList, [left, right]) =
            (overloads.first().map_or(Cost::One, |overload| overload.cost), parts.as_slice())
            && let (Some(left), Some(right)) = (left.entries, right.entries)
        {
            part.entries = Some(left.union(right));
        }
        part
    }

    /// Where an element that was indexed comes from.
    fn indexed(&self, overload: &Overload, parts: &[Part<'e>], part: &mut Part<'e>) {
        let step = match overload.id {
            "index_list" => Step::Items,
            "index_map" => Step::Values,
            _ => return,
        };
        let Some(range) = parts.first() else { return };
        part.place = Some(self.down(range.place, step));
        part.size = range.entries.map(|entries| entries.value);
    }

    /// `a && b && c`: the least is the first term alone.
    fn logical(&self, expr: &Expr, terms: &[Part<'e>]) -> Part<'e> {
        let min = terms.first().map_or(0, |first| first.cost.min);
        let max = terms.iter().fold(0_u64, |sum, term| sum.saturating_add(term.cost.max));
        self.placed(expr, CostEstimate { min, max }, None)
    }

    /// A call of one overload. Functions of Kubernetes that take a list count by its elements.
    fn one(&self, overload: &Overload, exprs: &[&Expr], parts: &[Part<'e>]) -> Call {
        let size = |place: usize| parts.get(place).map_or(SizeEstimate::UNKNOWN, Part::size);
        let exactly = CostEstimate::exactly;
        match overload.cost {
            Cost::One => Call::of(exactly(1)),
            Cost::Check => Call::of(exactly(CHECK)),
            Cost::Traverse(place) => {
                let cost = size(place).scaled(TRAVERSAL);
                match overload.result {
                    Type::String | Type::Opaque(OpaqueType::Url) => Call::sized(cost, size(place)),
                    _ => Call::of(cost),
                }
            }
            Cost::Affix => Call::of(size(1).scaled(TRAVERSAL)),
            Cost::Twice(place) => Call::of(size(place).scaled(2.0 * TRAVERSAL)),
            Cost::Product => Call::of(size(0).scaled(TRAVERSAL).times(size(1).scaled(TRAVERSAL))),
            // The form without a target has no estimate of its own.
            Cost::Regex if !overload.member => Call::of(exactly(1)),
            Cost::Regex => Call::of(matching(size(0), size(1))),
            Cost::Find => Call::sized(matching(size(0), size(1)), SizeEstimate::up_to(size(0).max)),
            Cost::Elements => Call::of(self.elements(exprs, parts)),
            Cost::Replace => {
                let cost = size(0).scaled(2.0 * TRAVERSAL);
                Call::sized(cost, replaced(size(0), size(1), size(2)))
            }
            Cost::Split => {
                let most = exprs.get(2).and_then(|count| whole(count));
                let cost = size(0).scaled(2.0 * TRAVERSAL);
                Call::sized(cost, SizeEstimate::up_to(most.unwrap_or_else(|| size(0).max)))
            }
            Cost::Join => {
                let joined = self.joined(exprs, parts);
                Call::sized(joined.scaled(TRAVERSAL), joined)
            }
            Cost::In => Call::of(size(1).scaled(1.0)),
            Cost::Smaller => Call::of(self.compared(overload, exprs, parts)),
            Cost::Concat => {
                let sum = size(0).plus(size(1));
                Call::sized(sum.scaled(TRAVERSAL), sum)
            }
            Cost::AddList => Call::sized(exactly(1), size(0).plus(size(1))),
            Cost::Quote => quoted(overload, size(0)),
            Cost::Encode => {
                let SizeEstimate { min, max } = size(0);
                let bytes = SizeEstimate { min, max: max.saturating_mul(4) };
                Call::sized(size(0).scaled(TRAVERSAL), bytes)
            }
            Cost::Decode => {
                let SizeEstimate { min, max } = size(0);
                Call::sized(size(0).scaled(TRAVERSAL), SizeEstimate { min: min / 4, max })
            }
            Cost::Selector => Call::of(selector(size(1))),
            Cost::Validate => Call::of(size(1).scaled(TRAVERSAL).scaled(FORMAT_PATTERN * PATTERN)),
            Cost::Contains { range, text } => Call::of(containing(range, text, size(1))),
            Cost::Sets(_)
            | Cost::Slice
            | Cost::Range
            | Cost::Reverse
            | Cost::Flatten
            | Cost::SelfCompare(_) => self.of_lists(overload, exprs, &size),
        }
    }

    /// Functions that build lists from lists, or compare each element with each.
    fn of_lists(
        &self,
        overload: &Overload,
        exprs: &[&Expr],
        size: &dyn Fn(usize) -> SizeEstimate,
    ) -> Call {
        let exactly = CostEstimate::exactly;
        match overload.cost {
            Cost::Sets(factor) => Call::of(size(0).times(size(1)).scaled(factor).plus(exactly(1))),
            Cost::Slice => {
                let from = exprs.get(1).and_then(|from| whole(from)).unwrap_or(0);
                let to = exprs.get(2).and_then(|to| whole(to)).unwrap_or_else(|| size(0).max);
                allocating(1.0, SizeEstimate::exactly(to.saturating_sub(from)))
            }
            Cost::Range => {
                let count = exprs.first().and_then(|count| whole(count)).unwrap_or(u64::MAX);
                allocating(1.0, SizeEstimate::exactly(count))
            }
            Cost::Reverse => allocating(1.0, size(0)),
            #[expect(clippy::cast_precision_loss, reason = "costs are rounded")]
            Cost::Flatten => {
                let depth = match exprs.get(1) {
                    Some(depth) => whole(depth).unwrap_or(u64::MAX),
                    None => 1,
                };
                allocating(depth as f64, size(0))
            }
            Cost::SelfCompare(place) => {
                let ty = exprs.get(place).map(|expr| self.ty(expr));
                let text = matches!(ty, Some(Type::List(element)) if is_text(element));
                let factor =
                    if text && overload.name != "distinct" { 2.0 + TRAVERSAL } else { 2.0 };
                allocating(factor, size(place).times(size(place)))
            }
            _ => Call::of(exactly(1)),
        }
    }

    fn element_size(
        &self,
        exprs: &[&Expr],
        parts: &[Part<'e>],
    ) -> Option<(&'e Type, SizeEstimate)> {
        let (expr, part) = (exprs.first()?, parts.first()?);
        let Type::List(element) = self.ty(expr) else { return None };
        let size = match part.place.map(|place| self.down(Some(place), Step::Items)) {
            Some(super::Place::At(declared)) => SizeEstimate::up_to(declared.size_max.unwrap_or(0)),
            Some(super::Place::Key) => SizeEstimate::up_to(0),
            Some(super::Place::Missing) | None => SizeEstimate::UNKNOWN,
        };
        Some((element, size))
    }

    /// Going over a list's elements, or over a text.
    fn elements(&self, exprs: &[&Expr], parts: &[Part<'e>]) -> CostEstimate {
        let size = parts.first().map_or(SizeEstimate::UNKNOWN, Part::size);
        let Some((element, element_size)) = self.element_size(exprs, parts) else {
            return size.scaled(TRAVERSAL);
        };
        let mut each = CostEstimate::exactly(1);
        if is_text(element) {
            each = each.plus(element_size.scaled(TRAVERSAL));
        }
        size.times_cost(each)
    }

    fn joined(&self, exprs: &[&Expr], parts: &[Part<'e>]) -> SizeEstimate {
        let size = parts.first().map_or(SizeEstimate::UNKNOWN, Part::size);
        let element = self.element_size(exprs, parts);
        let pieces = element.map_or(SizeEstimate::up_to(0), |(_, element)| size.times(element));
        let Some(separator) = parts.get(1) else { return pieces };
        let between =
            SizeEstimate { min: size.min.saturating_sub(1), max: size.max.saturating_sub(1) };
        pieces.plus(separator.size().times(between))
    }

    /// Equality and order: as long as the shorter of the two.
    fn compared(&self, overload: &Overload, exprs: &[&Expr], parts: &[Part<'e>]) -> CostEstimate {
        let ([left, right], [left_expr, right_expr]) = (parts, exprs) else {
            return CostEstimate::exactly(1);
        };
        if overload.id == "equals"
            && let (Type::Opaque(ty), Type::Opaque(other)) =
                (self.ty(left_expr), self.ty(right_expr))
            && ty == other
        {
            let max = match ty {
                OpaqueType::Format => FORMAT_SIZE,
                OpaqueType::Url => match (left.size, right.size) {
                    (Some(_), Some(right)) => right.max,
                    _ => 1,
                },
                _ => return CostEstimate::exactly(1),
            };
            return CostEstimate { min: 1, max }.scaled(TRAVERSAL);
        }
        let max = left.size().max.min(right.size().max);
        CostEstimate { min: u64::from(max > 0), max }.scaled(TRAVERSAL)
    }
}

fn conditional<'e>(condition: Part<'e>, yes: Part<'e>, no: Part<'e>) -> Part<'e> {
    let entries = match (yes.entries, no.entries) {
        (Some(yes), Some(no)) => Some(yes.union(no)),
        _ => None,
    };
    Part {
        cost: condition.cost.plus(yes.cost.union(no.cost)),
        size: Some(yes.size().union(no.size())),
        entries,
        place: None,
    }
}

fn is_text(ty: &Type) -> bool {
    matches!(ty, Type::String | Type::Bytes)
}

/// The number that a literal is.
fn whole(expr: &Expr) -> Option<u64> {
    match &expr.kind {
        Kind::Literal(Literal::Int(number)) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// A pattern over a text. One is added to the text's length, since an empty text costs, too.
fn matching(text: SizeEstimate, pattern: SizeEstimate) -> CostEstimate {
    let text = text.plus(SizeEstimate::exactly(1)).scaled(TRAVERSAL);
    text.times(pattern.scaled(PATTERN))
}

/// How large a text can get when something in it is replaced.
fn replaced(text: SizeEstimate, from: SizeEstimate, to: SizeEstimate) -> SizeEstimate {
    let (mut count, mut kept) = (SizeEstimate::exactly(0), SizeEstimate::exactly(0));
    if from.min == 0 {
        // Nothing is found before, between and behind all characters.
        count.max = text.max.saturating_add(1);
        kept.max = text.max;
    } else if to.max <= from.min {
        kept.max = text.max;
    } else {
        count.max = text.max.div_ceil(from.min);
    }
    if from.max == 0 {
        count.min = text.min.saturating_add(1);
        kept.min = text.min;
    } else if from.max <= to.min {
        kept.min = text.min;
    } else {
        count.min = text.min.div_ceil(from.max);
    }
    count.times(to).plus(kept)
}

fn quoted(overload: &Overload, size: SizeEstimate) -> Call {
    let cost = size.scaled(TRAVERSAL);
    if overload.name == "format" {
        return Call::of(cost);
    }
    let longest = size.max.saturating_mul(2).saturating_add(2);
    Call::sized(cost, SizeEstimate { min: size.min.saturating_add(2), max: longest })
}

fn selector(length: SizeEstimate) -> CostEstimate {
    #[expect(clippy::cast_precision_loss, reason = "the number is small")]
    let requirement = (LIST + OBJECT) as f64;
    CostEstimate::exactly(LIST)
        .plus(length.scaled(TRAVERSAL))
        .plus(length.scaled(0.5).scaled(requirement))
}

/// Whether an address or a range lies in a range.
fn containing(range: bool, text: bool, other: SizeEstimate) -> CostEstimate {
    let address = SizeEstimate { min: 4, max: 16 };
    let mut cost = address.plus(address).scaled(TRAVERSAL);
    if range {
        cost = cost.plus(address.scaled(TRAVERSAL)).plus(CostEstimate::exactly(1));
    }
    if text {
        cost = cost.plus(other.scaled(TRAVERSAL));
    }
    cost
}

/// A function that builds a list.
fn allocating(factor: f64, size: SizeEstimate) -> Call {
    Call::sized(size.scaled(factor).plus(CostEstimate::exactly(LIST + 1)), size)
}
