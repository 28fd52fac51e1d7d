//! What a controller author writes: a trait impl, and in it everything that the host must know.

use std::time::Duration;

use crate::context::Context;
use crate::error::Result;
use crate::resource::Resource;

/// A controller: brings objects of one kind closer to what their specs want, one at a time.
///
/// It keeps no state: each run happens in a fresh instance and sees one consistent snapshot. Run twice on the same
/// state, it must write nothing the second time. Whatever it read is what wakes it again.
///
/// ```
/// use quadrille_sdk::prelude::*;
///
/// /// Keeps a ConfigMap beside every Secret.
/// struct Shadow;
///
/// impl Controller for Shadow {
///     type Primary = Secret;
///     const NAME: &'static str = "shadow";
///     const CAPABILITIES: &'static [Capability] = &[owns::<ConfigMap>()];
///
///     fn reconcile(secret: &Secret, ctx: &Context) -> Result<Next> {
///         ctx.ensure(ConfigMap::new(secret.name()).with("keys", secret.data.len().to_string()))?;
///         Next::done()
///     }
/// }
/// quadrille_sdk::plugin!(Shadow);
/// # fn main() { assert_eq!(plugin().describe().controllers[0].name, "shadow"); }
/// ```
pub trait Controller: 'static {
    /// The kind of the objects that it reconciles.
    type Primary: Resource;

    /// Its name: a DNS label, unique in the plugin.
    const NAME: &'static str;

    /// What it may do, beyond reading its primary objects and writing their status. The operator grants it.
    const CAPABILITIES: &'static [Capability] = &[];

    /// Only primary objects with these labels, as selector text; empty for all.
    const LABEL_SELECTOR: &'static str = "";

    /// How many runs at once; 0 leaves it to the host.
    const CONCURRENCY: u32 = 0;

    /// Reconcile everything this often though nothing changed; `None` for never.
    const RESYNC: Option<Duration> = None;

    /// The finalizer that the host keeps on its objects, such as `websites.example.dev/cleanup`: with one, a
    /// terminating object goes to [`Controller::finalize`] and stays until that is done. The plugin then asks for `update`
    /// on the primary resource's `finalizers`.
    const FINALIZER: Option<&'static str> = None;

    /// The field manager of its writes, as `managedFields` shows it; empty for the plugin's and the controller's name. One that
    /// stands in for one of Kubernetes' says `kube-controller-manager`, so that clients see the fields they know.
    const FIELD_MANAGER: &'static str = "";

    /// Whether [`Controller::reconcile`] wants terminating objects too. By default they are left alone.
    const RECONCILES_TERMINATING: bool = false;

    /// Brings one object closer to what is wanted.
    ///
    /// # Errors
    /// Whatever stops it; see [`crate::Error`] for which are tried again.
    fn reconcile(object: &Self::Primary, ctx: &Context) -> Result<Next>;

    /// Cleans up after a terminating object. The host removes the finalizer when this answers [`Next::Done`].
    ///
    /// # Errors
    /// As [`Controller::reconcile`].
    #[expect(unused_variables, reason = "the names are for those who override it")]
    fn finalize(object: &Self::Primary, ctx: &Context) -> Result<Next> {
        Next::done()
    }
}

/// How a run ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing more to do until something that was read changes.
    Done,
    /// Run again after this time at the latest.
    After(Duration),
}

impl Next {
    /// `Ok(Next::Done)`, to end a reconcile with.
    ///
    /// # Errors
    /// Never.
    #[expect(clippy::unnecessary_wraps, reason = "so that a reconcile ends with `Next::done()`")]
    pub fn done() -> Result<Self> {
        Ok(Self::Done)
    }

    /// `Ok(Next::After(wait))`, to end a reconcile with.
    ///
    /// # Errors
    /// Never.
    #[expect(clippy::unnecessary_wraps, reason = "so that a reconcile ends with `Next::after(…)`")]
    pub fn after(wait: Duration) -> Result<Self> {
        Ok(Self::After(wait))
    }
}

/// Verbs that a plugin asks for on a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// The API group.
    pub group: &'static str,
    /// The plural name.
    pub resource: &'static str,
    /// The subresource; empty for the object itself.
    pub subresource: &'static str,
    /// `get`, `list`, `create`, `update`, `patch`, `delete`.
    pub verbs: &'static [&'static str],
}

/// To read, create, change and delete objects of a kind.
pub const fn owns<T: Resource>() -> Capability {
    verbs::<T>(&["get", "list", "create", "update", "patch", "delete"])
}

/// To read objects of a kind.
pub const fn reads<T: Resource>() -> Capability {
    verbs::<T>(&["get", "list"])
}

/// To do only these things with objects of a kind.
pub const fn verbs<T: Resource>(verbs: &'static [&'static str]) -> Capability {
    Capability { group: T::GROUP, resource: T::PLURAL, subresource: "", verbs }
}
