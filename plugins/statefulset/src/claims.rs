//! The claims of pods: made before the pod, kept when it goes, and tied to the set or the pod where the retention
//! policy says so.

use common::tell;
use quadrille_sdk::OwnerReference;
use quadrille_sdk::prelude::*;
use serde_json::json;

use crate::kinds::Claim;
use crate::{Refused, Work, identity};

impl Work<'_> {
    /// Makes the claims that are missing.
    pub(crate) fn make_claims(&self, number: i64, pod: &str) -> Result<(), Refused> {
        for mut claim in identity::claims(self.set, number) {
            let name = claim.name().to_owned();
            let what = format!("create Claim {name} Pod {pod} in StatefulSet {}", self.set.name());
            if self.ctx.get::<Claim>(&name).is_ok_and(|found| found.is_some()) {
                continue;
            }
            claim.metadata.owner_references.extend(self.claim_owner(false, None));
            match self.ctx.create_unowned(claim) {
                Ok(_) => {
                    tell::event(self.ctx, "SuccessfulCreate", &format!("{what} success"));
                }
                Err(error) => return Err(self.refused("FailedCreate", &what, &error)),
            }
        }
        Ok(())
    }

    /// Ties the claims of a pod to their owner, or unties them.
    pub(crate) fn keep_claims(&self, number: i64, pod: &Pod, goes: bool) -> Result<(), Refused> {
        if self.set.spec.persistent_volume_claim_retention_policy.is_none() {
            return Ok(());
        }
        for wanted in identity::claims(self.set, number) {
            let Ok(Some(claim)) = self.ctx.get::<Claim>(wanted.name()) else { continue };
            let mut owners = claim.metadata.owner_references.clone();
            let ours = [self.ctx.owner_uid(), pod.uid()];
            owners.retain(|owner| !ours.contains(&owner.uid.as_str()));
            owners.extend(self.claim_owner(goes, Some(pod)));
            if owners == claim.metadata.owner_references {
                continue;
            }
            let patch = json!({"metadata": {"uid": claim.uid(), "ownerReferences": owners}});
            if let Err(error) = self.ctx.patch(&claim, &patch) {
                let what = format!("update Claim {} in StatefulSet", claim.name());
                return Err(self.refused("FailedUpdate", &what, &error));
            }
        }
        Ok(())
    }

    /// Who a claim goes with: the pod when there are to be fewer, the set when that goes.
    fn claim_owner(&self, goes: bool, pod: Option<&Pod>) -> Option<OwnerReference> {
        let policy = self.set.spec.persistent_volume_claim_retention_policy.as_ref()?;
        let owner = match pod {
            Some(pod) if goes && policy.when_scaled == "Delete" => pod.owner_reference(),
            _ if policy.when_deleted == "Delete" => self.ctx.owner_reference(),
            _ => return None,
        };
        Some(OwnerReference { controller: None, block_owner_deletion: None, ..owner })
    }
}
