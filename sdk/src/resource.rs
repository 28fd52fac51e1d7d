//! What makes a type an object of the API.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::host::{ObjectRef, ResourceRef};
use crate::meta::{Metadata, OwnerReference};

/// A kind of object as a Rust type; `#[resource]` implements it for kinds of your own.
///
/// The JSON of the type has `metadata` and whatever else the kind has; `apiVersion` and `kind` are added on the way
/// out. A type need not know every field of its kind: objects are written by apply and patch, which leave the other
/// fields alone.
pub trait Resource: Serialize + DeserializeOwned + 'static {
    /// The API group; empty for the core group.
    const GROUP: &'static str;
    /// The API version.
    const VERSION: &'static str;
    /// The kind.
    const KIND: &'static str;
    /// The resource: the plural name in lower case.
    const PLURAL: &'static str;
    /// Whether its objects live in namespaces.
    const NAMESPACED: bool;
    /// Whether [`crate::Context::set_status`] writes `observedGeneration` by itself.
    const OBSERVES_GENERATION: bool = false;

    /// The metadata.
    fn meta(&self) -> &Metadata;

    /// The metadata, to change it.
    fn meta_mut(&mut self) -> &mut Metadata;

    /// The `CustomResourceDefinition` that serves it; `None` for kinds that the host has.
    fn definition() -> Option<Value> {
        None
    }

    /// The name.
    fn name(&self) -> &str {
        &self.meta().name
    }

    /// The namespace; empty for cluster-scoped objects.
    fn namespace(&self) -> &str {
        &self.meta().namespace
    }

    /// The uid.
    fn uid(&self) -> &str {
        &self.meta().uid
    }

    /// `group/version`, or the version alone for the core group.
    fn api_version() -> String {
        match Self::GROUP {
            "" => Self::VERSION.to_owned(),
            group => format!("{group}/{}", Self::VERSION),
        }
    }

    /// The resource, as host calls name it.
    fn resource_ref() -> ResourceRef {
        ResourceRef {
            group: Self::GROUP.to_owned(),
            version: Self::VERSION.to_owned(),
            resource: Self::PLURAL.to_owned(),
        }
    }

    /// The object, as host calls name it.
    fn object_ref(&self) -> ObjectRef {
        ObjectRef {
            resource: Self::resource_ref(),
            namespace: self.namespace().to_owned(),
            name: self.name().to_owned(),
        }
    }

    /// A reference that makes this object the managing controller of another.
    fn owner_reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: Self::api_version(),
            kind: Self::KIND.to_owned(),
            name: self.name().to_owned(),
            uid: self.uid().to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// Reads an object from JSON.
    ///
    /// # Errors
    /// [`Error::Json`] when the text has other types than this one.
    fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|e| Error::json(format!("read {}", Self::PLURAL), &e))
    }

    /// Writes the object as JSON, `apiVersion` and `kind` included.
    ///
    /// # Errors
    /// [`Error::Json`] when a value of it has no JSON form.
    fn to_json(&self) -> Result<String> {
        let inner = serde_json::to_string(self)
            .map_err(|e| Error::json(format!("write {}", Self::PLURAL), &e))?;
        let rest = inner.strip_prefix('{').unwrap_or(&inner);
        let comma = if rest == "}" { "" } else { "," };
        let (api_version, kind) = (Self::api_version(), Self::KIND);
        Ok(format!(r#"{{"apiVersion":"{api_version}","kind":"{kind}"{comma}{rest}"#))
    }
}

/// Only the metadata of an object: cheap to read where the rest does not matter.
///
/// ```no_run
/// # use quadrille_sdk::prelude::*;
/// # use quadrille_sdk::{Partial, Query};
/// # fn count(ctx: &Context) -> Result<usize> {
/// Ok(ctx.list::<Partial<Pod>>(Query::labels("app=web"))?.len())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Partial<T> {
    /// The metadata.
    #[serde(default)]
    pub metadata: Metadata,
    #[serde(skip)]
    of: PhantomData<T>,
}

impl<T: Resource> Resource for Partial<T> {
    const GROUP: &'static str = T::GROUP;
    const VERSION: &'static str = T::VERSION;
    const KIND: &'static str = T::KIND;
    const PLURAL: &'static str = T::PLURAL;
    const NAMESPACED: bool = T::NAMESPACED;

    fn meta(&self) -> &Metadata {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }
}
