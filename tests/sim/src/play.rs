//! Who works on a host over its lives.

use std::fmt;
use std::sync::Arc;

use quadrille_kit::clock::BoxFuture;
use quadrille_model::history::{History, Objects};
use quadrille_model::world::objects_of;
use quadrille_model::{Cast, check};
use quadrille_object::GroupResource;
use quadrille_registry::{Registry, Status};
use quadrille_runtime::{
    Failure, Outcome, Overlay, ReconcileRequest, Reconciled, Reconciler, Runtime,
};
use quadrille_store::{Snapshot, View};

use crate::law::{Law, Lodging, Rule};
use crate::witness::Witness;

/// One life of a host, as those who work there have it.
#[derive(Debug)]
pub struct Life<'a> {
    /// Its number; 0 is the first.
    pub number: u64,
    /// What requests go to.
    pub registry: &'a Registry,
    /// Where controllers run.
    pub runtime: &'a Runtime,
}

/// Who works on a host over its lives.
pub trait Play {
    /// Makes what must be there, in the first life, before anything goes wrong.
    fn begin(&mut self, life: &Life<'_>) -> impl Future<Output = ()>;

    /// Adds the controllers.
    fn enter(&self, life: &Life<'_>);

    /// Works; may be cut off at any moment.
    fn act(&self, life: &Life<'_>) -> impl Future<Output = ()>;

    /// Ends what was begun, in the last life, when nothing goes wrong any more.
    fn tidy(&self, _life: &Life<'_>) -> impl Future<Output = ()> {
        async {}
    }

    /// Whose changes watchers follow.
    fn resources(&self) -> Vec<GroupResource> {
        let resources = [("", "configmaps"), ("", "pods"), ("apps", "replicasets")];
        resources.map(|(group, name)| GroupResource::new(group, name)).into()
    }

    /// What must hold of every change.
    fn laws(&self) -> Vec<Box<dyn Law>> {
        vec![Box::new(Lodging)]
    }

    /// What must hold in every snapshot, and in the cache of whoever follows.
    fn rule(&self) -> Option<Rule> {
        None
    }

    /// What is wrong with how it went, when the host has come to rest in its last life.
    fn judge(&self, end: &Snapshot, witness: &Witness, at_rest: bool) -> Vec<String>;

    /// How many writes were acknowledged.
    fn acknowledged(&self) -> usize;
}

/// Random controllers and clients, and the judge of strict serialisability.
#[derive(Debug)]
pub struct Random {
    plan: quadrille_model::Plan,
    cast: Option<Cast>,
    start: Objects,
    start_revision: u64,
}

impl Random {
    /// A small one.
    pub fn new(seed: u64) -> Self {
        let plan = quadrille_model::Plan { writing_runs: 40, ..quadrille_model::Plan::small(seed) };
        Self { plan, cast: None, start: Objects::default(), start_revision: 0 }
    }

    fn cast(&self) -> &Cast {
        self.cast.as_ref().expect("a play begins first")
    }
}

impl Play for Random {
    async fn begin(&mut self, life: &Life<'_>) {
        let cast = Cast::new(self.plan, life.registry);
        cast.set_up(life.registry).await;
        let snapshot = life.registry.store().snapshot();
        (self.start, self.start_revision) = (objects_of(&snapshot), snapshot.revision().0);
        self.cast = Some(cast);
    }

    fn enter(&self, life: &Life<'_>) {
        self.cast().enter(life.runtime);
    }

    async fn act(&self, life: &Life<'_>) {
        self.cast().act(life.registry, life.runtime, life.number).await;
    }

    fn judge(&self, end: &Snapshot, witness: &Witness, at_rest: bool) -> Vec<String> {
        let cast = self.cast();
        let history = History {
            start: self.start.clone(),
            start_revision: self.start_revision,
            txns: witness.txns_after(self.start_revision),
            runs: cast.runs(),
            deeds: cast.deeds(),
            met: cast.met(),
            late: witness.late(),
            at_rest,
            end: objects_of(end),
        };
        check(&history).into_iter().map(|violation| violation.0).collect()
    }

    fn acknowledged(&self) -> usize {
        self.cast().deeds().len()
    }
}

/// A controller of one function, without pauses; what is refused is tried again.
pub(crate) fn simple(
    work: impl Fn(&ReconcileRequest, &mut Overlay) -> Result<Outcome, Status> + Send + Sync + 'static,
) -> Arc<dyn Reconciler> {
    Arc::new(Simple(work))
}

struct Simple<W>(W);

impl<W> fmt::Debug for Simple<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Simple")
    }
}

impl<W> Reconciler for Simple<W>
where
    W: Fn(&ReconcileRequest, &mut Overlay) -> Result<Outcome, Status> + Send + Sync,
{
    fn reconcile(
        &self,
        request: ReconcileRequest,
        mut overlay: Overlay,
    ) -> BoxFuture<'_, Reconciled> {
        let result = (self.0)(&request, &mut overlay);
        let result = result.map_err(|status| Failure::Transient(status.message));
        Box::pin(std::future::ready(Reconciled { overlay, result, memory_bytes: 0 }))
    }
}
