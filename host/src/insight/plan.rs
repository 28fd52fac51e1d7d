//! `POST /quadrille/plan`: what would follow from a change.
//!
//! The body is `{"acts": [{"apply": OBJECT} | {"delete": {"group", "resource", "namespace", "name"}}]}`, or a component
//! (`application/wasm`) with the parameter `plugin`. Parameters: `for`, the virtual time that is followed; `wall`,
//! `runs`, `writes`, the other bounds; `grant=all` as at an upload.

use std::sync::Arc;
use std::time::Duration;

use quadrille_insight::{Act, Bounds, Plan, PlanRequest, Swap, plan};
use quadrille_object::GroupResource;
use quadrille_registry::{Propagation, Reason, Status};
use quadrille_server::{Form, Question, Reply, Rights};
use quadrille_store::Key;
use serde::Deserialize;
use serde_json::Value;

use super::rehearsals::Place;
use super::{HostInsight, attributes, bad, duration, may_bring_code, number};

/// The longest real time of one plan.
const WALL_MAX: Duration = Duration::from_mins(5);

/// The most acts of one plan.
const ACTS_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    acts: Vec<RawAct>,
    /// The namespace of objects that do not name theirs.
    #[serde(default)]
    namespace: String,
    /// Whether an apply takes over fields that others manage.
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum RawAct {
    Apply(Value),
    Delete(RawKey),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawKey {
    #[serde(default)]
    group: String,
    resource: String,
    #[serde(default)]
    namespace: String,
    name: String,
    #[serde(default)]
    propagation: Option<String>,
}

impl HostInsight {
    pub(super) async fn plan(&self, question: &Question) -> Result<Reply, Status> {
        // A component is compiled before its turn, but not more of them than have a place.
        let place = self.rehearsals.place(&question.actor.user)?;
        let acts = if question.content_type.starts_with("application/wasm") {
            vec![self.load_act(question).await?]
        } else {
            acts_of(question)?
        };
        self.plan_elsewhere(question, acts, place).await
    }

    async fn load_act(&self, question: &Question) -> Result<Act, Status> {
        let plugin = question.parameter("plugin").ok_or_else(|| bad("the plugin is not named"))?;
        let plugins = GroupResource::new("quadrille.dev", "plugins");
        may(&question.rights, "update", &Key::new(plugins, "", plugin))?;
        may_bring_code(question)?;
        let all = question.parameter("grant") == Some("all");
        let ready = self.manager.rehearse(plugin, &question.body, all).await?;
        if let Some(why) = ready.blocked.first() {
            return Err(Status::new(Reason::Invalid, why));
        }
        let (spec, definitions, controllers) = (ready.spec, ready.definitions, ready.controllers);
        Ok(Act::Load(Box::new(Swap { plugin: plugin.into(), spec, definitions, controllers })))
    }

    /// Plans beside the scheduler, one after the other: a plan takes a core and a copy of what the runtime knows.
    async fn plan_elsewhere(
        &self,
        question: &Question,
        acts: Vec<Act>,
        place: Place,
    ) -> Result<Reply, Status> {
        let defaults = Bounds::default();
        let bounds = Bounds {
            runs_max: number(question, "runs")?.unwrap_or(defaults.runs_max),
            writes_max: number(question, "writes")?
                .map_or(defaults.writes_max, |writes| writes.min(defaults.writes_max)),
            virtual_max: duration(question, "for")?.unwrap_or(defaults.virtual_max),
            wall_max: duration(question, "wall")?.unwrap_or(defaults.wall_max).min(WALL_MAX),
        };
        let turn = place.turn().await?;
        let (runtime, rights) = (self.runtime.clone(), question.rights.clone());
        let (actor, form) = (question.actor.clone(), question.form);
        let planned = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let wall = Arc::clone(runtime.registry().clock());
            let may = |verb: &str, key: &Key| may(&rights, verb, key);
            let planned = plan(&runtime, &wall, PlanRequest { acts, actor, bounds, may: &may });
            planned.map(|plan| told(&plan, form))
        });
        planned.await.unwrap_or_else(|error| {
            Err(Status::new(Reason::InternalError, format!("the plan failed: {error}")))
        })
    }
}

fn told(plan: &Plan, form: Form) -> Reply {
    if form == Form::Text {
        return Reply::Text(plan.text());
    }
    let mut value = serde_json::to_value(plan).unwrap_or_default();
    value["text"] = plan.text().into();
    Reply::Json(value)
}

fn may(rights: &Rights, verb: &str, key: &Key) -> Result<(), Status> {
    rights.require(verb, attributes(key))
}

fn acts_of(question: &Question) -> Result<Vec<Act>, Status> {
    let body: Body = serde_json::from_slice(&question.body)
        .map_err(|error| bad(format!("the body is no plan: {error}")))?;
    if body.acts.is_empty() || body.acts.len() > ACTS_MAX {
        return Err(bad(format!("a plan has between 1 and {ACTS_MAX} acts")));
    }
    let namespace: Arc<str> = match body.namespace.as_str() {
        "" => "default".into(),
        namespace => namespace.into(),
    };
    let force = body.force;
    let act = |raw| match raw {
        RawAct::Apply(object) => {
            Ok(Act::Apply { object, namespace: Arc::clone(&namespace), force })
        }
        RawAct::Delete(raw) => {
            let propagation = propagation(raw.propagation.as_deref())?;
            let resource = GroupResource::new(raw.group, raw.resource);
            Ok(Act::Delete { key: Key::new(resource, raw.namespace, raw.name), propagation })
        }
    };
    body.acts.into_iter().map(act).collect()
}

fn propagation(text: Option<&str>) -> Result<Option<Propagation>, Status> {
    match text {
        None => Ok(None),
        Some("Background") => Ok(Some(Propagation::Background)),
        Some("Foreground") => Ok(Some(Propagation::Foreground)),
        Some("Orphan") => Ok(Some(Propagation::Orphan)),
        Some(other) => Err(bad(format!("propagation: {other:?} is none"))),
    }
}
