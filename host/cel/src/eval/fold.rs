//! Loops: the macros that go over a list or a map.
//!
//! Owns when a loop is decided, what it gathers and what each turn costs. Must not know of how other nodes are
//! evaluated.

use std::collections::BTreeMap;

use super::{ELEMENTS_MAX, Machine, Result, insert};
use crate::ast::FoldKind;
use crate::charge;
use crate::error::EvalError;
use crate::plan::PlannedFold;
use crate::value::{Key, List, Map, Value};

impl<'a> Machine<'a, '_> {
    pub(super) fn fold(&mut self, fold: &'a PlannedFold) -> Result<Value<'a>> {
        let range = self.eval(&fold.range)?;
        let depth = self.locals.len();
        let mut state = FoldState::new(fold.kind);
        self.charge(charge::fold_start(fold.kind))?;
        let result = match &range {
            Value::List(list) => self.over_list(fold, list, &mut state),
            Value::Map(map) => self.over_map(fold, map, &mut state),
            _ => Err(EvalError::no_such_overload()),
        };
        self.locals.truncate(depth);
        result?;
        state.result()
    }

    fn over_list(
        &mut self,
        fold: &'a PlannedFold,
        list: &List<'a>,
        state: &mut FoldState<'a>,
    ) -> Result<()> {
        let depth = self.locals.len();
        for (place, element) in list.iter().enumerate() {
            let key = fold.pair.then(|| Value::Int(i64::try_from(place).unwrap_or(i64::MAX)));
            self.locals.truncate(depth);
            self.locals.extend(key.clone());
            self.locals.push(element);
            let key = || key.as_ref().and_then(Value::key);
            if self.step(fold, key, state)? {
                return self.decided(fold.kind, place + 1 < list.len());
            }
        }
        Ok(())
    }

    fn over_map(
        &mut self,
        fold: &'a PlannedFold,
        map: &Map<'a>,
        state: &mut FoldState<'a>,
    ) -> Result<()> {
        let depth = self.locals.len();
        for (place, (key, value)) in map.entries().enumerate() {
            self.locals.truncate(depth);
            self.locals.push(key.value());
            if fold.pair {
                self.locals.push(value);
            }
            if self.step(fold, || Some(key.clone()), state)? {
                return self.decided(fold.kind, place + 1 < map.len());
            }
        }
        Ok(())
    }

    /// The condition is looked at once more when there is a next element.
    fn decided(&mut self, kind: FoldKind, more: bool) -> Result<()> {
        self.charge(if more { charge::fold_condition(kind) } else { 0 })
    }

    /// One turn of a loop; says whether the loop is decided.
    fn step(
        &mut self,
        fold: &'a PlannedFold,
        key: impl FnOnce() -> Option<Key<'a>>,
        state: &mut FoldState<'a>,
    ) -> Result<bool> {
        if let Some(filter) = &fold.filter {
            match self.eval(filter)? {
                Value::Bool(true) => {}
                Value::Bool(false) => {
                    self.charge(1)?;
                    return Ok(false);
                }
                _ => return Err(EvalError::no_such_overload()),
            }
        }
        let value = self.eval(&fold.body);
        let counted = fold.kind == FoldKind::ExistsOne && matches!(value, Ok(Value::Bool(true)));
        self.charge(charge::fold_step(fold.kind) + u64::from(counted))?;
        state.add(value, key)
    }
}

/// What a loop has found so far.
enum FoldState<'a> {
    /// `all` and `exists`: the value that decides, and the first failure.
    Any {
        decides: bool,
        decided: bool,
        failure: Option<EvalError>,
    },
    Count(u64),
    List(Vec<Value<'a>>),
    Map {
        entries: BTreeMap<Key<'a>, Value<'a>>,
        whole: bool,
    },
}

impl<'a> FoldState<'a> {
    fn new(kind: FoldKind) -> Self {
        match kind {
            FoldKind::All => Self::Any { decides: false, decided: false, failure: None },
            FoldKind::Exists => Self::Any { decides: true, decided: false, failure: None },
            FoldKind::ExistsOne => Self::Count(0),
            FoldKind::List => Self::List(Vec::new()),
            FoldKind::Map => Self::Map { entries: BTreeMap::new(), whole: false },
            FoldKind::MapEntry => Self::Map { entries: BTreeMap::new(), whole: true },
        }
    }

    fn add(
        &mut self,
        value: Result<Value<'a>>,
        key: impl FnOnce() -> Option<Key<'a>>,
    ) -> Result<bool> {
        match self {
            Self::Any { decides, decided, failure } => match value {
                Ok(Value::Bool(flag)) => {
                    *decided = flag == *decides;
                    return Ok(*decided);
                }
                Err(error) if error.is_limit() => return Err(error),
                Err(error) => {
                    failure.get_or_insert(error);
                }
                Ok(_) => {
                    failure.get_or_insert_with(EvalError::no_such_overload);
                }
            },
            Self::Count(count) => match value? {
                Value::Bool(flag) => *count += u64::from(flag),
                _ => return Err(EvalError::no_such_overload()),
            },
            Self::List(list) => {
                if list.len() == ELEMENTS_MAX {
                    return Err(EvalError::CostLimit);
                }
                list.push(value?);
            }
            Self::Map { entries, whole: false } => {
                let key = key().ok_or_else(EvalError::no_such_overload)?;
                insert(entries, &key.value(), value?)?;
            }
            Self::Map { entries, whole: true } => match value? {
                Value::Map(map) => {
                    for (key, value) in map.entries() {
                        insert(entries, &key.value(), value)?;
                    }
                }
                _ => return Err(EvalError::no_such_overload()),
            },
        }
        Ok(false)
    }

    fn result(self) -> Result<Value<'a>> {
        match self {
            Self::Any { decides, decided: true, .. } => Ok(Value::Bool(decides)),
            Self::Any { failure: Some(failure), .. } => Err(failure),
            Self::Any { decides, .. } => Ok(Value::Bool(!decides)),
            Self::Count(count) => Ok(Value::Bool(count == 1)),
            Self::List(list) => Ok(Value::list(list)),
            Self::Map { entries, .. } => Ok(Value::map(entries)),
        }
    }
}
