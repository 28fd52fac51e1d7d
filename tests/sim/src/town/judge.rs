//! What must be there in the end, and what must not.

use std::collections::BTreeMap;
use std::sync::Arc;

use quadrille_store::{Object, Snapshot, View};

use super::kinds::{Kind, text};
use super::trade::{COLOR, is_part, wants};
use crate::cache::Cache;

/// What every namespace has.
const FURNITURE: [(&str, &str); 2] =
    [("serviceaccounts", "default"), ("configmaps", "kube-root-ca.crt")];

/// What is wrong with a state in which nobody has anything to do.
pub(super) fn judge(end: &Snapshot, lives: usize) -> Vec<String> {
    let all = Cache::of(end);
    let gadgets = Kind::Definition.key("", "gadgets.town.example");
    let gadgets_are_served = all.get(&gadgets).is_some();
    let mut wrong = Vec::new();
    for object in all.iter() {
        if object.meta.deleted_at.is_some() {
            wrong.push(format!("{} is on its way out for ever", object.key));
        }
        for owner in &object.meta.owners {
            // Of a kind that is not served a host that begins anew cannot say whether the owner was there.
            let is_unknown = *owner.kind == *"Gadget" && !gadgets_are_served;
            if all.with_uid(&owner.uid).is_none() && !(is_unknown && lives > 1) {
                wrong.push(format!("{} outlives {owner:?}", object.key));
            }
        }
        if let Some(problem) = lodging(object, &all) {
            wrong.push(problem);
        }
    }
    wrong.extend(chain(&all));
    wrong
}

/// Whether a namespace has what each has, and an object is in one.
fn lodging(object: &Object, all: &Cache) -> Option<String> {
    let key = &object.key;
    if key.resource == Kind::Namespace.resource() {
        let lacks = |(resource, name): &(&str, &str)| {
            let resource = quadrille_object::GroupResource::new("", *resource);
            let key = quadrille_store::Key::new(resource, Arc::clone(&key.name), *name);
            all.get(&key).is_none()
        };
        let lacking = FURNITURE.iter().find(|of| lacks(of))?;
        return Some(format!("{key} lacks {lacking:?}"));
    }
    let home = Kind::Namespace.key("", &key.namespace);
    let is_lost = !key.namespace.is_empty() && all.get(&home).is_none();
    is_lost.then(|| format!("{key} is in no namespace"))
}

/// Each app has just the parts that it wants, each part its widget, each widget its colour.
fn chain(all: &Cache) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut parts: BTreeMap<Arc<str>, Vec<&Arc<Object>>> = BTreeMap::new();
    for object in all.iter().filter(|object| is_part(object)) {
        if object.key.resource == Kind::Secret.resource() {
            for owner in &object.meta.owners {
                parts.entry(Arc::clone(&owner.uid)).or_default().push(object);
            }
            let widget = all.get(&Kind::Widget.key(&object.key.namespace, &object.key.name));
            let color = text(object, COLOR);
            let is = widget.as_ref().map(|w| [text(w, "/spec/color"), text(w, "/status/color")]);
            if is != Some([color.clone(), color.clone()]) {
                wrong.push(format!("the widget of {} is {is:?} instead of {color}", object.key));
            }
        } else if object.meta.owners.is_empty() {
            let secret = all.get(&Kind::Secret.key(&object.key.namespace, &object.key.name));
            let may_be = secret.is_none();
            // A widget that its part has left behind is kept; one beside its part is adopted.
            if !may_be {
                wrong.push(format!("{} is nobody's beside its part", object.key));
            }
        }
    }
    let is_app = |object: &&Arc<Object>| {
        let labels = &object.meta.labels;
        labels.iter().any(|(key, value)| (&**key, &**value) == ("app", "yes"))
    };
    for app in all.iter().filter(is_app) {
        let (names, color) = wants(app);
        let has = parts.remove(&app.meta.uid).unwrap_or_default();
        let is: Vec<(&str, String)> =
            has.iter().map(|part| (&*part.key.name, text(part, COLOR))).collect();
        let should: Vec<(&str, String)> =
            names.iter().map(|name| (name.as_str(), color.clone())).collect();
        if is != should {
            wrong.push(format!("{} has {is:?} instead of {should:?}", app.key));
        }
    }
    for (uid, strays) in parts {
        wrong.push(format!("{} belongs to {uid}, which is no app", strays[0].key));
    }
    wrong
}
