//! Running the rules of a definition against an object.
//!
//! A rule that fails where nothing changed is a warning and no error: the object was stored like that. Rules that look
//! at the earlier value are about changes, and are never excused.

use std::fmt::Write as _;

use quadrille_cel::{Budget, EvalError, MESSAGE_BYTES_MAX, Program, Value as Seen};
use quadrille_object::decode::{cut, start};
use quadrille_object::schema::{Correlation, ListKind, SHOWN_BYTES_MAX, shown, shown_text};
use quadrille_object::{FieldError, FieldErrorKind, FieldErrors};
use serde_json::{Map, Value};

use super::{Old, Reason, Rule, Rules};

/// What the rules say of an object.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) errors: FieldErrors,
    /// Rules that the object broke before, and breaks where it did not change.
    pub(crate) warnings: Vec<String>,
}

/// Runs all rules against an object; `before` is the one that it replaces.
pub(crate) fn run(
    rules: &Rules,
    object: &Map<String, Value>,
    before: Option<&Map<String, Value>>,
) -> Outcome {
    let mut runner = Runner::new(String::new());
    let (new, old) = (Part::Whole(object), before.map(Part::Whole));
    let pair = old.map(|old| Pair { new, old });
    runner.part(rules, new, old, Ratchet { current: pair, nearest: None });
    Outcome { errors: runner.errors, warnings: runner.warnings }
}

/// Runs the rules against a default that stands at `path`: as a value that stays, and as a new one.
pub(super) fn run_default(rules: &Rules, default: &Value, path: &str) -> FieldErrors {
    for old in [Some(Part::Of(default)), None] {
        let mut runner = Runner::new(path.to_owned());
        runner.part(rules, Part::Of(default), old, Ratchet::default());
        if !runner.errors.is_empty() {
            return runner.errors;
        }
    }
    FieldErrors::default()
}

/// A value: an object as a whole, or a part of one.
#[derive(Clone, Copy, Debug)]
enum Part<'a> {
    Whole(&'a Map<String, Value>),
    Of(&'a Value),
}

impl<'a> Part<'a> {
    fn is_null(self) -> bool {
        matches!(self, Self::Of(Value::Null))
    }

    fn as_map(self) -> Option<&'a Map<String, Value>> {
        match self {
            Self::Whole(map) | Self::Of(Value::Object(map)) => Some(map),
            Self::Of(_) => None,
        }
    }

    fn as_list(self) -> Option<&'a Vec<Value>> {
        match self {
            Self::Of(value) => value.as_array(),
            Self::Whole(_) => None,
        }
    }

    fn get(self, key: &str) -> Option<&'a Value> {
        self.as_map()?.get(key)
    }
}

/// A value and the one that it replaces.
#[derive(Clone, Copy, Debug)]
struct Pair<'a> {
    new: Part<'a>,
    old: Part<'a>,
}

impl Pair<'_> {
    fn is_unchanged(self) -> bool {
        match (self.new, self.old) {
            (Part::Of(new), Part::Of(old)) => new == old,
            (new, old) => new.as_map() == old.as_map(),
        }
    }
}

/// What decides whether a failing rule is excused: the value that it is about or, where that cannot be told from its
/// siblings, the nearest one around it.
#[derive(Clone, Copy, Debug, Default)]
struct Ratchet<'a> {
    current: Option<Pair<'a>>,
    nearest: Option<Pair<'a>>,
}

impl<'a> Ratchet<'a> {
    fn excuses(self) -> bool {
        self.current.or(self.nearest).is_some_and(Pair::is_unchanged)
    }

    fn below(self, new: &'a Value, old: Option<&'a Value>) -> Self {
        if self.current.is_none() {
            return self;
        }
        let pair = old.map(|old| Pair { new: Part::Of(new), old: Part::Of(old) });
        Self { current: pair, nearest: self.current }
    }
}

/// How many broken rules are excused with a warning each.
const WARNINGS_MAX: usize = 100;

struct Runner {
    budget: Budget,
    path: String,
    errors: FieldErrors,
    warnings: Vec<String>,
    /// Nothing more is run, for want of a budget or because no more errors are told.
    stopped: bool,
}

const NO_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

impl Runner {
    fn new(path: String) -> Self {
        let budget = Budget::per_object();
        Self { budget, path, errors: FieldErrors::default(), warnings: Vec::new(), stopped: false }
    }

    fn part<'a>(
        &mut self,
        rules: &'a Rules,
        new: Part<'a>,
        old: Option<Part<'a>>,
        ratchet: Ratchet<'a>,
    ) {
        // A rule about a value that may be null stands where the value is held.
        if self.stopped || new.is_null() {
            return;
        }
        let old = old.filter(|old| !old.is_null());
        self.own(rules, new, old, ratchet);
        if let Some(items) = new.as_list() {
            let old = old.and_then(Part::as_list);
            self.items(rules, items, old, ratchet);
        } else if let Some(map) = new.as_map() {
            self.fields(rules, map, old, ratchet);
        }
    }

    fn fields<'a>(
        &mut self,
        rules: &'a Rules,
        map: &'a Map<String, Value>,
        old: Option<Part<'a>>,
        ratchet: Ratchet<'a>,
    ) {
        if rules.fields.is_empty() && rules.others.is_none() {
            return;
        }
        for (key, value) in map {
            let length = self.path.len();
            let below = if let Some(field) = rules.fields.get(key.as_str()) {
                if !self.path.is_empty() {
                    self.path.push('.');
                }
                self.path.push_str(key);
                field
            } else if let Some(others) = &rules.others {
                write!(self.path, "[{key}]").expect("writing into memory cannot fail");
                others
            } else {
                continue;
            };
            let before = old.and_then(|old| old.get(key));
            // What the version of the request decides cannot be told to have stayed.
            let is_type =
                ratchet.nearest.is_none() && matches!(key.as_str(), "apiVersion" | "kind");
            let ratchet = if is_type { Ratchet::default() } else { ratchet.below(value, before) };
            self.part(below, Part::Of(value), before.map(Part::Of), ratchet);
            self.path.truncate(length);
        }
    }

    fn items<'a>(
        &mut self,
        rules: &'a Rules,
        items: &'a [Value],
        old: Option<&'a Vec<Value>>,
        ratchet: Ratchet<'a>,
    ) {
        let Some(below) = &rules.items else { return };
        let list: &'a ListKind = &rules.list;
        let known = old.map(|old| Correlation::new(list, old));
        for (index, value) in items.iter().enumerate() {
            let length = self.path.len();
            write!(self.path, "[{index}]").expect("writing into memory cannot fail");
            let before = known.as_ref().and_then(|known| known.find(value));
            self.part(below, Part::Of(value), before.map(Part::Of), ratchet.below(value, before));
            self.path.truncate(length);
        }
    }

    fn own<'a>(
        &mut self,
        rules: &'a Rules,
        new: Part<'a>,
        old: Option<Part<'a>>,
        ratchet: Ratchet<'a>,
    ) {
        if rules.own.is_empty() {
            return;
        }
        if self.budget.remaining() == 0 {
            self.stop(&rules.kind, NO_BUDGET);
            return;
        }
        let see = |part: Part<'a>| match part {
            Part::Whole(map) => Seen::from_object(map, &rules.declared),
            Part::Of(value) => Seen::from_json(value, &rules.declared),
        };
        let (this, before) = (see(new), old.map(see));
        for rule in &rules.own {
            let before = match rule.old {
                Old::Unused => Seen::Null,
                Old::Needed => match &before {
                    Some(before) => before.clone(),
                    None => continue,
                },
                Old::Optional => match &before {
                    Some(before) => Seen::some(before.clone()),
                    None => Seen::Optional(None),
                },
            };
            let variables = [("self", this.clone()), ("oldSelf", before)];
            match rule.program.evaluate(&variables, &mut self.budget) {
                Ok(Seen::Bool(true)) => {}
                Ok(_) => self.broken(rules, rule, new, &variables, ratchet),
                Err(error) => self.failed(rules, rule, &error),
            }
            if self.stopped {
                return;
            }
        }
    }

    /// An evaluation that gave nothing.
    fn failed(&mut self, rules: &Rules, rule: &Rule, error: &EvalError) {
        let rule = start(rule.name(), SHOWN_BYTES_MAX);
        match error {
            EvalError::OutOfBudget => self.stop(&rules.kind, NO_BUDGET),
            EvalError::CostLimit => {
                let why = "no further validation rules will be run due to call cost exceeds limit for rule";
                self.stop(&rules.kind, &format!("'{error}': {why}: {rule}"));
            }
            EvalError::Failed(text) if text.starts_with("no such overload") => {
                let why = "call arguments did not match a supported operator, function or macro signature for rule";
                self.report(&rules.kind, &format!("'{error}': {why}: {rule}"));
            }
            EvalError::Failed(_) => {
                self.report(&rules.kind, &format!("{error} evaluating rule: {rule}"));
            }
        }
    }

    fn report(&mut self, kind: &str, why: &str) {
        let message = format!("Invalid value: \"{kind}\": {why}");
        self.add(FieldError::new(FieldErrorKind::Invalid, self.place(""), message), false);
    }

    fn stop(&mut self, kind: &str, why: &str) {
        self.report(kind, why);
        self.stopped = true;
    }

    /// A rule that does not hold.
    fn broken<'a>(
        &mut self,
        rules: &Rules,
        rule: &'a Rule,
        value: Part<'_>,
        variables: &[(&str, Seen<'a>); 2],
        ratchet: Ratchet<'_>,
    ) {
        let excused = rule.old == Old::Unused && ratchet.excuses();
        let detail = match self.message(rule, variables) {
            Ok(Some(message)) => message,
            Ok(None) if !rule.message.is_empty() => {
                start(&rule.message, SHOWN_BYTES_MAX).to_owned()
            }
            Ok(None) => format!("failed rule: {}", start(&rule.text, SHOWN_BYTES_MAX)),
            Err(why) => {
                let message = format!("Invalid value: \"{}\": {why}", rules.kind);
                let error =
                    FieldError::new(FieldErrorKind::Invalid, self.place(&rule.place), message);
                self.add(error, excused);
                self.stopped = true;
                return;
            }
        };
        if excused && self.warnings.len() >= WARNINGS_MAX {
            return;
        }
        let shown = match value {
            Part::Of(value) if !matches!(&*rules.kind, "object" | "array") => {
                format!(": {}", shown(value))
            }
            Part::Of(_) | Part::Whole(_) => String::new(),
        };
        let (kind, message) = match rule.reason {
            Reason::Invalid => (FieldErrorKind::Invalid, format!("Invalid value{shown}: {detail}")),
            Reason::Forbidden => (FieldErrorKind::Forbidden, format!("Forbidden: {detail}")),
            Reason::Required => (FieldErrorKind::Required, format!("Required value: {detail}")),
            Reason::Duplicate => (FieldErrorKind::Duplicate, format!("Duplicate value{shown}")),
        };
        let error = FieldError::new(kind, self.place(&rule.place), message);
        self.add(error, excused);
    }

    fn add(&mut self, error: FieldError, excused: bool) {
        if !excused {
            self.errors.push(error);
            self.stopped |= self.errors.is_full();
        } else if self.warnings.len() < WARNINGS_MAX {
            self.warnings.push(error.to_string());
        }
    }

    /// The text of a message expression; `None` when it gives none that can be used.
    fn message<'a>(
        &mut self,
        rule: &'a Rule,
        variables: &[(&str, Seen<'a>); 2],
    ) -> Result<Option<String>, String> {
        let Some(program): Option<&'a Program> = rule.message_program.as_ref() else {
            return Ok(None);
        };
        match program.evaluate(variables, &mut self.budget) {
            Ok(value) => {
                Ok(value.as_str().map(str::trim).filter(|text| is_usable(text)).map(str::to_owned))
            }
            Err(EvalError::OutOfBudget) => {
                Err("messageExpression evaluation failed due to running out of cost \
                                                budget, no further validation rules will be run"
                    .to_owned())
            }
            Err(EvalError::CostLimit) => {
                let why = "no further validation rules will be run due to call cost exceeds limit for messageExpression";
                Err(format!("{why}: {}", shown_text(&rule.message_expression)))
            }
            Err(EvalError::Failed(text)) => {
                tracing::debug!(error = %text, "a message expression failed");
                Ok(None)
            }
        }
    }

    /// The path of the value, or of a field below; kube-apiserver has no path for the whole object.
    fn place(&self, below: &str) -> String {
        match (cut(&self.path), below) {
            ("", "") => "<nil>".to_owned(),
            ("", below) => below.to_owned(),
            (path, "") => path.to_owned(),
            (path, below) => format!("{path}.{below}"),
        }
    }
}

fn is_usable(message: &str) -> bool {
    !message.is_empty() && message.len() <= MESSAGE_BYTES_MAX && !message.contains('\n')
}

impl Rule {
    /// What messages call the rule.
    fn name(&self) -> &str {
        if self.message.is_empty() { &self.text } else { &self.message }
    }
}
