//! What would follow from a change: it is made on a fork, all controllers run, and what they wrote is told.
//!
//! The live store is read once, for its snapshot. The answer holds every write that follows from the change as a tree,
//! one diff per object, and why the rehearsal ended. Writes of the fork that do not follow from the change (a timer
//! that was due anyway) are counted apart.

mod tell;
mod tree;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quadrille_kit::Clock;
use quadrille_object::Gvk;
use quadrille_registry::{
    Action, Actor, DeleteOptions, FieldValidation, PatchFormat, Propagation, Reason, Resource,
    Status, Target, WriteOptions, WriteRequest,
};
use quadrille_runtime::{
    ControllerError, ControllerName, ControllerSpec, Reconciler, RunEnd, Runtime,
};
use quadrille_store::{
    Cause, Change, ChangeFilter, Key, RequestCause, Revision, Snapshot, View as _,
};
use serde::Serialize;
use serde_json::Value;

use crate::rehearsal::{Bounds, Cast, Ended, Rehearsal, rehearse};
use crate::why::Step;

/// One thing that would be done.
#[derive(Clone, Debug)]
pub enum Act {
    /// Server-side apply of an object.
    Apply {
        /// The object.
        object: Value,
        /// Where it goes when it does not say.
        namespace: Arc<str>,
        /// Whether fields are taken over that others manage.
        force: bool,
    },
    /// The deletion of an object.
    Delete {
        /// Which.
        key: Key,
        /// What becomes of what it owns.
        propagation: Option<Propagation>,
    },
    /// The swap of a plugin's code.
    Load(Box<Swap>),
}

/// A plugin's code, ready to run.
#[derive(Clone, Debug)]
pub struct Swap {
    /// The plugin.
    pub plugin: Arc<str>,
    /// What is merged into the spec of its object.
    pub spec: Value,
    /// The definitions that it brings.
    pub definitions: Vec<Value>,
    /// Its controllers.
    pub controllers: Vec<(ControllerSpec, Arc<dyn Reconciler>)>,
}

/// What is to be planned.
pub struct PlanRequest<'a> {
    /// What would be done, in order.
    pub acts: Vec<Act>,
    /// Who would do it.
    pub actor: Actor,
    /// How far it is followed.
    pub bounds: Bounds,
    /// Whether the asker may: a verb on an object.
    pub may: &'a (dyn Fn(&str, &Key) -> Result<(), Status> + Sync),
}

impl fmt::Debug for PlanRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("PlanRequest");
        shown.field("acts", &self.acts).field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

/// What an object would become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The object, as text.
    pub object: String,
    /// `created`, `updated`, `deleted`, or `passing` for one that comes and goes.
    pub change: &'static str,
    /// The unified diff of an update.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub diff: String,
    /// What the object is, for one that is created: a few words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
}

/// A key whose runs fail on the fork.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failing {
    /// `plugin/controller`.
    pub controller: String,
    /// The object.
    pub object: String,
    /// What the last run said.
    pub message: String,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The revision that the fork began at.
    pub revision: Revision,
    /// Why it ended.
    pub ended: Ended,
    /// When the next timer would be due, in milliseconds after the end.
    pub next_timer_ms: Option<u64>,
    /// The writes that follow, each behind the one that it follows from; `depth` 0 is the change itself.
    pub steps: Vec<Step>,
    /// What becomes of the objects, by their names.
    pub objects: Vec<Outcome>,
    /// How many runs there were.
    pub runs: u64,
    /// How many writes there were, those that do not follow included.
    pub writes: u64,
    /// How many of them do not follow from the change.
    pub background: usize,
    /// Virtual time, in milliseconds.
    pub virtual_ms: u64,
    /// Real time, in milliseconds.
    pub wall_ms: u64,
    /// Keys that fail on the fork.
    pub failing: Vec<Failing>,
    /// Admission webhooks that were not asked and taken to consent.
    pub assumed: Vec<String>,
    /// Texts of `Warning` headers that the change would get.
    pub warnings: Vec<String>,
}

/// Plans in this thread, which must not be one of a scheduler's.
///
/// # Errors
/// The refusal that the change would get; `InternalError` when the host has no thread to give.
pub fn plan(
    live: &Runtime,
    wall: &Arc<dyn Clock>,
    request: PlanRequest<'_>,
) -> Result<Plan, Status> {
    // Chance of its own: names that the live host draws later are others in any case.
    let seed = live.registry().random().next_u64();
    let planned = rehearse(live, wall, (Cast::All, seed), async |fork| follow(fork, request).await);
    planned.unwrap_or_else(|error| {
        Err(Status::new(Reason::InternalError, format!("cannot plan: {error}")))
    })
}

/// What was done to the fork: which of its changes, and by which swap.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// The changes of each act: after the first revision, up to the second.
    pub(crate) ranges: Vec<(Revision, Revision)>,
    /// Plugins whose code was swapped, with the revision that stands for it.
    pub(crate) swapped: BTreeMap<Arc<str>, Revision>,
    warnings: Vec<String>,
}

async fn follow(fork: &Rehearsal, request: PlanRequest<'_>) -> Result<Plan, Status> {
    let before = fork.registry().store().snapshot();
    // What is due anyway comes first, so that it is not taken for a consequence.
    let at_once = Bounds { virtual_max: Duration::ZERO, ..request.bounds };
    let mut ended = fork.until_quiet(&at_once).await;
    let mut done = Done::default();
    if ended.is_complete() {
        for act in &request.acts {
            perform(fork, act, &request, &mut done).await?;
        }
        ended = fork.until_quiet(&request.bounds).await;
    }
    let changes = changes_of(fork)?;
    let tree = tree::Tree::of(&changes, &done);
    let objects = outcomes(&before, fork, &tree, request.may);
    Ok(Plan {
        revision: fork.base,
        ended,
        next_timer_ms: fork.next_timer().map(millis),
        background: changes.len() - tree.len(),
        steps: tree.steps(),
        objects,
        runs: fork.runs(),
        writes: fork.writes(),
        virtual_ms: millis(fork.passed()),
        wall_ms: millis(fork.took()),
        failing: failing(&fork.runtime),
        assumed: fork.assumed(),
        warnings: done.warnings,
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn perform(
    fork: &Rehearsal,
    act: &Act,
    request: &PlanRequest<'_>,
    done: &mut Done,
) -> Result<(), Status> {
    let after = fork.registry().store().revision();
    match act {
        Act::Apply { object, namespace, force } => {
            let (target, verb) = target_of(fork, object, namespace)?;
            let action = Action::Apply(object.clone().into());
            submit(fork, (target, verb), action, (*force, request), done).await?;
        }
        Act::Delete { key, propagation } => {
            let target = target(fork, key)?;
            let options = DeleteOptions { propagation: *propagation, ..DeleteOptions::default() };
            submit(fork, (target, "delete"), Action::Delete(options), (false, request), done)
                .await?;
        }
        Act::Load(swap) => load(fork, swap, request, done).await?,
    }
    done.ranges.push((after, fork.registry().store().revision()));
    Ok(())
}

/// Does to the fork what a plugin manager does at an upload: the spec, the definitions, the controllers.
async fn load(
    fork: &Rehearsal,
    swap: &Swap,
    request: &PlanRequest<'_>,
    done: &mut Done,
) -> Result<(), Status> {
    let object = serde_json::json!({
        "apiVersion": "quadrille.dev/v1", "kind": "Plugin", "metadata": {"name": &*swap.plugin},
    });
    let (target, verb) = target_of(fork, &object, "")?;
    if verb == "create" {
        let mut object = object;
        object["spec"] = swap.spec.clone();
        let target = Target { name: None, ..target };
        let action = Action::Create(object.into());
        submit(fork, (target, "create"), action, (false, request), done).await?;
    } else {
        let patch = serde_json::json!({"spec": swap.spec});
        let action = Action::Patch(PatchFormat::Merge, patch.into());
        submit(fork, (target, "patch"), action, (false, request), done).await?;
    }
    done.swapped.insert(Arc::clone(&swap.plugin), fork.registry().store().revision());
    for definition in &swap.definitions {
        let (target, verb) = target_of(fork, definition, "")?;
        let action = Action::Apply(definition.clone().into());
        submit(fork, (target, verb), action, (true, request), done).await?;
    }
    let old = fork.runtime.controllers(Some(&swap.plugin));
    for (spec, _) in old {
        let name = ControllerName::of(&spec);
        if !swap.controllers.iter().any(|(spec, _)| ControllerName::of(spec) == name) {
            drop(fork.runtime.remove(&name));
        }
    }
    for (spec, code) in &swap.controllers {
        let put = match fork.runtime.replace(spec.clone(), Arc::clone(code)) {
            Err(ControllerError::Unknown(_)) => fork.runtime.add(spec.clone(), Arc::clone(code)),
            other => other.map(drop),
        };
        put.map_err(|error| Status::new(Reason::InternalError, error.to_string()))?;
    }
    Ok(())
}

async fn submit(
    fork: &Rehearsal,
    (target, verb): (Target, &str),
    action: Action,
    (force, request): (bool, &PlanRequest<'_>),
    done: &mut Done,
) -> Result<(), Status> {
    let name = target.name.clone().unwrap_or_default();
    let key = Key::new(target.resource.group_resource(), Arc::clone(&target.namespace), name);
    (request.may)(verb, &key)?;
    let options = WriteOptions {
        force,
        field_manager: Some("quadrille".into()),
        field_validation: FieldValidation::Strict,
        dry_run: false,
    };
    let cause = Cause::Request(RequestCause {
        user: request.actor.user.as_ref().to_owned(),
        client: request.actor.client.as_ref().to_owned(),
        address: request.actor.address.as_ref().to_owned(),
        verb: verb.to_owned(),
    });
    let write = WriteRequest { target, action, options, actor: request.actor.clone() };
    let written = fork.registry().submit(&write, cause).await?;
    done.warnings.extend(written.warnings);
    Ok(())
}

/// Where an object goes, and the verb that an apply of it needs.
fn target_of(
    fork: &Rehearsal,
    object: &Value,
    namespace: &str,
) -> Result<(Target, &'static str), Status> {
    let text = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
    let (group, version) =
        text("/apiVersion").split_once('/').unwrap_or_else(|| ("", text("/apiVersion")));
    let kind = Gvk::new(group, version, text("/kind"));
    let resource = fork.registry().resource_of(&kind).ok_or_else(|| {
        let message = format!("no kind {:?} is served in {:?}", text("/kind"), text("/apiVersion"));
        Status::new(Reason::BadRequest, message)
    })?;
    let namespace = match (resource.namespaced, text("/metadata/namespace")) {
        (false, _) => "",
        (true, "") => namespace,
        (true, own) => own,
    };
    let name = text("/metadata/name");
    if name.is_empty() {
        return Err(Status::new(Reason::BadRequest, format!("a {} has no name", text("/kind"))));
    }
    let key = Key::new(resource.group_resource(), namespace, name);
    let exists = fork.registry().store().snapshot().get(&key).is_some();
    Ok((at(resource, &key), if exists { "patch" } else { "create" }))
}

fn target(fork: &Rehearsal, key: &Key) -> Result<Target, Status> {
    let catalog = fork.registry().catalog();
    let resource = catalog.by_group_resource(&key.resource);
    let resource = resource.ok_or_else(|| Status::not_found(&key.resource, &key.name))?;
    Ok(at(Arc::clone(resource), key))
}

fn at(resource: Arc<Resource>, key: &Key) -> Target {
    let (namespace, name) = (Arc::clone(&key.namespace), Some(Arc::clone(&key.name)));
    Target { resource, namespace, name, subresource: None }
}

/// All changes of the fork.
fn changes_of(fork: &Rehearsal) -> Result<Vec<Arc<Change>>, Status> {
    let mut stream = fork.registry().store().changes(ChangeFilter::default(), fork.base);
    let mut all = Vec::new();
    loop {
        match stream.try_next() {
            Ok(Some(batch)) => all.extend(batch.changes),
            Ok(None) => return Ok(all),
            Err(error) => return Err(Status::new(Reason::InternalError, error.to_string())),
        }
    }
}

fn outcomes(
    before: &Snapshot,
    fork: &Rehearsal,
    tree: &tree::Tree,
    may: &dyn Fn(&str, &Key) -> Result<(), Status>,
) -> Vec<Outcome> {
    let after = fork.registry().store().snapshot();
    let outcome = |key: &Key| {
        let (before, after) = (before.get(key), after.get(key));
        let (change, diff, about) = match (&before, &after) {
            (Some(before), Some(after)) if before.meta.uid == after.meta.uid => {
                let diff = crate::diff::unified(before, after);
                ("updated", diff, String::new())
            }
            (Some(before), Some(after)) => {
                ("replaced", crate::diff::unified(before, after), String::new())
            }
            (None, Some(after)) => ("created", String::new(), tell::about(after)),
            (Some(_), None) => ("deleted", String::new(), String::new()),
            (None, None) => ("passing", String::new(), String::new()),
        };
        // That the object changes is told; what is in it only to whoever may read it.
        let hidden = may("get", key).is_err();
        let (diff, about) = if hidden { (String::new(), String::new()) } else { (diff, about) };
        Outcome { object: key.to_string(), change, diff, about }
    };
    tree.keys().iter().map(outcome).collect()
}

/// How many failing keys are named.
const FAILING_MAX: usize = 20;

fn failing(runtime: &Runtime) -> Vec<Failing> {
    let mut named: Vec<Failing> = Vec::new();
    for record in runtime.runs(None, None, usize::MAX) {
        let RunEnd::Failed { message, .. } = &record.end else { continue };
        let controller = format!("{}/{}", record.code.spec.plugin, record.code.spec.name);
        let object = record.object.to_string();
        if named.len() < FAILING_MAX
            && !named.iter().any(|f| f.controller == controller && f.object == object)
        {
            named.push(Failing { controller, object, message: message.clone() });
        }
    }
    named
}
