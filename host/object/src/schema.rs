//! Schemas: what objects of a kind look like, for built-in kinds and custom resources alike.
//!
//! A [`Schema`] is compiled once and asked often: which fields are unknown ([`Schema::prune`]), what is wrong
//! ([`Schema::check_types`] for built-in kinds, [`Schema::validate`] for custom ones), which defaults to fill in
//! ([`Schema::fill_defaults`]). Server-side apply and strategic merge patches ask it who owns what in lists and maps.
//! It must not know of requests or of stored objects; the defaults of built-in kinds are the registry's.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::FieldError;
use crate::name::Gvk;

mod builtin;
mod check;
mod compile;
mod defaults;
mod form;
mod format;
mod node;
mod prune;
mod rules;
mod structural;
mod text;
mod validate;

pub use self::defaults::DEPTH_MAX;
pub(crate) use self::node::{Kind, ListKind, Node, NodeId, PatchRule, Property};
pub(crate) use self::text::{plain as plain_text, quoted};

/// The built-in definitions as data: an object with `definitions`, in `OpenAPI` v2's form, without descriptions.
pub fn builtin_shapes() -> &'static str {
    builtin::SHAPES
}

/// A compiled schema; cheap to clone.
#[derive(Clone, Debug)]
pub struct Schema {
    arena: Arena,
    root: NodeId,
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
        Some(Self { arena: Arena::Builtin, root })
    }

    /// The schema of a built-in definition, such as `io.k8s.api.core.v1.PodTemplateSpec`.
    pub fn definition(name: &str) -> Option<Self> {
        let root = builtin::builtin().named(name)?;
        Some(Self { arena: Arena::Builtin, root })
    }

    /// Compiles the `openAPIV3Schema` of one version of a `CustomResourceDefinition`. `path` is where it stands, for the
    /// errors: `spec.validation.openAPIV3Schema` where all versions share it.
    ///
    /// # Errors
    /// Everything for which kube-apiserver refuses a schema, in its words.
    pub fn from_crd(schema: &Value, path: &str) -> Result<Self, Vec<FieldError>> {
        structural::check(schema, path)?;
        let (nodes, root) = compile::compile(schema);
        let compiled = Self { arena: Arena::Custom(nodes.into()), root };
        let errors = structural::check_defaults(schema, path);
        if errors.is_empty() { Ok(compiled) } else { Err(errors) }
    }

    /// A schema for objects of which nothing is known but their metadata.
    pub fn unknown() -> Self {
        let (nodes, root) = compile::compile(&serde_json::json!({
            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        }));
        Self { arena: Arena::Custom(nodes.into()), root }
    }

    /// Removes the fields that the schema does not know and returns their paths in the form of kube-apiserver's
    /// warnings and strict decoding errors: `spec.containers[0].foo`, to be put into `unknown field "…"`.
    pub fn prune(&self, object: &mut Map<String, Value>) -> Vec<String> {
        prune::prune(self, object)
    }

    /// Removes from an object of a built-in kind what holds nothing and is then not written: nulls, empty lists, and zero
    /// values of fields that cannot tell them from nothing.
    pub fn drop_empty(&self, object: &mut Map<String, Value>) {
        form::drop_empty(self, self.root(), object);
    }

    /// Writes the fields of a built-in kind that are always there, whether anybody set them or not, and quantities in their
    /// canonical form.
    pub fn fill_empty(&self, object: &mut Map<String, Value>) {
        form::fill_empty(self, self.root(), object);
    }

    /// Fills in the defaults of a custom resource's schema.
    pub fn fill_defaults(&self, object: &mut Map<String, Value>) {
        defaults::fill(self, object);
    }

    /// Checks a custom resource; the errors are kube-apiserver's, in its order.
    pub fn validate(&self, object: &Map<String, Value>) -> Vec<FieldError> {
        validate::validate(self, object, "")
    }

    /// Checks the JSON types of an object of a built-in kind, as decoding does.
    ///
    /// # Errors
    /// The decoder's message: `json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type
    /// int32`.
    pub fn check_types(&self, object: &Map<String, Value>) -> Result<(), String> {
        check::check_types(self, object)
    }

    /// Checks the `metadata` of an object of any kind, as decoding does.
    ///
    /// # Errors
    /// The decoder's message: `json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string`.
    pub fn check_metadata(metadata: &Value) -> Result<(), String> {
        check::check_metadata(metadata)
    }

    /// Whether any part of the schema has rules in CEL (`x-kubernetes-validations`), which are not evaluated here.
    pub fn has_expressions(&self) -> bool {
        let rules = |node: &Node| node.rules.as_deref().is_some_and(|r| !r.expressions.is_empty());
        match &self.arena {
            Arena::Custom(nodes) => nodes.iter().any(rules),
            Arena::Builtin => false,
        }
    }

    /// Whether the schema is a custom resource's.
    pub fn is_custom(&self) -> bool {
        matches!(self.arena, Arena::Custom(_))
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
