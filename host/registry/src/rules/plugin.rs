//! Plugins: nobody lets a plugin do what they may not do themselves.

use quadrille_object::GroupResource;

use super::Rules;
use crate::access::escalate::{self, Grantor};
use crate::field::Object;
use crate::metadata;
use crate::status::Status;
use crate::write::Attempt;

/// The rules of `plugins.quadrille.dev`.
#[derive(Debug)]
pub(crate) struct Plugins;

impl Rules for Plugins {
    fn before_create(&self, attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
        check(attempt, object, None)
    }

    fn before_update(
        &self,
        attempt: &Attempt<'_>,
        object: &mut Object,
        before: &Object,
    ) -> Result<(), Status> {
        check(attempt, object, Some(before))
    }
}

fn check(attempt: &Attempt<'_>, object: &Object, before: Option<&Object>) -> Result<(), Status> {
    let resource: GroupResource = attempt.resource.qualified();
    let by = Grantor {
        actor: &attempt.request.actor,
        view: attempt.view,
        resource: &resource,
        namespace: "",
        path_name: attempt.name(),
        name: metadata::text(object, "name"),
    };
    escalate::check_plugin(attempt.access, by, object, before)
}
