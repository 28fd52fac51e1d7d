//! `GET /quadrille/backup`: all objects at one revision, as a file that says of itself whether it is whole.
//!
//! Nobody waits for it: it is made from a snapshot while it is sent. Whoever may have it may `get /quadrille/backup` and
//! also `get` every resource, because it holds Secrets too.

use std::sync::Arc;

use futures_util::stream;
use quadrille_registry::{Reason, Status};
use quadrille_server::{Question, Reply, ResourceAttributes};

use super::HostInsight;

impl HostInsight {
    pub(super) fn backup(&self, question: &Question) -> Result<Reply, Status> {
        let everything =
            ResourceAttributes { group: "*", resource: "*", ..ResourceAttributes::default() };
        question.rights.require("get", everything)?;
        let place = Arc::clone(&self.backups).try_acquire_owned().map_err(|_| {
            let message = "as many backups as can be are being taken; try again later";
            Status::new(Reason::TooManyRequests, message)
        })?;
        let backup = self.store.backup();
        tracing::info!(revision = backup.head().revision.0, "backup begins");
        let pieces = stream::unfold((backup, place), |(mut backup, place)| async move {
            let piece = backup.next()?;
            Some((piece, (backup, place)))
        });
        Ok(Reply::File(Box::pin(pieces)))
    }
}
