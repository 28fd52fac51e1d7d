//! The replica set controller: as many pods of one template as are wanted.
//!
//! It owns the pods that its selector matches: it adopts those without a controller, releases those that match no
//! longer, makes what is missing and deletes what is too much, in the order that Kubernetes documents. It must not
//! know of deployments.

mod rank;
mod status;

use quadrille_sdk::k8s::ReplicaSet;
use quadrille_sdk::prelude::*;

/// The most pods that one run makes or deletes; the next run goes on.
const BURST: usize = 500;

/// The longest beginning of a pod's name: five characters of the 63 are left for chance.
const NAME_BASE_MAX: usize = 58;

/// Keeps replica sets at their number of pods.
#[derive(Debug)]
pub struct ReplicaSets;

impl Controller for ReplicaSets {
    type Primary = ReplicaSet;
    const NAME: &'static str = "replicaset";
    const CAPABILITIES: &'static [Capability] =
        &[verbs::<Pod>(&["get", "list", "create", "patch", "delete"])];
    const RECONCILES_TERMINATING: bool = true;

    fn reconcile(set: &ReplicaSet, ctx: &Context) -> Result<Next> {
        let pods = ctx.claim::<Pod>(&set.spec.selector)?;
        let terminating = pods.iter().filter(|p| p.metadata.is_terminating()).count();
        let mut active: Vec<Pod> = pods.into_iter().filter(Pod::is_active).collect();
        let mut failure = None;
        let mut more_to_do = false;
        if !ctx.is_terminating() {
            let wanted = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or(0);
            more_to_do = active.len().abs_diff(wanted) > BURST;
            if active.len() < wanted {
                failure = create(set, ctx, &mut active, wanted).err();
            } else if active.len() > wanted {
                failure = delete(ctx, &mut active, wanted).err();
            }
        }
        let tally = status::Tally::of(set, &active, terminating, ctx.now());
        ctx.set_status(&status::status(set, &tally, failure.as_ref(), ctx.now()))?;
        match failure {
            Some(_) => Next::after(status::retry_wait(set, ctx.now())),
            None if more_to_do => Next::after(Duration::from_millis(1)),
            None => tally.next_available.map_or(Ok(Next::Done), Next::after),
        }
    }
}

quadrille_sdk::plugin!(ReplicaSets);

/// What stopped a creation or a deletion; what was done before stands.
struct Stopped {
    reason: &'static str,
    error: Error,
}

fn create(
    set: &ReplicaSet,
    ctx: &Context,
    active: &mut Vec<Pod>,
    wanted: usize,
) -> Result<(), Stopped> {
    let mut names = Vec::new();
    let missing = wanted.saturating_sub(active.len()).min(BURST);
    for _ in 0..missing {
        match ctx.create(named(set, ctx)) {
            Ok(pod) => {
                names.push(pod.name().to_owned());
                active.push(pod);
            }
            Err(error) => {
                report(ctx, "SuccessfulCreate", "Created pod", &names);
                tell(ctx, "FailedCreate", &format!("Error creating: {}", error.chain()));
                return Err(Stopped { reason: "FailedCreate", error });
            }
        }
    }
    report(ctx, "SuccessfulCreate", "Created pod", &names);
    Ok(())
}

/// A pod of the template, with a name from the run's chance, so that a replay gives the same one.
fn named(set: &ReplicaSet, ctx: &Context) -> Pod {
    let mut pod = Pod::from_template(&set.spec.template);
    let base: String = format!("{}-", set.name()).chars().take(NAME_BASE_MAX).collect();
    pod.metadata.name = format!("{base}{}", ctx.random_suffix(5));
    pod.metadata.generate_name = base;
    pod
}

fn delete(ctx: &Context, active: &mut Vec<Pod>, wanted: usize) -> Result<(), Stopped> {
    let extra = active.len().saturating_sub(wanted).min(BURST);
    rank::first_to_go_first(active, ctx.now());
    let kept = active.split_off(extra);
    let gone = std::mem::replace(active, kept);
    let mut names = Vec::new();
    for (at, pod) in gone.iter().enumerate() {
        if let Err(error) = ctx.delete(pod) {
            report(ctx, "SuccessfulDelete", "Deleted pod", &names);
            tell(ctx, "FailedDelete", &format!("Error deleting: {}", error.chain()));
            active.extend(gone.get(at..).unwrap_or_default().iter().cloned());
            return Err(Stopped { reason: "FailedDelete", error });
        }
        names.push(pod.name().to_owned());
    }
    report(ctx, "SuccessfulDelete", "Deleted pod", &names);
    Ok(())
}

/// One event for all pods of the run: one each would cost as much as the pods.
fn report(ctx: &Context, reason: &str, what: &str, names: &[String]) {
    const SHOWN: usize = 10;
    let shown = names.get(..SHOWN.min(names.len())).unwrap_or_default().join(", ");
    let more = names.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let plural = if names.len() == 1 { "" } else { "s" };
    if !names.is_empty() && ctx.event(reason, format!("{what}{plural}: {shown}{more}")).is_err() {
        debug!(ctx, "{what}{plural}: {shown}{more}");
    }
}

/// An event is news and no duty: one that is refused goes to the log.
fn tell(ctx: &Context, reason: &str, message: &str) {
    if ctx.warning(reason, message).is_err() {
        warn!(ctx, "{message}");
    }
}

#[cfg(test)]
mod tests;
