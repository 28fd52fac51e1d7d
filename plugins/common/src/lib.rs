//! What several of the controllers share: pods of one template in a wanted number, revisions of a template, hashes,
//! and how they tell what they did.
//!
//! The controllers here stand in for those of kube-controller-manager: names, labels, hashes, events and conditions
//! are the ones that its clients know. It must not know any one controller.

pub mod burst;
pub mod go;
pub mod hash;
pub mod history;
mod rank;
pub mod replicas;
pub mod scale;
pub mod tell;

/// The field manager of the controllers here, as clients of Kubernetes know it.
pub const FIELD_MANAGER: &str = "kube-controller-manager";
