//! The daemon set controller: one pod on every node that fits.
//!
//! Each run looks at the nodes and the pods, makes and takes away pods, and counts. Without nodes there is nothing to
//! make and every count is zero. A pod is made for its node by an affinity to the node's name, which a scheduler binds.

pub mod kinds;
mod placement;
mod status;
mod update;

use std::collections::{BTreeMap, BTreeSet};

use common::burst::{self, BURST};
use common::history::{self, History, Wanted};
use common::{hash, tell};
use quadrille_sdk::Query;
use quadrille_sdk::prelude::*;

use kinds::{DaemonSet, Node};
use placement::{Fit, Placement};

/// The label that carries the revision, on revisions and pods.
const REVISION: &str = "controller-revision-hash";
const GENERATION_LABEL: &str = "pod-template-generation";
const GENERATION: &str = "deprecated.daemonset.template.generation";

/// Keeps daemon sets.
#[derive(Debug)]
pub struct DaemonSets;

impl Controller for DaemonSets {
    type Primary = DaemonSet;
    const NAME: &'static str = "daemonset-controller";
    const FIELD_MANAGER: &'static str = common::FIELD_MANAGER;
    const CAPABILITIES: &'static [Capability] = &[
        verbs::<Pod>(&["get", "list", "create", "patch", "delete"]),
        verbs::<Node>(&["list"]),
        history::CAPABILITY,
    ];

    fn reconcile(set: &DaemonSet, ctx: &Context) -> Result<Next> {
        if set.spec.selector.is_empty() {
            tell::warning(ctx, "SelectingAll", SELECTS_ALL);
            return Next::done();
        }
        let mut history = History::claim(ctx, &set.metadata, &set.spec.selector)?;
        let mut collisions = set.status.collision_count.unwrap_or(0);
        let newest = history.ensure(&wanted(set), &mut collisions)?;
        let revision = newest.metadata.labels.get(REVISION).cloned().unwrap_or_default();
        let mut work = Work::new(set, ctx, revision)?;
        let outcome = work.run();
        let status = work.status(Some(collisions).filter(|count| *count > 0));
        ctx.set_status(&status)?;
        history.truncate(&work.live(set, newest.name()), set.spec.revision_history_limit)?;
        Ok(match outcome {
            Ok(()) => work.next(),
            Err(_) => Next::After(Duration::from_secs(5)),
        })
    }
}

quadrille_sdk::plugin!(DaemonSets);

const SELECTS_ALL: &str =
    "This daemon set is selecting all pods. A non-empty selector is required.";

fn wanted(set: &DaemonSet) -> Wanted<'_, impl Fn(&str, i64) -> Result<String>> {
    let template = &set.spec.template;
    let hash =
        |_: &str, count: i64| hash::of_template(template, Some(count).filter(|count| *count > 0));
    Wanted { template, label: REVISION, hash }
}

/// One run on one set.
struct Work<'a> {
    set: &'a DaemonSet,
    ctx: &'a Context,
    /// The hash of the newest revision.
    revision: String,
    placement: Placement,
    nodes: Vec<(Node, Fit)>,
    /// The pods by the node that they are on or for.
    pods: BTreeMap<String, Vec<Pod>>,
    /// Whether pods went whose place can be taken at once.
    moved: bool,
}

impl<'a> Work<'a> {
    fn new(set: &'a DaemonSet, ctx: &'a Context, revision: String) -> Result<Self> {
        let placement = Placement::of(set.spec.template.spec.as_ref())?;
        let nodes = ctx.list::<Node>(Query::all())?;
        let nodes: Vec<_> = nodes.into_iter().map(|node| (placement.fit(&node), node)).collect();
        let mut pods: BTreeMap<String, Vec<Pod>> = BTreeMap::new();
        for pod in ctx.claim::<Pod>(&set.spec.selector)? {
            let placed = Placement::of(pod.spec.as_ref())?;
            if let Some(node) = placed.target() {
                pods.entry(node.to_owned()).or_default().push(pod);
            }
        }
        let nodes = nodes.into_iter().map(|(fit, node)| (node, fit)).collect();
        Ok(Self { set, ctx, revision, placement, nodes, pods, moved: false })
    }

    fn run(&mut self) -> Result<(), burst::Stopped> {
        let (mut missing, mut extra) = self.manage();
        if missing.is_empty() && extra.is_empty() {
            (missing, extra) = self.replace();
        }
        extra.truncate(BURST);
        missing.truncate(BURST);
        if !extra.is_empty() {
            let gone: BTreeSet<String> = extra.iter().map(|pod| pod.uid().to_owned()).collect();
            burst::delete(self.ctx, &extra).map_err(|(stopped, _)| stopped)?;
            self.pods.values_mut().for_each(|pods| pods.retain(|pod| !gone.contains(pod.uid())));
            self.moved = true;
        }
        let made: Result<Vec<Pod>> = missing.iter().map(|node| self.pod(node)).collect();
        let made = made.map_err(|error| burst::Stopped { reason: "FailedCreate", error })?;
        let mut created = Vec::new();
        let outcome = burst::create_all(self.ctx, &mut created, made);
        for (node, pod) in missing.into_iter().zip(created) {
            self.pods.entry(node).or_default().push(pod);
        }
        outcome
    }

    /// What is missing or too much on the nodes, whatever the revision.
    fn manage(&self) -> (Vec<String>, Vec<Pod>) {
        let mut missing = Vec::new();
        let mut extra = Vec::new();
        for (node, fit) in &self.nodes {
            let (ended, mut running): (Vec<&Pod>, Vec<&Pod>) =
                self.on(node.name()).partition(|pod| matches!(pod.phase(), "Succeeded" | "Failed"));
            extra.extend(ended.into_iter().cloned());
            match fit {
                Fit::No => extra.extend(running.into_iter().cloned()),
                Fit::Yes if running.is_empty() => missing.push(node.name().to_owned()),
                Fit::Yes | Fit::MayStay => {
                    running.sort_by_key(|pod| pod.metadata.creation_timestamp);
                    extra.extend(self.too_many(&running));
                }
            }
        }
        let known = |node: &str| self.nodes.iter().any(|(other, _)| other.name() == node);
        let lost = self.pods.iter().filter(|(node, _)| !known(node)).flat_map(|(_, pods)| pods);
        extra.extend(lost.filter(|pod| !pod.metadata.is_terminating()).cloned());
        (missing, extra)
    }

    /// The pods on a node that do not go away already.
    fn on(&self, node: &str) -> impl Iterator<Item = &Pod> {
        let pods = self.pods.get(node).into_iter().flatten();
        pods.filter(|pod| !pod.metadata.is_terminating())
    }

    fn is_updated(&self, pod: &Pod) -> bool {
        pod.metadata.labels.get(REVISION) == Some(&self.revision)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        let seconds = self.set.spec.min_ready_seconds.unwrap_or(0);
        let min_ready = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        pod.is_available(min_ready, self.ctx.now())
    }

    fn pod(&self, node: &str) -> Result<Pod> {
        let template = &self.set.spec.template;
        let mut pod = Pod::from_template(template);
        pod.metadata.labels.insert(REVISION.to_owned(), self.revision.clone());
        if let Some(generation) = self.set.metadata.annotations.get(GENERATION) {
            pod.metadata.labels.insert(GENERATION_LABEL.to_owned(), generation.clone());
        }
        let spec = template.spec.clone().unwrap_or_default();
        pod.spec = Some(self.placement.spec_for(&spec, node)?);
        burst::name(&mut pod, &format!("{}-", self.set.name()), self.ctx);
        Ok(pod)
    }

    /// The names of the revisions that are in use.
    fn live(&self, set: &DaemonSet, newest: &str) -> BTreeSet<String> {
        let hashes =
            self.pods.values().flatten().filter_map(|pod| pod.metadata.labels.get(REVISION));
        let names = hashes.map(|hash| format!("{}-{hash}", set.name()));
        names.chain([newest.to_owned()]).collect()
    }

    fn next(&self) -> Next {
        if self.moved {
            return Next::After(Duration::from_millis(1));
        }
        let seconds = self.set.spec.min_ready_seconds.unwrap_or(0);
        let min_ready = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let ready = self.pods.values().flatten().filter_map(Pod::ready_since);
        let left = ready.map(|since| (since + min_ready).since(self.ctx.now()));
        left.filter(|left| !left.is_zero()).min().map_or(Next::Done, Next::After)
    }
}

#[cfg(test)]
mod tests;
