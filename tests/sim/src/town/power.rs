//! What each version of a controller may do, and the law that it does nothing else.
//!
//! The law is written without the host's own grants: it looks at what a change did to an object, and at the powers of the
//! version whose run made it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quadrille_kit::{Random, SeededRandom};
use quadrille_object::GroupResource;
use quadrille_runtime::{Grant, GrantRule};
use quadrille_store::{Cause, Change, Key, Object, RunCause};
use serde_json::Value;

use super::kinds::{Kind, value};
use super::{Notes, PLUGIN};
use crate::cache::Cache;
use crate::law::Law;

/// The namespaces that powers are about.
pub(super) const PLACES: [&str; 3] = ["default", "town-0", "town-1"];
/// The verbs.
pub(super) const VERBS: [&str; 6] = ["get", "list", "create", "update", "patch", "delete"];

/// One thing that is allowed: a verb on a kind or on its status, in some places or all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Clause {
    verb: &'static str,
    kind: Kind,
    status: bool,
    places: Vec<&'static str>,
}

/// What a version of a controller may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Power(Vec<Clause>);

impl Power {
    fn all(kinds: &[Kind], verbs: &[&'static str]) -> Self {
        let of = |kind: Kind| {
            let clause =
                move |verb: &&'static str| Clause { verb, kind, status: false, places: Vec::new() };
            verbs.iter().map(clause)
        };
        Self(kinds.iter().flat_map(|kind| of(*kind)).collect())
    }

    /// The same, and `get` on a kind in all places.
    fn and_get(mut self, kind: Kind) -> Self {
        self.0.extend(Self::all(&[kind], &["get"]).0);
        self
    }

    pub(super) fn of_fleet() -> Self {
        Self::all(&[Kind::Secret], &["get", "list", "create", "patch", "delete"]).and_get(Kind::Map)
    }

    pub(super) fn of_crew() -> Self {
        Self::all(&[Kind::Widget], &["get", "create", "patch"]).and_get(Kind::Secret)
    }

    pub(super) fn of_smith() -> Self {
        Self::all(&[Kind::Gadget], &["get", "create"]).and_get(Kind::Map)
    }

    pub(super) fn of_paint() -> Self {
        let places = Vec::new();
        Self(vec![Clause { verb: "update", kind: Kind::Widget, status: true, places }])
            .and_get(Kind::Widget)
    }

    pub(super) fn of_teller() -> Self {
        Self::all(&super::trade::BANKS, &["get", "list", "patch"]).and_get(Kind::Map)
    }

    /// Some of what a spy tries; it may get maps, without which it would never run, in one place or two.
    pub(super) fn random(random: &SeededRandom) -> Self {
        let pick = |bound: usize| usize::try_from(random.below(bound as u64)).unwrap_or(0);
        let kinds = [Kind::Map, Kind::Secret, Kind::Widget];
        let clause = |_| {
            let status = random.below(4) == 0;
            let kind = if status { Kind::Widget } else { kinds[pick(kinds.len())] };
            let verb = if status { "update" } else { VERBS[pick(VERBS.len())] };
            let places = match random.below(3) {
                0 => Vec::new(),
                _ => vec![PLACES[pick(PLACES.len())]],
            };
            Clause { verb, kind, status, places }
        };
        let home = PLACES[pick(PLACES.len())];
        let places = vec!["default", home];
        let sees = Clause { verb: "get", kind: Kind::Map, status: false, places };
        Self((0..3 + random.below(8)).map(clause).chain([sees]).collect())
    }

    /// The same, as the host is told.
    pub(super) fn grant(&self) -> Grant {
        let rule = |clause: &Clause| {
            let of = clause.kind.resource();
            let sub = if clause.status { "/status" } else { "" };
            GrantRule {
                group: of.group,
                resource: format!("{}{sub}", of.resource).into(),
                verbs: vec![clause.verb.into()],
                namespaces: clause.places.iter().map(|place| (*place).into()).collect(),
            }
        };
        Grant { rules: self.0.iter().map(rule).collect(), unlimited: false }
    }

    /// Whether it allows a verb; a place that is none stands for all of them.
    pub(super) fn permits(
        &self,
        verb: &str,
        of: &GroupResource,
        status: bool,
        place: &str,
    ) -> bool {
        self.0.iter().any(|clause| {
            clause.verb == verb
                && clause.kind.resource() == *of
                && clause.status == status
                && (clause.places.is_empty() || clause.places.contains(&place))
        })
    }

    fn permits_any(&self, verbs: &[&str], key: &Key, status: bool) -> bool {
        verbs.iter().any(|verb| self.permits(verb, &key.resource, status, &key.namespace))
    }
}

#[derive(Clone, Debug)]
struct Enlisted {
    power: Power,
    has_finalizer: bool,
    /// No run of it commits after this revision.
    until: Option<u64>,
}

/// The versions of all controllers, and the runs that were refused something.
#[derive(Debug, Default)]
pub(super) struct Books {
    versions: BTreeMap<String, Enlisted>,
    present: BTreeMap<&'static str, String>,
    next: u64,
    /// Runs that ended as failures because of a refusal.
    pub(super) refused: BTreeSet<u64>,
}

impl Books {
    /// A version begins; answers its digest.
    pub(super) fn enlist(
        &mut self,
        name: &'static str,
        power: &Power,
        has_finalizer: bool,
    ) -> String {
        self.next += 1;
        let digest = format!("sha256:{:04}", self.next);
        let enlisted = Enlisted { power: power.clone(), has_finalizer, until: None };
        self.versions.insert(digest.clone(), enlisted);
        self.present.insert(name, digest.clone());
        digest
    }

    pub(super) fn digest_of(&self, name: &str) -> String {
        self.present.get(name).cloned().unwrap_or_default()
    }

    /// No run of a version commits any more.
    pub(super) fn retire(&mut self, digest: &str, revision: u64) {
        if let Some(version) = self.versions.get_mut(digest) {
            version.until.get_or_insert(revision);
        }
    }

    /// All versions went with their host, and so did the runs that came to nothing: the next life may give their numbers
    /// again.
    pub(super) fn retire_all(&mut self, revision: u64) {
        self.refused.clear();
        for version in self.versions.values_mut() {
            version.until.get_or_insert(revision);
        }
    }
}

/// No run does what its version may not, or after its version went, or after it was refused something and failed.
#[derive(Debug)]
pub(super) struct Powers(Arc<Notes>);

impl Powers {
    pub(super) fn new(notes: Arc<Notes>) -> Self {
        Self(notes)
    }

    fn check(
        &self,
        run: &RunCause,
        change: &Change,
        before: Option<&Object>,
    ) -> Result<(), String> {
        let books = self.0.books();
        let version = books.versions.get(&run.digest).ok_or("nobody has this digest")?;
        if version.until.is_some_and(|until| change.revision.0 > until) {
            return Err(format!("its version went at {:?}", version.until));
        }
        if books.refused.contains(&run.run) {
            return Err("it was refused something and failed".to_owned());
        }
        let (power, key, after) = (&version.power, change.key(), change.after());
        let of: Key = run.object.parse().map_err(|_| "its run is for no object")?;
        if !power.permits("get", &of.resource, false, &of.namespace) {
            return Err(format!("its run is for {of}, which it may not get"));
        }
        let needed = |holds: bool, what: &str| {
            if holds { Ok(()) } else { Err(format!("it may not {what} {}", key.resource)) }
        };
        let Some(before) = before else {
            return needed(power.permits_any(&["create"], key, false), "create");
        };
        let went = before.meta.deleted_at.is_some();
        let goes = after.is_none_or(|after| after.meta.deleted_at.is_some());
        if goes && !(went && version.has_finalizer) {
            return needed(power.permits_any(&["delete"], key, false), "delete");
        }
        let Some(after) = after else { return Ok(()) };
        let (was, is) = (value(before), value(after));
        if was["status"] != is["status"] {
            needed(power.permits_any(&["update", "patch"], key, true), "set the status of")?;
        }
        if essence(was, version.has_finalizer) != essence(is, version.has_finalizer) {
            needed(power.permits_any(&["update", "patch"], key, false), "change")?;
        }
        Ok(())
    }
}

/// An object less what the host writes with every change, and its status.
fn essence(mut object: Value, has_finalizer: bool) -> Value {
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["managedFields", "resourceVersion", "generation"] {
            metadata.remove(field);
        }
        if has_finalizer {
            metadata.remove("finalizers");
        }
    }
    object
}

impl Law for Powers {
    fn hear(&mut self, change: &Change, before: &Cache) -> Vec<String> {
        let was = quadrille_store::View::get(before, change.key());
        match &*change.cause {
            Cause::System(of) => {
                match of.part.as_str() {
                    "garbage-collector" => self.0.count("collected"),
                    "namespace-lifecycle" => self.0.count("by the namespaces' part"),
                    _ => {}
                }
                Vec::new()
            }
            // The host tells of failures in the name of the run.
            Cause::Run(run)
                if run.plugin == PLUGIN && *change.key().resource.resource != *"events" =>
            {
                self.0.count("by runs");
                let checked = self.check(run, change, was.as_deref());
                let told =
                    |why| format!("{} at {} by {run:?}: {why}", change.key(), change.revision);
                checked.err().map(told).into_iter().collect()
            }
            Cause::Run(_) | Cause::Request(_) => Vec::new(),
        }
    }
}
