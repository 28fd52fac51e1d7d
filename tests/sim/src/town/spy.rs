//! A controller that tries whatever comes to its mind, allowed or not.
//!
//! What is not allowed must be refused as a missing capability, and nothing else may be. Half of the time the run fails
//! with that; otherwise it goes on as if nothing had been, and what it was allowed to do counts.

use std::fmt;
use std::sync::Arc;

use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Random, SeededRandom};
use quadrille_object::LabelSelector;
use quadrille_registry::{Action, Body, DeleteOptions, Status, WriteOptions};
use quadrille_runtime::{
    Failure, Outcome, Overlay, ReconcileRequest, Reconciled, Reconciler, Refusal,
};
use quadrille_store::{Query, Range, Selection};
use serde_json::json;

use super::kinds::{Kind, merge};
use super::power::{PLACES, Power, VERBS};
use super::{Budget, Notes, pause};

/// A spy with these powers.
pub(super) fn spy(power: Power, notes: Arc<Notes>) -> Arc<dyn Reconciler> {
    Arc::new(Spy { power, notes })
}

struct Spy {
    power: Power,
    notes: Arc<Notes>,
}

impl fmt::Debug for Spy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spy").field("power", &self.power).finish_non_exhaustive()
    }
}

impl Reconciler for Spy {
    fn reconcile(
        &self,
        request: ReconcileRequest,
        mut overlay: Overlay,
    ) -> BoxFuture<'_, Reconciled> {
        Box::pin(async move {
            let random = SeededRandom::new(self.notes.seed.rotate_left(3) ^ request.run);
            let clock = Arc::clone(overlay.registry().clock());
            pause(&clock, &random, 2_000).await;
            let mut result = Ok(Outcome::Done);
            if self.notes.may(Budget::Spying) {
                for _ in 0..=random.below(4) {
                    let attempt = Attempt::random(&random);
                    result = self.attempt(&attempt, &mut overlay, &random);
                    if result.is_err() {
                        self.notes.books().refused.insert(request.run);
                        break;
                    }
                    pause(&clock, &random, 1_000).await;
                }
            }
            Reconciled { overlay, result, memory_bytes: 0 }
        })
    }
}

impl Spy {
    fn attempt(
        &self,
        attempt: &Attempt,
        overlay: &mut Overlay,
        random: &SeededRandom,
    ) -> Result<Outcome, Failure> {
        let answer = attempt.carry_out(overlay);
        let permitted = attempt.permitted_by(&self.power, true);
        let denied = match &answer {
            Err(status) => Refusal::of(status) == Some(Refusal::Denied),
            Ok(()) => false,
        };
        // Whether an apply creates depends on the run's own view.
        let may_be_either =
            attempt.verb == "apply" && permitted != attempt.permitted_by(&self.power, false);
        self.notes.claim(denied != permitted || may_be_either, || {
            format!("{attempt:?} with {:?}: {answer:?}", self.power)
        });
        self.notes.count(if denied { "denied" } else { "permitted" });
        let message = answer.map_err(|status| status.message).err().unwrap_or_default();
        match random.below(4) {
            0 if denied => Err(Failure::Permanent(message)),
            1 if denied => Err(Failure::Transient(message)),
            _ => Ok(Outcome::Done),
        }
    }
}

/// One thing to try.
#[derive(Debug)]
struct Attempt {
    verb: &'static str,
    kind: Kind,
    status: bool,
    place: &'static str,
    name: String,
    tag: u64,
}

impl Attempt {
    fn random(random: &SeededRandom) -> Self {
        let pick = |bound: usize| usize::try_from(random.below(bound as u64)).unwrap_or(0);
        let kinds = [Kind::Map, Kind::Secret, Kind::Widget, Kind::Role];
        let status = random.below(5) == 0;
        let kind = if status { Kind::Widget } else { kinds[pick(kinds.len())] };
        let verb = match random.below(7) {
            _ if status => "update",
            0 => "apply",
            _ => VERBS[pick(VERBS.len())],
        };
        let (place, name) = (PLACES[pick(PLACES.len())], format!("spy-{}", random.below(3)));
        Self { verb, kind, status, place, name, tag: random.below(1_000) }
    }

    fn key(&self) -> quadrille_store::Key {
        self.kind.key(self.place, &self.name)
    }

    /// `creates`: whether what is applied is not there.
    fn permitted_by(&self, power: &Power, creates: bool) -> bool {
        let permits = |verb| power.permits(verb, &self.kind.resource(), self.status, self.place);
        match self.verb {
            "apply" => permits("patch") && (!creates || permits("create")),
            verb => permits(verb),
        }
    }

    fn carry_out(&self, overlay: &mut Overlay) -> Result<(), Status> {
        if self.verb == "get" {
            return overlay.get(&self.key()).map(drop);
        }
        if self.verb == "list" {
            let (resource, namespace) = (self.kind.resource(), Some(self.place.into()));
            let selector = LabelSelector::parse("spied=yes").expect("a selector");
            let selection = Selection::Labels(selector);
            let query = Query::whole(Range { resource, namespace, selection });
            return overlay.list(&query).map(drop);
        }
        if self.status {
            let resource = self.kind.served(overlay.registry())?;
            let status = json!({"color": self.tag.to_string()});
            return overlay.set_status(&resource, &self.key(), status).map(drop);
        }
        let content = self.kind.typed(json!({
            "metadata": {"name": self.name, "labels": {"spied": "yes"}, "annotations": {"tag": self.tag.to_string()}},
        }));
        let name = (self.verb != "create").then_some(self.name.as_str());
        let action = match self.verb {
            "create" => Action::Create(Body::from(content)),
            "update" => Action::Update(Body::from(content)),
            "patch" => merge(content),
            "apply" => Action::Apply(Body::from(content)),
            _ => Action::Delete(DeleteOptions::default()),
        };
        let target = self.kind.target(overlay.registry(), self.place, name)?;
        overlay
            .write(target, action, WriteOptions { force: true, ..WriteOptions::default() })
            .map(drop)
    }
}
