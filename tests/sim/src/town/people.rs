//! The clients: they found apps, change and delete them in every way, share dependants between owners, open and close
//! namespaces, and take a kind's definition away.

use std::sync::Arc;

use quadrille_kit::{Random, SeededRandom};
use quadrille_registry::{
    Action, Actor, Body, DeleteOptions, Propagation, Reason, Registry, Status, WriteOptions,
    WriteRequest,
};
use quadrille_store::{Cause, Object, Query, Range, RequestCause, View};
use serde_json::{Value, json};

use super::kinds::{Kind, merge};
use super::power::PLACES;
use super::trade::{ACCOUNTS, BALANCE, BANKS, account};
use super::{Notes, pause};

/// How much each does in a life.
const DEEDS: u64 = 8;
/// Holds the deletion of an object until somebody takes it away.
const HOLD: &str = "town.example/hold";
/// How often the last holds are looked for.
const ROUNDS_MAX: u32 = 200;

async fn submit(
    registry: &Registry,
    kind: Kind,
    (namespace, name): (&str, Option<&str>),
    action: Action,
) -> Result<(), Status> {
    let target = kind.target(registry, namespace, name)?;
    let (options, actor) = (WriteOptions::default(), Actor::default());
    let request = WriteRequest { target, action, options, actor };
    registry.submit(&request, Cause::Request(RequestCause::default())).await.map(drop)
}

async fn create(registry: &Registry, kind: Kind, place: &str, object: Value) -> Result<(), Status> {
    submit(registry, kind, (place, None), Action::Create(Body::from(kind.typed(object)))).await
}

/// Makes what is there from the beginning.
pub(super) async fn found(registry: &Registry) {
    for kind in [Kind::Widget, Kind::Gadget] {
        create(registry, Kind::Definition, "", kind.definition()).await.expect("a definition");
    }
    for name in &PLACES[1..] {
        let namespace = json!({"metadata": {"name": name}});
        create(registry, Kind::Namespace, "", namespace).await.expect("a namespace");
    }
    for (name, label) in
        [("teller-0", "teller"), ("teller-1", "teller"), ("agent-0", "spy"), ("agent-1", "spy")]
    {
        let map = json!({"metadata": {"name": name, "labels": {label: "yes"}}});
        create(registry, Kind::Map, "default", map).await.expect("a map");
    }
    for kind in BANKS {
        for number in 0..ACCOUNTS {
            let mut object = account(kind, BALANCE);
            object["metadata"]["name"] = format!("acct-{number}").into();
            object["metadata"]["labels"] = json!({"bank": "yes"});
            create(registry, kind, "default", object).await.expect("an account");
        }
    }
}

/// One client in one life.
pub(super) async fn live(notes: Arc<Notes>, registry: Registry, number: u64) {
    let random = SeededRandom::new(notes.seed.rotate_left(17) ^ number);
    let person = Person { notes: &notes, registry: &registry, random: &random };
    for _ in 0..DEEDS {
        pause(registry.clock(), &random, 4_000).await;
        let done = if random.below(10) == 0 {
            // A client that goes away: what it asked for may happen, or not.
            tokio::select! {
                biased;
                done = person.act() => done,
                () = pause(registry.clock(), &random, 300) => continue,
            }
        } else {
            person.act().await
        };
        if done.is_ok() {
            notes.count("acknowledged");
        }
    }
}

struct Person<'a> {
    notes: &'a Notes,
    registry: &'a Registry,
    random: &'a SeededRandom,
}

impl Person<'_> {
    async fn act(&self) -> Result<(), Status> {
        match self.random.below(18) {
            0..=3 => self.found_app().await,
            4 | 5 => self.change_app().await,
            6..=8 => self.end_one(&[Kind::Map], "app").await,
            9 => self.end_one(&[Kind::Secret, Kind::Map, Kind::Gadget], "").await,
            10 => {
                let name = PLACES[1 + self.pick(PLACES.len() - 1)];
                create(self.registry, Kind::Namespace, "", json!({"metadata": {"name": name}}))
                    .await
            }
            11 => {
                self.notes.count("namespaces closed");
                let name = PLACES[1 + self.pick(PLACES.len() - 1)];
                let action = Action::Delete(DeleteOptions::default());
                submit(self.registry, Kind::Namespace, ("", Some(name)), action).await
            }
            12 | 13 => self.share().await,
            14 => self.own_by_gadget().await,
            15 => self.toggle_definition().await,
            16 => release_one(self.registry, self.random).await,
            _ => {
                let name = format!("stray-{}", self.notes.next_name());
                let place = self.place();
                create(self.registry, Kind::Map, place, json!({"metadata": {"name": name}})).await
            }
        }
    }

    fn pick(&self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).unwrap_or(0)
    }

    fn place(&self) -> &'static str {
        PLACES[self.pick(PLACES.len())]
    }

    fn look(&self) -> Value {
        let (replicas, color) = (self.random.below(4), self.random.below(5));
        json!({"replicas": replicas.to_string(), "color": format!("c{color}")})
    }

    async fn found_app(&self) -> Result<(), Status> {
        let name = match self.random.below(3) {
            0 => format!("app-{}", self.random.below(4)),
            _ => format!("app-{}", self.notes.next_name()),
        };
        let mut app = json!({"metadata": {"name": name, "labels": {"app": "yes"}}});
        app["data"] = self.look();
        app["data"]["blocks"] = ["yes", "no"][self.pick(2)].into();
        app["data"]["gadget"] = ["yes", "no"][self.pick(2)].into();
        if self.random.below(6) == 0 {
            app["metadata"]["finalizers"] = json!([HOLD]);
        }
        create(self.registry, Kind::Map, self.place(), app).await
    }

    fn one_of(&self, kind: Kind, prefix: &str) -> Option<Arc<Object>> {
        let all = Query::whole(Range::all(kind.resource()));
        let mut found = self.registry.store().snapshot().list(&all);
        found.retain(|object| {
            let (place, name) = (&*object.key.namespace, &*object.key.name);
            let is_fixed = ["acct-", "teller-", "agent-", "kube-", "spy-"]
                .iter()
                .any(|fixed| name.starts_with(fixed));
            PLACES.contains(&place) && name.starts_with(prefix) && !is_fixed
        });
        (!found.is_empty()).then(|| Arc::clone(&found[self.pick(found.len())]))
    }

    async fn change_app(&self) -> Result<(), Status> {
        let Some(app) = self.one_of(Kind::Map, "app") else { return Ok(()) };
        let place = (&*app.key.namespace, Some(&*app.key.name));
        submit(self.registry, Kind::Map, place, merge(json!({"data": self.look()}))).await
    }

    async fn end_one(&self, kinds: &[Kind], prefix: &str) -> Result<(), Status> {
        let kind = kinds[self.pick(kinds.len())];
        let Some(object) = self.one_of(kind, prefix) else { return Ok(()) };
        let propagation = match self.random.below(4) {
            0 => None,
            1 => Some(Propagation::Background),
            2 => Some(Propagation::Foreground),
            _ => Some(Propagation::Orphan),
        };
        let place = (&*object.key.namespace, Some(&*object.key.name));
        let action = Action::Delete(DeleteOptions { propagation, ..DeleteOptions::default() });
        submit(self.registry, kind, place, action).await
    }

    /// A dependant of two owners.
    async fn share(&self) -> Result<(), Status> {
        let Some(first) = self.one_of(Kind::Map, "app") else { return Ok(()) };
        let kind = [Kind::Map, Kind::Secret, Kind::Gadget][self.pick(3)];
        let mut owners = vec![Kind::Map.owner(&first, self.random.below(2) == 0)];
        if let Some(second) = self.one_of(kind, "")
            && second.key.namespace == first.key.namespace
            && second.meta.uid != first.meta.uid
        {
            owners.push(kind.owner(&second, self.random.below(2) == 0));
        }
        let name = format!("shared-{}", self.notes.next_name());
        let map = json!({"metadata": {"name": name, "ownerReferences": owners}});
        create(self.registry, Kind::Map, &first.key.namespace, map).await
    }

    async fn own_by_gadget(&self) -> Result<(), Status> {
        let (place, number) = (self.place(), self.notes.next_name());
        let name = format!("gadget-{number}");
        create(self.registry, Kind::Gadget, place, json!({"metadata": {"name": name}})).await?;
        let snapshot = self.registry.store().snapshot();
        let Some(gadget) = snapshot.get(&Kind::Gadget.key(place, &name)) else { return Ok(()) };
        for of in 0..2 {
            let owners = json!([Kind::Gadget.owner(&gadget, self.random.below(2) == 0)]);
            let name = format!("of-{name}-{of}");
            let map = json!({"metadata": {"name": name, "ownerReferences": owners}});
            create(self.registry, Kind::Map, place, map).await?;
        }
        Ok(())
    }

    async fn toggle_definition(&self) -> Result<(), Status> {
        let definition = Kind::Gadget.definition();
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        let place = ("", Some(name));
        let action = Action::Delete(DeleteOptions::default());
        match submit(self.registry, Kind::Definition, place, action).await {
            Err(status) if status.reason == Reason::NotFound => {
                create(self.registry, Kind::Definition, "", definition).await
            }
            other => {
                self.notes.count("definitions deleted");
                other
            }
        }
    }
}

fn held(registry: &Registry) -> Vec<(Kind, Arc<Object>)> {
    let snapshot = registry.store().snapshot();
    let of = |kind: Kind| {
        let all = snapshot.list(&Query::whole(Range::all(kind.resource())));
        all.into_iter().map(move |object| (kind, object))
    };
    let all = [Kind::Map, Kind::Secret, Kind::Gadget].into_iter().flat_map(of);
    all.filter(|(_, object)| object.meta.finalizers.iter().any(|name| **name == *HOLD)).collect()
}

async fn release(registry: &Registry, kind: Kind, object: &Object) -> Result<(), Status> {
    let kept = object.meta.finalizers.iter().filter(|name| ***name != *HOLD);
    let kept: Vec<&str> = kept.map(AsRef::as_ref).collect();
    let version = object.revision.to_string();
    let patch = json!({"metadata": {"finalizers": kept, "resourceVersion": version}});
    let place = (&*object.key.namespace, Some(&*object.key.name));
    submit(registry, kind, place, merge(patch)).await
}

async fn release_one(registry: &Registry, random: &SeededRandom) -> Result<(), Status> {
    let held = held(registry);
    let at = usize::try_from(random.below(held.len() as u64)).unwrap_or(0);
    let Some((kind, object)) = held.get(at) else { return Ok(()) };
    release(registry, *kind, object).await
}

/// Nothing is held any more.
pub(super) async fn release_all(registry: &Registry) {
    for _ in 0..ROUNDS_MAX {
        let held = held(registry);
        if held.is_empty() {
            return;
        }
        for (kind, object) in held {
            // Somebody else may have been first; then it is looked for again.
            drop(release(registry, kind, &object).await);
        }
        registry.clock().sleep(std::time::Duration::from_millis(1)).await;
    }
}
