//! Macros: calls that stand for loops, bindings and presence tests.
//!
//! Owns which call is a macro and the checks of its arguments. Must not know of types.

use std::sync::Arc;

use crate::ast::{Expr, Fold, FoldKind, Id, Kind, Select, Unwraps};
use crate::parse::{Parsed, Parser};

impl Parser {
    /// `name(args)`, its parenthesis at this place.
    pub(crate) fn global_call(
        &mut self,
        open: u32,
        name: &str,
        mut args: Vec<Expr>,
    ) -> Parsed<Expr> {
        if name != "has" || args.len() != 1 {
            return self.call(open, name, args);
        }
        let arg = args.remove(0);
        let offset = self.offset_of(&arg);
        match arg.kind {
            Kind::Select { operand, field, mode: Select::Plain } => {
                let below = [operand.id];
                self.above(open, &below, Kind::Select { operand, field, mode: Select::Test })
            }
            _ => self.fail(offset, "invalid argument to has() macro"),
        }
    }

    /// `target.name(args)`, its parenthesis at this place.
    pub(crate) fn member_call(
        &mut self,
        open: u32,
        target: Expr,
        name: &str,
        args: Vec<Expr>,
    ) -> Parsed<Expr> {
        if let Some(kind) = fold_of(name, args.len()) {
            return self.fold(open, target, name, kind, args);
        }
        match (name, args.len()) {
            ("optMap", 2) => self.bind(open, target, args, Unwraps::Map),
            ("optFlatMap", 2) => self.bind(open, target, args, Unwraps::FlatMap),
            ("sortBy", 2) => self.sort_by(open, target, args),
            ("bind", 3) if self.bindings && is_ident(&target, "cel") => {
                let [var, init, body] = three(args)?;
                let args = vec![var, body];
                self.bind(open, init, args, Unwraps::No)
            }
            _ => {
                let below: Vec<Id> =
                    args.iter().map(|arg| arg.id).chain(std::iter::once(target.id)).collect();
                let target = Some(Box::new(target));
                self.above(open, &below, Kind::Call { function: name.into(), target, args })
            }
        }
    }

    fn variable(&mut self, expr: &Expr) -> Parsed<Arc<str>> {
        match &expr.kind {
            Kind::Ident(name) if &**name == "@result" || &**name == "__result__" => {
                let offset = self.offset_of(expr);
                self.fail(offset, "iteration variable overwrites accumulator variable")
            }
            Kind::Ident(name) => Ok(Arc::clone(name)),
            _ => {
                let offset = self.offset_of(expr);
                self.fail(offset, "argument must be a simple name")
            }
        }
    }

    fn fold(
        &mut self,
        open: u32,
        range: Expr,
        name: &str,
        kind: FoldKind,
        mut args: Vec<Expr>,
    ) -> Parsed<Expr> {
        let pair = two_variables(name, args.len());
        if matches!(name, "map" | "filter") && !matches!(args[0].kind, Kind::Ident(_)) {
            let offset = self.offset_of(&args[0]);
            return self.fail(offset, "argument is not an identifier");
        }
        let var = self.variable(&args[0])?;
        let var2 = if pair { Some(self.variable(&args[1])?) } else { None };
        if var2.as_ref() == Some(&var) {
            let offset = self.offset_of(&args[1]);
            return self.fail(offset, format!("duplicate variable name: {var}"));
        }
        let mut rest = args.split_off(if pair { 2 } else { 1 });
        let last = rest.pop();
        let before = rest.pop();
        let (filter, body) = match (name, last) {
            ("filter", Some(condition)) => {
                let offset = self.offset_of(&args[0]);
                (Some(condition), self.ident(offset, &var))
            }
            (_, Some(body)) => (before, body),
            (_, None) => return self.fail(open, "argument must be a simple name"),
        };
        let mut below = vec![range.id, body.id];
        below.extend(filter.as_ref().map(|filter| filter.id));
        let fold = Fold { kind, range, var, var2, filter, body };
        self.above(open, &below, Kind::Fold(Box::new(fold)))
    }

    fn bind(&mut self, open: u32, init: Expr, args: Vec<Expr>, unwraps: Unwraps) -> Parsed<Expr> {
        let [var, body] = two(args)?;
        let var = self.variable(&var)?;
        let below = [init.id, body.id];
        let (init, body) = (Box::new(init), Box::new(body));
        self.above(open, &below, Kind::Bind { var, init, body, unwraps })
    }

    /// `list.sortBy(x, key)`: the list, bound to a name nobody can write, sorted by the keys of its elements.
    fn sort_by(&mut self, open: u32, target: Expr, args: Vec<Expr>) -> Parsed<Expr> {
        const INPUT: &str = "@sorted";
        let range = self.ident(open, INPUT);
        let keys = self.fold(open, range, "map", FoldKind::List, args)?;
        let input = Box::new(self.ident(open, INPUT));
        let below = [keys.id];
        let function = "@sortByAssociatedKeys".into();
        let body = Kind::Call { function, target: Some(input), args: vec![keys] };
        let body = self.above(open, &below, body)?;
        let below = [target.id, body.id];
        let (init, body) = (Box::new(target), Box::new(body));
        let kind = Kind::Bind { var: INPUT.into(), init, body, unwraps: Unwraps::No };
        self.above(open, &below, kind)
    }
}

fn is_ident(expr: &Expr, name: &str) -> bool {
    matches!(&expr.kind, Kind::Ident(found) if **found == *name)
}

fn two(args: Vec<Expr>) -> Parsed<[Expr; 2]> {
    args.try_into().map_err(|_| crate::parse::Halt)
}

fn three(args: Vec<Expr>) -> Parsed<[Expr; 3]> {
    args.try_into().map_err(|_| crate::parse::Halt)
}

/// The fold that a call with so many arguments is.
fn fold_of(name: &str, args: usize) -> Option<FoldKind> {
    Some(match (name, args) {
        ("all", 2 | 3) => FoldKind::All,
        ("exists", 2 | 3) => FoldKind::Exists,
        ("exists_one" | "existsOne", 2 | 3) => FoldKind::ExistsOne,
        ("map", 2 | 3) | ("filter", 2) | ("transformList", 3 | 4) => FoldKind::List,
        ("transformMap", 3 | 4) => FoldKind::Map,
        ("transformMapEntry", 3 | 4) => FoldKind::MapEntry,
        _ => return None,
    })
}

fn two_variables(name: &str, args: usize) -> bool {
    match name {
        "map" | "filter" => false,
        "all" | "exists" | "exists_one" | "existsOne" => args == 3,
        _ => true,
    }
}
