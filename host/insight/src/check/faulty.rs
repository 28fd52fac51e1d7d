//! The stage of one way: the plugin's code behind a wrapper that lets one thing go wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quadrille_kit::clock::BoxFuture;
use quadrille_runtime::{
    ControllerName, ControllerSpec, Failure, Fault, Overlay, ReconcileRequest, Reconciled,
    Reconciler,
};
use quadrille_store::{Cause, Key, Snapshot, SystemCause, Write};

use super::ends::normal;
use super::{Begin, Code, Principle, Subject};

/// What goes wrong on a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing; every run is made three times on its snapshot, and compared.
    Watch,
    /// The n-th call of the way is refused.
    Refuse(usize),
    /// The process ends before the n-th point of the way: a call, or the end of a run.
    Cut(usize),
    /// What changed at the beginning woke nobody, and nothing is told of what did.
    Missed,
    /// Each run is first made on the snapshot of the beginning, and thrown away.
    Stale,
}

/// What happens on a way.
#[derive(Debug)]
pub(super) struct Stage {
    mode: Mode,
    begin: BeginAgain,
    first: Snapshot,
    state: Mutex<State>,
}

struct BeginAgain(Arc<Begin>);

impl std::fmt::Debug for BeginAgain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BeginAgain")
    }
}

#[derive(Debug, Default)]
struct State {
    code: Code,
    /// Calls so far, and points: calls and ends of runs.
    calls: usize,
    points: usize,
    marked: (usize, usize),
    ran: BTreeSet<(ControllerName, Key)>,
    /// Runs of each key that ended well: they number its chance.
    well: BTreeMap<(ControllerName, Key), u64>,
    found: Vec<(Principle, String)>,
    told: String,
}

impl Stage {
    pub(super) fn new(mode: Mode, subject: &Subject, first: &Snapshot) -> Self {
        let state = State { code: (subject.begin)(), ..State::default() };
        let begin = BeginAgain(Arc::clone(&subject.begin));
        Self { mode, begin, first: first.clone(), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn code(&self) -> Code {
        self.lock().code.clone()
    }

    /// What happened up to now can be disturbed.
    pub(super) fn mark(&self) {
        let mut state = self.lock();
        state.marked = (state.calls, state.points);
    }

    /// How many calls there were up to the mark.
    pub(super) fn calls(&self) -> usize {
        self.lock().marked.0
    }

    /// The same with the ends of runs.
    pub(super) fn points(&self) -> usize {
        self.lock().marked.1
    }

    pub(super) fn ran(&self) -> BTreeSet<(ControllerName, Key)> {
        self.lock().ran.clone()
    }

    pub(super) fn has_run(&self, name: &ControllerName, key: &Key) -> bool {
        self.lock().ran.iter().any(|(of, ran)| of == name && ran == key)
    }

    pub(super) fn take_found(&self) -> Vec<(Principle, String)> {
        std::mem::take(&mut self.lock().found)
    }

    /// What went wrong, in words.
    pub(super) fn told(&self) -> String {
        match self.mode {
            Mode::Watch => "nothing went wrong".to_owned(),
            Mode::Missed => "after changes that woke nobody, then a resync".to_owned(),
            Mode::Stale => "after runs on an older snapshot that were thrown away".to_owned(),
            Mode::Refuse(_) | Mode::Cut(_) => self.lock().told.clone(),
        }
    }

    /// The fault that is due in a run that begins now.
    fn fault(&self) -> Option<Fault> {
        let state = self.lock();
        match self.mode {
            Mode::Refuse(at) => at.checked_sub(state.calls).map(Fault::Refuse),
            Mode::Cut(at) => at.checked_sub(state.points).map(Fault::Cut),
            Mode::Watch | Mode::Missed | Mode::Stale => None,
        }
    }

    fn reconciler(&self, name: &ControllerName) -> Option<Arc<dyn Reconciler>> {
        let state = self.lock();
        of_name(&state.code, name).map(|(_, code)| Arc::clone(code))
    }

    /// The process has ended: what it remembered is gone.
    fn restart(&self) {
        let fresh = (self.begin.0)();
        self.lock().code = fresh;
    }
}

fn of_name<'a>(
    code: &'a Code,
    name: &ControllerName,
) -> Option<&'a (ControllerSpec, Arc<dyn Reconciler>)> {
    code.iter().find(|(spec, _)| ControllerName::of(spec) == *name)
}

/// A controller on a stage.
#[derive(Debug)]
pub(super) struct Faulty {
    pub(super) name: ControllerName,
    pub(super) stage: Arc<Stage>,
}

impl Reconciler for Faulty {
    fn reconcile(&self, request: ReconcileRequest, overlay: Overlay) -> BoxFuture<'_, Reconciled> {
        Box::pin(self.run(request, overlay))
    }
}

impl Faulty {
    async fn run(&self, mut request: ReconcileRequest, overlay: Overlay) -> Reconciled {
        let at = (self.name.clone(), request.key.clone());
        request.seed = self.seed(&at);
        if self.stage.mode == Mode::Missed {
            request.woken_by.clear();
        }
        let Some(code) = self.stage.reconciler(&self.name) else {
            let result = Err(Failure::Host("the controller is gone".to_owned()));
            return Reconciled { overlay, result, memory_bytes: 0 };
        };
        match self.stage.mode {
            Mode::Watch => self.compare(&request, &overlay).await,
            Mode::Stale => {
                let stale = overlay.again_on(self.stage.first.clone(), request.seed);
                drop(code.reconcile(request.clone(), stale).await);
            }
            Mode::Refuse(_) | Mode::Cut(_) | Mode::Missed => {}
        }
        let overlay = match self.stage.fault() {
            Some(fault) => overlay.disturbed(fault),
            None => overlay,
        };
        let mut reconciled = code.reconcile(request, overlay).await;
        self.book(at, &mut reconciled);
        reconciled
    }

    fn seed(&self, at: &(ControllerName, Key)) -> u64 {
        let well = self.stage.lock().well.get(at).copied().unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        (at, well).hash(&mut hasher);
        hasher.finish()
    }

    fn book(&self, at: (ControllerName, Key), reconciled: &mut Reconciled) {
        let overlay = &reconciled.overlay;
        let (calls, cut) = (overlay.calls(), overlay.was_cut());
        let mut state = self.stage.lock();
        let hit = match self.stage.mode {
            Mode::Refuse(place) => (state.calls..state.calls + calls).contains(&place),
            Mode::Cut(_) => cut,
            Mode::Watch | Mode::Missed | Mode::Stale => false,
        };
        if hit {
            let call = match self.stage.mode {
                Mode::Cut(place) => place - state.points,
                Mode::Refuse(place) => place - state.calls,
                Mode::Watch | Mode::Missed | Mode::Stale => 0,
            };
            let (controller, key) = (&at.0.controller, &at.1);
            state.told = if cut {
                format!("after a crash at call {call} of a run of {controller} for {key}")
            } else {
                format!("after call {call} of a run of {controller} for {key} was refused")
            };
        }
        state.calls += calls;
        state.points += calls + 1;
        state.ran.insert(at.clone());
        if cut {
            drop(state);
            self.stage.restart();
            reconciled.result = Err(Failure::Transient("the process ended".to_owned()));
        } else if reconciled.result.is_ok() {
            *state.well.entry(at).or_default() += 1;
        }
    }

    /// Makes a run twice with the same chance and once with another, each time by a process that has just begun.
    async fn compare(&self, request: &ReconcileRequest, overlay: &Overlay) {
        let first = self.apart(request, overlay, request.seed).await;
        let second = self.apart(request, overlay, request.seed).await;
        let other = self.apart(request, overlay, request.seed ^ OTHER).await;
        let what = |with: &str, key: &str| {
            let (controller, of) = (&self.name.controller, &request.key);
            format!(
                "two runs of {controller} for {of} on the same snapshot with {with} differ in {key}"
            )
        };
        let mut found = Vec::new();
        if let Some(key) = differs(&first, &second, false) {
            found.push((Principle::SameWrites, what("the same seed", &key)));
        } else if let Some(key) = differs(&first, &other, true) {
            found.push((Principle::SameWrites, what("two seeds", &key)));
        }
        self.stage.lock().found.extend(found);
    }

    async fn apart(
        &self,
        request: &ReconcileRequest,
        overlay: &Overlay,
        seed: u64,
    ) -> Vec<(Key, String)> {
        let fresh = (self.stage.begin.0)();
        let Some((_, code)) = of_name(&fresh, &self.name) else { return Vec::new() };
        let request = ReconcileRequest { seed, ..request.clone() };
        let reconciled = code.reconcile(request, overlay.again(seed)).await;
        if reconciled.result.is_err() {
            return Vec::new();
        }
        let txn = reconciled.overlay.into_txn(None, Cause::System(SystemCause::default()));
        txn.writes.iter().map(|write| (write.key().clone(), text_of(write))).collect()
    }
}

/// What makes another seed of one.
const OTHER: u64 = 0x0dd5_eed5;

fn text_of(write: &Write) -> String {
    match write {
        Write::Delete { .. } => "deleted".to_owned(),
        Write::Put { object, .. } => String::from_utf8_lossy(object.unrevised()).into_owned(),
    }
}

/// The first key at which two write sets differ; without names of new objects where chance may choose them.
fn differs(a: &[(Key, String)], b: &[(Key, String)], less_names: bool) -> Option<String> {
    let sorted = |writes: &[(Key, String)], other: &[(Key, String)]| {
        let chosen: Vec<&str> = writes
            .iter()
            .map(|(key, _)| key)
            .filter(|key| less_names && !other.iter().any(|(of, _)| of == *key))
            .map(|key| &*key.name)
            .collect();
        let mut texts: Vec<(String, String)> = writes
            .iter()
            .filter(|(key, _)| !super::ends::is_event(key))
            .map(|(key, text)| {
                let key = key.to_string();
                if !less_names {
                    return (key, text.clone());
                }
                (super::ends::masked(&key, &chosen), normal(text, &chosen))
            })
            .collect();
        texts.sort();
        texts
    };
    let (left, right) = (sorted(a, b), sorted(b, a));
    let longer = if left.len() >= right.len() { (&left, &right) } else { (&right, &left) };
    let odd = longer.0.iter().find(|one| !longer.1.contains(one))?;
    Some(odd.0.clone())
}
