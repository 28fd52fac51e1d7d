//! One step of a roll-out: by turns, or all old pods first.

use std::collections::BTreeSet;

use quadrille_sdk::Query;
use quadrille_sdk::k8s::ReplicaSet;
use quadrille_sdk::prelude::*;

use crate::bounds::Bounds;
use crate::{Work, size};

impl Work<'_> {
    /// A rolling update: the new set grows as far as the surge allows; when it cannot, old ones shrink as far as what
    /// is available allows.
    pub(crate) fn roll(&mut self) -> Result<()> {
        self.ensure_new()?;
        if !self.grow_new()? {
            self.shrink_old()?;
        }
        Ok(())
    }

    /// All old pods go before the first new one comes.
    pub(crate) fn recreate(&mut self) -> Result<()> {
        self.adopt_revision()?;
        let mut shrunk = false;
        for at in 0..self.old.len() {
            shrunk |= self.resize_old(at, 0)?;
        }
        if shrunk || self.old_pods_remain()? {
            return Ok(());
        }
        self.ensure_new()?;
        self.resize_new(self.wanted()).map(drop)
    }

    /// How many pods the new set may have, when it has `current`.
    pub(crate) fn new_size(&self, current: i64) -> i64 {
        let strategy = self.deployment.spec.strategy.as_ref();
        if strategy.is_some_and(|strategy| strategy.r#type == "Recreate") {
            return self.wanted();
        }
        let most = self.wanted() + Bounds::of(self.deployment).surge;
        let room = most - self.total();
        if room <= 0 {
            return current;
        }
        current + room.min(self.wanted() - current)
    }

    fn grow_new(&mut self) -> Result<bool> {
        let Some(current) = self.new.as_ref().map(size) else { return Ok(false) };
        if current == self.wanted() {
            return Ok(false);
        }
        let target = if current > self.wanted() { self.wanted() } else { self.new_size(current) };
        self.resize_new(target)
    }

    fn shrink_old(&mut self) -> Result<()> {
        let old: i64 = self.old.iter().map(size).sum();
        if old == 0 {
            return Ok(());
        }
        let least = self.wanted() - Bounds::of(self.deployment).unavailable;
        let new_unavailable =
            self.new.as_ref().map_or(0, |new| size(new) - new.status.available_replicas);
        let most = self.total() - least - new_unavailable;
        if most <= 0 {
            return Ok(());
        }
        self.shrink_unhealthy(most)?;
        self.shrink_available(least)
    }

    /// Pods that do not work go first: nobody misses them.
    fn shrink_unhealthy(&mut self, most: i64) -> Result<()> {
        let mut left = most;
        for at in 0..self.old.len() {
            let Some(set) = self.old.get(at) else { break };
            let (current, available) = (size(set), set.status.available_replicas);
            let unhealthy = (current - available).clamp(0, left.max(0));
            if unhealthy > 0 {
                self.resize_old(at, current - unhealthy)?;
                left -= unhealthy;
            }
        }
        Ok(())
    }

    fn shrink_available(&mut self, least: i64) -> Result<()> {
        let available: i64 = self.sets().map(|set| set.status.available_replicas).sum();
        let mut left = available - least;
        for at in 0..self.old.len() {
            let Some(current) = self.old.get(at).map(size) else { break };
            let step = current.min(left);
            if step > 0 {
                self.resize_old(at, current - step)?;
                left -= step;
            }
        }
        Ok(())
    }

    /// Whether a pod of an old set may still run.
    fn old_pods_remain(&self) -> Result<bool> {
        if self.old.iter().any(|set| set.status.replicas > 0) {
            return Ok(true);
        }
        let old: BTreeSet<&str> = self.old.iter().map(ReplicaSet::uid).collect();
        if old.is_empty() {
            return Ok(false);
        }
        let pods = self.ctx.list::<Pod>(Query::labels(self.deployment.spec.selector.to_text()))?;
        Ok(pods.iter().any(|pod| {
            !matches!(pod.phase(), "Succeeded" | "Failed")
                && pod.metadata.controller().is_some_and(|owner| old.contains(owner.uid.as_str()))
        }))
    }
}
