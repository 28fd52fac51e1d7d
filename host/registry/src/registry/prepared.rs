//! What a request comes to before and after its commit, and what it still asks. Data alone; it decides nothing.

use std::sync::Arc;

use bytes::Bytes;
use quadrille_store::{Expect, Key, Object, Revision, Write};
use serde_json::{Map, Value};

use crate::conversion::{self, Conversion};
use crate::status::{Reason, Status};
use crate::webhooks::Question;

/// A decided write that has not been committed.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The object's key.
    pub key: Key,
    /// What to commit: empty when nothing changes, more than one entry when the write moves other objects.
    pub writes: Vec<Write>,
    /// What else must hold, such as the namespace's state.
    pub requires: Vec<(Key, Expect)>,
    /// The object after the write (before it is gone, for a deletion), less the new resourceVersion: in the storage
    /// version, or in that of the request where a webhook converts.
    pub object: Map<String, Value>,
    /// The state before; `None` when the object did not exist.
    pub before: Option<Arc<Object>>,
    /// Whether the object is removed by the commit, as opposed to marked as terminating.
    pub removed: bool,
    /// What is answered instead of the object, as something that was created: a POST to a subresource has an answer of
    /// its own.
    pub answer: Option<Map<String, Value>>,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
    /// What admission has to say to the audit log: annotations, as key and value.
    pub audit: Vec<(String, String)>,
}

/// A decoded object that is not stored.
#[derive(Clone, Debug)]
pub struct Received {
    /// The object, with its field managers.
    pub object: Map<String, Value>,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

/// A write that is durable (or was only a dry run).
#[derive(Clone, Debug)]
pub struct Written {
    /// The object as it is served, in the version of the request, as JSON.
    pub object: Bytes,
    /// The revision of the commit; the view's for a dry run or a write that changed nothing.
    pub revision: Revision,
    /// Whether the object did not exist before.
    pub created: bool,
    /// Whether the object is gone.
    pub removed: bool,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
    /// What admission has to say to the audit log: annotations, as key and value.
    pub audit: Vec<(String, String)>,
}

/// Why a write is not prepared.
#[derive(Debug)]
pub enum Unprepared {
    /// It is refused.
    Refused(Box<Status>),
    /// Admission webhooks must be asked first.
    Asks(OpenQuestions),
}

/// Questions to admission webhooks that nobody has answered yet.
#[derive(Debug)]
pub struct OpenQuestions {
    pub(crate) questions: Vec<Question>,
    /// Objects that a webhook must convert first.
    pub(crate) conversions: Vec<Conversion>,
    /// What would be decided if everybody consented: for whoever goes on and decides everything anew afterwards.
    pub assumed: Option<Box<Prepared>>,
}

impl OpenQuestions {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.questions.len()
    }

    /// Adds the questions of another write.
    pub fn join(&mut self, other: Self) {
        self.questions.extend(other.questions);
        self.conversions.extend(other.conversions);
    }
}

impl From<Status> for Unprepared {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// The refusal of a write whose webhooks nobody asks.
pub(super) fn not_asked(questions: &OpenQuestions) -> Status {
    if !questions.conversions.is_empty() {
        return conversion::failed("conversion webhooks have not been asked");
    }
    let names: Vec<&str> =
        questions.questions.iter().map(|question| &*question.key.webhook).collect();
    let text = format!(
        "Internal error occurred: admission webhooks have not been asked: {}",
        names.join(", ")
    );
    Status::new(Reason::InternalError, text)
}
