//! Revisions of a template, kept as `ControllerRevision` objects: what `kubectl rollout history` and `undo` work on.

use std::collections::BTreeSet;

use quadrille_sdk::k8s::{PodTemplate, Raw};
use quadrille_sdk::prelude::*;
use quadrille_sdk::{LabelSelector, Reason};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// How often another name is tried when one is taken.
const COLLISIONS_MAX: usize = 10;

/// A template as it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ControllerRevision {
    /// The metadata.
    pub metadata: Metadata,
    /// The patch that brings the template back.
    pub data: Raw,
    /// Its number: the newest has the highest.
    pub revision: i64,
}
quadrille_sdk::kind!(ControllerRevision, "apps", "v1", "controllerrevisions");

/// What controllers with a history ask for.
pub const CAPABILITY: Capability =
    verbs::<ControllerRevision>(&["get", "list", "create", "patch", "delete"]);

/// The revisions of the primary object, oldest first.
#[derive(Debug)]
pub struct History<'a> {
    ctx: &'a Context,
    owner: &'a Metadata,
    revisions: Vec<ControllerRevision>,
}

/// What a revision is made of.
#[derive(Debug)]
pub struct Wanted<'a, H> {
    /// The template.
    pub template: &'a PodTemplate,
    /// The label that carries the hash.
    pub label: &'static str,
    /// The hash, by the patch and the number of names that were taken.
    pub hash: H,
}

impl<'a> History<'a> {
    /// Adopts and reads them.
    ///
    /// # Errors
    /// Every refusal of the API.
    pub fn claim(ctx: &'a Context, owner: &'a Metadata, selector: &LabelSelector) -> Result<Self> {
        let mut revisions = ctx.claim::<ControllerRevision>(selector)?;
        revisions.sort_by(|a, b| {
            let place = |r: &ControllerRevision| (r.revision, r.metadata.creation_timestamp);
            place(a).cmp(&place(b)).then_with(|| a.name().cmp(b.name()))
        });
        Ok(Self { ctx, owner, revisions })
    }

    /// The revision with this name.
    pub fn named(&self, name: &str) -> Option<&ControllerRevision> {
        self.revisions.iter().find(|revision| revision.name() == name)
    }

    /// The revision of a template, made or made the newest again where it is not; `collisions` counts taken names.
    ///
    /// # Errors
    /// Every refusal of the API.
    pub fn ensure<H: Fn(&str, i64) -> Result<String>>(
        &mut self,
        wanted: &Wanted<'_, H>,
        collisions: &mut i64,
    ) -> Result<ControllerRevision> {
        let data = patch_to(wanted.template)?;
        let known =
            self.revisions.iter().rposition(|r| r.data.to_value().ok() == Some(data.clone()));
        let next = self.revisions.last().map_or(0, |newest| newest.revision) + 1;
        let Some(at) = known else { return self.create(wanted, &data, next, collisions) };
        let mut revision = self.revisions.remove(at);
        if at < self.revisions.len() {
            revision = self.ctx.patch(&revision, &json!({"revision": next}))?;
        }
        self.revisions.push(revision.clone());
        Ok(revision)
    }

    fn create<H: Fn(&str, i64) -> Result<String>>(
        &mut self,
        wanted: &Wanted<'_, H>,
        data: &Value,
        number: i64,
        collisions: &mut i64,
    ) -> Result<ControllerRevision> {
        let text = crate::go::json(data);
        for _ in 0..COLLISIONS_MAX {
            let hash = (wanted.hash)(&text, *collisions)?;
            let mut labels = wanted.template.metadata.labels.clone();
            labels.insert(wanted.label.to_owned(), hash.clone());
            let metadata = Metadata {
                name: format!("{}-{hash}", self.owner.name),
                labels,
                annotations: self.owner.annotations.clone(),
                ..Metadata::default()
            };
            let revision =
                ControllerRevision { metadata, data: Raw::from(data.clone()), revision: number };
            match self.ctx.create(revision) {
                Ok(revision) => {
                    self.revisions.push(revision.clone());
                    return Ok(revision);
                }
                // Another object has the name: the next hash is another.
                Err(error) if error.reason() == Some(Reason::AlreadyExists) => *collisions += 1,
                Err(error) => return Err(error),
            }
        }
        Err(Error::transient("every name for the new revision is taken"))
    }

    /// Deletes the oldest of those that are not live, until no more than the limit are left.
    ///
    /// # Errors
    /// Every refusal of the API.
    pub fn truncate(&self, live: &BTreeSet<String>, limit: Option<i64>) -> Result<()> {
        let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
        let past = self.revisions.iter().filter(|revision| !live.contains(revision.name()));
        let past: Vec<_> = past.filter(|revision| !revision.metadata.is_terminating()).collect();
        let extra = past.len().saturating_sub(limit);
        past.into_iter().take(extra).try_for_each(|revision| self.ctx.delete(revision))
    }
}

/// The patch that brings a template back.
fn patch_to(template: &PodTemplate) -> Result<Value> {
    let template = serde_json::to_value(template);
    let mut template =
        template.map_err(|error| Error::permanent(format!("cannot read the template: {error}")))?;
    template["$patch"] = "replace".into();
    Ok(json!({"spec": {"template": template}}))
}

/// The template of a revision.
///
/// # Errors
/// When the revision is not one of a template.
pub fn template_of(revision: &ControllerRevision) -> Result<PodTemplate> {
    #[derive(Deserialize)]
    struct Data {
        spec: Spec,
    }
    #[derive(Deserialize)]
    struct Spec {
        template: PodTemplate,
    }
    Ok(revision.data.read::<Data>()?.spec.template)
}
