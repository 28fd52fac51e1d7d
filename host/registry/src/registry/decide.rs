//! Deciding a write, without acting: a pure function of a view, a request and the answers of webhooks. A client's
//! request (on a snapshot), a run's write (on its overlay) and a dry run go the same way.

use std::cell::{Cell, RefCell};

use quadrille_store::{Snapshot, View};
use serde_json::{Map, Value};

use super::prepared::not_asked;
use super::{OpenQuestions, Prepared, Received, Registry, Unprepared};
use crate::admission::{Hooks, Reinvocation};
use crate::catalog::Catalog;
use crate::conversion;
use crate::request::WriteRequest;
use crate::status::Status;
use crate::webhooks::Consultation;
use crate::write::Attempt;

impl Registry {
    /// Decides a write on a view, without acting.
    ///
    /// A run's overlay must drop those of [`Prepared::requires`] whose keys the run itself writes.
    ///
    /// # Errors
    /// Every refusal of the Kubernetes API; a write that an admission webhook must see first is refused as well
    /// ([`Self::prepare_after`] takes its answers).
    pub fn prepare(&self, view: &dyn View, request: &WriteRequest) -> Result<Prepared, Status> {
        self.decide(view, request, None).map_err(|unprepared| match unprepared {
            Unprepared::Refused(status) => *status,
            Unprepared::Asks(questions) => not_asked(&questions),
        })
    }

    /// The same with the answers of admission webhooks. `place` tells the writes of one consultation apart.
    ///
    /// # Errors
    /// As [`Self::prepare`], or the questions that are open.
    pub fn prepare_after(
        &self,
        view: &dyn View,
        request: &WriteRequest,
        answers: &Consultation,
        place: u64,
    ) -> Result<Prepared, Unprepared> {
        self.decide(view, request, Some((answers, place)))
    }

    /// Whether any webhook is there: only then a consultation is worth beginning.
    pub fn has_webhooks(&self) -> bool {
        let hooks = self.inner.hooks.load();
        !hooks.mutating_webhooks.is_empty()
            || !hooks.validating_webhooks.is_empty()
            || self.inner.catalog.load().converts
    }

    /// Asks open questions and adds the answers.
    ///
    /// # Errors
    /// When one write or run asks without end.
    pub async fn consult(
        &self,
        questions: OpenQuestions,
        answers: &mut Consultation,
    ) -> Result<(), Status> {
        if answers.is_full() {
            return Err(not_asked(&questions));
        }
        let webhooks = self.inner.webhooks.get().map(AsRef::as_ref);
        if !questions.conversions.is_empty() {
            let random = &*self.inner.random;
            for (key, converted) in conversion::ask(questions.conversions, webhooks, random).await {
                if let Ok(bytes) = &converted {
                    self.inner.kept.put(key.clone(), bytes.clone());
                }
                answers.note(key, converted);
            }
        }
        answers.ask(questions.questions, webhooks, &*self.inner.random).await;
        Ok(())
    }

    fn decide(
        &self,
        view: &dyn View,
        request: &WriteRequest,
        consultation: Option<(&Consultation, u64)>,
    ) -> Result<Prepared, Unprepared> {
        let (catalog, hooks) = (self.inner.catalog.load(), self.inner.hooks.load());
        let mut attempt = self.attempt(&catalog, &hooks, view, request);
        let Some((answers, place)) = consultation else { return attempt.decide() };
        let random = answers.random(place);
        attempt.random = &random;
        attempt.now = answers.now;
        attempt.consultation = Some(answers);
        attempt.decide()
    }

    /// Decodes a body whose object is answered and never stored, such as a review: types, unknown fields, defaults and
    /// field managers, as for one that is created.
    ///
    /// # Errors
    /// Every refusal of a body that cannot be decoded.
    pub fn receive(&self, request: &WriteRequest) -> Result<Received, Status> {
        let (catalog, hooks) = (self.inner.catalog.load(), self.inner.hooks.load());
        let snapshot = self.inner.store.snapshot();
        self.attempt(&catalog, &hooks, &snapshot, request).receive()
    }

    /// Lets policies and webhooks see a decoded body that is answered and never stored.
    ///
    /// # Errors
    /// Their refusals.
    pub async fn admit(
        &self,
        request: &WriteRequest,
        object: Map<String, Value>,
    ) -> Result<Received, Status> {
        if self.inner.hooks.load().are_none() {
            return Ok(Received { object, warnings: Vec::new() });
        }
        let mut answers = self.consultation();
        loop {
            match self.admit_after(request, object.clone(), &answers) {
                Ok(received) => return Ok(received),
                Err(Unprepared::Refused(status)) => return Err(*status),
                Err(Unprepared::Asks(questions)) => self.consult(questions, &mut answers).await?,
            }
        }
    }

    fn admit_after(
        &self,
        request: &WriteRequest,
        object: Map<String, Value>,
        answers: &Consultation,
    ) -> Result<Received, Unprepared> {
        let (catalog, hooks) = (self.inner.catalog.load(), self.inner.hooks.load());
        let (snapshot, random) = (self.inner.store.snapshot(), answers.random(0));
        let mut attempt = self.attempt(&catalog, &hooks, &snapshot, request);
        attempt.random = &random;
        attempt.now = answers.now;
        attempt.consultation = Some(answers);
        attempt.admit(object)
    }

    fn attempt<'a>(
        &'a self,
        catalog: &'a Catalog,
        hooks: &'a Hooks,
        view: &'a dyn View,
        request: &'a WriteRequest,
    ) -> Attempt<'a> {
        Attempt {
            config: &self.inner.config,
            random: &*self.inner.random,
            catalog,
            access: &self.inner.access,
            hooks,
            consultation: None,
            questions: Vec::new(),
            kept: &self.inner.kept,
            conversions: RefCell::default(),
            unconverted: RefCell::default(),
            reinvocation: Reinvocation::default(),
            view,
            request,
            resource: &request.target.resource,
            now: self.inner.clock.now(),
            warnings: Vec::new(),
            audit: Vec::new(),
            requires: Vec::new(),
            lost_in_storage: Cell::new(false),
            also: RefCell::default(),
        }
    }

    /// Prepares on the newest snapshot, and asks webhooks until they have said what they have to say.
    pub(super) async fn prepare_asking(
        &self,
        request: &WriteRequest,
        answers: &mut Option<Consultation>,
    ) -> Result<(Snapshot, Prepared), Status> {
        loop {
            let snapshot = self.inner.store.snapshot();
            match self.decide(&snapshot, request, answers.as_ref().map(|known| (known, 0))) {
                Ok(prepared) => return Ok((snapshot, prepared)),
                Err(Unprepared::Refused(status)) => return Err(*status),
                Err(Unprepared::Asks(questions)) => {
                    let answers = answers.get_or_insert_with(|| self.consultation());
                    self.consult(questions, answers).await?;
                }
            }
        }
    }

    /// A consultation without answers.
    pub fn consultation(&self) -> Consultation {
        Consultation::new(&*self.inner.clock, &*self.inner.random)
    }
}
