//! Revisions and keys: when, and where.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use quadrille_object::GroupResource;
use serde::{Deserialize, Serialize};

/// The store-wide number of one change; totally ordered, never reused. 0 is the empty store.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Revision(pub u64);

impl Revision {
    /// The one after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where an object is stored: resource, namespace (empty: cluster-scoped) and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The resource, whatever its version.
    pub resource: GroupResource,
    /// The namespace; empty for a cluster-scoped object.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl Key {
    /// Makes a key from its parts.
    pub fn new(
        resource: GroupResource,
        namespace: impl Into<Arc<str>>,
        name: impl Into<Arc<str>>,
    ) -> Self {
        Self { resource, namespace: namespace.into(), name: name.into() }
    }
}

/// A text is not a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no key: RESOURCE[.GROUP]/[NAMESPACE/]NAME")]
pub struct KeyError(String);

/// The form in which it is displayed.
impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        let (resource, namespace, name) = match parts[..] {
            [resource, name] => (resource, "", name),
            [resource, namespace, name] if !namespace.is_empty() => (resource, namespace, name),
            _ => return Err(KeyError(text.to_owned())),
        };
        let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
        if resource.is_empty() || name.is_empty() {
            return Err(KeyError(text.to_owned()));
        }
        Ok(Self::new(GroupResource::new(group, resource), namespace, name))
    }
}

/// `pods/default/web-0`, or `namespaces/default`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{}/{}", self.resource, self.name)
        } else {
            write!(f, "{}/{}/{}", self.resource, self.namespace, self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_from_its_text() {
        for key in [
            Key::new(GroupResource::new("", "pods"), "default", "web-0"),
            Key::new(GroupResource::new("apps", "replicasets"), "kube-system", "web"),
            Key::new(GroupResource::new("", "namespaces"), "", "default"),
            Key::new(GroupResource::new("rbac.authorization.k8s.io", "clusterroles"), "", "a:b.c"),
        ] {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        for text in ["", "pods", "pods/", "/web", "a/b/c/d", "pods//web", ".apps/web"] {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
    }
}
