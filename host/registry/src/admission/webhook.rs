//! Mutating and validating admission webhooks, as far as a decision goes: who is asked, and what follows from the
//! answer. The asking is in [`crate::webhooks`].

use std::sync::Arc;

use quadrille_object::JsonPatch;
use serde_json::{Value, json};

use crate::admission::expression::{Evaluation, Scope};
use crate::admission::matching::Matcher;
use crate::admission::policy::{Condition, FailurePolicy, conditions};
use crate::admission::review::{self, Answer, Outcome, Version};
use crate::admission::service::Client;
use crate::admission::subject::{Shown, Subject};
use crate::admission::{Operation, Plugin, accept};
use crate::catalog::Resource;
use crate::field::{self, Object};
use crate::metadata;
use crate::status::{Reason, Status, StatusCause, StatusDetails};
use crate::webhooks::{Question, QuestionKey, WebhookEndpoint};
use crate::write::Attempt;

const TIMEOUT_SECONDS_DEFAULT: u64 = 10;

/// One webhook of a configuration.
#[derive(Debug)]
pub(crate) struct Webhook {
    /// Configuration, place and name: what tells it from all others.
    id: Arc<str>,
    configuration: Box<str>,
    name: Box<str>,
    client: Client,
    version: Option<Version>,
    failure: FailurePolicy,
    matcher: Matcher,
    conditions: Vec<Condition>,
    /// Whether a dry run may call it.
    harmless: bool,
    reinvoked: bool,
    mutating: bool,
}

impl Webhook {
    /// The webhooks of a stored configuration.
    pub(crate) fn compile_all(object: &Object) -> Vec<Arc<Self>> {
        let kind = field::text(object, &["kind"]).unwrap_or_default();
        let configuration = metadata::text(object, "name");
        let scope = Scope { authorizer: true, ..Scope::default() };
        let webhooks = field::list(object, &["webhooks"]).iter().enumerate();
        let compile = |(index, of): (usize, &Value)| {
            let text = |key: &str| of.get(key).and_then(Value::as_str).unwrap_or_default();
            let list =
                |key: &str| of.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            let client = of.get("clientConfig").unwrap_or(&Value::Null);
            let seconds = of.get("timeoutSeconds").and_then(Value::as_u64);
            let name = text("name");
            Arc::new(Self {
                id: format!("{kind}/{configuration}/{index}/{name}").into(),
                configuration: configuration.into(),
                name: name.into(),
                client: Client::parse(client, seconds.unwrap_or(TIMEOUT_SECONDS_DEFAULT)),
                version: Version::choose(list("admissionReviewVersions")),
                failure: FailurePolicy::parse(of),
                matcher: Matcher::of_webhook(of),
                conditions: conditions(list("matchConditions"), &scope),
                harmless: matches!(text("sideEffects"), "None" | "NoneOnDryRun"),
                reinvoked: text("reinvocationPolicy") == "IfNeeded",
                mutating: kind == "MutatingWebhookConfiguration",
            })
        };
        webhooks.map(compile).collect()
    }

    /// As which resource the webhook wants to see the subject; `None` when it does not.
    fn wants(
        &self,
        attempt: &Attempt<'_>,
        subject: &Subject<'_>,
    ) -> Result<Option<Arc<Resource>>, Status> {
        let resource = self.matcher.matches(subject, attempt.catalog, attempt.view);
        let resource = resource.map_err(|unknown| internal(&unknown.0))?;
        let Some(resource) = resource else { return Ok(None) };
        if self.conditions.is_empty() {
            return Ok(Some(resource));
        }
        let shown = subject.seen_as(&resource);
        let evaluation = Evaluation {
            object: &shown.object,
            old_object: &shown.old_object,
            request: &shown.request,
            params: &Value::Null,
            namespace: &Value::Null,
            variables: &[],
            access: attempt.access,
            subject,
        };
        match super::conditions_hold(&self.conditions, self.failure, &evaluation) {
            Ok(holds) => Ok(holds.then_some(resource)),
            Err(why) => Err(Status::forbidden(&attempt.resource.qualified(), &subject.name, &why)),
        }
    }

    /// What the webhook is asked.
    fn question(&self, attempt: &Attempt<'_>, shown: &Shown, round: usize) -> Question {
        let mut request = shown.request.clone();
        for (key, object) in [("object", &shown.object), ("oldObject", &shown.old_object)] {
            request[key] = object.clone();
        }
        let key = QuestionKey {
            webhook: Arc::clone(&self.id),
            round,
            request: request.to_string().into(),
        };
        Question {
            key,
            endpoint: self.endpoint(attempt),
            version: self.version.unwrap_or(Version::V1),
            mutating: self.mutating,
        }
    }

    fn endpoint(&self, attempt: &Attempt<'_>) -> Result<WebhookEndpoint, String> {
        if self.version.is_none() {
            return Err(
                "webhook does not accept known AdmissionReview versions (v1, v1beta1)".to_owned()
            );
        }
        self.client.endpoint(attempt.view)
    }

    /// Notes what the answer says; a call that failed and may fail answers nothing.
    fn follow(
        &self,
        attempt: &mut Attempt<'_>,
        outcome: Outcome,
        place: &str,
    ) -> Result<Option<Answer>, Status> {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(why) => {
                let text = format!("failed calling webhook {:?}: {why}", self.name);
                tracing::warn!(webhook = %self.name, error = %why, "webhook failed");
                if self.failure == FailurePolicy::Fail {
                    return Err(internal(&text));
                }
                let kind = if self.mutating { "mutation" } else { "validating" };
                let key = format!("failed-open.{kind}.webhook.admission.k8s.io/{place}");
                attempt.audit.push((key, self.name.to_string()));
                return Ok(None);
            }
        };
        let annotations = answer.annotations.iter();
        let annotations = annotations.map(|(k, v)| (format!("{}/{k}", self.name), v.clone()));
        attempt.audit.extend(annotations);
        attempt.warnings.extend(answer.warnings.iter().cloned());
        if !answer.allowed {
            return Err(review::rejection(&self.name, answer.result.as_ref()));
        }
        Ok(Some(answer))
    }

    fn check_dry_run(&self, subject: &Subject<'_>) -> Result<(), Status> {
        if subject.dry_run && !self.harmless {
            let text = format!("admission webhook {:?} does not support dry run", self.name);
            return Err(Status::new(Reason::BadRequest, text));
        }
        Ok(())
    }
}

/// The answer, if it was given already; a question that is still open is noted, and consent assumed. What is
/// asked after an open question of a mutating webhook would be about an object that is not to be.
fn consult(attempt: &mut Attempt<'_>, question: Question) -> Option<Outcome> {
    let known = attempt.consultation.and_then(|known| known.answer(&question.key)).cloned();
    if known.is_none() && !attempt.questions.iter().any(|open| open.mutating) {
        attempt.questions.push(question);
    }
    known
}

/// The plug-in for mutating webhooks.
#[derive(Debug)]
pub(crate) struct MutatingWebhook;

impl Plugin for MutatingWebhook {
    fn mutate(
        &self,
        attempt: &mut Attempt<'_>,
        object: &mut Object,
        before: Option<&Object>,
        operation: Operation,
    ) -> Result<(), Status> {
        let hooks = attempt.hooks;
        if hooks.mutating_webhooks.is_empty() || super::is_exempt(attempt) {
            return Ok(());
        }
        attempt.reinvocation.webhooks.enter(object);
        let round = usize::from(attempt.reinvocation.again);
        for (index, webhook) in hooks.mutating_webhooks.iter().enumerate() {
            let mut next = None;
            {
                let subject = Subject::new(attempt, object, before, operation);
                let Some(resource) = webhook.wants(attempt, &subject)? else { continue };
                if round > 0 && !attempt.reinvocation.webhooks.is_due(&webhook.id) {
                    continue;
                }
                webhook.check_dry_run(&subject)?;
                let shown = subject.seen_as(&resource);
                let question = webhook.question(attempt, &shown, round);
                let scope = (Arc::clone(&shown), resource);
                let Some(outcome) = consult(attempt, question) else { continue };
                let place = format!("round_{round}_index_{index}");
                if let Some(answer) = webhook.follow(attempt, outcome, &place)? {
                    next = patched(webhook, attempt, answer, scope, &place)?;
                }
            }
            if let Some((value, resource)) = next {
                let old = object.clone();
                accept(attempt, &resource, value, object).map_err(|why| internal(&why))?;
                if old != *object {
                    attempt.reinvocation.webhooks.changed();
                    attempt.reinvocation.wanted = true;
                }
            }
            if webhook.reinvoked {
                attempt.reinvocation.webhooks.earlier.insert(webhook.id.to_string());
            }
        }
        attempt.reinvocation.webhooks.leave(object);
        Ok(())
    }
}

/// The object with the answer's patch, if there is one, and its marks for the audit log.
fn patched(
    webhook: &Webhook,
    attempt: &mut Attempt<'_>,
    answer: Answer,
    (shown, resource): (Arc<Shown>, Arc<Resource>),
    place: &str,
) -> Result<Option<(Value, Arc<Resource>)>, Status> {
    let (configuration, name) = (&webhook.configuration, &webhook.name);
    let patch = answer.patch.filter(|p| !p.as_array().is_some_and(Vec::is_empty));
    let mark = json!({"configuration": configuration, "webhook": name, "mutated": patch.is_some()});
    let key = format!("mutation.webhook.admission.k8s.io/{place}");
    attempt.audit.push((key, mark.to_string()));
    let Some(patch) = patch else { return Ok(None) };
    let mark = json!({
        "configuration": configuration, "webhook": name, "patch": patch, "patchType": "JSONPatch",
    });
    attempt.audit.push((format!("patch.webhook.admission.k8s.io/{place}"), mark.to_string()));
    let mut value = shown.object.clone();
    if value.is_null() {
        return Err(internal(&format!(
            "admission webhook {name:?} attempted to modify the object, which is not supported for this operation"
        )));
    }
    let applied = JsonPatch::from_value(patch).and_then(|patch| patch.apply(&mut value));
    applied.map_err(|error| internal(&error.to_string()))?;
    Ok(Some((value, resource)))
}

/// The plug-in for validating webhooks.
#[derive(Debug)]
pub(crate) struct ValidatingWebhook;

impl Plugin for ValidatingWebhook {
    fn validate(
        &self,
        attempt: &mut Attempt<'_>,
        object: &Object,
        before: Option<&Object>,
        operation: Operation,
    ) -> Result<(), Status> {
        let hooks = attempt.hooks;
        if hooks.validating_webhooks.is_empty() || super::is_exempt(attempt) {
            return Ok(());
        }
        let mut questions = Vec::new();
        {
            let subject = Subject::new(attempt, object, before, operation);
            for (index, webhook) in hooks.validating_webhooks.iter().enumerate() {
                let Some(resource) = webhook.wants(attempt, &subject)? else { continue };
                webhook.check_dry_run(&subject)?;
                let shown = subject.seen_as(&resource);
                questions.push((index, webhook, webhook.question(attempt, &shown, 0)));
            }
        }
        let mut outcomes = Vec::with_capacity(questions.len());
        for (index, webhook, question) in questions {
            outcomes.push((index, webhook, consult(attempt, question)));
        }
        for (index, webhook, outcome) in outcomes {
            let Some(outcome) = outcome else { continue };
            webhook.follow(attempt, outcome, &format!("round_0_index_{index}"))?;
        }
        Ok(())
    }
}

/// 500 as kube-apiserver says it.
fn internal(why: &str) -> Status {
    let status = Status::new(Reason::InternalError, format!("Internal error occurred: {why}"));
    let cause = StatusCause { message: why.to_owned(), ..StatusCause::default() };
    let details = StatusDetails { causes: vec![cause], ..StatusDetails::default() };
    Status { details: Some(Box::new(details)), ..status }
}
