//! The `scale` subresource: two numbers of an object as an `autoscaling/v1` Scale.

use quadrille_object::LabelSelector;
use quadrille_object::schema::Nulls;
use serde_json::{Value, json};

use crate::catalog::{Resource, ScalePaths};
use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::registry::Prepared;
use crate::request::{Action, Body};
use crate::shape;
use crate::status::Status;
use crate::write::Attempt;
use crate::write::body::bad_request;

impl Attempt<'_> {
    pub(crate) fn scale(&mut self) -> Result<Prepared, Status> {
        let Some(paths) = self.resource.scale.clone() else { return Err(self.not_found()) };
        let before = self.before(self.find()?)?;
        let current = scale_of(self.resource, &before.object);
        let current_replicas = field::integer(&current, &["spec", "replicas"]).unwrap_or(0);
        let wanted = self.wanted_scale(current)?;
        self.check_scale(&wanted)?;
        let replicas = field::integer(&wanted, &["spec", "replicas"]).unwrap_or(0);
        if matches!(self.request.action, Action::Apply(_)) {
            let mut config = Object::new();
            for key in ["apiVersion", "kind"] {
                field::copy(&mut config, &before.object, key);
            }
            if self.applies_replicas() {
                set(&mut config, &paths, replicas);
            }
            // A Scale does not show zero replicas: to whoever applies one, any number is new.
            let mut live = before.object.clone();
            if current_replicas == 0 {
                unset(&mut live, &paths);
            }
            let mut object = shape::apply(self, Some(&live), &config)?;
            if !self.applies_replicas() {
                set(&mut object, &paths, current_replicas);
            }
            forget_times(&mut object);
            self.complete(&mut object, Nulls::Keep)?;
            return self.replace(before, object);
        }
        let mut object = before.object.clone();
        set(&mut object, &paths, replicas);
        shape::manage(self, &mut object, Some(&before.object));
        forget_times(&mut object);
        let given = metadata::text(&wanted, "resourceVersion").to_owned();
        metadata::of_mut(&mut object).insert("resourceVersion".to_owned(), given.into());
        self.replace(before, object)
    }

    /// Whether the applied configuration names a number of replicas.
    fn applies_replicas(&self) -> bool {
        let Action::Apply(body) = &self.request.action else { return false };
        body.value.pointer("/spec/replicas").is_some_and(|replicas| !replicas.is_null())
    }

    fn wanted_scale(&self, current: Object) -> Result<Object, Status> {
        let mut value = Value::Object(current);
        match &self.request.action {
            Action::Patch(format, body) => shape::patch_scale(*format, &mut value, &body.value)?,
            Action::Apply(Body { value: body, .. }) => {
                quadrille_object::patch::merge(&mut value, body);
            }
            Action::Update(body) => value = body.value.clone(),
            Action::Create(_) | Action::Delete(_) => {}
        }
        let Value::Object(scale) = value else {
            return Err(bad_request("a Scale must be an object"));
        };
        Ok(scale)
    }

    fn check_scale(&self, scale: &Object) -> Result<(), Status> {
        let name = metadata::text(scale, "name");
        if name != self.name() && !name.is_empty() {
            return Err(bad_request(&format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                self.name()
            )));
        }
        let replicas = field::get(scale, &["spec", "replicas"]);
        if replicas.is_some_and(|r| r.as_i64().is_none_or(|r| i32::try_from(r).is_err())) {
            return Err(bad_request(
                "Scale in version \"v1\" cannot be handled as a Scale: json: cannot unmarshal into Go struct \
                 field ScaleSpec.spec.replicas of type int32",
            ));
        }
        let mut errors = Errors::default();
        errors.not_negative(scale, &["spec", "replicas"]);
        if errors.0.is_empty() {
            return Ok(());
        }
        Err(Status::invalid("autoscaling", "Scale", self.name(), &errors.0))
    }
}

/// Sets the wanted replicas; zero is written as zero.
pub(crate) fn set(object: &mut Object, paths: &ScalePaths, replicas: i64) {
    let Some((last, parents)) = paths.spec_replicas.split_last() else { return };
    let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
    field::map_mut(object, &parents).insert(last.clone(), replicas.into());
}

fn unset(object: &mut Object, paths: &ScalePaths) {
    let Some((last, parents)) = paths.spec_replicas.split_last() else { return };
    let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
    field::map_mut(object, &parents).remove(last);
}

/// What was set through the subresource is noted without a time.
fn forget_times(object: &mut Object) {
    let entries = metadata::of_mut(object).get_mut("managedFields").and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten().filter_map(Value::as_object_mut) {
        if field::text(entry, &["subresource"]) == Some("scale") {
            entry.remove("time");
        }
    }
}

/// An object as a Scale.
pub(crate) fn scale_of(resource: &Resource, object: &Object) -> Object {
    let Some(paths) = &resource.scale else { return Object::new() };
    let at = |path: &[String]| {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        field::get(object, &path).cloned()
    };
    let mut kept = Object::new();
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = field::get(object, &["metadata", key]) {
            kept.insert(key.to_owned(), value.clone());
        }
    }
    let mut spec = Object::new();
    if let Some(replicas) = at(&paths.spec_replicas).and_then(|v| v.as_i64()).filter(|n| *n != 0) {
        spec.insert("replicas".to_owned(), replicas.into());
    }
    let replicas = at(&paths.status_replicas).and_then(|v| v.as_i64()).unwrap_or(0);
    let mut status = Object::new();
    status.insert("replicas".to_owned(), replicas.into());
    let selector = match &paths.label_selector {
        Some(path) => at(path).and_then(|v| v.as_str().map(str::to_owned)),
        None if resource.custom => None,
        None => field::get(object, &["spec", "selector"]).and_then(selector_text),
    };
    if let Some(selector) = selector.filter(|s| !s.is_empty()) {
        status.insert("selector".to_owned(), selector.into());
    }
    let scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": kept, "spec": spec, "status": status,
    });
    scale.as_object().cloned().unwrap_or_default()
}

fn selector_text(selector: &Value) -> Option<String> {
    LabelSelector::from_value(selector).ok().map(|selector| selector.to_string())
}
