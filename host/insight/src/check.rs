//! Principle checks: what every controller must be able to stand, tried on a fork for real objects.
//!
//! For an object the check goes back to its beginning on a fork (what it owns is gone, its status is empty), lets the
//! plugin's controllers run until nothing is left to do, and keeps that end. Then it does the same again and again, each
//! time with one thing going wrong, and compares the ends. Chance, moments, uids and generated names are not compared.
//! Only the plugin's own controllers and the host's run, so that what is found is the plugin's.

mod ends;
mod faulty;
mod ownership;
mod tell;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quadrille_kit::Clock;
use quadrille_object::Timestamp;
use quadrille_registry::{
    Action, Actor, DeleteOptions, PatchFormat, Target, WriteOptions, WriteRequest,
};
use quadrille_runtime::{ControllerName, ControllerSpec, Reconciler, Runtime};
use quadrille_store::{
    Cause, Change, ChangeFilter, Key, Object, Query, Range, Revision, Selection, Snapshot,
    SystemCause, View as _,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::rehearsal::{Bounds, Cast, Rehearsal, rehearse};
use ends::End;
use faulty::{Faulty, Mode, Stage};

/// Controllers with their code.
pub type Code = Vec<(ControllerSpec, Arc<dyn Reconciler>)>;

/// Makes a plugin's code, as a host does at its start: what an earlier one remembered is gone.
pub type Begin = dyn Fn() -> Code + Send + Sync;

/// What is checked.
#[derive(Clone)]
pub struct Subject {
    /// The plugin.
    pub plugin: Arc<str>,
    /// Makes its controllers.
    pub begin: Arc<Begin>,
    /// Field managers of other plugins' controllers, with the plugins.
    pub others: Vec<(Arc<str>, Arc<str>)>,
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

/// How much is tried.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "each is a ceiling, and says so")]
pub struct Effort {
    /// Objects per controller. Default 3.
    pub objects_max: usize,
    /// Host calls of one object's way to its end that are disturbed, spread over all of them. Default 64.
    pub calls_max: usize,
    /// Real time in all; what was not tried by then is not known. Default one minute.
    pub wall_max: Duration,
}

impl Default for Effort {
    fn default() -> Self {
        Self { objects_max: 3, calls_max: 64, wall_max: Duration::from_mins(1) }
    }
}

/// What every controller must keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Principle {
    /// A second run on the same state writes nothing.
    RunTwice,
    /// The same snapshot, moment and seed give the same writes; another seed changes names at most.
    SameWrites,
    /// A call that is refused once changes nothing of the end.
    TransientErrors,
    /// A crash before or after any call changes nothing of the end.
    Crash,
    /// Missed changes and stale reads change nothing of the end.
    MissedChanges,
    /// No field is written that another plugin writes, nor what people want of its own objects.
    OwnFields,
}

impl Principle {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::RunTwice,
        Self::SameWrites,
        Self::TransientErrors,
        Self::Crash,
        Self::MissedChanges,
        Self::OwnFields,
    ];
}

/// How it stands with a principle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Nothing was found.
    Pass,
    /// A counterexample was found.
    Fail,
    /// It could not be tried.
    Unknown,
}

/// The smallest counterexample, or why there is no verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The object that it was found with; empty where there was none.
    pub object: String,
    /// What happened.
    pub what: String,
}

/// One line of the card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Score {
    /// The principle.
    pub principle: Principle,
    /// How it stands.
    pub verdict: Verdict,
    /// The counterexample, or why there is no verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
}

/// How it stands with a plugin's code.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScoreCard {
    /// The plugin.
    pub plugin: Arc<str>,
    /// The digests of its code.
    pub digests: Vec<Arc<str>>,
    /// One line per principle.
    pub scores: Vec<Score>,
    /// The objects that were tried.
    pub objects: Vec<String>,
    /// How many ways to an end were tried.
    pub trials: usize,
    /// Real time, in milliseconds.
    pub wall_ms: u64,
}

impl ScoreCard {
    /// The principles that were found broken.
    pub fn broken(&self) -> Vec<Principle> {
        let broken = self.scores.iter().filter(|score| score.verdict == Verdict::Fail);
        broken.map(|score| score.principle).collect()
    }

    /// Whether everything was tried that had to be, or was found broken before.
    pub fn is_whole(&self) -> bool {
        self.scores.iter().all(|score| score.verdict != Verdict::Unknown)
    }

    fn fail(&mut self, principle: Principle, object: &Key, what: String) {
        self.note(principle, Verdict::Fail, Finding { object: object.to_string(), what });
    }

    /// The first counterexample stands.
    fn note(&mut self, principle: Principle, verdict: Verdict, finding: Finding) {
        let score = self.scores.iter_mut().find(|score| score.principle == principle);
        let Some(score) = score.filter(|score| score.verdict != Verdict::Fail) else { return };
        score.verdict = verdict;
        score.finding = Some(finding);
    }

    /// Nothing is known of any principle by this object, where no counterexample was found.
    fn leave_open(&mut self, object: &str, what: &str) {
        for principle in Principle::ALL {
            let finding = Finding { object: object.to_owned(), what: what.to_owned() };
            self.note(principle, Verdict::Unknown, finding);
        }
    }

    fn is_open(&self, principle: Principle) -> bool {
        !self.broken().contains(&principle)
    }
}

/// Checks in this thread, which must not be one of a scheduler's. `live` is read once, for its snapshot.
///
/// # Errors
/// When the operating system does not give what a scheduler needs.
pub fn check(
    live: &Runtime,
    wall: &Arc<dyn Clock>,
    subject: &Subject,
    effort: Effort,
) -> std::io::Result<ScoreCard> {
    let began = wall.monotonic();
    let snapshot = live.registry().store().snapshot();
    let code = (subject.begin)();
    let mut digests: Vec<Arc<str>> =
        code.iter().map(|(spec, _)| Arc::clone(&spec.digest)).collect();
    digests.sort();
    digests.dedup();
    let pass = |principle| Score { principle, verdict: Verdict::Pass, finding: None };
    let card = ScoreCard {
        plugin: Arc::clone(&subject.plugin),
        digests,
        scores: Principle::ALL.map(pass).into(),
        objects: Vec::new(),
        trials: 0,
        wall_ms: 0,
    };
    let mut trial = Trials { live, wall, subject, effort, began, snapshot, card };
    for (spec, _) in code {
        trial.controller(&spec)?;
    }
    let mut card = trial.card;
    if card.objects.is_empty() && card.is_whole() {
        card.leave_open("", "there is no object of its controllers to try it with");
    }
    let took = wall.monotonic().saturating_sub(began);
    card.wall_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    Ok(card)
}

/// All that is tried with one plugin.
struct Trials<'a> {
    live: &'a Runtime,
    wall: &'a Arc<dyn Clock>,
    subject: &'a Subject,
    effort: Effort,
    began: Duration,
    snapshot: Snapshot,
    card: ScoreCard,
}

/// What one way to the end came to.
struct Way {
    end: End,
    stage: Arc<Stage>,
    /// What was found on the way, with the principle that it breaks.
    found: Vec<(Principle, String)>,
    complete: bool,
}

impl Trials<'_> {
    /// The controller's objects, the ones with the most dependents first: they have the most to lose.
    fn controller(&mut self, spec: &ControllerSpec) -> std::io::Result<()> {
        let all = self.snapshot.list(&Query::whole(Range::all(spec.primary.clone())));
        let mut objects: Vec<Arc<Object>> = all
            .into_iter()
            .filter(|o| o.meta.deleted_at.is_none() && spec.selector.matches(&o.meta))
            .collect();
        objects.sort_by_cached_key(|object| {
            (std::cmp::Reverse(dependents(&self.snapshot, object).len()), object.key.clone())
        });
        objects.truncate(self.effort.objects_max);
        for object in objects {
            if self.is_over() {
                self.card.leave_open(&object.key.to_string(), &self.unfinished());
                return Ok(());
            }
            self.card.objects.push(object.key.to_string());
            self.object(spec, &object)?;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.wall.monotonic().saturating_sub(self.began) >= self.effort.wall_max
    }

    fn unfinished(&self) -> String {
        format!("not tried to its end within {:?}", self.effort.wall_max)
    }

    fn object(&mut self, spec: &ControllerSpec, object: &Arc<Object>) -> std::io::Result<()> {
        let key = &object.key;
        let right = self.way(spec, object, Mode::Watch)?;
        if !right.complete {
            let endless = || "the controllers do not come to an end with it".to_owned();
            let what = if self.is_over() { self.unfinished() } else { endless() };
            self.card.leave_open(&key.to_string(), &what);
            return Ok(());
        }
        for (principle, what) in &right.found {
            self.card.fail(*principle, key, what.clone());
        }
        let calls = right.stage.calls();
        let cuts = right.stage.points();
        self.each(spec, object, &right.end, (Principle::TransientErrors, calls, Mode::Refuse))?;
        self.each(spec, object, &right.end, (Principle::Crash, cuts, Mode::Cut))?;
        self.each(
            spec,
            object,
            &right.end,
            (Principle::MissedChanges, 2, |trial| match trial {
                0 => Mode::Missed,
                _ => Mode::Stale,
            }),
        )
    }

    /// Tries a disturbance at each of some places; the first end that differs is the counterexample.
    fn each(
        &mut self,
        spec: &ControllerSpec,
        object: &Arc<Object>,
        right: &End,
        (principle, places, mode): (Principle, usize, fn(usize) -> Mode),
    ) -> std::io::Result<()> {
        let step = places.div_ceil(self.effort.calls_max.max(1)).max(1);
        for place in (0..places).step_by(step) {
            if !self.card.is_open(principle) {
                return Ok(());
            }
            // A way that time cut off has no end that could be compared.
            let way =
                if self.is_over() { None } else { Some(self.way(spec, object, mode(place))?) };
            let Some(way) = way.filter(|way| way.complete || !self.is_over()) else {
                let (object, what) = (object.key.to_string(), self.unfinished());
                self.card.note(principle, Verdict::Unknown, Finding { object, what });
                return Ok(());
            };
            if let Some(difference) = right.difference(&way.end) {
                let what = format!("{}: {difference}", way.stage.told());
                self.card.fail(principle, &object.key, what);
            }
        }
        Ok(())
    }

    /// One way from the beginning to the end.
    fn way(
        &mut self,
        spec: &ControllerSpec,
        object: &Arc<Object>,
        mode: Mode,
    ) -> std::io::Result<Way> {
        self.card.trials += 1;
        let stage = Arc::new(Stage::new(mode, self.subject, &self.snapshot));
        let (name, cast) = (ControllerName::of(spec), Cast::Nobody(self.snapshot.clone()));
        let left =
            self.effort.wall_max.saturating_sub(self.wall.monotonic().saturating_sub(self.began));
        let bounds = Bounds {
            wall_max: left.max(Duration::from_secs(1)),
            runs_max: 2_000,
            ..Bounds::default()
        };
        rehearse(self.live, self.wall, (cast, SEED), async |fork| {
            let whole = whole(fork.registry().clock().now());
            if mode != Mode::Missed {
                enter(fork, &stage);
            }
            begin_anew(fork, object).await;
            if mode == Mode::Missed {
                enter(fork, &stage);
            }
            // What changed wakes whom it concerns, who is told of it; a resync only brings those who missed it.
            let mut complete = fork.until_quiet(&bounds).await.is_complete();
            if complete && !stage.has_run(&name, &object.key) {
                drop(fork.runtime.resync_object(&name, &object.key));
                complete = fork.until_quiet(&bounds).await.is_complete();
            }
            // Only what comes early is disturbed, so that there is time left to come to the end in spite of it.
            stage.mark();
            let long = Bounds { virtual_max: whole, ..bounds };
            complete = complete && fork.until_quiet(&long).await.is_complete();
            let changes = changes_of(fork, fork.base);
            let end = End::of(fork, &changes);
            let mut found = Vec::new();
            if mode == Mode::Watch && complete {
                found = stage.take_found();
                found.extend(run_twice(fork, &stage, &long).await);
                found.extend(ownership::found(&changes, self.subject));
            }
            Way { end, stage: Arc::clone(&stage), found, complete }
        })
    }
}

/// The virtual time of a way that begins now: a minute, long enough for periodic work to come round after something went
/// wrong, and on to the middle of the next one. Ways begin one after the other, and what is due on the minute must not
/// be within one of them and just behind the end of another.
fn whole(now: Timestamp) -> Duration {
    const MINUTE: i64 = 60_000_000;
    let left = (MINUTE / 2 - now.0).rem_euclid(MINUTE);
    Duration::from_micros((MINUTE + left).unsigned_abs())
}

/// All ways have the same chance, so that they differ by what went wrong alone.
const SEED: u64 = 0x5eed;

/// The controllers come, asleep.
fn enter(fork: &Rehearsal, stage: &Arc<Stage>) {
    for (spec, _) in stage.code() {
        let name = ControllerName::of(&spec);
        let faulty = Arc::new(Faulty { name, stage: Arc::clone(stage) });
        // The fork has no other controllers, so the name is free.
        drop(fork.runtime.add_asleep(spec, faulty));
    }
}

fn dependents(view: &Snapshot, object: &Object) -> Vec<Arc<Object>> {
    let owned = |resource: &quadrille_object::GroupResource| {
        let selection = Selection::Owner(Arc::clone(&object.meta.uid));
        let range = Range { resource: resource.clone(), namespace: None, selection };
        view.list(&Query::whole(range))
    };
    view.resources().flat_map(owned).collect()
}

/// Takes away what the object owns and what is observed of it, and changes it, so that its controllers have to begin.
async fn begin_anew(fork: &Rehearsal, object: &Object) {
    let snapshot = fork.registry().store().snapshot();
    for dependent in dependents(&snapshot, object) {
        write(fork, &dependent.key, None, Action::Delete(DeleteOptions::default())).await;
    }
    let mut value: Value = serde_json::from_slice(&object.bytes).unwrap_or_default();
    if let Some(fields) = value.as_object_mut()
        && fields.remove("status").is_some()
    {
        fields.insert("status".to_owned(), json!({}));
        write(fork, &object.key, Some("status"), Action::Update(value.into())).await;
    }
    let touched = json!({"metadata": {"annotations": {"quadrille.dev/checked": "anew"}}});
    let touch = Action::Patch(PatchFormat::Merge, touched.into());
    write(fork, &object.key, None, touch).await;
}

/// What is refused stays as it is: then the way begins there.
async fn write(fork: &Rehearsal, key: &Key, subresource: Option<&str>, action: Action) {
    let catalog = fork.registry().catalog();
    let Some(resource) = catalog.by_group_resource(&key.resource) else { return };
    let target = Target {
        resource: Arc::clone(resource),
        namespace: Arc::clone(&key.namespace),
        name: Some(Arc::clone(&key.name)),
        subresource: subresource.map(Into::into),
    };
    let actor =
        Actor { user: "system:quadrille".into(), client: "check".into(), ..Actor::default() };
    let options =
        WriteOptions { field_manager: Some("quadrille-check".into()), ..WriteOptions::default() };
    let part = SystemCause { part: "check".to_owned(), ..SystemCause::default() };
    let request = WriteRequest { target, action, options, actor };
    let written = fork.registry().submit(&request, Cause::System(part)).await;
    if let Err(error) = written {
        tracing::debug!(object = %key, %error, "check begins with the object as it is");
    }
}

fn changes_of(fork: &Rehearsal, after: Revision) -> Vec<Arc<Change>> {
    let mut stream = fork.registry().store().changes(ChangeFilter::default(), after);
    let mut all = Vec::new();
    while let Ok(Some(batch)) = stream.try_next() {
        all.extend(batch.changes);
    }
    all
}

/// So much later a second run must find nothing to do: more than the grain of Kubernetes' times.
const LATER: Duration = Duration::from_millis(2_500);

/// Runs everything again that ran, when nothing has changed.
async fn run_twice(
    fork: &Rehearsal,
    stage: &Stage,
    bounds: &Bounds,
) -> Option<(Principle, String)> {
    // Timers that are due meanwhile may write: the world is what it is after them.
    fork.wait(LATER, bounds).await;
    let at = fork.registry().store().revision();
    for (name, key) in stage.ran() {
        drop(fork.runtime.resync_object(&name, &key));
    }
    let still = Bounds { virtual_max: fork.passed(), ..*bounds };
    fork.until_quiet(&still).await;
    let again = changes_of(fork, at);
    let change =
        again.iter().find(|c| matches!(*c.cause, Cause::Run(_)) && !ends::is_event(c.key()))?;
    let diff = change
        .before
        .as_ref()
        .map(|before| crate::diff::unified(before, &change.object))
        .unwrap_or_default();
    let what = format!(
        "a second run, with nothing changed but the time, writes {}\n{}",
        change.key(),
        diff.trim_end()
    );
    Some((Principle::RunTwice, what))
}
