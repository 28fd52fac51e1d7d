//! From the `openAPIV3Schema` of a custom resource to nodes.
//!
//! The schema has passed the structural rules; whatever is of the wrong shape here is left out.

use serde_json::{Map, Number, Value};

use super::builtin::{OBJECT_META, builtin};
use super::enumeration::Enumeration;
use super::form::Empty;
use super::node::{Kind, ListKind, Node, NodeId, Property};
use super::rules::{Bound, Pattern, Rules};

/// Compiles a schema; the second part is its root.
pub(crate) fn compile(schema: &Value) -> (Vec<Node>, NodeId) {
    let mut compiler = Compiler { nodes: Vec::new() };
    let mut root = compiler.node(schema);
    compiler.add_envelope(&mut root);
    let root = compiler.push(root);
    (compiler.nodes, root)
}

/// Compiles a part of a schema, which is no object with apiVersion, kind and metadata.
pub(crate) fn compile_part(schema: &Value) -> (Vec<Node>, NodeId) {
    let mut compiler = Compiler { nodes: Vec::new() };
    let root = compiler.child(schema);
    (compiler.nodes, root)
}

struct Compiler {
    nodes: Vec<Node>,
}

impl Compiler {
    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId::local(self.nodes.len() - 1)
    }

    fn child(&mut self, schema: &Value) -> NodeId {
        let node = self.node(schema);
        self.push(node)
    }

    fn children(&mut self, schemas: Option<&Value>) -> Box<[NodeId]> {
        let schemas = schemas.and_then(Value::as_array).into_iter().flatten();
        schemas.map(|schema| self.child(schema)).collect()
    }

    fn node(&mut self, schema: &Value) -> Node {
        let empty = Map::new();
        let schema = schema.as_object().unwrap_or(&empty);
        let flag = |key: &str| schema.get(key).and_then(Value::as_bool) == Some(true);
        let additional = match schema.get("additionalProperties") {
            Some(Value::Bool(true)) => Some(self.push(Node { open: true, ..Node::default() })),
            Some(of @ Value::Object(_)) => Some(self.child(of)),
            _ => None,
        };
        let mut node = Node {
            kind: kind(schema),
            format: text(schema, "format").into(),
            properties: self.properties(schema),
            additional,
            items: schema.get("items").filter(|of| of.is_object()).map(|of| self.child(of)),
            list: list_kind(schema),
            atomic: text(schema, "x-kubernetes-map-type") == "atomic",
            open: flag("x-kubernetes-preserve-unknown-fields"),
            nullable: flag("nullable"),
            embedded: flag("x-kubernetes-embedded-resource"),
            required: texts(schema, "required").map(Into::into).collect(),
            default: schema.get("default").cloned().map(Box::new),
            rules: self.rules(schema).map(Box::new),
            name: Box::default(),
        };
        if node.embedded {
            self.add_envelope(&mut node);
        }
        node
    }

    fn properties(&mut self, schema: &Map<String, Value>) -> Box<[Property]> {
        let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let property = |(name, of): (&String, &Value)| Property {
            name: name.as_str().into(),
            node: self.child(of),
            always: false,
            by_value: false,
            empty: Empty::Free,
            key_default: of.get("default").cloned().map(Box::new),
            patch: None,
        };
        let mut properties: Box<[Property]> = fields.map(property).collect();
        properties.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        properties
    }

    /// Gives an object its implied apiVersion, kind and metadata.
    fn add_envelope(&mut self, node: &mut Node) {
        let metadata = builtin().named(OBJECT_META).expect("the shapes hold ObjectMeta");
        let scalar = || Node { kind: Kind::String, ..Node::default() };
        let scalar = self.push(scalar());
        let mut properties = std::mem::take(&mut node.properties).into_vec();
        for (name, id) in [("apiVersion", scalar), ("kind", scalar), ("metadata", metadata)] {
            let property = Property {
                name: name.into(),
                node: id,
                always: false,
                by_value: false,
                empty: Empty::Free,
                key_default: None,
                patch: None,
            };
            match properties.iter_mut().find(|p| *p.name == *name) {
                Some(known) if name == "metadata" => {
                    // What the schema says about metadata is checked beside the built-in type.
                    let rules = known.node;
                    known.node = id;
                    let mut all = node.rules.take().unwrap_or_default();
                    all.metadata = Some(rules);
                    node.rules = Some(all);
                }
                Some(_) => {}
                None => properties.push(property),
            }
        }
        properties.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        node.properties = properties.into();
    }

    fn rules(&mut self, schema: &Map<String, Value>) -> Option<Rules> {
        const KEYWORDS: &[&str] = &[
            "enum",
            "minimum",
            "maximum",
            "multipleOf",
            "minLength",
            "maxLength",
            "pattern",
            "minItems",
            "maxItems",
            "minProperties",
            "maxProperties",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
        ];
        if !KEYWORDS.iter().any(|keyword| schema.contains_key(*keyword)) {
            return None;
        }
        let count = |key: &str| schema.get(key).and_then(Value::as_u64);
        let flag = |key: &str| schema.get(key).and_then(Value::as_bool) == Some(true);
        let bound = |key: &str, exclusive: &str| {
            let value = number(schema, key)?;
            Some(Bound { value, exclusive: flag(exclusive) })
        };
        let values = schema.get("enum").and_then(Value::as_array);
        let values = values.filter(|values| !values.is_empty());
        Some(Rules {
            values: values.map(|values| Box::new(Enumeration::new(values))),
            minimum: bound("minimum", "exclusiveMinimum"),
            maximum: bound("maximum", "exclusiveMaximum"),
            multiple_of: number(schema, "multipleOf"),
            length_min: count("minLength"),
            length_max: count("maxLength"),
            pattern: Some(text(schema, "pattern")).filter(|p| !p.is_empty()).map(Pattern::new),
            items_min: count("minItems"),
            items_max: count("maxItems"),
            properties_min: count("minProperties"),
            properties_max: count("maxProperties"),
            all_of: self.children(schema.get("allOf")),
            any_of: self.children(schema.get("anyOf")),
            one_of: self.children(schema.get("oneOf")),
            not: schema.get("not").filter(|of| of.is_object()).map(|of| self.child(of)),
            metadata: None,
        })
    }
}

fn kind(schema: &Map<String, Value>) -> Kind {
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        return Kind::IntOrString;
    }
    match text(schema, "type") {
        "object" => Kind::Object,
        "array" => Kind::Array,
        "string" => Kind::String,
        "integer" => Kind::Integer,
        "number" => Kind::Number,
        "boolean" => Kind::Boolean,
        _ => Kind::Any,
    }
}

fn list_kind(schema: &Map<String, Value>) -> ListKind {
    match text(schema, "x-kubernetes-list-type") {
        "set" => ListKind::Set,
        "map" => {
            ListKind::Map(texts(schema, "x-kubernetes-list-map-keys").map(Into::into).collect())
        }
        _ => ListKind::Atomic,
    }
}

fn text<'a>(schema: &'a Map<String, Value>, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn texts<'a>(schema: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a str> {
    schema.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn number(schema: &Map<String, Value>, key: &str) -> Option<Number> {
    schema.get(key).and_then(Value::as_number).cloned()
}
