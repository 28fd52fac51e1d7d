//! The component side: the WIT imports behind [`Host`], and the exports in front of [`Plugin`].

use std::marker::PhantomData;
use std::rc::Rc;

use crate::controller::Next;
use crate::error::{ApiError, Reason};
use crate::host::{
    EventKind, Host, Level, ObjectRef, PatchFormat, Propagation, Query, ResourceRef,
};
use crate::plugin::{self, ChangeKind, Plugin};

mod bindings {
    #![expect(warnings, clippy::all, clippy::pedantic, clippy::restriction, reason = "generated")]
    #![expect(unsafe_code, reason = "generated: the canonical ABI is unsafe by nature")]
    #![expect(missing_docs, reason = "generated")]
    wit_bindgen::generate!({
        path: "../wit",
        world: "controller-plugin",
        pub_export_macro: true,
        export_macro_name: "export_component",
        default_bindings_module: "quadrille_sdk::guest",
    });
}

pub use bindings::{export_component, exports};

use bindings::exports::quadrille::controller::controller as out;
use bindings::quadrille::controller::{clock, config, log, objects, random, types};

/// What a component is made of; [`crate::plugin!`] implements it.
pub trait Entry {
    /// The plugin.
    fn plugin() -> Plugin;
}

/// The component's exports.
#[derive(Debug)]
pub struct Component<E>(PhantomData<E>);

impl<E: Entry> out::Guest for Component<E> {
    fn describe() -> out::Description {
        let described = E::plugin().describe();
        out::Description {
            version: described.version,
            controllers: described.controllers.into_iter().map(controller_out).collect(),
            crds: described.crds.iter().map(ToString::to_string).collect(),
            capabilities: described.capabilities.iter().map(capability_out).collect(),
        }
    }

    fn reconcile(request: out::Request) -> Result<out::Outcome, out::Failure> {
        match E::plugin().reconcile(Rc::new(Wasm), request_in(request)) {
            Ok(Next::Done) => Ok(out::Outcome::Done),
            Ok(Next::After(wait)) => Ok(out::Outcome::DoneUntilMs(plugin::wait_ms(wait))),
            Err(error) if error.is_transient() => Err(out::Failure::Transient(error.chain())),
            Err(error) => Err(out::Failure::Permanent(error.chain())),
        }
    }
}

fn controller_out(described: plugin::ControllerDescription) -> out::ControllerDescription {
    out::ControllerDescription {
        name: described.name,
        primary: resource_out(&described.primary),
        label_selector: described.label_selector,
        concurrency: described.concurrency,
        resync_seconds: described.resync_seconds,
        finalizer: described.finalizer,
        field_manager: described.field_manager,
    }
}

fn capability_out(asked: &crate::Capability) -> out::Capability {
    let resource = match asked.subresource {
        "" => asked.resource.to_owned(),
        subresource => format!("{}/{subresource}", asked.resource),
    };
    out::Capability {
        group: asked.group.to_owned(),
        resource,
        verbs: asked.verbs.iter().map(|&verb| verb.to_owned()).collect(),
    }
}

fn request_in(request: out::Request) -> plugin::Request {
    let wake = |wake: out::Wake| plugin::Wake {
        kind: match wake.kind {
            out::ChangeKind::Added => ChangeKind::Added,
            out::ChangeKind::Modified => ChangeKind::Modified,
            out::ChangeKind::Deleted => ChangeKind::Deleted,
        },
        object: object_in(wake.object),
        revision: wake.revision,
    };
    plugin::Request {
        controller: request.controller,
        object: object_in(request.object),
        current: request.current,
        woken_by: request.woken_by.into_iter().map(wake).collect(),
        attempt: request.attempt,
    }
}

fn object_in(object: types::ObjectRef) -> ObjectRef {
    let types::ResourceRef { group, version, resource } = object.resource;
    let resource = ResourceRef { group, version, resource };
    ObjectRef { resource, namespace: object.namespace, name: object.name }
}

fn query_out(query: &Query) -> objects::Query {
    objects::Query {
        resource: resource_out(&query.resource),
        namespace: query.namespace.clone(),
        label_selector: query.label_selector.clone(),
        owner_uid: query.owner_uid.clone(),
        limit: query.limit,
    }
}

fn resource_out(resource: &ResourceRef) -> types::ResourceRef {
    let ResourceRef { group, version, resource } = resource.clone();
    types::ResourceRef { group, version, resource }
}

fn object_out(object: &ObjectRef) -> types::ObjectRef {
    types::ObjectRef {
        resource: resource_out(&object.resource),
        namespace: object.namespace.clone(),
        name: object.name.clone(),
    }
}

fn error_in(error: types::ApiError) -> ApiError {
    let reason = match error.reason {
        types::Reason::BadRequest => Reason::BadRequest,
        types::Reason::Forbidden => Reason::Forbidden,
        types::Reason::NotFound => Reason::NotFound,
        types::Reason::AlreadyExists => Reason::AlreadyExists,
        types::Reason::Conflict => Reason::Conflict,
        types::Reason::Invalid => Reason::Invalid,
        types::Reason::Expired => Reason::Expired,
        types::Reason::TooLarge => Reason::TooLarge,
        types::Reason::Internal => Reason::Internal,
        types::Reason::Denied => Reason::Denied,
        types::Reason::LimitReached => Reason::LimitReached,
    };
    ApiError { reason, message: error.message, fields: error.fields }
}

/// The host of a component: the WIT imports.
struct Wasm;

impl Host for Wasm {
    fn get(&self, object: &ObjectRef) -> Result<Option<String>, ApiError> {
        objects::get(&object_out(object)).map_err(error_in)
    }

    fn list(&self, query: &Query) -> Result<Vec<String>, ApiError> {
        objects::list_objects(&query_out(query)).map_err(error_in)
    }

    fn list_weakly(&self, query: &Query) -> Result<Vec<String>, ApiError> {
        objects::list_weakly(&query_out(query)).map_err(error_in)
    }

    fn create(&self, resource: &ResourceRef, object: &str) -> Result<String, ApiError> {
        objects::create(&resource_out(resource), object).map_err(error_in)
    }

    fn update(&self, resource: &ResourceRef, object: &str) -> Result<String, ApiError> {
        objects::update(&resource_out(resource), object).map_err(error_in)
    }

    fn apply(&self, resource: &ResourceRef, object: &str, force: bool) -> Result<String, ApiError> {
        objects::apply(&resource_out(resource), object, force).map_err(error_in)
    }

    fn patch(
        &self,
        object: &ObjectRef,
        format: PatchFormat,
        patch: &str,
    ) -> Result<String, ApiError> {
        let format = match format {
            PatchFormat::Json => objects::PatchFormat::Json,
            PatchFormat::Merge => objects::PatchFormat::Merge,
            PatchFormat::Strategic => objects::PatchFormat::Strategic,
        };
        objects::patch(&object_out(object), format, patch).map_err(error_in)
    }

    fn delete(
        &self,
        object: &ObjectRef,
        uid: Option<&str>,
        propagation: Propagation,
    ) -> Result<(), ApiError> {
        let propagation = match propagation {
            Propagation::Background => objects::Propagation::Background,
            Propagation::Foreground => objects::Propagation::Foreground,
            Propagation::Orphan => objects::Propagation::Orphan,
        };
        objects::delete(&object_out(object), uid, propagation).map_err(error_in)
    }

    fn set_status(&self, object: &ObjectRef, status: &str) -> Result<(), ApiError> {
        objects::set_status(&object_out(object), status).map_err(error_in)
    }

    fn update_status(&self, resource: &ResourceRef, object: &str) -> Result<String, ApiError> {
        objects::update_status(&resource_out(resource), object).map_err(error_in)
    }

    fn record_event(
        &self,
        object: &ObjectRef,
        kind: EventKind,
        reason: &str,
        message: &str,
    ) -> Result<(), ApiError> {
        objects::record_event(&object_out(object), kind.as_str(), reason, message).map_err(error_in)
    }

    fn now(&self) -> i64 {
        clock::now()
    }

    fn random(&self) -> u64 {
        random::next()
    }

    fn log(&self, level: Level, message: &str) {
        let level = match level {
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
        };
        log::write(level, message);
    }

    fn config(&self, key: &str) -> Option<String> {
        config::get(key)
    }
}
