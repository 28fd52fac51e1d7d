//! Who changes an object a second time.
//!
//! When a policy or webhook changed the object, the whole chain of mutations runs once more; of the policies and
//! webhooks only those run again that ask for it and were followed by a change.

use std::collections::BTreeSet;

use crate::field::Object;

/// What one attempt remembers of its mutations.
#[derive(Debug, Default)]
pub(crate) struct Reinvocation {
    /// Whether this is the second round.
    pub(crate) again: bool,
    /// Whether there shall be a second round.
    pub(crate) wanted: bool,
    pub(crate) policies: Rounds,
    pub(crate) webhooks: Rounds,
}

/// The same for the policies, or for the webhooks.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// Those that ran since the last change and want to see later changes.
    pub(crate) earlier: BTreeSet<String>,
    /// Those that run in the second round.
    due: BTreeSet<String>,
    last: Option<Object>,
}

impl Rounds {
    /// Begins a round: what others changed since the last one counts as a change.
    pub(crate) fn enter(&mut self, object: &Object) {
        if self.last.as_ref().is_some_and(|last| last != object) {
            self.changed();
        }
    }

    /// Notes that the object changed.
    pub(crate) fn changed(&mut self) {
        self.due.append(&mut self.earlier);
    }

    pub(crate) fn is_due(&self, id: &str) -> bool {
        self.due.contains(id)
    }

    /// Ends a round.
    pub(crate) fn leave(&mut self, object: &Object) {
        self.last = Some(object.clone());
    }
}
