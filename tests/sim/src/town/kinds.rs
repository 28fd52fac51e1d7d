//! The kinds of the play, and writes of them.

use std::sync::Arc;

use quadrille_object::{GroupResource, Gvk};
use quadrille_registry::{
    Action, Body, DeleteOptions, PatchFormat, Registry, Resource, Status, Target, WriteOptions,
};
use quadrille_runtime::Overlay;
use quadrille_store::{Key, Object};
use serde_json::{Value, json};

/// A kind of the play.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Map,
    Secret,
    Widget,
    /// A custom kind whose definition is deleted now and then.
    Gadget,
    Namespace,
    Definition,
    Role,
}

impl Kind {
    /// Group, plural, kind.
    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Map => ("", "configmaps", "ConfigMap"),
            Self::Secret => ("", "secrets", "Secret"),
            Self::Widget => ("town.example", "widgets", "Widget"),
            Self::Gadget => ("town.example", "gadgets", "Gadget"),
            Self::Namespace => ("", "namespaces", "Namespace"),
            Self::Definition => {
                ("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition")
            }
            Self::Role => ("rbac.authorization.k8s.io", "roles", "Role"),
        }
    }

    pub(super) fn resource(self) -> GroupResource {
        GroupResource::new(self.words().0, self.words().1)
    }

    pub(super) fn key(self, namespace: &str, name: &str) -> Key {
        Key::new(self.resource(), namespace, name)
    }

    /// As it is served now.
    pub(super) fn served(self, registry: &Registry) -> Result<Arc<Resource>, Status> {
        let (group, _, kind) = self.words();
        let found = registry.resource_of(&Gvk::new(group, "v1", kind));
        found.ok_or_else(|| Status::not_found(&self.resource(), ""))
    }

    pub(super) fn target(
        self,
        registry: &Registry,
        namespace: &str,
        name: Option<&str>,
    ) -> Result<Target, Status> {
        let resource = self.served(registry)?;
        let name = name.map(Into::into);
        Ok(Target { resource, namespace: namespace.into(), name, subresource: None })
    }

    /// A reference to an owner of this kind.
    pub(super) fn owner(self, object: &Object, blocks: bool) -> Value {
        let (group, _, kind) = self.words();
        let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
        json!({
            "apiVersion": version, "kind": kind, "name": &*object.key.name, "uid": &*object.meta.uid,
            "blockOwnerDeletion": blocks,
        })
    }

    /// An object of this kind that says so.
    pub(super) fn typed(self, mut object: Value) -> Value {
        let (group, _, kind) = self.words();
        let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
        object["apiVersion"] = version.into();
        object["kind"] = kind.into();
        object
    }

    /// A definition of a custom kind.
    pub(super) fn definition(self) -> Value {
        let (group, plural, kind) = self.words();
        let text = json!({"type": "string"});
        let spec =
            json!({"type": "object", "properties": {"color": text, "n": {"type": "integer"}}});
        let status = json!({"type": "object", "properties": {"color": text}});
        let schema = json!({"type": "object", "properties": {"spec": spec, "status": status}});
        let version = json!({
            "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": schema},
        });
        let singular = kind.to_lowercase();
        json!({
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {
                "group": group, "scope": "Namespaced", "versions": [version],
                "names": {"plural": plural, "singular": singular, "kind": kind, "listKind": format!("{kind}List")},
            },
        })
    }
}

/// An object as JSON.
pub(super) fn value(object: &Object) -> Value {
    serde_json::from_slice(&object.bytes).unwrap_or_default()
}

/// Text at a JSON pointer.
pub(super) fn text(object: &Object, at: &str) -> String {
    let value = value(object);
    value.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned()
}

pub(super) fn merge(patch: Value) -> Action {
    Action::Patch(PatchFormat::Merge, Body::from(patch))
}

/// What a run does to an object.
pub(super) fn write(
    overlay: &mut Overlay,
    kind: Kind,
    (namespace, name): (&str, Option<&str>),
    action: Action,
) -> Result<(), Status> {
    let target = kind.target(overlay.registry(), namespace, name)?;
    overlay.write(target, action, WriteOptions::default()).map(drop)
}

/// A run deletes an object.
pub(super) fn delete(overlay: &mut Overlay, kind: Kind, object: &Object) -> Result<(), Status> {
    let place = (&*object.key.namespace, Some(&*object.key.name));
    write(overlay, kind, place, Action::Delete(DeleteOptions::default()))
}
