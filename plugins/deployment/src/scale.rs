//! Scaling: setting the size of a set, and spreading a new total over several.

use std::cmp::Reverse;

use common::tell;
use quadrille_sdk::k8s::ReplicaSet;
use quadrille_sdk::prelude::*;
use serde_json::json;

use crate::bounds::Bounds;
use crate::new_set::{DESIRED, MAX};
use crate::template::age_order;
use crate::{Work, size};

impl Work<'_> {
    /// Whether the number of wanted pods differs from what an active set was last scaled for.
    pub(crate) fn was_scaled(&self) -> bool {
        self.sets()
            .filter(|set| size(set) > 0)
            .any(|set| annotated(set, DESIRED).is_some_and(|desired| desired != self.wanted()))
    }

    /// Brings the sets to the wanted total: the only active one entirely, several by their shares.
    pub(crate) fn scale(&mut self) -> Result<()> {
        let active = self.sets().filter(|set| size(set) > 0).count();
        let new_is_active = self.new.as_ref().is_some_and(|new| size(new) > 0);
        if new_is_active && active == 1 || active == 0 && self.new.is_some() {
            return self.resize_new(self.wanted()).map(drop);
        }
        if active <= 1 {
            let only = self.old.iter().position(|set| size(set) > 0);
            let target = only.or_else(|| self.old.len().checked_sub(1));
            return match target {
                Some(at) => self.resize_old(at, self.wanted()).map(drop),
                None => Ok(()),
            };
        }
        if self.is_saturated() {
            for at in 0..self.old.len() {
                self.resize_old(at, 0)?;
            }
            return Ok(());
        }
        let strategy = self.deployment.spec.strategy.as_ref();
        if strategy.is_none_or(|strategy| strategy.r#type != "Recreate") {
            self.scale_by_share()?;
        }
        Ok(())
    }

    /// Whether the new set is all there is to be: full size, and all available.
    fn is_saturated(&self) -> bool {
        self.new.as_ref().is_some_and(|new| {
            size(new) == self.wanted()
                && annotated(new, DESIRED) == Some(self.wanted())
                && new.status.available_replicas == self.wanted()
        })
    }

    /// Each active set grows or shrinks by its share, the largest takes what rounding leaves.
    fn scale_by_share(&mut self) -> Result<()> {
        let wanted = self.wanted();
        let most = if wanted > 0 { wanted + Bounds::of(self.deployment).surge } else { 0 };
        let to_add = most - self.total();
        let mut sets: Vec<&ReplicaSet> = self.sets().filter(|set| size(set) > 0).collect();
        // Ties go to the newer set when pods are added and to the older one when they are taken away.
        if to_add > 0 {
            sets.sort_by_key(|set| Reverse((size(set), age_order(set))));
        } else {
            sets.sort_by_key(|set| (Reverse(size(set)), age_order(set)));
        }
        let mut added = 0;
        let mut targets: Vec<(String, i64)> = Vec::new();
        for set in sets {
            let share = self.share(set, to_add, added);
            added += share;
            targets.push((set.name().to_owned(), size(set) + share));
        }
        if let Some((_, target)) = targets.first_mut() {
            *target = (*target + to_add - added).max(0);
        }
        for (name, target) in targets {
            if self.new.as_ref().is_some_and(|new| new.name() == name) {
                self.resize_new(target)?;
            } else if let Some(at) = self.old.iter().position(|set| set.name() == name) {
                self.resize_old(at, target)?;
            }
        }
        Ok(())
    }

    fn share(&self, set: &ReplicaSet, to_add: i64, added: i64) -> i64 {
        if to_add == 0 || to_add == added {
            return 0;
        }
        let left = to_add - added;
        let share = self.fraction(set);
        if to_add > 0 { share.min(left) } else { share.max(left) }
    }

    /// What keeps the set's part of the whole the same.
    fn fraction(&self, set: &ReplicaSet) -> i64 {
        let wanted = self.wanted();
        if wanted == 0 {
            return -size(set);
        }
        let most = wanted + Bounds::of(self.deployment).surge;
        let before = annotated(set, MAX).filter(|max| *max > 0);
        let before = before.unwrap_or(self.deployment.status.replicas);
        if before <= 0 {
            return 0;
        }
        // Rounded to the nearest, halves up.
        (2 * size(set) * most + before).div_euclid(2 * before) - size(set)
    }

    pub(crate) fn resize_new(&mut self, target: i64) -> Result<bool> {
        let Some(set) = self.new.take() else { return Ok(false) };
        let changed = size(&set) != target;
        self.new = Some(self.resized(set, target)?);
        Ok(changed)
    }

    pub(crate) fn resize_old(&mut self, at: usize, target: i64) -> Result<bool> {
        let Some(set) = self.old.get(at).cloned() else { return Ok(false) };
        let changed = size(&set) != target;
        let resized = self.resized(set, target)?;
        if let Some(place) = self.old.get_mut(at) {
            *place = resized;
        }
        Ok(changed)
    }

    fn resized(&self, set: ReplicaSet, target: i64) -> Result<ReplicaSet> {
        let (wanted, from) = (self.wanted(), size(&set));
        let most = wanted + Bounds::of(self.deployment).surge;
        // What a set at zero was last scaled for does not matter to anybody.
        let stale = annotated(&set, DESIRED) != Some(wanted) || annotated(&set, MAX) != Some(most);
        if from == target && (!stale || from == 0) {
            return Ok(set);
        }
        let patch = json!({
            "metadata": {"annotations": {DESIRED: wanted.to_string(), MAX: most.to_string()}},
            "spec": {"replicas": target},
        });
        let resized = self.ctx.patch(&set, &patch)?;
        if from != target {
            let direction = if target > from { "up" } else { "down" };
            self.tell_scaled(direction, set.name(), from, target);
        }
        Ok(resized)
    }

    pub(crate) fn tell_scaled(&self, direction: &str, name: &str, from: i64, to: i64) {
        let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
        tell::event(self.ctx, "ScalingReplicaSet", &message);
    }
}

fn annotated(set: &ReplicaSet, key: &str) -> Option<i64> {
    set.metadata.annotations.get(key)?.parse().ok()
}
