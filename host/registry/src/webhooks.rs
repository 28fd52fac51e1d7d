//! Calls to admission webhooks: what is asked, who asks it, and what was answered so far.
//!
//! Deciding a write is a pure function of a view and a request; a webhook is asked over the network. Therefore an
//! attempt that needs an answer it was not given ends with the questions instead of a decision. Its caller asks them
//! through [`Webhooks`], keeps the answers in a [`Consultation`] and makes the attempt again. A question is known by its
//! content, so the answer counts only while the attempt asks the same; for that reason a consultation also fixes the
//! moment and the randomness of its attempts. Transport is somebody else's: this crate must not know of HTTP.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use quadrille_kit::{Clock, Random, SeededRandom};
use quadrille_object::Timestamp;
use quadrille_store::content_hash;
use serde_json::Value;

use crate::admission::review;
use crate::conversion::{Answers, ConversionKey, Converted};

/// The most answers of one consultation: reached by no honest configuration, and a bound for the others.
pub(crate) const ANSWERS_MAX: usize = 1_000;

/// The most converted objects of one consultation. They are counted when more are asked for, so that a list of any
/// length goes through.
const CONVERTED_MAX: usize = 100_000;

/// How many calls of one consultation are under way together.
const CALLS_AT_ONCE: usize = 32;

/// How an admission webhook is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookEndpoint {
    /// The whole URL, always https.
    pub url: String,
    /// Where to connect instead of the URL's host: an address behind a Service.
    pub connect: Option<(String, u16)>,
    /// The authorities to trust, as PEM; empty for the system's.
    pub ca_bundle: Arc<[u8]>,
    /// How long the whole call may take.
    pub timeout: Duration,
}

/// The answer of the transport: the body of a 200, or why there is none, in a person's words.
pub type WebhookReply = Result<Bytes, String>;

/// Makes the calls.
pub trait Webhooks: fmt::Debug + Send + Sync {
    /// Posts a JSON body and gives the answer's body.
    ///
    /// # Cancel safety
    /// Dropping it gives up the call; the webhook may have seen it.
    fn post<'a>(
        &'a self,
        endpoint: &'a WebhookEndpoint,
        body: Bytes,
    ) -> Pin<Box<dyn Future<Output = WebhookReply> + Send + 'a>>;
}

/// One question to one webhook.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// What it is known by.
    pub(crate) key: QuestionKey,
    /// Where to ask; `Err` says why nobody can be asked.
    pub(crate) endpoint: Result<WebhookEndpoint, String>,
    /// The version of the review.
    pub(crate) version: review::Version,
    /// Whether the answer may hold a patch.
    pub(crate) mutating: bool,
}

/// A question as such: which webhook, which round, about what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QuestionKey {
    pub(crate) webhook: Arc<str>,
    pub(crate) round: usize,
    /// The `AdmissionRequest` without a uid, as text.
    pub(crate) request: Arc<str>,
}

impl QuestionKey {
    fn hash(&self) -> u128 {
        content_hash(format!("{}\n{}\n{}", self.webhook, self.round, self.request).as_bytes())
    }
}

/// An answer as a run's record keeps it: with it the run can be made again without asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedAnswer {
    /// The hash of the question.
    pub question: u128,
    /// The answer, or why there was none, as JSON.
    pub answer: Arc<str>,
}

/// The answers that attempts at one write, or at the writes of one run, were given.
#[derive(Debug)]
pub struct Consultation {
    pub(crate) now: Timestamp,
    seed: u64,
    answers: BTreeMap<QuestionKey, review::Outcome>,
    /// Those of an earlier time, by the hash of the question.
    recorded: BTreeMap<u128, review::Outcome>,
    converted: Answers,
}

/// The guest of a run draws from the same seed; what the registry draws must not be what the guest has seen.
const APART: u64 = 0x5157_7269_7465_7321;

impl Consultation {
    /// One without answers.
    pub fn new(clock: &dyn Clock, random: &dyn Random) -> Self {
        Self::at(clock.now(), random.next_u64())
    }

    /// One without answers for a run: everything that its writes take from time and chance follows from these two.
    pub fn at(now: Timestamp, seed: u64) -> Self {
        let (answers, recorded) = (BTreeMap::new(), BTreeMap::new());
        Self { now, seed: seed ^ APART, answers, recorded, converted: Answers::new() }
    }

    /// The same with answers that were recorded; what cannot be read is left out.
    #[must_use]
    pub fn knowing(mut self, recorded: &[RecordedAnswer]) -> Self {
        let read = |known: &RecordedAnswer| {
            Some((known.question, serde_json::from_str(&known.answer).ok()?))
        };
        self.recorded.extend(recorded.iter().filter_map(read));
        self
    }

    /// The answers that were given, for a record.
    pub fn record(&self) -> Vec<RecordedAnswer> {
        let recorded = self.answers.iter().filter_map(|(key, outcome)| {
            let answer = serde_json::to_string(outcome).ok()?.into();
            Some(RecordedAnswer { question: key.hash(), answer })
        });
        recorded.collect()
    }

    /// The same numbers for each attempt at one write.
    pub(crate) fn random(&self, place: u64) -> SeededRandom {
        SeededRandom::new(self.seed.wrapping_add(place))
    }

    pub(crate) fn answer(&self, key: &QuestionKey) -> Option<&review::Outcome> {
        let known = self.answers.get(key);
        known.or_else(|| {
            let recorded = (!self.recorded.is_empty()).then(|| self.recorded.get(&key.hash()));
            recorded.flatten()
        })
    }

    pub(crate) fn is_full(&self) -> bool {
        self.answers.len() >= ANSWERS_MAX || self.converted.len() >= CONVERTED_MAX
    }

    pub(crate) fn converted(&self, key: &ConversionKey) -> Option<&Converted> {
        self.converted.get(key)
    }

    /// Keeps the outcome of a conversion.
    pub(crate) fn note(&mut self, key: ConversionKey, converted: Converted) {
        self.converted.insert(key, converted);
    }

    /// Asks all questions, many at the same time, and keeps the answers.
    pub(crate) async fn ask(
        &mut self,
        questions: Vec<Question>,
        webhooks: Option<&dyn Webhooks>,
        random: &dyn Random,
    ) {
        let asked = questions.into_iter().map(|question| async move {
            let outcome = ask(&question, webhooks, random.uuid()).await;
            (question.key, outcome)
        });
        let mut asked = stream::iter(asked).buffer_unordered(CALLS_AT_ONCE);
        while let Some((key, outcome)) = asked.next().await {
            self.answers.insert(key, outcome);
        }
    }
}

async fn ask(question: &Question, webhooks: Option<&dyn Webhooks>, uid: String) -> review::Outcome {
    let endpoint = question.endpoint.as_ref().map_err(|why| review::failed_call(why))?;
    let Some(webhooks) = webhooks else {
        return Err(review::failed_call("this host does not call webhooks"));
    };
    let request: Value = serde_json::from_str(&question.key.request).unwrap_or_default();
    let body = review::encode(request, &uid, question.version);
    let reply = webhooks.post(endpoint, body).await;
    let reply = reply.map_err(|why| review::failed_call(&why))?;
    review::decode(&reply, &uid, question.version, question.mutating)
}
