//! What a writer asks for: the same for a client's request, a run's write and the host's own parts.

use std::sync::Arc;

use quadrille_object::Decoded;
use serde_json::Value;

use crate::catalog::Resource;

/// Who asks, as far as the write path and the record care.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actor {
    /// The user's name, such as `admin` or `system:serviceaccount:default:robot`; for a run
    /// `system:plugin:NAME`.
    pub user: Arc<str>,
    /// The user's uid; may be empty.
    pub uid: Arc<str>,
    /// The user's groups.
    pub groups: Arc<[Arc<str>]>,
    /// What else is known of the user.
    pub extra: Arc<crate::access::Extra>,
    /// The client: its `User-Agent`; for a run the controller's name.
    pub client: Arc<str>,
    /// The peer's address; empty for the host itself.
    pub address: Arc<str>,
}

impl Actor {
    /// The registry itself. No client can be it: whoever comes by HTTP is in a group at least.
    pub(crate) fn registry() -> Self {
        Self { user: REGISTRY_USER.into(), client: "quadrille".into(), ..Self::default() }
    }

    /// Whether it is the registry itself.
    pub(crate) fn is_registry(&self) -> bool {
        self.is_host() && *self.user == *REGISTRY_USER
    }
}

/// The user of the registry's own writes.
const REGISTRY_USER: &str = "system:apiserver";

/// A decoded body, and what the decoder noticed on the way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body {
    /// The object, patch or options.
    pub value: Value,
    /// What strict decoding objects to, as whole messages: `duplicate field "spec.replicas"` for JSON, `line 7:
    /// key "k" already set in map` for YAML; for `fieldValidation`.
    pub duplicates: Vec<String>,
}

impl From<Value> for Body {
    fn from(value: Value) -> Self {
        Self { value, duplicates: Vec::new() }
    }
}

impl From<Decoded> for Body {
    fn from(decoded: Decoded) -> Self {
        Self { value: decoded.value, duplicates: decoded.duplicates }
    }
}

/// The encodings of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchFormat {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' strategic merge patch; built-in kinds only.
    Strategic,
}

/// What to do with unknown and duplicate fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and say so in warnings.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

/// What happens to the objects that an object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// The owner goes first, the garbage collector follows.
    Background,
    /// The owner waits for those that block it.
    Foreground,
    /// The owned lose their reference and stay.
    Orphan,
}

/// What must hold for the object that is to be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// This incarnation only.
    pub uid: Option<String>,
    /// This resourceVersion only.
    pub resource_version: Option<String>,
}

/// How an object is to be deleted (`DeleteOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// What must hold.
    pub preconditions: Preconditions,
    /// What happens to the owned; `None` leaves it to the kind.
    pub propagation: Option<Propagation>,
    /// Seconds to wait before the object goes; `None` leaves it to the kind.
    pub grace_period_seconds: Option<i64>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// POST of a new object.
    Create(Body),
    /// PUT of the whole object; creates where the kind allows it.
    Update(Body),
    /// PATCH by one of three formats.
    Patch(PatchFormat, Body),
    /// Server-side apply: PATCH of the fields that the manager wants.
    Apply(Body),
    /// DELETE.
    Delete(DeleteOptions),
}

/// Where it is to be done.
#[derive(Clone, Debug)]
pub struct Target {
    /// The resource, in the version that was asked.
    pub resource: Arc<Resource>,
    /// The namespace; empty for a cluster-scoped resource.
    pub namespace: Arc<str>,
    /// The name; `None` for a create whose body has it or asks for a generated one.
    pub name: Option<Arc<str>>,
    /// The subresource, such as `status`; `None` for the object itself.
    pub subresource: Option<Arc<str>>,
}

/// How it is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Do everything but the commit.
    pub dry_run: bool,
    /// Who manages the fields; `None` derives it from the client.
    pub field_manager: Option<Arc<str>>,
    /// What to do with unknown fields.
    pub field_validation: FieldValidation,
    /// Take over fields that others own (apply only).
    pub force: bool,
}

/// A write.
#[derive(Clone, Debug)]
pub struct WriteRequest {
    /// Where.
    pub target: Target,
    /// What.
    pub action: Action,
    /// How.
    pub options: WriteOptions,
    /// Who.
    pub actor: Actor,
}
