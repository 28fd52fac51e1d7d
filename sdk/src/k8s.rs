//! Kinds of the Kubernetes API, as far as controllers look at them.
//!
//! The types are lean on purpose: a component that parses every field of a Pod is large and slow. What a controller
//! seldom looks into, such as a pod's spec, is kept as [`Raw`] JSON and passed on whole. Fields that a type lacks are
//! safe: objects are written by apply and patch, which leave other fields alone. For more, write a struct with the
//! fields that you need and implement [`Resource`](crate::Resource) with [`kind!`](crate::kind).

mod apps;
mod batch;
mod core;
mod raw;

pub use apps::{
    Deployment, DeploymentCondition, DeploymentSpec, DeploymentStatus, DeploymentStrategy,
    ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus, RollingUpdate,
};
pub use batch::{Job, JobCondition, JobSpec, JobStatus, UncountedPods};
pub use core::{
    ConfigMap, ContainerState, ContainerStatus, Namespace, Pod, PodCondition, PodIp, PodStatus,
    PodTemplate, Secret, Service, ServiceAccount, Terminated,
};
pub use raw::{IntOrString, Raw};

/// Makes a struct with a `metadata` field the type of a kind: `kind!(ConfigMap, "", "v1", "configmaps");`
///
/// A trailing `cluster` is for kinds without namespaces. The struct's name is the kind's.
#[macro_export]
macro_rules! kind {
    ($type:ident, $group:literal, $version:literal, $plural:literal) => {
        $crate::kind!($type, $group, $version, $plural, true);
    };
    ($type:ident, $group:literal, $version:literal, $plural:literal, cluster) => {
        $crate::kind!($type, $group, $version, $plural, false);
    };
    ($type:ident, $group:literal, $version:literal, $plural:literal, $namespaced:literal) => {
        impl $crate::Resource for $type {
            const GROUP: &'static str = $group;
            const VERSION: &'static str = $version;
            const KIND: &'static str = ::core::stringify!($type);
            const PLURAL: &'static str = $plural;
            const NAMESPACED: bool = $namespaced;

            fn meta(&self) -> &$crate::Metadata {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut $crate::Metadata {
                &mut self.metadata
            }
        }
    };
}
