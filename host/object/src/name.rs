//! Names of kinds, resources and objects, as the Kubernetes API writes them.
//!
//! All are cheap to clone (`Arc<str>` inside) and ordered, so that they serve as keys.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// An API group and one of its versions, as in `apps/v1`; the core group is empty and prints as `v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupVersion {
    /// The API group; empty for the core group.
    pub group: Arc<str>,
    /// The API version, such as `v1` or `v1beta1`.
    pub version: Arc<str>,
}

impl GroupVersion {
    /// Makes a group-version from its two parts.
    pub fn new(group: impl Into<Arc<str>>, version: impl Into<Arc<str>>) -> Self {
        Self { group: group.into(), version: version.into() }
    }

    /// Reads an `apiVersion` such as `apps/v1` or `v1`; `None` when it has more than one slash or an
    /// empty version.
    pub fn parse(api_version: &str) -> Option<Self> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        (!version.is_empty() && !version.contains('/')).then(|| Self::new(group, version))
    }
}

impl fmt::Display for GroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.version)
        } else {
            write!(f, "{}/{}", self.group, self.version)
        }
    }
}

/// Group, version and kind: which schema an object has.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gvk {
    /// The API group; empty for the core group.
    pub group: Arc<str>,
    /// The API version.
    pub version: Arc<str>,
    /// The kind, in CamelCase, such as `ReplicaSet`.
    pub kind: Arc<str>,
}

impl Gvk {
    /// Makes a GVK from its three parts.
    pub fn new(
        group: impl Into<Arc<str>>,
        version: impl Into<Arc<str>>,
        kind: impl Into<Arc<str>>,
    ) -> Self {
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// Its group and version.
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion { group: Arc::clone(&self.group), version: Arc::clone(&self.version) }
    }
}

impl fmt::Display for Gvk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, Kind={}", self.group_version(), self.kind)
    }
}

/// Group, version and resource: which endpoint serves an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Gvr {
    /// The API group; empty for the core group.
    pub group: Arc<str>,
    /// The API version.
    pub version: Arc<str>,
    /// The plural name in lower case, such as `replicasets`.
    pub resource: Arc<str>,
}

impl Gvr {
    /// Makes a GVR from its three parts.
    pub fn new(
        group: impl Into<Arc<str>>,
        version: impl Into<Arc<str>>,
        resource: impl Into<Arc<str>>,
    ) -> Self {
        Self { group: group.into(), version: version.into(), resource: resource.into() }
    }

    /// The version-less name of the resource, under which its objects are stored.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource { group: Arc::clone(&self.group), resource: Arc::clone(&self.resource) }
    }
}

/// A resource whatever its version: objects are stored once per group-resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupResource {
    /// The API group; empty for the core group.
    pub group: Arc<str>,
    /// The plural name in lower case.
    pub resource: Arc<str>,
}

impl GroupResource {
    /// Makes a group-resource from its two parts.
    pub fn new(group: impl Into<Arc<str>>, resource: impl Into<Arc<str>>) -> Self {
        Self { group: group.into(), resource: resource.into() }
    }
}

/// `replicasets.apps`, or `pods` in the core group: the form of Kubernetes' messages.
impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.resource)
        } else {
            write!(f, "{}.{}", self.resource, self.group)
        }
    }
}

/// One object by resource, namespace and name; with its uid where one incarnation is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectRef {
    /// The resource it belongs to.
    pub resource: GroupResource,
    /// Its namespace; empty for a cluster-scoped object.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The uid of one incarnation; `None` means whichever has the name.
    pub uid: Option<Arc<str>>,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{}/{}", self.resource, self.name)
        } else {
            write!(f, "{}/{}/{}", self.resource, self.namespace, self.name)
        }
    }
}
