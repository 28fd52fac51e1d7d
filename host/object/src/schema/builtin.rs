//! The schemas of built-in kinds, compiled once from the shapes of Kubernetes' `OpenAPI` document.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

use super::form;
use super::node::{Kind, ListKind, Node, NodeId, PatchRule, Property};
use crate::name::Gvk;

pub(super) const SHAPES: &str = include_str!("../../data/openapi-shapes.json");
const STRUCT_FIELDS: &str = include_str!("../../data/struct-fields.json");

pub(crate) const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const API: &str = "io.k8s.api.";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.";
const AGGREGATOR: &str = "io.k8s.kube-aggregator.pkg.apis.apiregistration.";

/// Groups whose package is not simply their first label.
const PACKAGES: &[(&str, &str)] = &[
    ("", "core"),
    ("internal.apiserver.k8s.io", "apiserverinternal"),
    ("flowcontrol.apiserver.k8s.io", "flowcontrol"),
];

/// Keys of associative lists that have a value where the item leaves them out: (type, field, value).
const KEY_DEFAULTS: &[(&str, &str, &str)] = &[
    ("io.k8s.api.core.v1.ContainerPort", "protocol", "TCP"),
    ("io.k8s.api.core.v1.ServicePort", "protocol", "TCP"),
];

/// Every built-in definition.
pub(crate) struct Builtin {
    pub(crate) nodes: Vec<Node>,
    names: HashMap<&'static str, NodeId>,
}

static BUILTIN: LazyLock<Builtin> = LazyLock::new(|| {
    let document: Document<'static> =
        serde_json::from_str(SHAPES).expect("the shapes are part of the build and tested");
    let always: BTreeMap<&'static str, Vec<&'static str>> =
        serde_json::from_str(STRUCT_FIELDS).expect("the list is part of the build and tested");
    Compiler::new(&document, always).compile(&document)
});

/// The built-in definitions; compiled at the first call.
pub(crate) fn builtin() -> &'static Builtin {
    &BUILTIN
}

impl Builtin {
    pub(crate) fn named(&self, name: &str) -> Option<NodeId> {
        self.names.get(name).copied()
    }

    pub(crate) fn kind(&self, kind: &Gvk) -> Option<NodeId> {
        definition_names(kind).find_map(|name| self.named(&name))
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id.index()).expect("ids are made together with their nodes")
    }
}

/// The names under which the definition of a kind may stand.
fn definition_names(kind: &Gvk) -> impl Iterator<Item = String> {
    let label = kind.group.split('.').next().unwrap_or_default();
    let package = PACKAGES.iter().find(|(group, _)| **group == *kind.group);
    let package = package.map_or(label, |(_, package)| package);
    let tail = format!("{}.{}", kind.version, kind.kind);
    let prefix = match &*kind.group {
        "apiextensions.k8s.io" => EXTENSIONS.to_owned(),
        "apiregistration.k8s.io" => AGGREGATOR.to_owned(),
        _ => format!("{API}{package}."),
    };
    [format!("{prefix}{tail}"), format!("io.k8s.apimachinery.pkg.apis.meta.{tail}")].into_iter()
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    definitions: BTreeMap<&'a str, Shape<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Shape<'a> {
    #[serde(rename = "$ref")]
    reference: Option<&'a str>,
    r#type: Option<&'a str>,
    format: Option<&'a str>,
    #[serde(borrow)]
    properties: BTreeMap<&'a str, Shape<'a>>,
    #[serde(borrow)]
    items: Option<Box<Shape<'a>>>,
    #[serde(borrow, rename = "additionalProperties")]
    additional: Option<Box<Shape<'a>>>,
    #[serde(borrow)]
    required: Vec<&'a str>,
    #[serde(rename = "x-kubernetes-list-type")]
    list_type: Option<&'a str>,
    #[serde(borrow, rename = "x-kubernetes-list-map-keys")]
    list_keys: Vec<&'a str>,
    #[serde(rename = "x-kubernetes-map-type")]
    map_type: Option<&'a str>,
    #[serde(rename = "x-kubernetes-patch-strategy")]
    patch_strategy: Option<&'a str>,
    #[serde(rename = "x-kubernetes-patch-merge-key")]
    merge_key: Option<&'a str>,
    #[serde(rename = "x-kubernetes-group-version-kind")]
    kinds: Option<serde::de::IgnoredAny>,
}

struct Compiler {
    always: BTreeMap<&'static str, Vec<&'static str>>,
    nodes: Vec<Node>,
    names: HashMap<&'static str, NodeId>,
    /// Scalars of one type and format are one node.
    scalars: HashMap<(Kind, &'static str), NodeId>,
}

impl Compiler {
    fn new(
        document: &Document<'static>,
        always: BTreeMap<&'static str, Vec<&'static str>>,
    ) -> Self {
        let mut nodes = Vec::with_capacity(document.definitions.len() * 2);
        let names = document.definitions.keys().enumerate().map(|(index, name)| {
            nodes.push(Node::default());
            (*name, NodeId::local(index).builtin())
        });
        let names = names.collect();
        Self { always, nodes, names, scalars: HashMap::new() }
    }

    fn compile(mut self, document: &Document<'static>) -> Builtin {
        for (index, (name, shape)) in document.definitions.iter().enumerate() {
            let mut node = self.node(shape, name);
            node.name = (*name).into();
            if let Some(slot) = self.nodes.get_mut(index) {
                *slot = node;
            }
        }
        self.overrides(document);
        Builtin { nodes: self.nodes, names: self.names }
    }

    fn node(&mut self, shape: &Shape<'static>, name: &str) -> Node {
        let kind = kind_of(shape, name);
        let free =
            kind == Kind::Object && shape.properties.is_empty() && shape.additional.is_none();
        let always = self.always.get(name).cloned().unwrap_or_default();
        let properties = shape.properties.iter().map(|(field, of)| Property {
            name: (*field).into(),
            node: self.reference(of),
            always: shape.required.contains(field)
                || always.contains(field)
                || is_part_of_kind(shape, field),
            by_value: always.contains(field) || is_part_of_kind(shape, field),
            empty: form::empty(name, field),
            key_default: key_default(name, field, shape, of),
            patch: patch_rule(of),
        });
        Node {
            properties: properties.collect(),
            kind,
            format: shape.format.unwrap_or_default().into(),
            additional: shape.additional.as_deref().map(|of| self.reference(of)),
            items: shape.items.as_deref().map(|of| self.reference(of)),
            list: list_kind(shape),
            atomic: free || shape.map_type == Some("atomic"),
            open: free || kind == Kind::Any,
            required: shape.required.iter().map(|field| (*field).into()).collect(),
            ..Node::default()
        }
    }

    fn reference(&mut self, shape: &Shape<'static>) -> NodeId {
        let target = shape.reference.and_then(|r| r.strip_prefix("#/definitions/"));
        if let Some(id) = target.and_then(|name| self.names.get(name)) {
            return *id;
        }
        let kind = kind_of(shape, "");
        if !matches!(kind, Kind::Object | Kind::Array) {
            let key = (kind, shape.format.unwrap_or_default());
            if let Some(id) = self.scalars.get(&key) {
                return *id;
            }
            let id = self.push(shape);
            self.scalars.insert(key, id);
            return id;
        }
        self.push(shape)
    }

    fn push(&mut self, shape: &Shape<'static>) -> NodeId {
        let node = self.node(shape, "");
        self.nodes.push(node);
        NodeId::local(self.nodes.len() - 1).builtin()
    }

    /// Fields that refer to a type and say otherwise about who owns it.
    fn overrides(&mut self, document: &Document<'static>) {
        for (index, shape) in document.definitions.values().enumerate() {
            for (field, of) in &shape.properties {
                let (Some(map_type), Some(_)) = (of.map_type, of.reference) else { continue };
                let Some(id) = self.nodes.get(index).and_then(|n| n.field(field)) else { continue };
                let mut copy = self.nodes.get(id.index()).cloned().unwrap_or_default();
                copy.atomic = map_type == "atomic";
                self.nodes.push(copy);
                let id = NodeId::local(self.nodes.len() - 1).builtin();
                let node = self.nodes.get_mut(index).map(|n| &mut n.properties);
                let property = node.and_then(|p| p.iter_mut().find(|p| *p.name == **field));
                if let Some(property) = property {
                    property.node = id;
                }
            }
        }
    }
}

fn kind_of(shape: &Shape<'_>, name: &str) -> Kind {
    match (shape.r#type, shape.format) {
        _ if name.ends_with(".api.resource.Quantity") => Kind::IntOrString,
        (_, Some("int-or-string")) => Kind::IntOrString,
        (Some("object"), _) => Kind::Object,
        (Some("array"), _) => Kind::Array,
        (Some("string"), _) => Kind::String,
        (Some("integer"), _) => Kind::Integer,
        (Some("number"), _) => Kind::Number,
        (Some("boolean"), _) => Kind::Boolean,
        _ => Kind::Any,
    }
}

/// Kinds hold their parts by value.
fn is_part_of_kind(shape: &Shape<'_>, field: &str) -> bool {
    shape.kinds.is_some() && matches!(field, "metadata" | "spec" | "status")
}

fn list_kind(shape: &Shape<'_>) -> ListKind {
    match shape.list_type {
        Some("set") => ListKind::Set,
        Some("map") => ListKind::Map(shape.list_keys.iter().map(|key| (*key).into()).collect()),
        _ => ListKind::Atomic,
    }
}

/// What a key of a list holds when it is not given: fields that Go always writes have their zero value.
fn key_default(name: &str, field: &str, holder: &Shape<'_>, of: &Shape<'_>) -> Option<Box<Value>> {
    let known = KEY_DEFAULTS.iter().find(|(of, key, _)| *of == name && *key == field);
    let zero = || {
        let always = holder.required.contains(&field) || name.ends_with("LocalObjectReference");
        match of.r#type.filter(|_| always)? {
            "string" => Some(Value::from("")),
            "integer" | "number" => Some(Value::from(0)),
            "boolean" => Some(Value::from(false)),
            _ => None,
        }
    };
    known.map(|(_, _, value)| Value::from(*value)).or_else(zero).map(Box::new)
}

fn patch_rule(shape: &Shape<'_>) -> Option<Box<PatchRule>> {
    let strategy = shape.patch_strategy.unwrap_or_default();
    if strategy.is_empty() && shape.merge_key.is_none() {
        return None;
    }
    let has = |wanted: &str| strategy.split(',').any(|part| part == wanted);
    Some(Box::new(PatchRule {
        merge: has("merge"),
        replace: has("replace"),
        retain_keys: has("retainKeys"),
        merge_key: shape.merge_key.map(Into::into),
    }))
}
