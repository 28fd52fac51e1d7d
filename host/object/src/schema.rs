//! Schemas: what objects of a kind look like, for built-in kinds and custom resources alike.
//!
//! A [`Schema`] is compiled once and asked often: which fields are unknown ([`Schema::prune`]), what is wrong
//! ([`Schema::check_types`] for built-in kinds, [`Schema::validate`] for custom ones), which defaults to fill in
//! ([`Schema::fill_defaults`]). Server-side apply and strategic merge patches ask it who owns what in lists and maps.
//! It must not know of requests or of stored objects; the defaults of built-in kinds are the registry's.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::FieldErrors;
use crate::name::Gvk;

mod builtin;
mod canonical;
mod check;
mod compile;
mod correlate;
mod defaults;
mod embedded;
mod enumeration;
pub mod field_path;
mod form;
mod format;
mod lists;
mod node;
mod pattern;
mod prune;
mod rules;
mod structural;
mod text;
mod validate;

pub use self::correlate::Correlation;
pub use self::defaults::{DEPTH_MAX, Nulls};
pub use self::node::ListKind;
pub(crate) use self::node::{Kind, Node, NodeId, PatchRule, Property};
pub use self::structural::{Findings, property_path};
pub(crate) use self::text::plain as plain_text;
pub use self::text::{SHOWN_BYTES_MAX, quoted, shown, shown_json, shown_text};

/// The built-in definitions as data: an object with `definitions`, in `OpenAPI` v2's form, without descriptions.
pub fn builtin_shapes() -> &'static str {
    builtin::SHAPES
}

/// A compiled schema; cheap to clone.
#[derive(Clone, Debug)]
pub struct Schema {
    arena: Arena,
    root: NodeId,
    parts: Parts,
}

/// What a schema has anywhere, so that what it has not costs nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    embedded: bool,
    /// Sets and associative lists.
    keyed_lists: bool,
}

#[derive(Clone, Debug)]
enum Arena {
    Builtin,
    Custom(Arc<[Node]>),
}

impl Schema {
    /// The schema of a built-in kind; `None` when Kubernetes has no such kind.
    pub fn builtin(kind: &Gvk) -> Option<Self> {
        let root = builtin::builtin().kind(kind)?;
        Some(Self::of_builtin(root))
    }

    /// The schema of a built-in definition, such as `io.k8s.api.core.v1.PodTemplateSpec`.
    pub fn definition(name: &str) -> Option<Self> {
        let root = builtin::builtin().named(name)?;
        Some(Self::of_builtin(root))
    }

    /// Compiles the `openAPIV3Schema` of one version of a `CustomResourceDefinition`. `path` is where it stands, for the
    /// errors: `spec.validation.openAPIV3Schema` where all versions share it.
    ///
    /// # Errors
    /// Everything for which kube-apiserver refuses a schema, in its words, but for expressions.
    pub fn from_crd(schema: &Value, path: &str) -> Result<Self, FieldErrors> {
        let errors = Self::check_crd(schema, path).into_all();
        if errors.is_empty() { Ok(Self::from_checked(schema)) } else { Err(errors) }
    }

    /// What is wrong with the `openAPIV3Schema` of one version of a `CustomResourceDefinition`, but for expressions.
    pub fn check_crd(schema: &Value, path: &str) -> Findings {
        structural::check(schema, path)
    }

    /// Compiles a schema that was checked when it was stored; whatever is of the wrong shape nevertheless is left out.
    pub fn from_checked(schema: &Value) -> Self {
        let (nodes, root) = compile::compile(schema);
        Self::of_custom(nodes, root)
    }

    /// A schema for objects of which nothing is known but their metadata.
    pub fn unknown() -> Self {
        let (nodes, root) = compile::compile(&serde_json::json!({
            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        }));
        Self::of_custom(nodes, root)
    }

    /// Removes the fields that the schema does not know and returns their paths in the form of kube-apiserver's
    /// warnings and strict decoding errors: `spec.containers[0].foo`, to be put into `unknown field "…"`. All are
    /// removed; the first 100 are told, each with its first kibibyte.
    pub fn prune(&self, object: &mut Map<String, Value>) -> Vec<String> {
        prune::prune(self, object)
    }

    /// Removes from an object of a built-in kind what holds nothing and is then not written: nulls, empty lists, and zero
    /// values of fields that cannot tell them from nothing.
    pub fn drop_empty(&self, object: &mut Map<String, Value>) {
        form::drop_empty(self, self.root(), object);
    }

    /// Writes the times and quantities of a built-in kind as Kubernetes writes them.
    pub fn canonicalize(&self, object: &mut Map<String, Value>) {
        canonical::canonicalize(self, object);
    }

    /// Writes the fields of a built-in kind that are always there, whether anybody set them or not, and quantities in their
    /// canonical form.
    pub fn fill_empty(&self, object: &mut Map<String, Value>) {
        form::fill_empty(self, self.root(), object);
    }

    /// Fills in the defaults of a custom resource's schema.
    pub fn fill_defaults(&self, object: &mut Map<String, Value>, nulls: Nulls) {
        defaults::fill(self, object, nulls);
    }

    /// Checks a custom resource; the errors are kube-apiserver's, in its order, as many as a list of them takes. What was wrong in the object that it
    /// replaces (`before`) and did not change is tolerated.
    pub fn validate(
        &self,
        object: &Map<String, Value>,
        before: Option<&Map<String, Value>>,
    ) -> FieldErrors {
        validate::validate(self, object, before)
    }

    /// Checks the JSON types of an object of a built-in kind, as decoding does.
    ///
    /// # Errors
    /// The decoder's message: `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type
    /// int32`.
    pub fn check_types(&self, object: &Map<String, Value>) -> Result<(), String> {
        check::check_types(self, object)
    }

    /// The same, with the messages that answer a strategic merge patch.
    ///
    /// # Errors
    /// The converter's message: `cannot restore slice from string`.
    pub fn check_restored(&self, object: &Map<String, Value>) -> Result<(), String> {
        check::check_restored(self, object)
    }

    /// Checks the `metadata` of an object of any kind, as decoding does.
    ///
    /// # Errors
    /// The decoder's message: `json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string`.
    pub fn check_metadata(metadata: &Value) -> Result<(), String> {
        check::check_metadata(metadata)
    }

    /// Whether the schema is a custom resource's.
    pub fn is_custom(&self) -> bool {
        matches!(self.arena, Arena::Custom(_))
    }

    fn of_builtin(root: NodeId) -> Self {
        Self { arena: Arena::Builtin, root, parts: Parts::default() }
    }

    fn of_custom(nodes: Vec<Node>, root: NodeId) -> Self {
        let parts = Parts {
            embedded: nodes.iter().any(|node| node.embedded),
            keyed_lists: nodes.iter().any(|node| node.list != ListKind::Atomic),
        };
        Self { arena: Arena::Custom(nodes.into()), root, parts }
    }

    pub(crate) fn root(&self) -> &Node {
        self.node(self.root)
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        match &self.arena {
            Arena::Custom(nodes) if !id.is_builtin() => {
                nodes.get(id.index()).expect("ids are made together with their nodes")
            }
            Arena::Custom(_) | Arena::Builtin => builtin::builtin().node(id),
        }
    }
}

#[cfg(test)]
mod tests;
