//! What a schema says of JSON: its type in expressions, how lists and maps merge and compare, how large each
//! part can become.
//!
//! Owns the sizes that cost estimates rest on, derived from `OpenAPI` schemas as Kubernetes derives them. Must
//! not know of validation: a value that does not fit its declaration is seen as the JSON it is.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value as Json;

use crate::types::{Field, ObjectType, Type};

/// The largest request: no string, list or map can have more than fits into it.
const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;
/// Deeper than any schema the API server accepts; below it everything is dynamic.
const DEPTH_MAX: usize = 64;

/// The type of a part of an object, with what its schema adds.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The type in expressions.
    pub ty: Type,
    /// What is inside.
    pub shape: Shape,
    /// The most characters, bytes, elements or properties; for scalars `None`.
    pub size_max: Option<u64>,
    /// The fewest bytes the JSON of such a value takes.
    pub serialized_min: u64,
}

/// What is inside a value.
#[derive(Debug, Clone)]
pub enum Shape {
    /// Nothing that is declared.
    Scalar,
    /// Elements.
    List(Arc<Declared>, ListKind),
    /// Values by keys of type string.
    Map(Arc<Declared>),
    /// Declared fields.
    Object(Arc<ObjectType>),
}

/// How the elements of a list are told apart (`x-kubernetes-list-type`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListKind {
    /// By place.
    Atomic,
    /// By value: order does not matter when two are compared.
    Set,
    /// By the values of these properties.
    Map(Vec<String>),
}

/// What holds for JSON without a schema.
pub(crate) static DYN: LazyLock<Declared> = LazyLock::new(|| Declared::scalar(Type::Dyn, 1));

impl Declared {
    /// A scalar, or something dynamic, without a known size.
    pub fn scalar(ty: Type, serialized_min: u64) -> Self {
        Self { ty, shape: Shape::Scalar, size_max: None, serialized_min }
    }

    /// What a type says by itself: nothing of sizes.
    pub fn of_type(ty: Type) -> Self {
        let shape = match &ty {
            Type::List(element) => {
                Shape::List(Arc::new(Self::of_type((**element).clone())), ListKind::Atomic)
            }
            Type::Map(_, value) => Shape::Map(Arc::new(Self::of_type((**value).clone()))),
            Type::Object(object) => Shape::Object(Arc::clone(object)),
            _ => Shape::Scalar,
        };
        let sized =
            matches!(ty, Type::List(_) | Type::Map(..) | Type::String | Type::Bytes | Type::Dyn);
        Self { shape, size_max: sized.then_some(u64::MAX), ..Self::scalar(ty, 1) }
    }

    /// Anything.
    pub fn dynamic() -> Self {
        Self::scalar(Type::Dyn, 1)
    }

    /// A string of at most so many bytes.
    pub fn string(size_max: Option<u64>) -> Self {
        let size_max = Some(size_max.unwrap_or(REQUEST_BYTES_MAX - 2));
        Self { size_max, ..Self::scalar(Type::String, 2) }
    }

    /// A list of such elements.
    pub fn list(element: Self, kind: ListKind, size_max: Option<u64>) -> Self {
        let fits = (REQUEST_BYTES_MAX - 2) / (element.serialized_min + 1);
        Self {
            ty: Type::list(element.ty.clone()),
            size_max: Some(size_max.unwrap_or(fits)),
            serialized_min: 2,
            shape: Shape::List(Arc::new(element), kind),
        }
    }

    /// A map from strings to such values.
    pub fn map(value: Self, size_max: Option<u64>) -> Self {
        let fits = (REQUEST_BYTES_MAX - 2) / (value.serialized_min + 6);
        Self {
            ty: Type::map(Type::String, value.ty.clone()),
            size_max: Some(size_max.unwrap_or(fits)),
            serialized_min: 2,
            shape: Shape::Map(Arc::new(value)),
        }
    }

    /// An object of this type.
    pub fn object(object: ObjectType) -> Self {
        let object = Arc::new(object);
        Self {
            ty: Type::Object(Arc::clone(&object)),
            shape: Shape::Object(object),
            size_max: None,
            serialized_min: 2,
        }
    }

    /// The declaration that a structural schema (`OpenAPI` v3, as in a `CustomResourceDefinition`) makes, its
    /// object types named after `name`. `None` when the schema exposes nothing to expressions.
    ///
    /// At the root of a resource `apiVersion`, `kind` and the names in `metadata` are there without a schema.
    pub fn of_schema(schema: &Json, root: SchemaRoot, name: &str) -> Option<Self> {
        of_schema(schema, root, name, 0)
    }
}

/// Whether a schema describes a whole resource or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaRoot {
    /// A resource, or one that is embedded.
    Resource,
    /// Anything else.
    Part,
}

impl SchemaRoot {
    fn of_part(schema: &Json) -> Self {
        if flag(schema, "x-kubernetes-embedded-resource") { Self::Resource } else { Self::Part }
    }
}

fn flag(schema: &Json, name: &str) -> bool {
    schema.get(name).and_then(Json::as_bool).unwrap_or(false)
}

fn bound(schema: &Json, name: &str) -> Option<u64> {
    let number = schema.get(name)?;
    number.as_u64().or_else(|| number.as_i64().map(|_| 0))
}

fn of_schema(schema: &Json, root: SchemaRoot, name: &str, depth: usize) -> Option<Declared> {
    if depth > DEPTH_MAX {
        return None;
    }
    if flag(schema, "x-kubernetes-int-or-string") {
        let size_max = bound(schema, "maxLength").map(|length| length.saturating_mul(4));
        return Some(Declared {
            size_max: Some(size_max.unwrap_or(REQUEST_BYTES_MAX - 2)),
            ..Declared::scalar(Type::Dyn, 1)
        });
    }
    let kind = match root {
        SchemaRoot::Resource => "object",
        SchemaRoot::Part => schema.get("type").and_then(Json::as_str)?,
    };
    match kind {
        "array" => list_of(schema, name, depth),
        "object" => object_of(schema, root, name, depth),
        "string" => Some(string_of(schema)),
        "boolean" => Some(Declared::scalar(Type::Bool, 4)),
        "number" => Some(Declared::scalar(Type::Double, 1)),
        "integer" => Some(Declared::scalar(Type::Int, 1)),
        _ => None,
    }
}

fn list_of(schema: &Json, name: &str, depth: usize) -> Option<Declared> {
    let items = schema.get("items")?;
    let element = of_schema(items, SchemaRoot::of_part(items), &format!("{name}.@idx"), depth + 1)?;
    let kind = match schema.get("x-kubernetes-list-type").and_then(Json::as_str) {
        Some("set") => ListKind::Set,
        Some("map") => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Json::as_array);
            let names = keys.into_iter().flatten().filter_map(Json::as_str);
            ListKind::Map(names.map(str::to_owned).collect())
        }
        Some(_) | None => ListKind::Atomic,
    };
    Some(Declared::list(element, kind, bound(schema, "maxItems")))
}

fn object_of(schema: &Json, root: SchemaRoot, name: &str, depth: usize) -> Option<Declared> {
    if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
        let value =
            of_schema(values, SchemaRoot::of_part(values), &format!("{name}.@elem"), depth + 1)?;
        return Some(Declared::map(value, bound(schema, "maxProperties")));
    }
    let required = schema.get("required").and_then(Json::as_array);
    let required: Vec<&str> = required.into_iter().flatten().filter_map(Json::as_str).collect();
    let mut serialized_min = 2;
    let mut fields = ObjectType { name: name.to_owned(), fields: BTreeMap::new() };
    let properties = schema.get("properties").and_then(Json::as_object);
    for (property, part) in properties.into_iter().flatten() {
        let path = format!("{name}.{property}");
        let Some(declared) = of_schema(part, SchemaRoot::of_part(part), &path, depth + 1) else {
            continue;
        };
        if required.contains(&property.as_str()) && part.get("default").is_none() {
            serialized_min += property.len() as u64 + declared.serialized_min + 4;
        }
        insert(&mut fields, property, declared);
    }
    if root == SchemaRoot::Resource {
        add_identity(&mut fields);
    }
    Some(Declared { serialized_min, ..Declared::object(fields) })
}

fn insert(object: &mut ObjectType, property: &str, declared: Declared) {
    if let Some(name) = crate::escape::escape(property) {
        object.fields.insert(name, Field { property: property.to_owned(), declared });
    }
}

/// What every resource has: its kind and its names. Whatever else a schema says of `metadata` is not seen.
fn add_identity(object: &mut ObjectType) {
    let names = ["name", "generateName"].map(|name| (name.to_owned(), Declared::string(None)));
    let metadata = ObjectType::new(format!("{}.metadata", object.name), names);
    insert(object, "apiVersion", Declared::string(None));
    insert(object, "kind", Declared::string(None));
    insert(object, "metadata", Declared::object(metadata));
}

fn string_of(schema: &Json) -> Declared {
    let length = bound(schema, "maxLength");
    match schema.get("format").and_then(Json::as_str) {
        Some("byte") => Declared { ty: Type::Bytes, ..Declared::string(length) },
        Some("duration") => Declared { size_max: Some(32), ..Declared::scalar(Type::Duration, 3) },
        Some("date") => Declared { size_max: Some(12), ..Declared::scalar(Type::Timestamp, 12) },
        Some("date-time") => {
            Declared { size_max: Some(32), ..Declared::scalar(Type::Timestamp, 21) }
        }
        Some(_) | None => {
            // The schema counts characters, requests count bytes: one can take four.
            let length = length.map(|characters| characters.saturating_mul(4));
            Declared::string(length.or_else(|| longest(schema)))
        }
    }
}

fn longest(schema: &Json) -> Option<u64> {
    let values = schema.get("enum").and_then(Json::as_array).filter(|values| !values.is_empty())?;
    Some(values.iter().filter_map(Json::as_str).map(|text| text.len() as u64).max().unwrap_or(0))
}
