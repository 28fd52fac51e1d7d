//! The horizontal pod autoscaler, where nothing is measured.
//!
//! It keeps targets within their least and most pods, and says in conditions what it can and cannot do: without a
//! metrics API no measure is known, which is the answer that Kubernetes gives without a metrics server.

pub mod kinds;

use common::scale::{self, Scale};
use common::tell;
use quadrille_sdk::prelude::*;

use kinds::{AutoscalerCondition, HorizontalPodAutoscaler, HorizontalPodAutoscalerStatus, Metric};

/// How long after its creation, and after a change of scale, it looks.
const PERIOD: Duration = Duration::from_secs(15);

/// Keeps the targets of autoscalers within bounds.
#[derive(Debug)]
pub struct Autoscalers;

impl Controller for Autoscalers {
    type Primary = HorizontalPodAutoscaler;
    const NAME: &'static str = "horizontal-pod-autoscaler";
    const FIELD_MANAGER: &'static str = common::FIELD_MANAGER;
    const CAPABILITIES: &'static [Capability] = &scale::SETTING;

    fn reconcile(autoscaler: &HorizontalPodAutoscaler, ctx: &Context) -> Result<Next> {
        // A new one is looked at after a period, as Kubernetes does: a target that is made right after it is there then.
        let made = autoscaler.metadata.creation_timestamp.unwrap_or_else(|| ctx.now());
        let left = (made + PERIOD).since(ctx.now());
        if !left.is_zero() {
            return Next::after(left);
        }
        let mut work = Work { autoscaler, ctx, status: autoscaler.status.clone() };
        work.run()?;
        ctx.set_status(&work.status)?;
        // What it set itself does not wake it.
        let scaled = work.status.last_scale_time != autoscaler.status.last_scale_time;
        if scaled { Next::after(PERIOD) } else { Next::done() }
    }
}

quadrille_sdk::plugin!(Autoscalers);

/// One run on one autoscaler.
struct Work<'a> {
    autoscaler: &'a HorizontalPodAutoscaler,
    ctx: &'a Context,
    status: HorizontalPodAutoscalerStatus,
}

impl Work<'_> {
    fn run(&mut self) -> Result<()> {
        let target = &self.autoscaler.spec.scale_target_ref;
        let scale = match target.read(self.ctx) {
            Ok(Some(scale)) => scale,
            Ok(None) => {
                self.no_scale(&format!("{} not found", target.shown()));
                return Ok(());
            }
            // A host that cannot answer now is asked again; everything else is for people.
            Err(refusal) if refusal.reason == quadrille_sdk::Reason::Internal => {
                return Err(Error::transient(refusal.message));
            }
            Err(refusal) => {
                self.no_scale(&refusal.message);
                return Ok(());
            }
        };
        let message = "the HPA controller was able to get the target's current scale";
        self.set("AbleToScale", ("True", "SucceededGetScale"), message);
        self.status.current_replicas = scale.replicas;
        let spec = &self.autoscaler.spec;
        let least = spec.min_replicas.unwrap_or(1);
        if scale.replicas == 0 && least != 0 {
            let message = "scaling is disabled since the replica count of the target is zero";
            self.set("ScalingActive", ("False", "ScalingDisabled"), message);
            self.status.desired_replicas = 0;
        } else if scale.replicas > spec.max_replicas {
            let why = "Current number of replicas above Spec.MaxReplicas";
            self.rescale(&scale, spec.max_replicas, why);
        } else if scale.replicas < least {
            self.rescale(&scale, least, "Current number of replicas below Spec.MinReplicas");
        } else {
            self.measure();
        }
        Ok(())
    }

    fn no_scale(&mut self, why: &str) {
        let message =
            format!("the HPA controller was unable to get the target's current scale: {why}");
        if self.set("AbleToScale", ("False", "FailedGetScale"), &message) {
            tell::warning(self.ctx, "FailedGetScale", why);
        }
    }

    fn rescale(&mut self, scale: &Scale, wanted: i64, why: &str) {
        let target = &self.autoscaler.spec.scale_target_ref;
        if let Err(refusal) = target.set(self.ctx, wanted) {
            let message = format!(
                "the HPA controller was unable to update the target scale: {}",
                refusal.message
            );
            if self.set("AbleToScale", ("False", "FailedUpdateScale"), &message) {
                let said = format!("New size: {wanted}; reason: {why}; error: {}", refusal.message);
                tell::warning(self.ctx, "FailedRescale", &said);
            }
            return;
        }
        let message = format!("the HPA controller was able to update the target scale to {wanted}");
        self.set("AbleToScale", ("True", "SucceededRescale"), &message);
        tell::event(self.ctx, "SuccessfulRescale", &format!("New size: {wanted}; reason: {why}"));
        self.status.current_replicas = scale.replicas;
        self.status.desired_replicas = wanted;
        self.status.last_scale_time = Some(self.ctx.now());
    }

    /// Says of the first measure why it is not known.
    fn measure(&mut self) {
        let metrics = &self.autoscaler.spec.metrics;
        let Some(first) = metrics.first() else { return };
        let (reason, problem) = unknown(first);
        let message = format!("the HPA was unable to compute the replica count: {problem}");
        if self.set("ScalingActive", ("False", reason), &message) {
            tell::warning(self.ctx, reason, &problem);
            let count = metrics.len();
            let said = format!(
                "invalid metrics ({count} invalid out of {count}), first error is: {problem}"
            );
            tell::warning(self.ctx, "FailedComputeMetricsReplicas", &said);
        }
    }

    /// Sets a condition; true when that is news.
    fn set(&mut self, kind: &str, (status, reason): (&str, &str), message: &str) -> bool {
        let conditions = &mut self.status.conditions;
        let at = conditions.iter().position(|condition| condition.r#type == kind);
        let before = at.and_then(|at| conditions.get(at));
        let since = before.filter(|c| c.status == status).and_then(|c| c.last_transition_time);
        let condition = AutoscalerCondition {
            r#type: kind.to_owned(),
            status: status.to_owned(),
            last_transition_time: Some(since.unwrap_or_else(|| self.ctx.now())),
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        let news = before != Some(&condition);
        match at.and_then(|at| conditions.get_mut(at)) {
            Some(place) => *place = condition,
            None => conditions.push(condition),
        }
        news
    }
}

/// Why a measure is not known: no API serves it.
fn unknown(metric: &Metric) -> (&'static str, String) {
    let resource = |what: &str, name: &str| {
        format!(
            "{what}unable to get metrics for resource {name}: unable to fetch metrics from resource \
             metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)"
        )
    };
    let named = |name: &str, api: &str| {
        format!(
            "unable to get metric {name}: unable to fetch metrics from {api} metrics API: \
             no {api} metrics API ({api}.metrics.k8s.io) registered"
        )
    };
    let name_of = |metric: &Option<kinds::NamedMetric>| {
        metric.as_ref().map(|metric| metric.metric.name.clone()).unwrap_or_default()
    };
    match metric.r#type.as_str() {
        "ContainerResource" => {
            let name = metric.container_resource.as_ref().map_or("", |metric| &metric.name);
            let what = format!("failed to get {name} container metric value: ");
            ("FailedGetContainerResourceMetric", resource(&what, name))
        }
        "Pods" => ("FailedGetPodsMetric", named(&name_of(&metric.pods), "custom")),
        "Object" => ("FailedGetObjectMetric", named(&name_of(&metric.object), "custom")),
        "External" => ("FailedGetExternalMetric", named(&name_of(&metric.external), "external")),
        _ => {
            let name = metric.resource.as_ref().map_or("", |metric| &metric.name);
            let what = format!("failed to get {name} utilization: ");
            ("FailedGetResourceMetric", resource(&what, name))
        }
    }
}

#[cfg(test)]
mod tests;
