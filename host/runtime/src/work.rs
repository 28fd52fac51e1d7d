//! One reconcile as a function: from a snapshot, a request and what webhooks answered to an overlay with reads and writes.
//!
//! A run does this before it commits, and a rerun does nothing else. Everything that the writes take from time and
//! chance follows from the request's moment and seed, so that the same work on the same snapshot gives the same bytes.

use std::sync::Arc;

use quadrille_object::Gvr;
use quadrille_registry::{Consultation, OpenQuestions, Registry, Resource, Status};
use quadrille_store::{Key, Object, Snapshot};

use crate::overlay::{Overlay, OverlayLimits, OverlayOwner, Unchecked};
use crate::reconciler::{
    ControllerSpec, Failure, Outcome, ReconcileRequest, Reconciled, Reconciler,
};

/// How often one run may be made again because webhooks had to be asked: each change by a webhook may lead to new
/// writes, and this many in a row are no longer a chain of that kind.
const TRIES_MAX: u32 = 16;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) spec: &'a ControllerSpec,
    pub(crate) reconciler: &'a dyn Reconciler,
    pub(crate) limits: &'a OverlayLimits,
    pub(crate) snapshot: &'a Snapshot,
    /// All but the object, which is prepared here.
    pub(crate) request: &'a ReconcileRequest,
}

impl Work<'_> {
    /// Reconciles, and again when a write has to be seen by admission webhooks first: then with their answers. A run
    /// reads the same snapshot each time, so it writes the same, and one more try is enough unless a webhook changed
    /// something that it acts on.
    pub(crate) async fn asking(&self, object: Arc<Object>) -> Reconciled {
        let mut answers = self.no_answers();
        let mut tries = 0;
        loop {
            let mut reconciled = self.once(Arc::clone(&object), answers).await;
            let Some((questions, known)) = reconciled.overlay.take_questions() else {
                return reconciled;
            };
            tries += 1;
            answers = known.unwrap_or_else(|| self.no_answers());
            let asked = match tries {
                ..=TRIES_MAX => self.ask(questions, &mut answers).await,
                _ => Err(Failure::Limit(format!("webhooks had to be asked {TRIES_MAX} times"))),
            };
            if let Err(failure) = asked {
                reconciled.result = Err(failure);
                return reconciled;
            }
        }
    }

    /// What a run begins with.
    pub(crate) fn no_answers(&self) -> Consultation {
        Consultation::at(self.request.now, self.request.seed)
    }

    async fn ask(
        &self,
        questions: OpenQuestions,
        answers: &mut Consultation,
    ) -> Result<(), Failure> {
        let asked = self.registry.consult(questions, answers).await;
        asked.map_err(|status| Failure::Host(status.message))
    }

    /// The host's side of the reconcile: finalizers before and after, limits.
    pub(crate) async fn once(&self, object: Arc<Object>, answers: Consultation) -> Reconciled {
        let mut overlay = self.overlay(answers);
        let terminating = object.meta.deleted_at.is_some();
        let object = match self.prepare(&mut overlay, object) {
            Ok(object) => object,
            Err(status) => {
                let result = Err(Failure::Host(status.message));
                return Reconciled { overlay, result, memory_bytes: 0 };
            }
        };
        let request = ReconcileRequest { object: Some(object), ..self.request.clone() };
        let mut reconciled = self.reconciler.reconcile(request, overlay).await;
        if let Some(status) = reconciled.overlay.limit_reached() {
            reconciled.result = Err(Failure::Limit(status.message.clone()));
        }
        if terminating
            && reconciled.result == Ok(Outcome::Done)
            && let Err(status) = self.finalize(&mut reconciled.overlay)
        {
            reconciled.result = Err(Failure::Host(status.message));
        }
        reconciled
    }

    fn overlay(&self, answers: Consultation) -> Overlay {
        let spec = self.spec;
        let owner = OverlayOwner {
            plugin: Arc::clone(&spec.plugin),
            controller: Arc::clone(&spec.name),
            field_manager: Arc::clone(&spec.field_manager),
            primary: Some(self.key().clone()),
            now: self.request.now,
        };
        let overlay =
            Overlay::new(self.snapshot.clone(), self.registry.clone(), spec.grant.clone());
        overlay.limited(self.limits.clone()).owned_by(owner).answered(Some(answers))
    }

    fn key(&self) -> &Key {
        &self.request.key
    }

    /// Adds the controller's finalizer, and puts the object into the version that it asked for.
    fn prepare(&self, overlay: &mut Overlay, object: Arc<Object>) -> Result<Arc<Object>, Status> {
        let key = self.key();
        let resource = self.resource()?;
        let mut object = object;
        if let Some(finalizer) = &self.spec.finalizer
            && object.meta.deleted_at.is_none()
        {
            self.check_hold(finalizer)?;
            overlay.set_finalizer(&resource, key, finalizer, true)?;
            object = quadrille_store::View::get(&Unchecked(overlay), key).unwrap_or(object);
        }
        let bytes = overlay.shown(&object, &resource)?;
        if bytes == object.bytes {
            return Ok(object);
        }
        let (key, meta) = (key.clone(), object.meta.clone());
        Ok(Arc::new(Object { key, revision: object.revision, meta, bytes }))
    }

    fn finalize(&self, overlay: &mut Overlay) -> Result<(), Status> {
        let Some(finalizer) = &self.spec.finalizer else { return Ok(()) };
        self.check_hold(finalizer)?;
        overlay.set_finalizer(&self.resource()?, self.key(), finalizer, false)
    }

    fn check_hold(&self, finalizer: &str) -> Result<(), Status> {
        let (key, primary) = (self.key(), &self.spec.primary);
        if self.spec.may_hold(&key.namespace) {
            return Ok(());
        }
        let why = format!(
            "to keep the finalizer {finalizer:?} takes update on {}/finalizers",
            primary.resource
        );
        Err(Status::forbidden(primary, &key.name, &why))
    }

    fn resource(&self) -> Result<Arc<Resource>, Status> {
        let spec = self.spec;
        let gvr = Gvr {
            group: Arc::clone(&spec.primary.group),
            version: Arc::clone(&spec.version),
            resource: Arc::clone(&spec.primary.resource),
        };
        let catalog = self.registry.catalog();
        let resource = catalog.by_gvr(&gvr).or_else(|| catalog.by_group_resource(&spec.primary));
        resource.cloned().ok_or_else(|| Status::not_found(&spec.primary, ""))
    }
}
