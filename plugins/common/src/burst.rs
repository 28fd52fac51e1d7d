//! Pods made and deleted by the handful: until the first refusal, with one event for all.

use quadrille_sdk::k8s::{Pod, PodTemplate};
use quadrille_sdk::prelude::*;

use crate::tell;

/// The most pods that one run makes or deletes; the next run goes on.
pub const BURST: usize = 500;

/// The longest beginning of a pod's name: five characters of the 63 are left for chance.
const NAME_BASE_MAX: usize = 58;

/// What stopped a creation or a deletion; what was done before stands.
#[derive(Debug)]
pub struct Stopped {
    /// `FailedCreate` or `FailedDelete`.
    pub reason: &'static str,
    /// The refusal.
    pub error: Error,
}

/// Names a pod after its owner, with an end from the run's chance, so that a replay gives the same one.
pub fn name(pod: &mut Pod, base: &str, ctx: &Context) {
    let base: String = base.chars().take(NAME_BASE_MAX).collect();
    pod.metadata.name = format!("{base}{}", ctx.random_suffix(5));
    pod.metadata.generate_name = base;
}

/// Makes so many pods of a template for the primary object `owner`; they are added to `made`.
///
/// # Errors
/// The first refusal.
pub fn create(
    ctx: &Context,
    owner: &str,
    template: &PodTemplate,
    (made, count): (&mut Vec<Pod>, usize),
) -> Result<(), Stopped> {
    let base = format!("{owner}-");
    create_all(
        ctx,
        made,
        (0..count).map(|_| {
            let mut pod = Pod::from_template(template);
            name(&mut pod, &base, ctx);
            pod
        }),
    )
}

/// Makes these pods; they are added to `made`.
///
/// # Errors
/// The first refusal.
pub fn create_all(
    ctx: &Context,
    made: &mut Vec<Pod>,
    pods: impl IntoIterator<Item = Pod>,
) -> Result<(), Stopped> {
    let mut names = Vec::new();
    let mut stopped = Ok(());
    for pod in pods {
        match ctx.create(pod) {
            Ok(pod) => {
                names.push(pod.name().to_owned());
                made.push(pod);
            }
            Err(error) => {
                stopped = Err(Stopped { reason: "FailedCreate", error });
                break;
            }
        }
    }
    tell::done(ctx, "SuccessfulCreate", "Created pod", &names);
    if let Err(Stopped { error, .. }) = &stopped {
        tell::warning(ctx, "FailedCreate", &format!("Error creating: {}", tell::refusal(error)));
    }
    stopped
}

/// Deletes these pods; answers those that are left.
///
/// # Errors
/// The first refusal, with the pods that are left.
pub fn delete(ctx: &Context, pods: &[Pod]) -> Result<(), (Stopped, Vec<Pod>)> {
    let mut names = Vec::new();
    let mut stopped = Ok(());
    for (at, pod) in pods.iter().enumerate() {
        if let Err(error) = ctx.delete(pod) {
            let left = pods.get(at..).unwrap_or_default().to_vec();
            stopped = Err((Stopped { reason: "FailedDelete", error }, left));
            break;
        }
        names.push(pod.name().to_owned());
    }
    tell::done(ctx, "SuccessfulDelete", "Deleted pod", &names);
    if let Err((Stopped { error, .. }, _)) = &stopped {
        tell::warning(ctx, "FailedDelete", &format!("Error deleting: {}", tell::refusal(error)));
    }
    stopped
}
