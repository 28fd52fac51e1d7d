//! What controllers do: apps get their parts, parts their widgets, widgets their colour, and money moves.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use quadrille_kit::clock::BoxFuture;
use quadrille_kit::{Random, SeededRandom};
use quadrille_object::LabelSelector;
use quadrille_registry::{Action, Body, Status};
use quadrille_runtime::{Failure, Outcome, Overlay, ReconcileRequest, Reconciled, Reconciler};
use quadrille_store::{Object, Query, Range, Selection, View};
use serde_json::{Value, json};

use super::kinds::{Kind, delete, merge, text, value, write};
use super::{Budget, Notes, pause};
use crate::play::simple;

/// Where the colour of a part stands.
pub(super) const COLOR: &str = "/metadata/annotations/color";
/// How many accounts there are of each of three kinds, and what is on each in the beginning.
pub(super) const ACCOUNTS: u64 = 3;
/// What is on each account in the beginning.
pub(super) const BALANCE: i64 = 100;
/// The kinds of accounts.
pub(super) const BANKS: [Kind; 3] = [Kind::Map, Kind::Secret, Kind::Widget];

type Trade = fn(&Notes, &ReconcileRequest, &mut Overlay) -> Result<Outcome, Status>;

/// A controller with that trade.
pub(super) fn worker(trade: Trade, notes: Arc<Notes>) -> Arc<dyn Reconciler> {
    Arc::new(Worker { trade, notes })
}

/// The same without pauses, stumbling and notes.
pub(super) fn plain(trade: Trade) -> Arc<dyn Reconciler> {
    let notes = Notes::new(0);
    simple(move |request, overlay| trade(&notes, request, overlay))
}

struct Worker {
    trade: Trade,
    notes: Arc<Notes>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

impl Reconciler for Worker {
    fn reconcile(
        &self,
        request: ReconcileRequest,
        mut overlay: Overlay,
    ) -> BoxFuture<'_, Reconciled> {
        Box::pin(async move {
            let notes = &*self.notes;
            let at = (request.controller.to_string(), request.key.to_string());
            let (is_alone, _working) = notes.working.enter(&at.0, &at.1);
            notes.claim(is_alone, || format!("two runs at once of {at:?}"));
            let random = SeededRandom::new(notes.seed ^ request.run.wrapping_mul(0x9E37_79B9));
            let clock = Arc::clone(overlay.registry().clock());
            pause(&clock, &random, 2_000).await;
            let mut result = (self.trade)(notes, &request, &mut overlay)
                .map_err(|status| Failure::Transient(status.message));
            if random.below(12) == 0 && notes.may(Budget::Stumbling) {
                result = Err(Failure::Transient("by chance".to_owned()));
            }
            pause(&clock, &random, 2_000).await;
            Reconciled { overlay, result, memory_bytes: 0 }
        })
    }
}

/// The object of a run, unless it is on its way out.
fn living(request: &ReconcileRequest) -> Option<&Object> {
    request.object.as_deref().filter(|object| object.meta.deleted_at.is_none())
}

/// The parts that an app wants: their names and their colour.
pub(super) fn wants(app: &Object) -> (BTreeSet<String>, String) {
    let count: u64 = text(app, "/data/replicas").parse().unwrap_or(0);
    let names = (0..count).map(|number| format!("{}-{number}", app.key.name)).collect();
    (names, text(app, "/data/color"))
}

/// As many parts as an app wants, in its colour.
pub(super) fn fleet(
    _notes: &Notes,
    request: &ReconcileRequest,
    overlay: &mut Overlay,
) -> Result<Outcome, Status> {
    let Some(app) = living(request) else { return Ok(Outcome::Done) };
    let (names, color) = wants(app);
    let owner = Kind::Map.owner(app, text(app, "/data/blocks") == "yes");
    let content = json!({"metadata": {"annotations": {"color": color}}});
    for name in &names {
        keep(overlay, Kind::Secret, (&app.key.namespace, name), &owner, &content)?;
    }
    let range = Range {
        resource: Kind::Secret.resource(),
        namespace: Some(Arc::clone(&app.key.namespace)),
        selection: Selection::Owner(Arc::clone(&app.meta.uid)),
    };
    for part in overlay.list(&Query::whole(range))? {
        let is_surplus = !names.contains(&*part.key.name) && is_part(&part);
        if is_surplus && part.meta.deleted_at.is_none() {
            delete(overlay, Kind::Secret, &part)?;
        }
    }
    Ok(Outcome::Done)
}

/// Whether it belongs to the chain.
pub(super) fn is_part(object: &Object) -> bool {
    object.meta.labels.iter().any(|(key, value)| (&**key, &**value) == ("part", "yes"))
}

/// A widget in the colour of each part.
pub(super) fn crew(
    _notes: &Notes,
    request: &ReconcileRequest,
    overlay: &mut Overlay,
) -> Result<Outcome, Status> {
    let Some(part) = living(request) else { return Ok(Outcome::Done) };
    let owner = Kind::Secret.owner(part, true);
    let content = json!({"spec": {"color": text(part, COLOR)}});
    keep(overlay, Kind::Widget, (&part.key.namespace, &part.key.name), &owner, &content)?;
    Ok(Outcome::Done)
}

/// A gadget for each app that wants one, while the kind is served.
pub(super) fn smith(
    _notes: &Notes,
    request: &ReconcileRequest,
    overlay: &mut Overlay,
) -> Result<Outcome, Status> {
    let app = living(request).filter(|app| text(app, "/data/gadget") == "yes");
    let Some(app) = app.filter(|_| Kind::Gadget.served(overlay.registry()).is_ok()) else {
        return Ok(Outcome::Done);
    };
    let (place, name) = (&*app.key.namespace, format!("{}-gadget", app.key.name));
    if overlay.get(&Kind::Gadget.key(place, &name))?.is_none() {
        let owners = json!([Kind::Map.owner(app, true)]);
        let gadget = json!({"metadata": {"name": name, "ownerReferences": owners}});
        write(
            overlay,
            Kind::Gadget,
            (place, None),
            Action::Create(Body::from(Kind::Gadget.typed(gadget))),
        )?;
    }
    Ok(Outcome::Done)
}

/// The status says the colour.
pub(super) fn paint(
    _notes: &Notes,
    request: &ReconcileRequest,
    overlay: &mut Overlay,
) -> Result<Outcome, Status> {
    let Some(widget) = living(request) else { return Ok(Outcome::Done) };
    let status = json!({"color": text(widget, "/spec/color")});
    let resource = Kind::Widget.served(overlay.registry())?;
    overlay.set_status(&resource, &request.key, status)?;
    Ok(Outcome::Done)
}

/// Sees to it that a dependant is there, belongs to its owner, and has the content.
fn keep(
    overlay: &mut Overlay,
    kind: Kind,
    (namespace, name): (&str, &str),
    owner: &Value,
    content: &Value,
) -> Result<(), Status> {
    let mut wanted = content.clone();
    wanted["metadata"]["labels"] = json!({"part": "yes"});
    let Some(found) = overlay.get(&kind.key(namespace, name))? else {
        wanted["metadata"]["name"] = name.into();
        wanted["metadata"]["ownerReferences"] = json!([owner]);
        return write(
            overlay,
            kind,
            (namespace, None),
            Action::Create(Body::from(kind.typed(wanted))),
        );
    };
    if found.meta.deleted_at.is_some() {
        // Its end wakes us.
        return Ok(());
    }
    let owners = &found.meta.owners;
    if owners.is_empty() {
        wanted["metadata"]["ownerReferences"] = json!([owner]);
    } else if !owners.iter().any(|of| owner["uid"] == *of.uid) {
        // It is of somebody who is gone, so it goes too.
        return Ok(());
    }
    write(overlay, kind, (namespace, Some(name)), merge(wanted))
}

/// What is on an account.
fn balance(object: &Object) -> i64 {
    let value = value(object);
    let at = |pointer: &str| value.pointer(pointer).cloned().unwrap_or_default();
    let text = |value: Value| value.as_str().and_then(|text| text.parse().ok());
    let number = at("/spec/n").as_i64();
    number
        .or_else(|| text(at("/data/n")))
        .or_else(|| text(at("/metadata/annotations/n")))
        .unwrap_or(0)
}

/// The content of an account.
pub(super) fn account(kind: Kind, balance: i64) -> Value {
    let text = balance.to_string();
    if kind == Kind::Widget {
        json!({"spec": {"n": balance}})
    } else if kind == Kind::Secret {
        json!({"metadata": {"annotations": {"n": text}}})
    } else {
        json!({"data": {"n": text}})
    }
}

fn accounts_of(kind: Kind) -> Query {
    let selector = LabelSelector::parse("bank=yes").expect("a selector");
    let (resource, selection) = (kind.resource(), Selection::Labels(selector));
    Query::whole(Range { resource, namespace: Some("default".into()), selection })
}

/// Moves money from an account of one kind to one of another, in one transaction.
pub(super) fn teller(
    notes: &Notes,
    request: &ReconcileRequest,
    overlay: &mut Overlay,
) -> Result<Outcome, Status> {
    let random = SeededRandom::new(notes.seed.rotate_left(5) ^ request.run);
    if random.below(4) == 0 {
        let mut all = Vec::new();
        for kind in BANKS {
            all.extend(overlay.list_weakly(&accounts_of(kind))?);
        }
        let broken = sum(&all).err();
        notes.claim(broken.is_none(), || format!("run {}: {broken:?}", request.run));
    }
    let from = random.below(3);
    let to = (from + 1 + random.below(2)) % 3;
    let mut moved = Vec::new();
    for at in [from, to] {
        let kind = BANKS[usize::try_from(at).unwrap_or(0)];
        let name = format!("acct-{}", random.below(ACCOUNTS));
        let found = overlay.get(&kind.key("default", &name))?;
        moved.extend(found.map(|object| (kind, name, balance(&object))));
    }
    let amount = i64::try_from(1 + random.below(20)).unwrap_or(1);
    if moved.len() < 2 || !notes.may(Budget::Money) {
        return Ok(Outcome::Done);
    }
    notes.count("transfers");
    for ((kind, name, balance), change) in moved.iter().zip([-amount, amount]) {
        let patch = merge(account(*kind, balance + change));
        write(overlay, *kind, ("default", Some(name)), patch)?;
    }
    Ok(Outcome::Done)
}

fn sum(accounts: &[Arc<Object>]) -> Result<(), String> {
    let count = i64::try_from(accounts.len()).unwrap_or(0);
    let (is, should) = (accounts.iter().map(|one| balance(one)).sum::<i64>(), BALANCE * count);
    if is == should { Ok(()) } else { Err(format!("{is} on {count} accounts, not {should}")) }
}

/// On all accounts together there is what was there in the beginning.
pub(super) fn money_is_kept(view: &dyn View) -> Result<(), String> {
    let all: Vec<_> = BANKS.into_iter().flat_map(|kind| view.list(&accounts_of(kind))).collect();
    sum(&all)
}
