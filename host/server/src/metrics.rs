//! What the server counts about itself, in the text form of Prometheus, under the names of kube-apiserver where it has
//! one.
//!
//! Counting takes no lock that writers hold and allocates nothing once a resource has been seen: its counters are an
//! array by verb and code, found by its name. The number of resources is bounded; those beyond count as one.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use quadrille_kit::Clock;
use quadrille_registry::Resource;

use crate::answer::UNANSWERED;

/// The verbs as the metrics name them, by those of requests.
const VERBS: [(&str, &str); 9] = [
    ("get", "GET"),
    ("list", "LIST"),
    ("watch", "WATCH"),
    ("create", "POST"),
    ("update", "PUT"),
    ("patch", "PATCH"),
    ("delete", "DELETE"),
    ("deletecollection", "DELETECOLLECTION"),
    ("", "OTHER"),
];
/// The codes that are told apart; others count as the last.
const CODES: [u16; 23] = [
    200, 201, 202, 101, 304, 400, 401, 403, 404, 405, 406, 409, 410, 413, 415, 422, 429,
    UNANSWERED, 500, 503, 504, 301, 0,
];
/// The ends of the buckets of durations, in microseconds.
const BUCKETS: [u64; 12] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_000_000, 10_000_000,
];
/// The most resources that have counters of their own.
const RESOURCES_MAX: usize = 4096;

/// What a request was, once that is known.
#[derive(Debug, Default)]
pub(crate) struct Label(OnceLock<(&'static str, Option<Arc<Resource>>)>);

impl Label {
    /// Says what the request is; the first word counts.
    pub(crate) fn set(&self, verb: &'static str, resource: Option<&Arc<Resource>>) {
        self.0.get_or_init(|| (verb, resource.map(Arc::clone)));
    }
}

/// A request that is being answered. It is counted when it ends, answered or not.
#[derive(Debug)]
pub(crate) struct Underway<'a> {
    metrics: &'a Metrics,
    clock: &'a dyn Clock,
    begun: Duration,
    code: u16,
    /// What it is.
    pub(crate) label: Label,
    _present: Present,
}

impl Underway<'_> {
    /// It ends with an answer.
    pub(crate) fn answered(mut self, code: u16) {
        self.code = code;
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        let took = self.clock.monotonic().saturating_sub(self.begun);
        self.metrics.count(&self.label, self.code, took);
    }
}

type ByVerb<T> = [T; VERBS.len()];

/// The requests of one resource, by verb and code; and its watches that are open.
#[derive(Debug, Default)]
struct Counters(ByVerb<[AtomicU64; CODES.len()]>, Gauge);

/// How long requests of one verb took.
#[derive(Debug, Default)]
struct Durations {
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

/// Counters by group, then by resource.
type ByResource = HashMap<Arc<str>, HashMap<Arc<str>, Arc<Counters>>>;

/// Everything that is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    resources: RwLock<ByResource>,
    others: Counters,
    durations: ByVerb<Durations>,
    requests: Gauge,
    watches: Gauge,
}

/// How many there are of something at present.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauge(Arc<AtomicI64>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Present(Gauge);

impl Gauge {
    pub(crate) fn enter(&self) -> Present {
        self.0.fetch_add(1, Ordering::Relaxed);
        Present(self.clone())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// A request begins to be worked on that came at `begun`; a long answer counts until it begins.
    pub(crate) fn enter<'a>(&'a self, clock: &'a dyn Clock, begun: Duration) -> Underway<'a> {
        let (label, present) = (Label::default(), self.requests.enter());
        Underway { metrics: self, clock, begun, code: UNANSWERED, label, _present: present }
    }

    /// Counts a watch of a resource as open, until it is dropped.
    pub(crate) fn watch(&self, resource: &Resource) -> [Present; 2] {
        let mut of_resource = None;
        self.with(resource, |counters| of_resource = Some(counters.1.enter()));
        [self.watches.enter(), of_resource.unwrap_or_else(|| self.others.1.enter())]
    }

    /// Whether anybody watches a resource. Those beyond the ones with counters of their own may be.
    pub(crate) fn is_watched(&self, resource: &Resource) -> bool {
        let mut watches = 0;
        self.with(resource, |counters| watches = counters.1.get());
        watches > 0
    }

    fn count(&self, label: &Label, code: u16, took: Duration) {
        match label.0.get() {
            Some((verb, resource)) => self.count_of(verb, resource.as_deref(), code, took),
            None => self.count_of("", None, code, took),
        }
    }

    /// Counts a request that has ended.
    pub(crate) fn count_of(
        &self,
        verb: &str,
        resource: Option<&Resource>,
        code: u16,
        took: Duration,
    ) {
        let verb = VERBS.iter().position(|(of, _)| *of == verb).unwrap_or(VERBS.len() - 1);
        let code = CODES.iter().position(|of| *of == code).unwrap_or(CODES.len() - 1);
        let add = |counters: &Counters| {
            if let Some(counter) = counters.0.get(verb).and_then(|codes| codes.get(code)) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        };
        match resource {
            Some(resource) => self.with(resource, add),
            None => add(&self.others),
        }
        // How long a watch stays open says nothing about the server.
        if let Some(durations) = self.durations.get(verb).filter(|_| verb != WATCH) {
            durations.add(took);
        }
    }

    fn with(&self, resource: &Resource, mut add: impl FnMut(&Counters)) {
        let (group, name) = (&resource.gvr.group, &resource.gvr.resource);
        {
            let known = self.resources.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(counters) = known.get(group).and_then(|group| group.get(name)) {
                return add(counters);
            }
        }
        let mut known = self.resources.write().unwrap_or_else(PoisonError::into_inner);
        if known.values().map(HashMap::len).sum::<usize>() >= RESOURCES_MAX {
            return add(&self.others);
        }
        let group = known.entry(Arc::clone(group)).or_default();
        add(group.entry(Arc::clone(name)).or_default());
    }

    /// Everything as text; `revision` is the store's, `waiting` how many requests wait for their turn.
    pub(crate) fn text(&self, revision: u64, waiting: usize) -> String {
        let mut out = String::with_capacity(16 * 1024);
        self.write_requests(&mut out);
        self.write_durations(&mut out);
        for (name, help, value) in [
            (
                "apiserver_current_inflight_requests",
                "Requests being answered.",
                self.requests.get(),
            ),
            (
                "apiserver_flowcontrol_current_inqueue_requests",
                "Requests that wait for their turn.",
                i64::try_from(waiting).unwrap_or(i64::MAX),
            ),
            ("apiserver_longrunning_requests", "Watches that are open.", self.watches.get()),
            ("quadrille_store_revision", "The newest revision.", revision.cast_signed()),
        ] {
            line(
                &mut out,
                format_args!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}"),
            );
        }
        out
    }

    fn write_requests(&self, out: &mut String) {
        const NAME: &str = "apiserver_request_total";
        line(out, format_args!("# HELP {NAME} Requests by verb, resource and code."));
        line(out, format_args!("# TYPE {NAME} counter"));
        write_counters(out, NAME, "", "", &self.others);
        let known = self.resources.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<(&str, &str, &Arc<Counters>)> = Vec::new();
        for (group, resources) in &*known {
            all.extend(resources.iter().map(|(name, counters)| (&**group, &**name, counters)));
        }
        all.sort_unstable_by_key(|(group, name, _)| (*group, *name));
        for (group, name, counters) in all {
            write_counters(out, NAME, group, name, counters);
        }
    }

    fn write_durations(&self, out: &mut String) {
        const NAME: &str = "apiserver_request_duration_seconds";
        line(out, format_args!("# HELP {NAME} Time to the beginning of the answer, by verb."));
        line(out, format_args!("# TYPE {NAME} histogram"));
        for ((_, verb), durations) in VERBS.iter().zip(&self.durations) {
            let count = durations.count.load(Ordering::Relaxed);
            if count == 0 {
                continue;
            }
            let mut below = 0;
            for (end, bucket) in BUCKETS.iter().zip(&durations.buckets) {
                below += bucket.load(Ordering::Relaxed);
                let end = seconds(*end);
                line(out, format_args!("{NAME}_bucket{{verb=\"{verb}\",le=\"{end}\"}} {below}"));
            }
            let sum = seconds(durations.micros.load(Ordering::Relaxed));
            // The counters are read one after the other; the whole is never less than its parts.
            let count = count.max(below);
            line(out, format_args!("{NAME}_bucket{{verb=\"{verb}\",le=\"+Inf\"}} {count}"));
            line(out, format_args!("{NAME}_sum{{verb=\"{verb}\"}} {sum}"));
            line(out, format_args!("{NAME}_count{{verb=\"{verb}\"}} {count}"));
        }
    }
}

/// The place of `watch` among the verbs.
const WATCH: usize = 2;

impl Gauge {
    fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Durations {
    fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.iter().position(|end| micros <= *end);
        if let Some(bucket) = bucket.and_then(|at| self.buckets.get(at)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

fn write_counters(out: &mut String, name: &str, group: &str, resource: &str, of: &Counters) {
    for ((_, verb), codes) in VERBS.iter().zip(&of.0) {
        for (code, count) in CODES.iter().zip(codes) {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                line(
                    out,
                    format_args!(
                        "{name}{{code=\"{code}\",group=\"{group}\",resource=\"{resource}\",verb=\"{verb}\"}} \
                         {count}"
                    ),
                );
            }
        }
    }
}

/// Microseconds as seconds, without the noise of floating point.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing into memory cannot fail");
}

#[cfg(test)]
mod tests {
    use quadrille_object::Gvr;
    use quadrille_registry::Catalog;

    use super::*;

    #[test]
    fn what_was_counted_is_told() {
        let catalog = Catalog::builtin().expect("the built-in data is valid");
        let pods = catalog.by_gvr(&Gvr::new("", "v1", "pods")).expect("built in");
        let metrics = Metrics::default();
        let label = Label::default();
        label.set("create", Some(pods));
        metrics.count(&label, 201, Duration::from_micros(700));
        metrics.count(&label, 201, Duration::from_millis(20));
        metrics.count(&Label::default(), 404, Duration::ZERO);
        let watch = metrics.watch(pods);
        let text = metrics.text(7, 3);
        for line in [
            r#"apiserver_request_total{code="201",group="",resource="pods",verb="POST"} 2"#,
            r#"apiserver_request_total{code="404",group="",resource="",verb="OTHER"} 1"#,
            r#"apiserver_request_duration_seconds_bucket{verb="POST",le="0.001"} 1"#,
            r#"apiserver_request_duration_seconds_bucket{verb="POST",le="+Inf"} 2"#,
            r#"apiserver_request_duration_seconds_sum{verb="POST"} 0.0207"#,
            "apiserver_longrunning_requests 1",
            "apiserver_flowcontrol_current_inqueue_requests 3",
            "quadrille_store_revision 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(metrics.is_watched(pods));
        drop(watch);
        assert!(
            !metrics.is_watched(pods)
                && metrics.text(7, 0).contains("apiserver_longrunning_requests 0\n")
        );
    }
}
