//! A rolling update: old pods make way, on as many nodes at once as may be without a pod or have two.

use quadrille_sdk::prelude::*;

use crate::Work;
use crate::placement::Fit;

impl Work<'_> {
    /// Of the pods on one node those that are too many: all but the oldest, or, where two are allowed during an
    /// update, all but one old and one new.
    pub(crate) fn too_many(&self, oldest_first: &[&Pod]) -> Vec<Pod> {
        if self.bounds().1 == 0 {
            return oldest_first.iter().skip(1).map(|pod| (*pod).clone()).collect();
        }
        let (new, old): (Vec<&Pod>, Vec<&Pod>) =
            oldest_first.iter().partition(|pod| self.is_updated(pod));
        // An old pod is in the way as soon as the new one works.
        let replaced = new.first().is_some_and(|pod| self.is_available(pod));
        let old = old.into_iter().skip(usize::from(!replaced));
        new.into_iter().skip(1).chain(old).cloned().collect()
    }

    /// The nodes that get a pod more, and the old pods that go.
    pub(crate) fn replace(&self) -> (Vec<String>, Vec<Pod>) {
        if self.set.spec.update_strategy.r#type == "OnDelete" {
            return (Vec::new(), Vec::new());
        }
        let (max_unavailable, max_surge) = self.bounds();
        let fitting = self.nodes.iter().filter(|(_, fit)| *fit == Fit::Yes);
        let names: Vec<&str> = fitting.map(|(node, _)| node.name()).collect();
        let available = |node: &&&str| self.on(node).any(|pod| self.is_available(pod));
        let missing = names.len() - names.iter().filter(available).count();
        let surging = names.iter().filter(|node| self.on(node).count() > 1).count();
        let mut may_go = max_unavailable.saturating_sub(missing);
        let mut may_come = max_surge.saturating_sub(surging);
        let (mut more, mut gone) = (Vec::new(), Vec::new());
        for node in names {
            let mut pods = self.on(node);
            let (Some(old), None) = (pods.next(), pods.next()) else { continue };
            if self.is_updated(old) {
                continue;
            }
            let left = if max_surge > 0 { &mut may_come } else { &mut may_go };
            // An old pod that does not work costs nothing.
            if self.is_available(old) {
                let Some(less) = left.checked_sub(1) else { continue };
                *left = less;
            }
            if max_surge > 0 { more.push(node.to_owned()) } else { gone.push(old.clone()) }
        }
        (more, gone)
    }

    /// How many nodes may be without a pod, and how many may have two.
    fn bounds(&self) -> (usize, usize) {
        let strategy = &self.set.spec.update_strategy;
        let fitting = self.nodes.iter().filter(|(_, fit)| *fit == Fit::Yes).count();
        let of = i64::try_from(fitting).unwrap_or(i64::MAX);
        let rolling = strategy.rolling_update.as_ref();
        let surge = rolling.and_then(|r| r.max_surge.as_ref()).map_or(0, |most| most.of(of, true));
        let unavailable = rolling.and_then(|r| r.max_unavailable.as_ref());
        let mut unavailable = unavailable.map_or(1, |most| most.of(of, true));
        if unavailable == 0 && surge == 0 {
            unavailable = 1;
        }
        let count = |number: i64| usize::try_from(number).unwrap_or(0);
        (count(unavailable), count(surge))
    }
}
