//! The set of the wanted template: finding it, making it, and numbering revisions.

use common::{hash, tell};
use quadrille_sdk::k8s::{ReplicaSet, ReplicaSetSpec};
use quadrille_sdk::prelude::*;
use quadrille_sdk::{Labels, Reason};
use serde_json::{Value, json};

use crate::bounds::Bounds;
use crate::conditions;
use crate::template::HASH_LABEL;
use crate::{Work, size};

pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(crate) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(crate) const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// Annotations that belong to one object and are not copied from a deployment to its sets.
const OWN: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

/// How often another name is tried when one is taken.
const COLLISIONS_MAX: usize = 10;

/// The revision in an object's annotations; 0 where there is none.
pub(crate) fn revision(metadata: &Metadata) -> i64 {
    metadata.annotations.get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Work<'_> {
    /// Brings the new set up to date, or makes it.
    pub(crate) fn ensure_new(&mut self) -> Result<()> {
        if self.new.is_some() { self.adopt_revision() } else { self.create_new() }
    }

    /// Gives the new set, where there is one, the newest revision and the deployment's annotations; the deployment
    /// follows. A template that comes back so becomes the newest again.
    pub(crate) fn adopt_revision(&mut self) -> Result<()> {
        let next = self.next_revision();
        let Some(set) = self.new.take() else { return Ok(()) };
        let set = match self.new_set_patch(&set, next) {
            Some(patch) => self.ctx.patch(&set, &patch)?,
            None => set,
        };
        self.revision = Some(revision(&set.metadata));
        if self.has_deadline() && conditions::progressing(&self.status).is_none() {
            let message = format!("Found new replica set \"{}\"", set.name());
            self.progress("True", "FoundNewReplicaSet", message);
        }
        self.new = Some(set);
        Ok(())
    }

    fn next_revision(&self) -> i64 {
        self.old.iter().map(|set| revision(&set.metadata)).max().unwrap_or(0) + 1
    }

    fn new_set_patch(&self, set: &ReplicaSet, next: i64) -> Option<Value> {
        let have = &set.metadata.annotations;
        let mut changed: Labels = self
            .copied_annotations()
            .filter(|(key, value)| have.get(*key) != Some(*value))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let current = revision(&set.metadata);
        if current < next {
            changed.insert(REVISION.to_owned(), next.to_string());
            if current > 0 {
                let past = have.get(HISTORY).map(|past| format!("{past},")).unwrap_or_default();
                changed.insert(HISTORY.to_owned(), format!("{past}{current}"));
            }
        }
        let min_ready = self.deployment.spec.min_ready_seconds.unwrap_or(0);
        let mut patch = json!({});
        if !changed.is_empty() {
            patch["metadata"] = json!({"annotations": changed});
        }
        if set.spec.min_ready_seconds.unwrap_or(0) != min_ready {
            patch["spec"] = json!({"minReadySeconds": min_ready});
        }
        (patch != json!({})).then_some(patch)
    }

    fn copied_annotations(&self) -> impl Iterator<Item = (&String, &String)> {
        self.deployment.metadata.annotations.iter().filter(|(key, _)| !OWN.contains(&key.as_str()))
    }

    fn create_new(&mut self) -> Result<()> {
        let next = self.next_revision();
        let mut template = self.deployment.spec.template.clone();
        template.metadata.labels.remove(HASH_LABEL);
        let replicas = self.new_size(0);
        for _ in 0..COLLISIONS_MAX {
            let hash = hash::of_template(&template, self.status.collision_count)?;
            let created = match self.ctx.create(self.new_set(&hash, replicas, next)) {
                Ok(set) => set,
                Err(error) if error.reason() == Some(Reason::AlreadyExists) => {
                    // Another object has the name: the next hash is another.
                    self.status.collision_count =
                        Some(self.status.collision_count.unwrap_or(0) + 1);
                    continue;
                }
                Err(error) => return self.creation_failed(error),
            };
            if size(&created) > 0 {
                self.tell_scaled("up", created.name(), 0, size(&created));
            }
            self.revision = Some(next);
            if self.has_deadline() {
                let message = format!("Created new replica set \"{}\"", created.name());
                self.progress("True", "NewReplicaSetCreated", message);
            }
            self.new = Some(created);
            return Ok(());
        }
        Err(Error::transient("every name for the new replica set is taken"))
    }

    /// The refusal becomes the status, and is tried again.
    fn creation_failed(&mut self, error: Error) -> Result<()> {
        if !self.has_deadline() {
            return Err(error);
        }
        let message = tell::refusal(&error);
        tell::warning(self.ctx, "FailedCreate", &message);
        self.progress("False", "FailedCreate", message);
        Ok(())
    }

    fn new_set(&self, hash: &str, replicas: i64, revision: i64) -> ReplicaSet {
        let deployment = self.deployment;
        let mut template = deployment.spec.template.clone();
        template.metadata.labels.insert(HASH_LABEL.to_owned(), hash.to_owned());
        let mut selector = deployment.spec.selector.clone();
        selector.match_labels.insert(HASH_LABEL.to_owned(), hash.to_owned());
        let mut annotations: Labels =
            self.copied_annotations().map(|(key, value)| (key.clone(), value.clone())).collect();
        let most = self.wanted() + Bounds::of(deployment).surge;
        annotations.insert(REVISION.to_owned(), revision.to_string());
        annotations.insert(DESIRED.to_owned(), self.wanted().to_string());
        annotations.insert(MAX.to_owned(), most.to_string());
        let metadata = Metadata {
            name: format!("{}-{hash}", deployment.name()),
            labels: template.metadata.labels.clone(),
            annotations,
            ..Metadata::default()
        };
        let spec = ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: deployment.spec.min_ready_seconds.filter(|seconds| *seconds > 0),
            selector,
            template,
        };
        ReplicaSet { metadata, spec, ..ReplicaSet::default() }
    }
}
