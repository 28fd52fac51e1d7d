//! Sets of field paths, as tries, and their wire form `FieldsV1`.
//!
//! A node is a step of a path; it may be a member itself (`.`) and have members below it. Nodes without either are
//! never kept, so equal sets have equal tries. Texts are borrowed from the object or the entry they come from.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "JSON has six kinds of values and will not get a seventh"
)]

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Value};

use crate::decode::cut;
use crate::error::CAUSES_MAX;

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step<'a> {
    /// A field of an object or a key of a map: `f:name`.
    Field(Cow<'a, str>),
    /// An item of an associative list, by the JSON of its keys in order: `k:{"name":"a"}`.
    Key(Cow<'a, str>),
    /// An item of a set, by its JSON: `v:"a"`.
    Value(Cow<'a, str>),
    /// An item by its place: `i:0`.
    Index(i64),
}

/// A set of paths below one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet<'a> {
    /// Whether the node itself is in the set.
    pub(crate) member: bool,
    /// What is below, sorted.
    pub(crate) below: Vec<(Step<'a>, FieldSet<'a>)>,
}

/// Why a `FieldsV1` is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the path element {step:?} of fieldsV1")]
pub struct FieldsError {
    step: String,
}

impl<'a> FieldSet<'a> {
    /// The set of one node.
    pub(crate) fn leaf() -> Self {
        Self { member: true, below: Vec::new() }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }

    /// A set of whole subtrees, named by dotted field names such as `metadata.labels`.
    pub fn of_fields(paths: &[&'a str]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let mut one = Self::leaf();
            for name in path.split('.').rev() {
                one = Self { member: false, below: vec![(Step::Field(name.into()), one)] };
            }
            set = set.union(one);
        }
        set
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// When a step has no known form.
    pub fn parse(fields: &'a Map<String, Value>) -> Result<Self, FieldsError> {
        let mut set = Self { member: false, below: Vec::with_capacity(fields.len()) };
        for (text, value) in fields {
            if text == "." {
                set.member = true;
                continue;
            }
            let Some(step) = Step::parse(text)? else { continue };
            let refused = || FieldsError { step: text.clone() };
            let mut child = match value {
                Value::Object(map) => Self::parse(map)?,
                Value::Null => Self::default(),
                _ => return Err(refused()),
            };
            child.member |= child.below.is_empty();
            set.below.push((step, child));
        }
        if !set.below.is_sorted_by(|a, b| a.0 < b.0) {
            set.below.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            set.below.dedup_by(|a, b| a.0 == b.0);
        }
        Ok(set)
    }

    /// The wire form.
    pub fn to_fields(&self) -> Map<String, Value> {
        let mut out = Map::new();
        if self.member && !self.below.is_empty() {
            out.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (step, child) in &self.below {
            out.insert(step.to_wire(), Value::Object(child.to_fields()));
        }
        out
    }

    /// What is in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        let member = self.member || other.member;
        if other.below.is_empty() {
            return Self { member, below: self.below };
        }
        if self.below.is_empty() {
            return Self { member, below: other.below };
        }
        let mut below = Vec::with_capacity(self.below.len().max(other.below.len()));
        let (mut left, mut right) =
            (self.below.into_iter().peekable(), other.below.into_iter().peekable());
        loop {
            let order = match (left.peek(), right.peek()) {
                (Some(l), Some(r)) => l.0.cmp(&r.0),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            match order {
                Ordering::Less => below.extend(left.next()),
                Ordering::Greater => below.extend(right.next()),
                Ordering::Equal => {
                    if let (Some((step, l)), Some((_, r))) = (left.next(), right.next()) {
                        below.push((step, l.union(r)));
                    }
                }
            }
        }
        Self { member, below }
    }

    /// What is in any of them. They are joined in pairs, and those again, so that many small ones do not each copy what
    /// the ones before them came to.
    #[must_use]
    pub(crate) fn union_all(mut sets: Vec<Self>) -> Self {
        while sets.len() > 1 {
            let mut pairs = sets.into_iter();
            let mut joined = Vec::with_capacity(pairs.len().div_ceil(2));
            while let Some(one) = pairs.next() {
                joined.push(match pairs.next() {
                    Some(other) => one.union(other),
                    None => one,
                });
            }
            sets = joined;
        }
        sets.pop().unwrap_or_default()
    }

    /// What is in this one and not in the other; a path is not covered by its parent.
    #[must_use]
    pub fn difference(&self, other: &FieldSet<'_>) -> Self {
        self.filter(other, &|mine, theirs| mine && !theirs, true)
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &FieldSet<'_>) -> Self {
        self.filter(other, &|mine, theirs| mine && theirs, false)
    }

    /// Keeps members as `keep` says; `alone` is whether what the other does not reach stays.
    fn filter(
        &self,
        other: &FieldSet<'_>,
        keep: &impl Fn(bool, bool) -> bool,
        alone: bool,
    ) -> Self {
        let member = keep(self.member, other.member);
        let mut below = Vec::new();
        let mut theirs = other.below.as_slice();
        for (step, child) in &self.below {
            theirs = from_step(theirs, step);
            match theirs.first().filter(|(other, _)| other == step) {
                Some((_, other)) => {
                    let kept = child.filter(other, keep, alone);
                    if !kept.is_empty() {
                        below.push((step.clone(), kept));
                    }
                }
                None if alone => below.push((step.clone(), child.clone())),
                None => {}
            }
        }
        Self { member, below }
    }

    /// Whether they have a member in common.
    pub fn meets(&self, other: &FieldSet<'_>) -> bool {
        if self.member && other.member {
            return true;
        }
        let mut theirs = other.below.as_slice();
        self.below.iter().any(|(step, child)| {
            theirs = from_step(theirs, step);
            theirs.first().is_some_and(|(other, below)| other == step && child.meets(below))
        })
    }

    /// Whether every member is one of the other as well.
    pub(crate) fn is_within(&self, other: &FieldSet<'_>) -> bool {
        if self.member && !other.member {
            return false;
        }
        let mut theirs = other.below.as_slice();
        self.below.iter().all(|(step, child)| {
            theirs = from_step(theirs, step);
            theirs.first().is_some_and(|(other, below)| other == step && child.is_within(below))
        })
    }

    /// Without the members of the other and everything below them.
    #[must_use]
    pub fn without_subtrees(self, subtrees: &FieldSet<'_>) -> Self {
        if subtrees.below.is_empty() {
            return self;
        }
        let keep = |(step, child): (Step<'a>, Self)| match subtrees.get(&step) {
            Some(cut) if cut.member => None,
            Some(cut) => Some((step, child.without_subtrees(cut))).filter(|(_, c)| !c.is_empty()),
            None => Some((step, child)),
        };
        Self { member: self.member, below: self.below.into_iter().filter_map(keep).collect() }
    }

    /// Only the members of the other and everything below them.
    #[must_use]
    pub fn only_subtrees(self, subtrees: &FieldSet<'_>) -> Self {
        let keep = |(step, child): (Step<'a>, Self)| match subtrees.get(&step) {
            Some(kept) if kept.member => Some((step, child)),
            Some(kept) => Some((step, child.only_subtrees(kept))).filter(|(_, c)| !c.is_empty()),
            None => None,
        };
        Self { member: false, below: self.below.into_iter().filter_map(keep).collect() }
    }

    pub(crate) fn get(&self, step: &Step<'_>) -> Option<&FieldSet<'a>> {
        let at = self.below.binary_search_by(|(mine, _)| mine.cmp(step)).ok()?;
        self.below.get(at).map(|(_, child)| child)
    }

    /// The set with texts of its own.
    pub fn into_owned(self) -> FieldSet<'static> {
        let own = |(step, child): (Step<'a>, Self)| {
            let step = match step {
                Step::Field(text) => Step::Field(Cow::Owned(text.into_owned())),
                Step::Key(text) => Step::Key(Cow::Owned(text.into_owned())),
                Step::Value(text) => Step::Value(Cow::Owned(text.into_owned())),
                Step::Index(index) => Step::Index(index),
            };
            (step, child.into_owned())
        };
        FieldSet { member: self.member, below: self.below.into_iter().map(own).collect() }
    }

    /// How many members there are.
    pub(crate) fn count(&self) -> usize {
        usize::from(self.member) + self.below.iter().map(|(_, child)| child.count()).sum::<usize>()
    }

    /// The members' paths as messages write them, members before what is below them: no more than a list of errors
    /// takes, each as far as messages tell it.
    pub fn paths(&self) -> Vec<String> {
        self.first_paths(CAUSES_MAX)
    }

    /// The first paths, as many as there is room for.
    pub(crate) fn first_paths(&self, count_max: usize) -> Vec<String> {
        let mut out = Vec::new();
        self.collect_paths("", count_max, &mut out);
        out
    }

    fn collect_paths(&self, prefix: &str, count_max: usize, out: &mut Vec<String>) {
        let path = |step: &Step<'_>| {
            let mut path = format!("{prefix}{step}");
            path.truncate(cut(&path).len());
            path.shrink_to_fit();
            path
        };
        let room = count_max.saturating_sub(out.len());
        let members = self.below.iter().filter(|(_, child)| child.member).take(room);
        out.extend(members.map(|(step, _)| path(step)));
        for (step, child) in self.below.iter().filter(|(_, child)| !child.below.is_empty()) {
            if out.len() >= count_max {
                return;
            }
            child.collect_paths(&path(step), count_max, out);
        }
    }
}

/// What does not lie before a step, of a sorted row. It is looked for in growing strides: two rows of one length are walked
/// side by side, and a short one finds its few places in a long one without walking it.
fn from_step<'r, 'b>(
    row: &'r [(Step<'b>, FieldSet<'b>)],
    step: &Step<'_>,
) -> &'r [(Step<'b>, FieldSet<'b>)] {
    let lies_before = |(other, _): &(Step<'b>, FieldSet<'b>)| other < step;
    let (mut passed, mut stride) = (0, 1);
    while row.get(passed + stride - 1).is_some_and(lies_before) {
        passed += stride;
        stride *= 2;
    }
    let rest = row.get(passed..).unwrap_or_default();
    let reach = rest.get(..stride - 1).unwrap_or(rest);
    rest.get(reach.partition_point(lies_before)..).unwrap_or_default()
}

impl<'a> Step<'a> {
    /// Reads `f:…`, `k:…`, `v:…` or `i:…`; kinds of steps that nobody knows yet are passed over.
    fn parse(text: &'a str) -> Result<Option<Self>, FieldsError> {
        let refused = || FieldsError { step: text.to_owned() };
        let (kind, rest) =
            text.split_once(':').filter(|(kind, _)| kind.len() == 1).ok_or_else(refused)?;
        Ok(Some(match kind {
            "f" => Self::Field(rest.into()),
            "k" => {
                let keys: Map<String, Value> = serde_json::from_str(rest).map_err(|_| refused())?;
                Self::Key(canonical(rest, &Value::Object(keys)))
            }
            "v" => {
                Self::Value(canonical(rest, &serde_json::from_str(rest).map_err(|_| refused())?))
            }
            "i" => Self::Index(rest.parse().map_err(|_| refused())?),
            _ => return Ok(None),
        }))
    }

    fn to_wire(&self) -> String {
        let (kind, rest) = match self {
            Self::Field(name) => ("f:", name),
            Self::Key(keys) => ("k:", keys),
            Self::Value(value) => ("v:", value),
            Self::Index(index) => return format!("i:{index}"),
        };
        let mut out = String::with_capacity(rest.len() + 2);
        out.push_str(kind);
        out.push_str(rest);
        out
    }
}

/// The text itself where it is already in the form that we write.
fn canonical<'a>(text: &'a str, value: &Value) -> Cow<'a, str> {
    let written = value.to_string();
    if written == text { Cow::Borrowed(text) } else { Cow::Owned(written) }
}

/// `.name`, `[name="a",port=80]`, `[="x"]` or `[0]`: the form of conflicts.
impl std::fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(keys) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let keys: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
                write!(f, "[{}]", keys.join(","))
            }
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}
