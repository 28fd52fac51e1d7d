//! How many pods an object of any kind wants, by the reference to it.
//!
//! The kinds that Kubernetes has are known; of another kind the usual plural is tried, and an operator who wants it
//! looked at grants it.

use quadrille_sdk::host::{ObjectRef, PatchFormat, ResourceRef};
use quadrille_sdk::prelude::*;
use quadrille_sdk::{ApiError, OwnerReference, Reason};
use serde::Deserialize;
use serde_json::json;

/// An object by version, kind and name, in the primary object's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reference {
    /// Such as `apps/v1`.
    pub api_version: String,
    /// Such as `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// What an object wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Its uid.
    pub uid: String,
    /// How many pods; one where it does not say.
    pub replicas: i64,
    /// Who wants that of it.
    pub controller: Option<OwnerReference>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Scaled {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    replicas: Option<i64>,
}

/// To read what objects of the kinds of Kubernetes want.
pub const CAPABILITIES: [Capability; 4] = with(&["get"]);

/// To read and set it.
pub const SETTING: [Capability; 4] = with(&["get", "patch"]);

const fn with(verbs: &'static [&'static str]) -> [Capability; 4] {
    const fn one(
        group: &'static str,
        resource: &'static str,
        verbs: &'static [&'static str],
    ) -> Capability {
        Capability { group, resource, subresource: "", verbs }
    }
    [
        one("apps", "deployments", verbs),
        one("apps", "replicasets", verbs),
        one("apps", "statefulsets", verbs),
        one("", "replicationcontrollers", verbs),
    ]
}

impl Reference {
    /// An owner.
    pub fn to(owner: &OwnerReference) -> Self {
        let OwnerReference { api_version, kind, name, .. } = owner.clone();
        Self { api_version, kind, name }
    }

    /// The group in the version.
    pub fn group(&self) -> &str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    fn object(&self, ctx: &Context) -> ObjectRef {
        let version = self.api_version.rsplit('/').next().unwrap_or_default();
        let resource = ResourceRef {
            group: self.group().to_owned(),
            version: version.to_owned(),
            resource: plural(&self.kind),
        };
        let namespace = ctx.request().object.namespace.clone();
        ObjectRef { resource, namespace, name: self.name.clone() }
    }

    /// `deployments.apps "web"`.
    pub fn shown(&self) -> String {
        let dot = if self.group().is_empty() { "" } else { "." };
        format!("{}{dot}{} \"{}\"", plural(&self.kind), self.group(), self.name)
    }

    /// What the object wants; `None` when it does not exist.
    ///
    /// # Errors
    /// Every refusal of the API, a kind that nobody serves included.
    pub fn read(&self, ctx: &Context) -> Result<Option<Scale>, ApiError> {
        let Some(text) = ctx.host().get(&self.object(ctx))? else { return Ok(None) };
        let scaled: Scaled = serde_json::from_str(&text)
            .map_err(|error| ApiError::new(Reason::Internal, error.to_string()))?;
        Ok(Some(Scale {
            replicas: scaled.spec.replicas.unwrap_or(1),
            controller: scaled.metadata.controller().cloned(),
            uid: scaled.metadata.uid,
        }))
    }

    /// Sets how many pods the object wants.
    ///
    /// # Errors
    /// Every refusal of the API.
    pub fn set(&self, ctx: &Context, replicas: i64) -> Result<(), ApiError> {
        let patch = json!({"spec": {"replicas": replicas}}).to_string();
        ctx.host().patch(&self.object(ctx), PatchFormat::Merge, &patch).map(drop)
    }
}

/// The plural of a kind, as it usually is.
fn plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    match kind.strip_suffix('y') {
        Some(stem) if !kind.ends_with("ay") && !kind.ends_with("ey") => format!("{stem}ies"),
        _ if kind.ends_with(['s', 'x']) || kind.ends_with("ch") => format!("{kind}es"),
        _ => format!("{kind}s"),
    }
}
