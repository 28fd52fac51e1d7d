//! Letting go of an object that has left its controller: the finalizer that the host put on it goes, and nothing is run.
//!
//! Webhooks may be asked about that, so that a turn of the commit lasts as long as that of any other run, and no longer.

use std::time::Duration;

use quadrille_registry::Turn;
use quadrille_store::{Revision, Snapshot};

use super::ended::Bad;
use super::{Start, in_turn};
use crate::leftover::{attributed, unmarked};
use crate::runtime::Shared;

/// Takes the controller's finalizer from the object of a run that has nothing else to do; answers the revision up to
/// which the object is known.
pub(super) async fn let_go(
    shared: &Shared,
    start: &Start,
    snapshot: &Snapshot,
    (mut turn, length): (Option<Turn<'_>>, Option<Duration>),
) -> Result<Revision, Bad> {
    let (spec, key) = (&start.version.spec, &start.taken.key);
    let unmarking = unmarked(shared, spec, snapshot, std::slice::from_ref(key));
    let overlay = in_turn(shared, &mut turn, length.unwrap_or_default(), unmarking).await;
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

#[cfg(test)]
mod tests;
