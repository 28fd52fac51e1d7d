//! Type variables and what they stand for.
//!
//! Owns assignability between types. Types share their parts, so one that is small in memory can be huge when
//! it is walked: all walking is counted, and past [`STEPS_MAX`] everything agrees and is dynamic. Must not know
//! of expressions.

use std::cell::Cell;
use std::sync::Arc;

use crate::types::Type;

/// How many parts of types a check looks at; an expression that people write takes some hundreds.
const STEPS_MAX: u32 = 1_000_000;

const FIRST: u32 = Type::VARIABLES;

/// What each variable stands for so far.
#[derive(Debug, Default)]
pub(crate) struct Inference {
    bound: Vec<Option<Type>>,
    /// What variables stood for before, latest last, to take back what did not lead to agreement.
    trail: Vec<(usize, Option<Type>)>,
    steps: Cell<u32>,
}

impl Inference {
    /// Whether the types are too large to be told apart.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.steps.get() > STEPS_MAX
    }

    fn step(&self) -> bool {
        self.steps.set(self.steps.get().saturating_add(1));
        self.is_exhausted()
    }

    /// A new variable.
    pub(crate) fn variable(&mut self) -> Type {
        self.bound.push(None);
        Type::Param(FIRST + u32::try_from(self.bound.len() - 1).unwrap_or(u32::MAX - FIRST))
    }

    fn slot(number: u32) -> Option<usize> {
        number.checked_sub(FIRST).map(|slot| slot as usize)
    }

    fn bound(&self, number: u32) -> Option<&Type> {
        self.bound.get(Self::slot(number)?)?.as_ref()
    }

    /// A signature with variables of its own for its parameters.
    pub(crate) fn fresh(&mut self, args: &[Type], result: &Type) -> (Vec<Type>, Type) {
        let mut own: [Option<Type>; 2] = [None, None];
        let args = args.iter().map(|arg| self.renamed(arg, &mut own)).collect();
        (args, self.renamed(result, &mut own))
    }

    fn renamed(&mut self, ty: &Type, own: &mut [Option<Type>; 2]) -> Type {
        match ty {
            Type::Param(number) => match own.get_mut(*number as usize) {
                Some(Some(variable)) => variable.clone(),
                Some(empty) => {
                    let variable = self.variable();
                    *empty = Some(variable.clone());
                    variable
                }
                None => ty.clone(),
            },
            _ => self.rebuilt(ty, &mut |this, inner| this.renamed(inner, own)),
        }
    }

    /// The type with its parts replaced; scalars are cloned.
    fn rebuilt(&mut self, ty: &Type, part: &mut dyn FnMut(&mut Self, &Type) -> Type) -> Type {
        match ty {
            Type::List(element) => Type::List(Arc::new(part(self, element))),
            Type::Map(key, value) => {
                Type::Map(Arc::new(part(self, key)), Arc::new(part(self, value)))
            }
            Type::Optional(inner) => Type::Optional(Arc::new(part(self, inner))),
            Type::Type(inner) => Type::Type(Arc::new(part(self, inner))),
            scalar => scalar.clone(),
        }
    }

    /// The type with variables replaced by what they stand for.
    pub(crate) fn known(&self, ty: &Type) -> Type {
        self.replaced(ty, false)
    }

    /// Likewise, and whatever is still open is dynamic.
    pub(crate) fn finish(&self, ty: &Type) -> Type {
        self.replaced(ty, true)
    }

    fn replaced(&self, ty: &Type, dynamic: bool) -> Type {
        if self.step() {
            return Type::Dyn;
        }
        let part = |inner: &Arc<Type>| Arc::new(self.replaced(inner, dynamic));
        match ty {
            Type::Param(number) => match self.bound(*number) {
                Some(bound) => self.replaced(bound, dynamic),
                None if dynamic => Type::Dyn,
                None => ty.clone(),
            },
            Type::List(element) => Type::List(part(element)),
            Type::Map(key, value) => Type::Map(part(key), part(value)),
            Type::Optional(inner) => Type::Optional(part(inner)),
            Type::Type(inner) => Type::Type(part(inner)),
            scalar => scalar.clone(),
        }
    }

    /// Whether two types agree; what has to hold for that is kept if they do.
    pub(crate) fn assignable(&mut self, left: &Type, right: &Type) -> bool {
        self.attempt(|this| this.agree(left, right))
    }

    /// Likewise for lists of types.
    pub(crate) fn all_assignable(&mut self, left: &[Type], right: &[Type]) -> bool {
        self.attempt(|this| left.iter().zip(right).all(|(left, right)| this.agree(left, right)))
    }

    fn attempt(&mut self, agree: impl FnOnce(&mut Self) -> bool) -> bool {
        self.trail.clear();
        if agree(self) {
            return true;
        }
        while let Some((slot, before)) = self.trail.pop() {
            self.bound[slot] = before;
        }
        false
    }

    fn agree(&mut self, left: &Type, right: &Type) -> bool {
        if self.step() {
            return true;
        }
        if let Type::Param(number) = right {
            match self.stands_for(left, *number) {
                Some(true) => return true,
                Some(false) if self.bound(*number).is_some() => return false,
                Some(false) | None => {}
            }
        }
        if let Type::Param(number) = left {
            return self.stands_for(right, *number) == Some(true);
        }
        if left.is_dyn() || right.is_dyn() {
            return true;
        }
        match (left, right) {
            (Type::Null, other) | (other, Type::Null) => nullable(other),
            (Type::List(left), Type::List(right))
            | (Type::Optional(left), Type::Optional(right)) => self.agree(left, right),
            (Type::Map(key, value), Type::Map(key2, value2)) => {
                self.agree(key, key2) && self.agree(value, value2)
            }
            (Type::Type(_), Type::Type(_)) => true,
            (left, right) => left == right,
        }
    }

    /// Lets a variable stand for a type, if it may.
    fn stands_for(&mut self, ty: &Type, number: u32) -> Option<bool> {
        if matches!(ty, Type::Param(other) if *other == number) {
            return Some(true);
        }
        if let Some(bound) = self.bound(number).cloned() {
            if self.same(ty, &bound) {
                return Some(true);
            }
            if !self.agree(ty, &bound) {
                return Some(false);
            }
            let general = self.more_general(ty.clone(), bound);
            if !self.mentions(&general, number) {
                self.set(number, general);
            }
            return Some(true);
        }
        if self.mentions(ty, number) {
            return None;
        }
        self.set(number, ty.clone());
        Some(true)
    }

    fn set(&mut self, number: u32, ty: Type) {
        let Some(slot) = Self::slot(number) else { return };
        if let Some(place) = self.bound.get_mut(slot) {
            self.trail.push((slot, place.replace(ty)));
        }
    }

    fn mentions(&self, ty: &Type, number: u32) -> bool {
        if self.step() {
            return true;
        }
        match ty {
            Type::Param(other) if *other == number => true,
            Type::Param(other) => {
                self.bound(*other).is_some_and(|bound| self.mentions(bound, number))
            }
            Type::List(inner) | Type::Optional(inner) | Type::Type(inner) => {
                self.mentions(inner, number)
            }
            Type::Map(key, value) => self.mentions(key, number) || self.mentions(value, number),
            _ => false,
        }
    }

    /// Whether two types are one.
    pub(crate) fn same(&self, left: &Type, right: &Type) -> bool {
        if self.step() {
            return true;
        }
        match (left, right) {
            (Type::List(left), Type::List(right))
            | (Type::Optional(left), Type::Optional(right))
            | (Type::Type(left), Type::Type(right)) => {
                Arc::ptr_eq(left, right) || self.same(left, right)
            }
            (Type::Map(key, value), Type::Map(key2, value2)) => {
                self.same(key, key2) && self.same(value, value2)
            }
            (left, right) => left == right,
        }
    }

    /// The one of two agreeing types that says less.
    pub(crate) fn more_general(&self, left: Type, right: Type) -> Type {
        if self.says_less(&left, &right) { left } else { right }
    }

    fn says_less(&self, left: &Type, right: &Type) -> bool {
        match (left, right) {
            _ if self.step() => true,
            (Type::Dyn | Type::Error | Type::Param(_), _) => true,
            (_, Type::Dyn | Type::Error | Type::Param(_)) => false,
            (Type::List(left), Type::List(right))
            | (Type::Optional(left), Type::Optional(right)) => self.says_less(left, right),
            (Type::Map(key, value), Type::Map(key2, value2)) => {
                self.says_less(key, key2) && self.says_less(value, value2)
            }
            (left, right) => left == right,
        }
    }
}

/// What `null` may be compared with.
fn nullable(ty: &Type) -> bool {
    matches!(
        ty,
        Type::Null
            | Type::Duration
            | Type::Timestamp
            | Type::Object(_)
            | Type::Optional(_)
            | Type::Opaque(_)
    )
}
