//! The machine that runs a planned expression.
//!
//! Owns evaluation order, which errors logical operators absorb, loops and what each step costs. Operators on
//! values are in `ops`, functions in `library`. Must not know of types.

mod fold;

use std::collections::BTreeMap;
use std::sync::Arc;

use regex::Regex;

use crate::ast::{Literal, Select, Unwraps};
use crate::budget::{Budget, PER_CALL_LIMIT};
use crate::charge;
use crate::error::EvalError;
use crate::library::{self, Decision, Question};
use crate::ops;
use crate::plan::{Binary, Call, Node, Unary};
use crate::signature::{Overload, Run, fits};
use crate::value::{Key, List, Object, Text, Value};

type Result<T> = std::result::Result<T, EvalError>;

/// Where the values of an environment's variables come from, when an expression asks for them.
pub trait Variables<'a> {
    /// The value of a variable. Computing one lazily is paid from the budget; whoever does so should keep it.
    ///
    /// # Errors
    /// What went wrong when the value was computed.
    fn variable(&self, name: &str, budget: &mut Budget) -> Result<Value<'a>>;

    /// Whether the requester, or whoever the question names, may do something.
    ///
    /// # Errors
    /// When nobody can say; by default nobody can.
    fn authorize(&self, question: &Question) -> Result<Decision> {
        let _ = question;
        Err(EvalError::new("no authorizer"))
    }
}

impl<'a> Variables<'a> for [(&str, Value<'a>)] {
    fn variable(&self, name: &str, _: &mut Budget) -> Result<Value<'a>> {
        let found = self.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, value)| value.clone())
            .ok_or_else(|| EvalError::new(format!("no such attribute(s): {name}")))
    }
}

impl<'a, const N: usize> Variables<'a> for [(&str, Value<'a>); N] {
    fn variable(&self, name: &str, budget: &mut Budget) -> Result<Value<'a>> {
        self.as_slice().variable(name, budget)
    }
}

impl<'a> Variables<'a> for Vec<(&str, Value<'a>)> {
    fn variable(&self, name: &str, budget: &mut Budget) -> Result<Value<'a>> {
        self.as_slice().variable(name, budget)
    }
}

/// The most elements that a list or map built by an expression may have.
pub(crate) const ELEMENTS_MAX: usize = 1_000_000;
/// The most bytes that a text built by an expression may have.
pub(crate) const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How many patterns that are no literals one evaluation keeps compiled.
const PATTERNS_MAX: usize = 16;

/// One evaluation.
pub(crate) struct Machine<'a, 'm> {
    variables: &'m dyn Variables<'a>,
    names: &'a [Arc<str>],
    budget: &'m mut Budget,
    locals: Vec<Value<'a>>,
    spent: u64,
    patterns: Vec<(String, Regex)>,
}

impl<'a, 'm> Machine<'a, 'm> {
    pub(crate) fn new(
        variables: &'m dyn Variables<'a>,
        names: &'a [Arc<str>],
        budget: &'m mut Budget,
    ) -> Self {
        Self { variables, names, budget, locals: Vec::new(), spent: 0, patterns: Vec::new() }
    }

    /// Takes what was spent from the budget.
    pub(crate) fn finish(self) {
        self.budget.spend(self.spent);
    }

    pub(crate) fn charge(&mut self, units: u64) -> Result<()> {
        self.spent = self.spent.saturating_add(units);
        if self.spent > PER_CALL_LIMIT {
            return Err(EvalError::CostLimit);
        }
        if self.spent > self.budget.remaining() {
            return Err(EvalError::OutOfBudget);
        }
        Ok(())
    }

    pub(crate) fn variables(&self) -> &'m dyn Variables<'a> {
        self.variables
    }

    pub(crate) fn eval(&mut self, node: &'a Node) -> Result<Value<'a>> {
        match node {
            Node::Literal(literal) => Ok(literal_value(literal)),
            Node::Constant(value) => Ok(value.clone()),
            Node::Variable(number) => {
                self.charge(1)?;
                self.variables.variable(&self.names[*number], self.budget)
            }
            Node::Local(place) => {
                self.charge(1)?;
                Ok(self.locals[*place].clone())
            }
            Node::TypeName(name) => {
                self.charge(1)?;
                Ok(Value::Type(Text::Borrowed(name)))
            }
            Node::Select { operand, field, mode } => self.select(operand, field, *mode),
            Node::And(terms) => self.logical(terms, false),
            Node::Or(terms) => self.logical(terms, true),
            Node::Conditional(parts) => self.conditional(parts),
            Node::Unary(operator, operand) => {
                let operand = self.eval(operand)?;
                self.charge(1)?;
                match operator {
                    Unary::Not => {
                        operand.as_bool().map(|flag| Value::Bool(!flag)).ok_or_else(|| {
                            EvalError::new(format!("no such overload: !_({})", operand.type_name()))
                        })
                    }
                    Unary::Negate => ops::negate(&operand),
                }
            }
            Node::Binary(operator, sides) => {
                let left = self.eval(&sides[0])?;
                let right = self.eval(&sides[1])?;
                if let (Binary::In, Node::Constant(Value::List(_)), Value::List(list)) =
                    (operator, &sides[1], &right)
                {
                    return self.holds(list, &left).map(Value::Bool);
                }
                self.binary(*operator, &left, &right)
            }
            Node::Call(call) => self.call(call),
            Node::List(elements) => self.list(elements),
            Node::Map(entries) => self.map(entries),
            Node::Object { ty, fields } => self.object(ty, fields),
            Node::Fold(fold) => self.fold(fold),
            Node::Bind { init, body, unwraps } => self.bind(init, body, *unwraps),
        }
    }

    // Fields.

    fn select(&mut self, operand: &'a Node, field: &'a str, mode: Select) -> Result<Value<'a>> {
        let operand = self.eval(operand)?;
        if mode != Select::Test {
            self.charge(1)?;
        }
        let (inner, optional) = match &operand {
            Value::Optional(None) if mode == Select::Test => return Ok(Value::Bool(false)),
            Value::Optional(None) => return Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => (&**inner, true),
            _ => (&operand, false),
        };
        let found = match inner {
            Value::Object(object) => object.get(field),
            Value::Map(map) => map.get_text(field),
            _ => None,
        };
        match (mode, found) {
            (Select::Test, found) => Ok(Value::Bool(found.is_some())),
            (Select::Optional, found) => Ok(Value::Optional(found.map(Arc::new))),
            (Select::Plain, found) if optional => Ok(Value::Optional(found.map(Arc::new))),
            (Select::Plain, found) => found.ok_or_else(|| EvalError::no_such_key(&field)),
        }
    }

    fn index(&mut self, left: &Value<'a>, right: &Value<'a>, mode: Select) -> Result<Value<'a>> {
        self.charge(1)?;
        let (inner, optional) = match left {
            Value::Optional(None) => return Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => (&**inner, true),
            _ => (left, mode == Select::Optional),
        };
        let found = ops::index(inner, right);
        if !optional {
            return found;
        }
        match found {
            Ok(value) => Ok(Value::some(value)),
            Err(EvalError::Failed(message))
                if message.starts_with("no such key") || message.starts_with("index out of") =>
            {
                Ok(Value::Optional(None))
            }
            Err(error) => Err(error),
        }
    }

    // Operators.

    /// `&&` (decided by a false term) and `||` (by a true one): a term that decides outweighs one that fails.
    fn logical(&mut self, terms: &'a [Node], decides: bool) -> Result<Value<'a>> {
        let mut failure = None;
        for term in terms {
            match self.eval(term) {
                Ok(Value::Bool(flag)) if flag == decides => return Ok(Value::Bool(decides)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => failure = failure.or_else(|| Some(EvalError::no_such_overload())),
                Err(error) if error.is_limit() => return Err(error),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(Value::Bool(!decides)), Err)
    }

    fn conditional(&mut self, parts: &'a [Node; 3]) -> Result<Value<'a>> {
        let [condition, yes, no] = parts;
        match self.eval(condition)? {
            Value::Bool(true) => self.eval(yes),
            Value::Bool(false) => self.eval(no),
            _ => Err(EvalError::no_such_overload()),
        }
    }

    fn binary(
        &mut self,
        operator: Binary,
        left: &Value<'a>,
        right: &Value<'a>,
    ) -> Result<Value<'a>> {
        match operator {
            Binary::Equal | Binary::NotEqual => {
                self.charge(charge::equality(left, right))?;
                let equal = self.equal(left, right)?;
                return Ok(Value::Bool(equal == (operator == Binary::Equal)));
            }
            Binary::In => return self.contains(left, right),
            Binary::Index => return self.index(left, right, Select::Plain),
            Binary::OptionalIndex => return self.index(left, right, Select::Optional),
            Binary::Less | Binary::LessEqual | Binary::Greater | Binary::GreaterEqual => {
                self.charge(charge::ordering(left, right))?;
                return ops::ordered(operator, left, right);
            }
            Binary::Add => self.charge(charge::addition(left, right))?,
            Binary::Subtract | Binary::Multiply | Binary::Divide | Binary::Modulo => {
                self.charge(1)?;
            }
        }
        ops::arithmetic(operator, left, right)
    }

    fn contains(&mut self, element: &Value<'a>, range: &Value<'a>) -> Result<Value<'a>> {
        match range {
            Value::List(list) => {
                self.charge(list.len() as u64)?;
                self.holds(list, element).map(Value::Bool)
            }
            Value::Map(map) => {
                self.charge(1)?;
                Ok(Value::Bool(element.key().is_some_and(|key| map.get(&key).is_some())))
            }
            _ => Err(EvalError::no_such_overload()),
        }
    }

    /// Whether a list has an element.
    pub(crate) fn holds(&mut self, list: &List<'a>, element: &Value<'a>) -> Result<bool> {
        for found in list.iter() {
            if self.equal(&found, element)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether two values are equal. Values share parts, so what is small in memory may be large to compare:
    /// going through many parts is paid.
    pub(crate) fn equal(&mut self, left: &Value<'_>, right: &Value<'_>) -> Result<bool> {
        let mut steps = 0;
        let equal = ops::equal(left, right, &mut steps);
        self.charge(steps / ops::STEPS_PER_UNIT)?;
        equal
    }

    // Literals and objects.

    fn list(&mut self, elements: &'a [(Node, bool)]) -> Result<Value<'a>> {
        let mut list = Vec::with_capacity(elements.len());
        for (element, optional) in elements {
            match (self.eval(element)?, optional) {
                (Value::Optional(value), true) => list.extend(value.map(|value| (*value).clone())),
                (_, true) => return Err(EvalError::no_such_overload()),
                (value, false) => list.push(value),
            }
        }
        self.charge(charge::LIST)?;
        Ok(Value::list(list))
    }

    fn map(&mut self, entries: &'a [(Node, Node, bool)]) -> Result<Value<'a>> {
        let mut map = BTreeMap::new();
        for (key, value, optional) in entries {
            let key = self.eval(key)?;
            let value = match (self.eval(value)?, optional) {
                (Value::Optional(Some(value)), true) => (*value).clone(),
                (Value::Optional(None), true) => continue,
                (_, true) => return Err(EvalError::no_such_overload()),
                (value, false) => value,
            };
            insert(&mut map, &key, value)?;
        }
        self.charge(charge::MAP)?;
        Ok(Value::map(map))
    }

    fn object(
        &mut self,
        ty: &'a crate::types::ObjectType,
        fields: &'a [(Arc<str>, Node, bool)],
    ) -> Result<Value<'a>> {
        let mut built = BTreeMap::new();
        for (name, value, optional) in fields {
            let value = match (self.eval(value)?, optional) {
                (Value::Optional(Some(value)), true) => (*value).clone(),
                (Value::Optional(None), true) => continue,
                (_, true) => return Err(EvalError::no_such_overload()),
                (value, false) => value,
            };
            let property = ty.field(name).map_or(&**name, |field| field.property.as_str());
            built.insert(property, value);
        }
        self.charge(charge::OBJECT)?;
        Ok(Value::Object(Object::Built { fields: Arc::new(built), ty }))
    }

    // Macros.

    fn bind(&mut self, init: &'a Node, body: &'a Node, unwraps: Unwraps) -> Result<Value<'a>> {
        let value = self.eval(init)?;
        let value = match (unwraps, value) {
            (Unwraps::No, value) => value,
            (Unwraps::Map | Unwraps::FlatMap, Value::Optional(Some(value))) => (*value).clone(),
            (Unwraps::Map | Unwraps::FlatMap, Value::Optional(None)) => {
                return Ok(Value::Optional(None));
            }
            (Unwraps::Map | Unwraps::FlatMap, _) => return Err(EvalError::no_such_overload()),
        };
        let depth = self.locals.len();
        self.locals.push(value);
        let result = self.eval(body);
        self.locals.truncate(depth);
        let result = result?;
        if unwraps == Unwraps::Map {
            self.charge(1)?;
            return Ok(Value::some(result));
        }
        Ok(result)
    }

    // Functions.

    fn call(&mut self, call: &'a Call) -> Result<Value<'a>> {
        match &*call.args {
            [one] => {
                let args = [self.eval(one)?];
                self.run(call, &args)
            }
            [one, two] => {
                let args = [self.eval(one)?, self.eval(two)?];
                self.run(call, &args)
            }
            args => {
                let args: Vec<Value<'a>> =
                    args.iter().map(|arg| self.eval(arg)).collect::<Result<_>>()?;
                self.run(call, &args)
            }
        }
    }

    fn run(&mut self, call: &'a Call, args: &[Value<'a>]) -> Result<Value<'a>> {
        let fitting = |overload: &&&'static Overload| {
            overload.args.iter().zip(args).all(|(ty, value)| fits(ty, value))
        };
        let Some(overload) = call.overloads.iter().find(fitting) else {
            let types: Vec<&str> = args.iter().map(Value::type_name).collect();
            let message = format!("no such overload: {}({})", call.name, types.join(", "));
            return Err(EvalError::new(message));
        };
        self.charge(charge::before(overload.cost, args).saturating_add(charge::long_texts(args)))?;
        let result = match (&call.pattern, overload.run) {
            (Some(pattern), _) => library::with_pattern(&call.name, pattern, args),
            (None, Run::Pure(run)) => run(args),
            (None, Run::Host(run)) => run(self, args),
            (None, Run::Operator) => Err(EvalError::no_such_overload()),
        }?;
        self.charge(charge::after(overload.cost, args, &result))?;
        Ok(result)
    }

    /// A pattern that is not a literal: compiling it is paid, the last ones are kept.
    pub(crate) fn pattern(&mut self, text: &str) -> Result<Regex> {
        if let Some((_, found)) = self.patterns.iter().find(|(known, _)| known == text) {
            return Ok(found.clone());
        }
        self.charge(charge::pattern(text))?;
        let regex = library::regex_of(text)?;
        if self.patterns.len() == PATTERNS_MAX {
            self.patterns.remove(0);
        }
        self.patterns.push((text.to_owned(), regex.clone()));
        Ok(regex)
    }
}

fn literal_value(literal: &Literal) -> Value<'_> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(flag) => Value::Bool(*flag),
        Literal::Int(number) => Value::Int(*number),
        Literal::Uint(number) => Value::Uint(*number),
        Literal::Double(number) => Value::Double(*number),
        Literal::String(text) => Value::String(Text::Borrowed(text)),
        Literal::Bytes(bytes) => Value::Bytes(Arc::clone(bytes)),
    }
}

fn insert<'a>(
    map: &mut BTreeMap<Key<'a>, Value<'a>>,
    key: &Value<'a>,
    value: Value<'a>,
) -> Result<()> {
    let Some(found) = key.key() else {
        return Err(EvalError::new(format!("unsupported key type: {}", key.type_name())));
    };
    if map.contains_key(&found) {
        return Err(EvalError::new(format!(
            "insert failed: key {} already exists",
            library::display(key)
        )));
    }
    map.insert(found, value);
    if map.len() > ELEMENTS_MAX {
        return Err(EvalError::CostLimit);
    }
    Ok(())
}
