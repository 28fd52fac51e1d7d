//! `POST /quadrille/check`: whether a plugin's controllers keep to the principles, tried on a fork.
//!
//! Parameters: `plugin`; `objects`, how many per controller; `wall`, how long it may take. Who asks must be allowed to
//! update the plugin: what is found shows objects that the plugin reads.

use std::sync::Arc;
use std::time::Duration;

use quadrille_insight::check::Code;
use quadrille_insight::{Effort, Subject, check};
use quadrille_object::GroupResource;
use quadrille_registry::{Reason, Status};
use quadrille_runtime::ControllerSpec;
use quadrille_server::{Form, Question, Reply};
use quadrille_store::Key;

use super::{HostInsight, attributes, bad, duration, number};

/// The longest real time of one check.
const WALL_MAX: Duration = Duration::from_mins(10);

/// The most objects per controller.
const OBJECTS_MAX: u64 = 100;

impl HostInsight {
    pub(super) async fn check(&self, question: &Question) -> Result<Reply, Status> {
        let plugin = question.parameter("plugin").ok_or_else(|| bad("the plugin is not named"))?;
        let plugins = GroupResource::new("quadrille.dev", "plugins");
        question.rights.require("update", attributes(&Key::new(plugins.clone(), "", plugin)))?;
        let subject = self.subject(plugin).ok_or_else(|| Status::not_found(&plugins, plugin))?;
        let defaults = Effort::default();
        let objects = number(question, "objects")?.map(|count| count.min(OBJECTS_MAX));
        let effort = Effort {
            objects_max: objects
                .and_then(|count| usize::try_from(count).ok())
                .unwrap_or(defaults.objects_max),
            wall_max: duration(question, "wall")?.unwrap_or(defaults.wall_max).min(WALL_MAX),
            ..defaults
        };
        let turn = self.rehearsals.place(&question.actor.user)?.turn().await?;
        let runtime = self.runtime.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let wall = Arc::clone(runtime.registry().clock());
            check(&runtime, &wall, &subject, effort)
        });
        let failed =
            |error: String| Status::new(Reason::InternalError, format!("cannot check: {error}"));
        let card = checked.await.map_err(|error| failed(error.to_string()))?;
        let card = card.map_err(|error| failed(error.to_string()))?;
        if question.form == Form::Text {
            return Ok(Reply::Text(card.text()));
        }
        let mut value = serde_json::to_value(&card).unwrap_or_default();
        value["text"] = card.text().into();
        Ok(Reply::Json(value))
    }

    /// A plugin with controllers that run.
    fn subject(&self, plugin: &str) -> Option<Subject> {
        let own = |(spec, code): (Arc<ControllerSpec>, _)| (ControllerSpec::clone(&spec), code);
        let code: Code = self.runtime.controllers(Some(plugin)).into_iter().map(own).collect();
        let all = self.runtime.controllers(None);
        // Plugins that share a field manager cannot be told apart by it.
        let is_own =
            |manager: &Arc<str>| code.iter().any(|(spec, _)| spec.field_manager == *manager);
        let others = all.iter().filter(|(spec, _)| *spec.plugin != *plugin);
        let others = others.filter(|(spec, _)| !is_own(&spec.field_manager));
        let others =
            others.map(|(spec, _)| (Arc::clone(&spec.field_manager), Arc::clone(&spec.plugin)));
        let others: Vec<_> = others.collect();
        // A component keeps nothing between runs, so its code is as new at each start.
        (!code.is_empty()).then(|| Subject {
            plugin: plugin.into(),
            begin: Arc::new(move || code.clone()),
            others,
        })
    }
}
