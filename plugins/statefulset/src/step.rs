//! The steps of a run: pods that are missing, finished or too many.

use common::tell;
use quadrille_sdk::prelude::*;

use crate::{Refused, Work, identity};

/// More pods than this are not made in one run; the next goes on.
const BURST: usize = 500;

impl Work<'_> {
    /// First those that are wanted, then those that are too many, then those of an old revision. A step that must
    /// wait ends the run.
    pub(crate) fn run(&mut self) -> Result<(), Refused> {
        for number in self.set.numbers().take(BURST) {
            if self.is_held_by(number)? {
                return Ok(());
            }
        }
        if self.condemn()? {
            return Ok(());
        }
        self.replace()
    }

    /// Looks after one wanted pod; true when the others wait for it.
    fn is_held_by(&mut self, number: i64) -> Result<bool, Refused> {
        let ordered = self.set.is_ordered();
        let found = self.pods.iter().position(|p| identity::number(self.set, p) == Some(number));
        let Some(at) = found else {
            self.create(number)?;
            return Ok(ordered);
        };
        let Some(pod) = self.pods.get(at).cloned() else { return Ok(false) };
        if matches!(pod.phase(), "Succeeded" | "Failed") {
            // A pod of a set runs for ever: one that has ended is made anew.
            if !pod.metadata.is_terminating() {
                self.delete(&pod)?;
            }
            return Ok(ordered);
        }
        self.keep_claims(number, &pod, false)?;
        if pod.metadata.is_terminating() || !self.is_available(&pod) {
            self.note_due(&pod);
            return Ok(ordered);
        }
        Ok(false)
    }

    /// Takes away pods whose number is not wanted, highest first; true when there is something to wait for.
    fn condemn(&mut self) -> Result<bool, Refused> {
        let mut condemned: Vec<(i64, Pod)> = self.numbered();
        condemned.retain(|(number, _)| !self.set.numbers().contains(number));
        condemned.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        let lowest = |(_, pod): &&(i64, Pod)| self.is_unavailable(pod);
        let first_unhealthy = condemned.iter().rev().find(lowest).map(|(number, _)| *number);
        let ordered = self.set.is_ordered();
        for (number, pod) in condemned {
            self.keep_claims(number, &pod, true)?;
            if pod.metadata.is_terminating() {
                if ordered {
                    return Ok(true);
                }
                continue;
            }
            if ordered && !self.is_available(&pod) && first_unhealthy != Some(number) {
                self.note_due(&pod);
                return Ok(true);
            }
            self.delete(&pod)?;
            if ordered {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The pods with their numbers.
    pub(crate) fn numbered(&self) -> Vec<(i64, Pod)> {
        let numbered = self.pods.iter();
        numbered.filter_map(|pod| Some((identity::number(self.set, pod)?, pod.clone()))).collect()
    }

    fn note_due(&mut self, pod: &Pod) {
        let left = pod.ready_since().map(|since| (since + self.min_ready()).since(self.ctx.now()));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            self.due = Some(self.due.map_or(left, |due| due.min(left)));
        }
    }

    fn create(&mut self, number: i64) -> Result<(), Refused> {
        let set = self.set;
        let revision = if self.is_kept_back(number) { &self.current } else { &self.newest };
        let pod = identity::pod(set, number, &revision.template, &revision.name);
        let named = format!("{}-{number}", set.name());
        self.make_claims(number, &named)?;
        match pod.and_then(|pod| self.ctx.create(pod)) {
            Ok(pod) => {
                let said = format!("create Pod {} in StatefulSet {} successful", named, set.name());
                tell::event(self.ctx, "SuccessfulCreate", &said);
                self.keep_claims(number, &pod, false)?;
                self.pods.push(pod);
                Ok(())
            }
            Err(error) => {
                let what = format!("create Pod {named} in StatefulSet {}", set.name());
                Err(self.refused("FailedCreate", &what, &error))
            }
        }
    }

    /// Whether a pod that is made anew is still to be of the current revision.
    fn is_kept_back(&self, number: i64) -> bool {
        let set = self.set;
        set.rolls()
            && match set.partition() {
                Some(partition) => number < set.start() + partition,
                None => number < set.start() + set.status.current_replicas,
            }
    }

    pub(crate) fn delete(&mut self, pod: &Pod) -> Result<(), Refused> {
        let what = format!("delete Pod {} in StatefulSet {}", pod.name(), self.set.name());
        if let Err(error) = self.ctx.delete(pod) {
            return Err(self.refused("FailedDelete", &what, &error));
        }
        tell::event(self.ctx, "SuccessfulDelete", &format!("{what} successful"));
        // One that is gone at once leaves its name free for the next run.
        self.moved = true;
        match self.ctx.get::<Pod>(pod.name()) {
            Ok(Some(now)) if now.uid() == pod.uid() => {
                self.pods
                    .iter_mut()
                    .filter(|p| p.uid() == now.uid())
                    .for_each(|p| *p = now.clone());
            }
            _ => self.pods.retain(|other| other.uid() != pod.uid()),
        }
        Ok(())
    }

    pub(crate) fn refused(&self, reason: &str, what: &str, error: &Error) -> Refused {
        let message = format!("{what} failed error: {}", tell::refusal(error));
        tell::warning(self.ctx, reason, &message);
        Refused
    }
}
