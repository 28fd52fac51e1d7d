//! Letting go of an object that has left its controller: the finalizer that the host put on it goes, and nothing is run.

use quadrille_registry::Turn;
use quadrille_store::{Revision, Snapshot};

use super::Start;
use super::ended::Bad;
use crate::leftover::{attributed, unmarked};
use crate::runtime::Shared;

/// Takes the controller's finalizer from the object of a run that has nothing else to do; answers the revision up to
/// which the object is known.
pub(super) async fn let_go(
    shared: &Shared,
    start: &Start,
    snapshot: &Snapshot,
    turn: Option<Turn<'_>>,
) -> Result<Revision, Bad> {
    let (spec, key) = (&start.version.spec, &start.taken.key);
    let overlay = unmarked(shared, spec, snapshot, std::slice::from_ref(key)).await;
    let finalizer = spec.finalizer.as_deref().unwrap_or_default();
    let act = format!("took {finalizer} from {key}, which its controller no longer selects");
    let because = start.taken.wakes.revisions().to_vec();
    let mut txn = attributed(overlay.map_err(Bad::Failure)?, &act, because);
    txn.fence = Some(start.ticket.clone());
    let committed = match turn {
        Some(turn) => turn.commit(txn).await,
        None => shared.registry.commit(txn).await,
    };
    Ok(committed?.revision)
}
