//! What the API tells of the record, below `/quadrille/`: one file per question.
//!
//! Here a question finds who answers it, and what questions share is read: objects by name, numbers, durations. What
//! is told is worked out in `quadrille_insight` and the runtime; these files know parameters and forms of answers.

mod backup;
mod bus;
mod check;
mod effects;
mod fights;
mod metrics;
mod plan;
mod preflight;
mod rehearsals;
mod replay;
mod revision;
mod runs;
mod settled;
mod waiting;
mod why;

#[cfg(test)]
mod tests;

pub(crate) use preflight::JournalPreflight;
pub(crate) use rehearsals::Rehearsals;

use std::sync::Arc;
use std::time::Duration;

use quadrille_component::PluginManager;
use quadrille_insight::Fights;
use quadrille_kit::clock::BoxFuture;
use quadrille_object::GroupResource;
use quadrille_registry::{Reason, Status};
use quadrille_runtime::Runtime;
use quadrille_server::{Form, Insight, Question, Reply, ResourceAttributes, Rights, Summary};
use quadrille_store::{Cause, Key, Object, Store};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::config::Text;

/// Answers questions from the store's history and the runtime.
#[derive(Debug)]
pub(crate) struct HostInsight {
    pub(crate) store: Store,
    pub(crate) runtime: Runtime,
    pub(crate) manager: PluginManager,
    /// One plan or check at a time.
    pub(crate) rehearsals: Rehearsals,
    pub(crate) fights: Fights,
    /// As many backups at once.
    pub(crate) backups: Arc<Semaphore>,
}

impl Insight for HostInsight {
    fn ask(&self, question: Question) -> BoxFuture<'_, Result<Reply, Status>> {
        Box::pin(async move {
            match (question.method.as_str(), question.path.as_str()) {
                ("GET", "why") => self.why(&question).await,
                ("GET", "effects") => self.effects(&question).await,
                ("GET", "settled") => self.settled(&question).await,
                ("POST", "check") => self.check(&question).await,
                ("POST", "plan") => self.plan(&question).await,
                ("GET", "waiting") => self.waiting(&question).await,
                ("GET", "backup") => self.backup(&question),
                ("GET", "bus") => self.bus(&question),
                ("GET", "fights") => self.fights(&question),
                ("POST", "fights/release") => self.release(&question),
                ("GET", "runs") => self.runs(&question).await,
                ("GET", path) if path.starts_with("runs/") => self.run(&question, path).await,
                ("POST", "replay") => self.replay(question).await,
                (method, path) => {
                    let message = format!("there is no {method} of /quadrille/{path}");
                    Err(Status::new(Reason::NotFound, message))
                }
            }
        })
    }

    fn waits(&self, question: &Question) -> bool {
        match question.path.as_str() {
            "settled" => question.parameter("wait").is_some(),
            "check" | "plan" => true,
            _ => false,
        }
    }

    fn why(
        &self,
        object: Key,
        field: Option<String>,
        form: Form,
        rights: Rights,
    ) -> BoxFuture<'_, Result<Reply, Status>> {
        Box::pin(async move { self.why_of(&object, field.as_deref(), form, &rights).await })
    }

    fn summary(&self, object: Arc<Object>, rights: Rights) -> BoxFuture<'_, Option<Summary>> {
        Box::pin(async move { self.summary_of(&object, &rights).await })
    }

    fn revision(
        &self,
        number: u64,
        wait: Duration,
        rights: Rights,
    ) -> BoxFuture<'_, Result<Option<Value>, Status>> {
        Box::pin(async move { self.revision_of(number, wait, &rights).await })
    }

    fn metrics(&self) -> String {
        let mut text = metrics::controllers(&self.runtime.stats(None));
        text.push_str(&self.fights.metrics());
        text
    }

    fn is_read(&self, resource: &GroupResource) -> bool {
        // The host itself reads its own kinds.
        &*resource.group == "quadrille.dev" || self.runtime.is_read(resource)
    }
}

/// 400.
pub(crate) fn bad(message: impl Into<String>) -> Status {
    Status::new(Reason::BadRequest, message)
}

/// The object that a question names by `group`, `resource`, `namespace` and `name`, if it names one and the asker may
/// get it.
pub(crate) fn object(question: &Question) -> Result<Option<Key>, Status> {
    let Some(resource) = question.parameter("resource") else { return Ok(None) };
    let optional = |name: &str| question.parameter(name).unwrap_or_default();
    let name = question.parameter("name").ok_or_else(|| bad("the parameter name is missing"))?;
    let key =
        Key::new(GroupResource::new(optional("group"), resource), optional("namespace"), name);
    may_get(question, &key)?;
    Ok(Some(key))
}

/// The same where an object has to be named.
pub(crate) fn need_object(question: &Question) -> Result<Key, Status> {
    let missing = || bad(format!("{} needs the parameters resource and name", question.path));
    object(question)?.ok_or_else(missing)
}

/// Refuses whoever may not get an object to be told about it.
pub(crate) fn may_get(question: &Question, key: &Key) -> Result<(), Status> {
    question.rights.require("get", attributes(key))
}

/// What stands for an object that the asker may not get.
const HIDDEN: &str = "(an object that you may not get)";

/// Whether the asker may get the object of this text; what is no key is nobody's.
pub(crate) fn may_see(rights: &Rights, object: &str) -> bool {
    object.parse::<Key>().is_ok_and(|key| rights.allow("get", attributes(&key)))
}

/// Hides an object where the asker may not get it; answers whether it did.
pub(crate) fn hide(rights: &Rights, object: &mut String) -> bool {
    let is_hidden = !may_see(rights, object);
    if is_hidden {
        HIDDEN.clone_into(object);
    }
    is_hidden
}

/// Whether the asker may list what is in a range.
pub(crate) fn may_list(rights: &Rights, resource: &GroupResource, namespace: Option<&str>) -> bool {
    let of = ResourceAttributes {
        group: &resource.group,
        resource: &resource.resource,
        namespace: namespace.unwrap_or_default(),
        ..ResourceAttributes::default()
    };
    rights.allow("list", of)
}

/// Hides the object that a run was for where the asker may not get it; `own` is one that they may be told of.
pub(crate) fn hide_cause(rights: &Rights, own: &str, cause: &mut Cause) {
    if let Cause::Run(run) = cause
        && run.object != own
        && !may_see(rights, &run.object)
    {
        HIDDEN.clone_into(&mut run.object);
    }
}

/// Refuses whoever brings code of their own to run on what plugins may read, unless they may `escalate` plugins: what it
/// reads would show in what it does.
pub(crate) fn may_bring_code(question: &Question) -> Result<(), Status> {
    let plugins = Key::new(GroupResource::new("quadrille.dev", "plugins"), "", "");
    question.rights.require("escalate", attributes(&plugins))
}

/// A key, as roles know it.
pub(crate) fn attributes(key: &Key) -> ResourceAttributes<'_> {
    let is_namespace = key.resource.group.is_empty() && &*key.resource.resource == "namespaces";
    ResourceAttributes {
        group: &key.resource.group,
        resource: &key.resource.resource,
        namespace: if is_namespace { &key.name } else { &key.namespace },
        name: &key.name,
        ..ResourceAttributes::default()
    }
}

/// A whole number.
pub(crate) fn number(question: &Question, name: &str) -> Result<Option<u64>, Status> {
    let text = question.parameter(name);
    text.map(|text| text.parse().map_err(|_| bad(format!("{name}: {text:?} is no number"))))
        .transpose()
}

/// A duration such as `30s`.
pub(crate) fn duration(question: &Question, name: &str) -> Result<Option<Duration>, Status> {
    let Some(text) = question.parameter(name) else { return Ok(None) };
    let parsed: Text<Duration> = text.parse().map_err(|error| bad(format!("{name}: {error}")))?;
    Ok(Some(parsed.0))
}
