//! Adoption and release: how a controller finds its own among objects that a selector matches.

use serde_json::{Value, json};

use crate::context::Context;
use crate::error::Result;
use crate::host::Query;
use crate::meta::OwnerReference;
use crate::resource::{Partial, Resource};
use crate::selector::LabelSelector;

impl Context {
    /// The objects that belong to the primary object by owner reference and selector.
    ///
    /// Those that match the selector and have no controller are adopted; those that the primary object controls and
    /// that match no longer are released. A terminating primary object does neither.
    ///
    /// # Errors
    /// Every refusal of the API; needs `list` and `patch` on the kind.
    pub fn claim<T: Resource>(&self, selector: &LabelSelector) -> Result<Vec<T>> {
        let mut claimed = Vec::new();
        for object in self.owned::<T>()? {
            if !object.meta().is_controlled_by(self.owner_uid()) {
                continue;
            }
            if selector.matches(&object.meta().labels) {
                claimed.push(object);
            } else if !self.is_terminating() && !object.meta().is_terminating() {
                self.release(&object)?;
            }
        }
        if !self.is_terminating() && !selector.is_empty() {
            for found in self.list::<Partial<T>>(Query::labels(selector.to_text()))? {
                if found.metadata.controller().is_none() && !found.metadata.is_terminating() {
                    claimed.push(self.adopt::<T>(&found)?);
                }
            }
        }
        Ok(claimed)
    }

    fn adopt<T: Resource>(&self, object: &Partial<T>) -> Result<T> {
        let mut owners = object.metadata.owner_references.clone();
        owners.retain(|owner| owner.uid != self.owner_uid());
        owners.push(self.owner_reference());
        let patched =
            self.patch_json(&object.object_ref(), &owners_patch(object.uid(), &owners))?;
        T::from_json(&patched)
    }

    fn release<T: Resource>(&self, object: &T) -> Result<()> {
        let mut owners = object.meta().owner_references.clone();
        owners.retain(|owner| owner.uid != self.owner_uid());
        self.patch_json(&object.object_ref(), &owners_patch(object.uid(), &owners)).map(drop)
    }
}

/// The uid makes sure that it is the same incarnation.
fn owners_patch(uid: &str, owners: &[OwnerReference]) -> Value {
    let owners = if owners.is_empty() { Value::Null } else { json!(owners) };
    json!({"metadata": {"uid": uid, "ownerReferences": owners}})
}
