//! What nearly every controller names: `use quadrille_sdk::prelude::*;`

pub use std::time::Duration;

pub use crate::condition::Conditions;
pub use crate::context::Context;
pub use crate::controller::{Capability, Controller, Next, owns, reads, verbs};
pub use crate::error::{Error, Result};
pub use crate::k8s::{ConfigMap, Pod, PodTemplate, Secret};
pub use crate::meta::Metadata;
pub use crate::resource::Resource;
pub use crate::{debug, error, info, resource, schema, warn};
