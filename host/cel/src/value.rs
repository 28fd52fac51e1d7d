//! Values: what expressions compute with. Cheap to clone, and views where they can be: an object that a rule
//! looks at is never copied.
//!
//! Owns lists, maps and objects over JSON or built by an expression, and their keys. Must not know of
//! expressions; what functions do with values lies in `library`.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::{Map as JsonMap, Value as Json};

use crate::declared::{DYN, Declared, ListKind, Shape};
use crate::json;
use crate::library::{Authorization, Cidr, Format, Quantity, Semver, Url};
use crate::time::{Duration, Timestamp};
use crate::types::{ObjectType, OpaqueType};

/// Text that is borrowed from an object or an expression, or shared.
#[derive(Clone)]
pub enum Text<'a> {
    /// Lives in an object, a schema or an expression.
    Borrowed(&'a str),
    /// Made by an expression.
    Shared(Arc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self::Borrowed(text)
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self::Shared(text.into())
    }
}

/// A value of the language.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number with a sign.
    Int(i64),
    /// A number without a sign.
    Uint(u64),
    /// A floating-point number.
    Double(f64),
    /// Text.
    String(Text<'a>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A span of time.
    Duration(Duration),
    /// A point in time.
    Timestamp(Timestamp),
    /// Elements.
    List(List<'a>),
    /// Values by keys.
    Map(Map<'a>),
    /// Declared fields.
    Object(Object<'a>),
    /// A value that may be absent.
    Optional(Option<Arc<Value<'a>>>),
    /// A type, by its name.
    Type(Text<'a>),
    /// One of Kubernetes' own.
    Opaque(Opaque),
}

/// Kubernetes' own values.
#[derive(Debug, Clone)]
pub enum Opaque {
    /// An amount.
    Quantity(Arc<Quantity>),
    /// A URL.
    Url(Arc<Url>),
    /// An address.
    Ip(std::net::IpAddr),
    /// A range of addresses.
    Cidr(Cidr),
    /// A version.
    Semver(Arc<Semver>),
    /// A format of strings.
    Format(&'static Format),
    /// A question to the authorizer that is being put together, or its answer.
    Authorization(Authorization),
}

impl Opaque {
    pub(crate) fn ty(&self) -> OpaqueType {
        match self {
            Self::Quantity(_) => OpaqueType::Quantity,
            Self::Url(_) => OpaqueType::Url,
            Self::Ip(_) => OpaqueType::Ip,
            Self::Cidr(_) => OpaqueType::Cidr,
            Self::Semver(_) => OpaqueType::Semver,
            Self::Format(_) => OpaqueType::Format,
            Self::Authorization(step) => step.ty(),
        }
    }
}

/// A list, seen in JSON or built.
#[derive(Debug, Clone)]
pub enum List<'a> {
    /// The elements of a JSON array.
    Json {
        /// The array.
        items: &'a [Json],
        /// What each element is.
        element: &'a Declared,
        /// How elements are told apart.
        kind: &'a ListKind,
    },
    /// Elements an expression has put together.
    Built(Arc<Vec<Value<'a>>>),
}

impl<'a> List<'a> {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Json { items, .. } => items.len(),
            Self::Built(items) => items.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at a place.
    pub fn get(&self, place: usize) -> Option<Value<'a>> {
        match self {
            Self::Json { items, element, .. } => {
                items.get(place).map(|item| json::view(item, element))
            }
            Self::Built(items) => items.get(place).cloned(),
        }
    }

    /// All elements in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|place| self.get(place))
    }

    pub(crate) fn kind(&self) -> &'a ListKind {
        match self {
            Self::Json { kind, .. } => kind,
            Self::Built(_) => &ListKind::Atomic,
        }
    }
}

/// The key of a map's entry.
#[derive(Debug, Clone)]
pub enum Key<'a> {
    /// `true` or `false`.
    Bool(bool),
    /// A number with a sign.
    Int(i64),
    /// A number without a sign; the same key as the equal number with one.
    Uint(u64),
    /// Text.
    String(Text<'a>),
}

impl<'a> Key<'a> {
    pub(crate) fn value(&self) -> Value<'a> {
        match self {
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Int(number) => Value::Int(*number),
            Self::Uint(number) => Value::Uint(*number),
            Self::String(text) => Value::String(text.clone()),
        }
    }

    fn number(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(i128::from(*number)),
            Self::Uint(number) => Some(i128::from(*number)),
            Self::Bool(_) | Self::String(_) => None,
        }
    }

    fn rank(&self) -> (u8, i128) {
        match self {
            Self::Bool(flag) => (0, i128::from(*flag)),
            Self::Int(_) | Self::Uint(_) => (1, self.number().unwrap_or(0)),
            Self::String(_) => (2, 0),
        }
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::String(left), Self::String(right)) => (**left).cmp(&**right),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key<'_> {}

/// A map, seen in JSON or built.
#[derive(Debug, Clone)]
pub enum Map<'a> {
    /// The entries of a JSON object.
    Json {
        /// The object.
        entries: &'a JsonMap<String, Json>,
        /// What each value is.
        value: &'a Declared,
    },
    /// Entries an expression has put together.
    Built(Arc<BTreeMap<Key<'a>, Value<'a>>>),
}

impl<'a> Map<'a> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Json { entries, .. } => entries.len(),
            Self::Built(entries) => entries.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key.
    pub fn get(&self, key: &Key<'a>) -> Option<Value<'a>> {
        match (self, key) {
            (Self::Json { .. }, Key::String(key)) => self.get_text(key),
            (Self::Json { .. }, _) => None,
            (Self::Built(entries), key) => entries.get(key).cloned(),
        }
    }

    /// The value of a key that is text.
    pub fn get_text(&self, key: &str) -> Option<Value<'a>> {
        match self {
            Self::Json { entries, value } => entries.get(key).map(|found| json::view(found, value)),
            Self::Built(entries) => text_entry(entries, key),
        }
    }

    /// All entries in the keys' order.
    pub fn entries(&self) -> Box<dyn Iterator<Item = (Key<'a>, Value<'a>)> + '_> {
        match self {
            Self::Json { entries, value } => Box::new(entries.iter().map(|(key, found)| {
                (Key::String(Text::Borrowed(key.as_str())), json::view(found, value))
            })),
            Self::Built(entries) => {
                Box::new(entries.iter().map(|(key, value)| (key.clone(), value.clone())))
            }
        }
    }
}

/// Looks up without a copy of the key: both sides are seen for the shorter of their lives.
fn text_entry<'m, 'a: 'm>(
    entries: &'m BTreeMap<Key<'a>, Value<'a>>,
    key: &'m str,
) -> Option<Value<'a>> {
    let entries: &'m BTreeMap<Key<'m>, Value<'a>> = entries;
    entries.get(&Key::String(Text::Borrowed(key))).cloned()
}

/// An object, seen in JSON or built.
#[derive(Debug, Clone)]
pub enum Object<'a> {
    /// The properties of a JSON object.
    Json {
        /// The object.
        properties: &'a JsonMap<String, Json>,
        /// What is declared of it.
        ty: &'a ObjectType,
    },
    /// Fields an expression has put together, by their names in JSON.
    Built {
        /// The fields.
        fields: Arc<BTreeMap<&'a str, Value<'a>>>,
        /// What is declared of it.
        ty: &'a ObjectType,
    },
}

impl<'a> Object<'a> {
    /// The object's type.
    pub fn ty(&self) -> &'a ObjectType {
        match self {
            Self::Json { ty, .. } | Self::Built { ty, .. } => ty,
        }
    }

    /// The value of a field, by its name in expressions; a declared field that is null counts as absent.
    pub fn get(&self, field: &str) -> Option<Value<'a>> {
        match self {
            Self::Json { properties, ty } => {
                let field = ty.field(field)?;
                let found = properties.get(&field.property).filter(|found| !found.is_null())?;
                Some(json::view(found, &field.declared))
            }
            Self::Built { fields, ty } => {
                let property = ty.field(field).map_or(field, |field| &field.property);
                fields.get(property).cloned()
            }
        }
    }

    /// The fields that are set and declared, by their names in JSON.
    pub fn fields(&self) -> Vec<(&'a str, Value<'a>)> {
        match self {
            Self::Json { properties, ty } => {
                let set = |field: &'a crate::types::Field| {
                    let found = properties.get(&field.property).filter(|found| !found.is_null())?;
                    Some((field.property.as_str(), json::view(found, &field.declared)))
                };
                ty.fields.values().filter_map(set).collect()
            }
            Self::Built { fields, .. } => {
                fields.iter().map(|(name, value)| (*name, value.clone())).collect()
            }
        }
    }
}

impl<'a> Value<'a> {
    /// Text.
    pub fn text(text: impl Into<Text<'a>>) -> Self {
        Self::String(text.into())
    }

    /// A list of these elements.
    pub fn list(elements: Vec<Self>) -> Self {
        Self::List(List::Built(Arc::new(elements)))
    }

    /// A map of these entries.
    pub fn map(entries: BTreeMap<Key<'a>, Self>) -> Self {
        Self::Map(Map::Built(Arc::new(entries)))
    }

    /// A value that is there, as an optional one.
    pub fn some(value: Self) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// JSON as a schema declares it.
    pub fn from_json(json: &'a Json, declared: &'a Declared) -> Self {
        json::view(json, declared)
    }

    /// JSON without a schema: whole numbers are `int`, others `double`, objects are maps.
    pub fn dynamic(json: &'a Json) -> Self {
        json::view(json, &DYN)
    }

    /// The name that `type(x)` gives.
    pub fn type_name(&self) -> &str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Object(object) => &object.ty().name,
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Opaque(opaque) => opaque.ty().name(),
        }
    }

    /// What is true or false, if it is.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(flag) = self { Some(*flag) } else { None }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The JSON of the value, for messages, patches and apply configurations.
    ///
    /// # Errors
    /// When the value, or something in it, has no form in JSON, as a type or a quantity.
    pub fn to_json(&self) -> Result<Json, crate::EvalError> {
        json::write(self)
    }

    pub(crate) fn key(&self) -> Option<Key<'a>> {
        match self {
            Self::Bool(flag) => Some(Key::Bool(*flag)),
            Self::Int(number) => Some(Key::Int(*number)),
            Self::Uint(number) => Some(Key::Uint(*number)),
            Self::Double(number) => json::whole(*number).map(Key::Int),
            Self::String(text) => Some(Key::String(text.clone())),
            _ => None,
        }
    }
}

impl<'a> Value<'a> {
    pub(crate) fn view_list(items: &'a [Json], declared: &'a Declared) -> Self {
        let (element, kind) = match &declared.shape {
            Shape::List(element, kind) => (&**element, kind),
            Shape::Scalar | Shape::Map(_) | Shape::Object(_) => (&*DYN, &ListKind::Atomic),
        };
        Self::List(List::Json { items, element, kind })
    }

    /// A JSON object as its schema declares it.
    pub fn from_object(entries: &'a JsonMap<String, Json>, declared: &'a Declared) -> Self {
        match &declared.shape {
            Shape::Object(ty) => Self::Object(Object::Json { properties: entries, ty }),
            Shape::Map(value) => Self::Map(Map::Json { entries, value }),
            Shape::Scalar | Shape::List(..) => Self::Map(Map::Json { entries, value: &DYN }),
        }
    }
}
