//! Types: what an expression's parts are known to be before they have values.
//!
//! Owns their names as errors print them, and the assignability rules of the checker live in `check`. Must
//! not know of values.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::declared::Declared;

/// A type of the language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// Anything: what is known of it is known when there is a value.
    Dyn,
    /// What could not be typed; stands so that one mistake is reported once.
    Error,
    /// The type of `null`.
    Null,
    /// `true` and `false`.
    Bool,
    /// 64 bits with a sign.
    Int,
    /// 64 bits without a sign.
    Uint,
    /// A floating-point number.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// A span of time.
    Duration,
    /// A point in time.
    Timestamp,
    /// A list of one type of element.
    List(Arc<Type>),
    /// A map from keys to values.
    Map(Arc<Type>, Arc<Type>),
    /// An object with declared fields.
    Object(Arc<ObjectType>),
    /// A value that may be absent.
    Optional(Arc<Type>),
    /// The type of a type.
    #[expect(clippy::enum_variant_names, reason = "the language calls the type of types so")]
    Type(Arc<Type>),
    /// One of Kubernetes' own types.
    Opaque(OpaqueType),
    /// A variable of the checker.
    #[doc(hidden)]
    Param(u32),
}

/// Kubernetes' own types: values that only their functions look into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OpaqueType {
    /// An amount, as `1Gi`.
    Quantity,
    /// An absolute URL or path.
    Url,
    /// An address.
    Ip,
    /// An address with a prefix length.
    Cidr,
    /// A semantic version.
    Semver,
    /// A named format of strings.
    Format,
    /// Who asks for permission.
    Authorizer,
    /// A question about a path.
    PathCheck,
    /// A question about an API group.
    GroupCheck,
    /// A question about a resource.
    ResourceCheck,
    /// The answer to a question.
    Decision,
}

impl OpaqueType {
    /// The name in expressions and errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quantity => "kubernetes.Quantity",
            Self::Url => "kubernetes.URL",
            Self::Ip => "net.IP",
            Self::Cidr => "net.CIDR",
            Self::Semver => "kubernetes.Semver",
            Self::Format => "kubernetes.NamedFormat",
            Self::Authorizer => "kubernetes.authorization.Authorizer",
            Self::PathCheck => "kubernetes.authorization.PathCheck",
            Self::GroupCheck => "kubernetes.authorization.GroupCheck",
            Self::ResourceCheck => "kubernetes.authorization.ResourceCheck",
            Self::Decision => "kubernetes.authorization.Decision",
        }
    }

    pub(crate) const ALL: [Self; 11] = [
        Self::Quantity,
        Self::Url,
        Self::Ip,
        Self::Cidr,
        Self::Semver,
        Self::Format,
        Self::Authorizer,
        Self::PathCheck,
        Self::GroupCheck,
        Self::ResourceCheck,
        Self::Decision,
    ];
}

/// An object's type: two are the same when they have one name.
#[derive(Debug, Clone)]
pub struct ObjectType {
    /// The name errors print; unique within an environment.
    pub name: String,
    /// The fields by their names in expressions, which are escaped.
    pub fields: BTreeMap<String, Field>,
}

impl PartialEq for ObjectType {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ObjectType {}

/// A field of an object's type.
#[derive(Debug, Clone)]
pub struct Field {
    /// The property's name in JSON, which is not escaped.
    pub property: String,
    /// What the property holds.
    pub declared: Declared,
}

impl ObjectType {
    /// A type with these properties; a name that cannot be a field's in an expression is left out.
    pub fn new(
        name: impl Into<String>,
        properties: impl IntoIterator<Item = (String, Declared)>,
    ) -> Self {
        let field = |(property, declared): (String, Declared)| {
            let name = crate::escape::escape(&property)?;
            Some((name, Field { property, declared }))
        };
        Self { name: name.into(), fields: properties.into_iter().filter_map(field).collect() }
    }

    /// The field an expression means by a name: a reserved word may be written without its escape.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.get(name).or_else(|| {
            if !crate::escape::is_reserved(name) {
                return None;
            }
            self.fields.get(&format!("__{name}__"))
        })
    }
}

impl Type {
    /// Parameters of declarations have small numbers; variables of a check start here.
    pub(crate) const VARIABLES: u32 = 16;

    /// A list of such elements.
    pub fn list(element: Self) -> Self {
        Self::List(Arc::new(element))
    }

    /// A map from such keys to such values.
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    /// A value of the type, or none.
    pub fn optional(of: Self) -> Self {
        Self::Optional(Arc::new(of))
    }

    /// Whether nothing is known before there is a value.
    pub fn is_dyn(&self) -> bool {
        match self {
            Self::Dyn | Self::Error => true,
            Self::Null
            | Self::Bool
            | Self::Int
            | Self::Uint
            | Self::Double
            | Self::String
            | Self::Bytes
            | Self::Duration
            | Self::Timestamp
            | Self::List(_)
            | Self::Map(..)
            | Self::Object(_)
            | Self::Optional(_)
            | Self::Type(_)
            | Self::Opaque(_)
            | Self::Param(_) => false,
        }
    }

    /// The name that `type(x)` has, without parameters.
    pub(crate) fn runtime_name(&self) -> &str {
        match self {
            Self::Dyn | Self::Param(_) => "dyn",
            Self::Error => "!error!",
            Self::Null => "null_type",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Duration => "google.protobuf.Duration",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::List(_) => "list",
            Self::Map(..) => "map",
            Self::Object(object) => &object.name,
            Self::Optional(_) => "optional_type",
            Self::Type(_) => "type",
            Self::Opaque(opaque) => opaque.name(),
        }
    }
}

/// As errors of the checker print a type.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Duration => f.write_str("duration"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::List(element) => write!(f, "list({element})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Optional(of) => write!(f, "optional_type({of})"),
            Self::Type(of) if matches!(**of, Self::Dyn) => f.write_str("type"),
            Self::Type(of) => write!(f, "type({of})"),
            Self::Param(number) => write!(f, "_var{}", number.saturating_sub(Self::VARIABLES)),
            Self::Dyn
            | Self::Error
            | Self::Bool
            | Self::Int
            | Self::Uint
            | Self::Double
            | Self::String
            | Self::Bytes
            | Self::Object(_)
            | Self::Opaque(_) => f.write_str(self.runtime_name()),
        }
    }
}
