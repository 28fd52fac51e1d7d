//! What a person does with kubectl: apply, edit, delete, look.

use std::sync::Arc;

use quadrille_object::{GroupResource, Gvk, Gvr};
use quadrille_registry::{
    Action, Actor, DeleteOptions, PatchFormat, Propagation, Resource as Served, Status, Target,
    WriteOptions, WriteRequest,
};
use quadrille_sdk::Resource;
use quadrille_store::{Cause, Key, Query, Range, RequestCause, View};
use serde_json::{Map, Value, json};

use crate::world::{World, panic_with};

/// Where namespaced objects are when the test does not say.
const NAMESPACE: &str = "default";

impl World {
    /// Applies an object, as `kubectl apply` does; answers it as stored.
    ///
    /// # Panics
    /// When it is refused: the message is the host's.
    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "tests make objects to give them away")]
    pub fn apply<T: Resource>(&mut self, object: T) -> T {
        let text = object.to_json().and_then(|text| {
            serde_json::from_str(&text).map_err(|e| quadrille_sdk::Error::permanent(e.to_string()))
        });
        let value: Value = text.unwrap_or_else(|error| panic_with(&error.chain()));
        match self.apply_json(&value) {
            Ok(stored) => typed(&stored),
            Err(status) => panic_with(&format!("cannot apply: {}", status.message)),
        }
    }

    /// Applies an object from JSON; answers it as stored.
    ///
    /// # Errors
    /// The refusal.
    pub fn apply_json(&mut self, object: &Value) -> Result<Value, Status> {
        let text = |at: &str| object.pointer(at).and_then(Value::as_str).unwrap_or_default();
        let (group, version) =
            text("/apiVersion").split_once('/').unwrap_or_else(|| ("", text("/apiVersion")));
        let kind = Gvk::new(group, version, text("/kind"));
        let served = self.registry.resource_of(&kind).ok_or_else(|| {
            Status::not_found(&GroupResource::new(group, text("/kind")), text("/metadata/name"))
        })?;
        let namespace = match text("/metadata/namespace") {
            "" => NAMESPACE,
            namespace => namespace,
        };
        let mut body = object.clone();
        if served.namespaced {
            body["metadata"]["namespace"] = namespace.into();
        }
        let target = target(&served, namespace, text("/metadata/name"), None);
        let options = WriteOptions { force: true, ..WriteOptions::default() };
        self.submit(target, Action::Apply(body.into()), options)
    }

    /// Changes an object in the namespace `default`: only what `change` changes is written.
    ///
    /// # Panics
    /// When there is no such object, or the change is refused.
    #[track_caller]
    pub fn edit<T: Resource>(&mut self, name: &str, change: impl FnOnce(&mut T)) -> T {
        let mut object = self.expect::<T>(name);
        let before = as_value(&object);
        change(&mut object);
        let patch = difference(&before, &as_value(&object));
        match self.patch_in::<T>(name, None, &patch) {
            Ok(stored) => typed(&stored),
            Err(status) => panic_with(&format!("cannot edit {name}: {}", status.message)),
        }
    }

    /// Merges fields into an object's status, as a kubelet or another controller would.
    ///
    /// # Panics
    /// When there is no such object, or the status is refused.
    #[track_caller]
    pub fn set_status<T: Resource>(&mut self, name: &str, status: &Value) {
        let patch = json!({"status": status});
        if let Err(status) = self.patch_in::<T>(name, Some("status"), &patch) {
            panic_with(&format!("cannot set the status of {name}: {}", status.message));
        }
    }

    /// Deletes an object in the namespace `default`.
    ///
    /// # Panics
    /// When there is no such object.
    #[track_caller]
    pub fn delete<T: Resource>(&mut self, name: &str) {
        self.delete_with::<T>(name, Propagation::Background);
    }

    /// Deletes an object, and says what becomes of what it owns.
    ///
    /// # Panics
    /// When there is no such object.
    #[track_caller]
    pub fn delete_with<T: Resource>(&mut self, name: &str, propagation: Propagation) {
        let served = self.served::<T>();
        let target = target(&served, NAMESPACE, name, None);
        let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
        let deleted = self.submit(target, Action::Delete(options), WriteOptions::default());
        if let Err(status) = deleted {
            panic_with(&format!("cannot delete {name}: {}", status.message));
        }
    }

    /// One object of the namespace `default`, or a cluster-scoped one.
    pub fn get<T: Resource>(&self, name: &str) -> Option<T> {
        self.get_json::<T>(name).map(|value| typed(&value))
    }

    /// The same as JSON, with the fields that the type lacks.
    pub fn get_json<T: Resource>(&self, name: &str) -> Option<Value> {
        let served = self.served::<T>();
        let namespace = if served.namespaced { NAMESPACE } else { "" };
        let key = Key::new(served.group_resource(), namespace, name);
        let object = self.registry.store().snapshot().get(&key)?;
        serde_json::from_slice(&self.registry.present(&object, &served)).ok()
    }

    /// One object that must be there.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn expect<T: Resource>(&self, name: &str) -> T {
        self.get(name).unwrap_or_else(|| {
            let names: Vec<String> = self.all::<T>().iter().map(|o| o.name().to_owned()).collect();
            panic_with(&format!("no {} {name}; there are {names:?}", T::KIND))
        })
    }

    /// All objects of a kind in all namespaces, by namespace and name.
    pub fn all<T: Resource>(&self) -> Vec<T> {
        let served = self.served::<T>();
        let range = Range::all(served.group_resource());
        let found = self.registry.store().snapshot().list(&Query::whole(range));
        let found = found.iter().map(|object| self.registry.present(object, &served));
        found.map(|bytes| typed(&serde_json::from_slice(&bytes).unwrap_or_default())).collect()
    }

    /// The reasons of the events, in the order of their names.
    pub fn event_reasons(&self) -> Vec<String> {
        let range = Range::all(GroupResource::new("", "events"));
        let found = self.registry.store().snapshot().list(&Query::whole(range));
        let reason = |bytes: &[u8]| {
            let event: Value = serde_json::from_slice(bytes).unwrap_or_default();
            event.get("reason").and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        found.iter().map(|object| reason(&object.bytes)).collect()
    }

    #[track_caller]
    fn served<T: Resource>(&self) -> Arc<Served> {
        let gvr = Gvr::new(T::GROUP, T::VERSION, T::PLURAL);
        match self.registry.catalog().by_gvr(&gvr) {
            Some(served) => Arc::clone(served),
            None => panic_with(&format!("{} is not served: load its plugin", T::PLURAL)),
        }
    }

    fn patch_in<T: Resource>(
        &mut self,
        name: &str,
        subresource: Option<&str>,
        patch: &Value,
    ) -> Result<Value, Status> {
        let target = target(&self.served::<T>(), NAMESPACE, name, subresource);
        let action = Action::Patch(PatchFormat::Merge, patch.clone().into());
        self.submit(target, action, WriteOptions::default())
    }

    pub(crate) fn patch_key(&mut self, key: &Key, patch: &Value) -> Result<(), Status> {
        let catalog = self.registry.catalog();
        let Some(served) = catalog.by_group_resource(&key.resource) else { return Ok(()) };
        let target = target(served, &key.namespace, &key.name, None);
        let action = Action::Patch(PatchFormat::Merge, patch.clone().into());
        self.submit(target, action, WriteOptions::default()).map(drop)
    }

    pub(crate) fn delete_key(&mut self, key: &Key) -> Result<(), Status> {
        let catalog = self.registry.catalog();
        let Some(served) = catalog.by_group_resource(&key.resource) else { return Ok(()) };
        let target = target(served, &key.namespace, &key.name, None);
        let action = Action::Delete(DeleteOptions::default());
        self.submit(target, action, WriteOptions::default()).map(drop)
    }

    fn submit(
        &mut self,
        target: Target,
        action: Action,
        mut options: WriteOptions,
    ) -> Result<Value, Status> {
        options.field_manager = Some("test".into());
        let actor = Actor { user: "test".into(), client: "test".into(), ..Actor::default() };
        let request = WriteRequest { target, action, options, actor };
        let cause =
            Cause::Request(RequestCause { user: "test".to_owned(), ..RequestCause::default() });
        let written = self.tasks.block_on(self.registry.submit(&request, cause))?;
        Ok(serde_json::from_slice(&written.object).unwrap_or_default())
    }
}

fn target(served: &Arc<Served>, namespace: &str, name: &str, subresource: Option<&str>) -> Target {
    Target {
        resource: Arc::clone(served),
        namespace: if served.namespaced { namespace.into() } else { "".into() },
        name: Some(name.into()),
        subresource: subresource.map(Into::into),
    }
}

#[track_caller]
fn typed<T: Resource>(value: &Value) -> T {
    T::from_json(&value.to_string()).unwrap_or_else(|error| panic_with(&error.chain()))
}

fn as_value<T: Resource>(object: &T) -> Value {
    object.to_json().ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
}

/// The merge patch from one value to another.
fn difference(before: &Value, after: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return after.clone();
    };
    let mut patch = Map::new();
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    for (key, value) in after {
        match before.get(key) {
            Some(old) if old == value => {}
            Some(old) => {
                patch.insert(key.clone(), difference(old, value));
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(patch)
}
