//! Admission: what may change or refuse a write beyond the rules of its kind.
//!
//! The write path calls [`mutate`] when an object is decoded and defaulted (before names, uids and other marks are
//! given and before it is validated), and [`validate`] when it is valid and about to be committed. Both go through
//! [`CHAIN`], in kube-apiserver's order. A plug-in is one file in `admission/` that answers at once when the write is
//! none of its business: a write that concerns no plug-in pays for a few calls and comparisons.
//!
//! A plug-in decides on the attempt's view alone and has no effects: what must stay true until the commit goes into
//! [`Attempt::requires`], what must be written with it into [`Attempt::also`], what the client should read into
//! [`Attempt::warnings`], what the audit log should say into [`Attempt::audit`].

use std::fmt::Debug;

use crate::field::Object;
use crate::metadata;
use crate::status::Status;
use crate::write::Attempt;

/// What a write does to the object, as admission names it: a patch or apply is one of the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A new object, or a POST to a subresource.
    Create,
    /// A change of an object or subresource.
    Update,
    /// A deletion; the object is the one to be deleted, as it is before and after.
    Delete,
}

/// One link of the chain.
///
/// `object` has the stored form; `before` is the stored object, `None` for a create. For a subresource `object` is
/// the whole object that results (so for `scale`); [`Attempt::subresource`] tells.
pub(crate) trait Plugin: Debug + Sync {
    /// Changes or refuses the object.
    fn mutate(
        &self,
        _attempt: &mut Attempt<'_>,
        _object: &mut Object,
        _before: Option<&Object>,
        _operation: Operation,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// Refuses the object.
    fn validate(
        &self,
        _attempt: &mut Attempt<'_>,
        _object: &Object,
        _before: Option<&Object>,
        _operation: Operation,
    ) -> Result<(), Status> {
        Ok(())
    }
}

/// The plug-ins in kube-apiserver's order: `LimitRanger`, `ServiceAccount`, `PodSecurity`, `Priority`,
/// `DefaultTolerationSeconds`, `DefaultIngressClass`, `MutatingAdmissionPolicy`, `MutatingAdmissionWebhook`,
/// `ValidatingAdmissionPolicy`, `ValidatingAdmissionWebhook`, `ResourceQuota`. `NamespaceLifecycle`, the first of
/// all, is part of the write path.
static CHAIN: [&dyn Plugin; 0] = [];

/// Lets every plug-in change or refuse a decoded object.
///
/// # Errors
/// The first refusal.
pub(crate) fn mutate(
    attempt: &mut Attempt<'_>,
    object: &mut Object,
    before: Option<&Object>,
    operation: Operation,
) -> Result<(), Status> {
    CHAIN.iter().try_for_each(|plugin| plugin.mutate(attempt, object, before, operation))
}

/// Lets every plug-in refuse a valid object.
///
/// # Errors
/// The first refusal.
pub(crate) fn validate(
    attempt: &mut Attempt<'_>,
    object: &Object,
    before: Option<&Object>,
    operation: Operation,
) -> Result<(), Status> {
    CHAIN.iter().try_for_each(|plugin| plugin.validate(attempt, object, before, operation))
}

/// 403 as kube-apiserver's plug-ins say it: `pods "x" is forbidden: WHY`. An object whose name is not generated
/// yet is called by its prefix.
#[expect(dead_code, reason = "the first plug-in that refuses uses it")]
pub(crate) fn forbidden(attempt: &Attempt<'_>, object: &Object, why: &str) -> Status {
    let of = |key| Some(metadata::text(object, key)).filter(|text| !text.is_empty());
    let name = Some(attempt.name()).filter(|name| !name.is_empty());
    let name = name.or_else(|| of("name")).or_else(|| of("generateName")).unwrap_or("Unknown");
    Status::forbidden(&attempt.resource.qualified(), name, why)
}
