//! Who may do what, as the server asks it; the answers come from the registry's roles and bindings.

use std::fmt;

use quadrille_registry::Registry;
use quadrille_registry::access::{Attributes, Decision, User};

/// Decides whether a user may do something.
pub trait Authorizer: fmt::Debug + Send + Sync {
    /// Whether `user` may do what `attributes` say. Called once per request, so it must not block.
    fn allows(&self, user: &User, attributes: &Attributes<'_>) -> bool;

    /// The same with the reason.
    fn decide(&self, user: &User, attributes: &Attributes<'_>) -> Decision;
}

/// Roles and bindings, as they are stored; the group `system:masters` may do everything.
#[derive(Clone, Debug)]
pub struct Roles(pub Registry);

impl Authorizer for Roles {
    fn allows(&self, user: &User, attributes: &Attributes<'_>) -> bool {
        self.0.access().allows(user.asker(), attributes)
    }

    fn decide(&self, user: &User, attributes: &Attributes<'_>) -> Decision {
        self.0.access().decide(user.asker(), attributes)
    }
}
