//! What answers leave out, decided by an authorizer that knows one resource and counts how often it is asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quadrille_insight::{Difference, Replayed, Verdict};
use quadrille_object::{GroupResource, LabelSelector, Timestamp};
use quadrille_runtime::{
    ControllerSpec, EmptyReads, Grant, OverlayLimits, RunCode, RunEnd, RunRecord,
};
use quadrille_server::{Attributes, Authorizer, Decision, Rights, User};
use quadrille_store::{Key, ReadSet, Revision};
use serde_json::json;

use super::{HIDDEN, replay, runs};

/// Lets everybody get what is of one resource.
#[derive(Debug)]
struct Gets {
    resource: &'static str,
    asked: AtomicUsize,
}

impl Gets {
    fn rights(resource: &'static str) -> (Arc<Self>, Rights) {
        let gets = Arc::new(Self { resource, asked: AtomicUsize::new(0) });
        let user = Arc::new(User::known("asker", "", &[]));
        (Arc::clone(&gets), Rights::new(gets, user))
    }
}

impl Authorizer for Gets {
    fn allows(&self, user: &User, attributes: &Attributes<'_>) -> bool {
        self.decide(user, attributes).allowed
    }

    fn decide(&self, _: &User, attributes: &Attributes<'_>) -> Decision {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let of = attributes.resource.as_ref().map(|of| of.resource);
        Decision { allowed: of == Some(self.resource), ..Decision::default() }
    }
}

fn key(resource: &str, name: &str) -> Key {
    Key::new(GroupResource::new("", resource), "default", name)
}

/// A run for a config map that read a thousand secrets.
fn record(end: RunEnd) -> RunRecord {
    let spec = ControllerSpec {
        name: "c".into(),
        plugin: "p".into(),
        digest: "sha256:1".into(),
        primary: GroupResource::new("", "configmaps"),
        version: "v1".into(),
        selector: LabelSelector::default(),
        concurrency: 1,
        resync: None,
        finalizer: None,
        field_manager: "c".into(),
        grant: Grant::default(),
    };
    let reads = (0..1_000).map(|at| key("secrets", &format!("s{at}"))).collect();
    RunRecord {
        run: 1,
        code: Arc::new(RunCode::new(Arc::new(spec), 1, OverlayLimits::default(), "".into())),
        object: key("configmaps", "mine"),
        snapshot: Revision(1),
        wakes: Vec::new(),
        woken_by: Vec::new(),
        wakes_dropped: 0,
        occasion: None,
        attempt: 0,
        conflicts: 0,
        now: Timestamp(0),
        seed: 0,
        answers: Vec::new(),
        reads: ReadSet { keys: reads, ..ReadSet::default() },
        empty: EmptyReads::default(),
        writes: Vec::new(),
        end,
        reconcile_time: Duration::ZERO,
        duration: Duration::ZERO,
    }
}

fn failed(message: &str) -> RunEnd {
    RunEnd::Failed { kind: "permanent", message: message.to_owned() }
}

#[test]
fn a_run_in_a_list_costs_no_decision_for_what_the_list_does_not_tell() {
    for end in [failed("of mine"), RunEnd::Conflict { key: Some(key("secrets", "s1")) }] {
        let (gets, rights) = Gets::rights("configmaps");
        let told = runs::listed(&rights, &record(end));
        assert_eq!(
            (&told["object"], &told["reads"]),
            (&json!("configmaps/default/mine"), &json!(1_000))
        );
        assert!(!told.to_string().contains("secrets"), "{told}");
        assert!(gets.asked.load(Ordering::Relaxed) <= 2, "{gets:?}");
    }
}

fn replayed(differs: &str) -> Replayed {
    let (object, key) = (key("secrets", "ours"), key(differs, "web"));
    Replayed {
        run: 1,
        object: object.to_string(),
        key: object,
        controller: "p/c".to_owned(),
        recorded_digest: "sha256:1".to_owned(),
        digest: "sha256:2".to_owned(),
        verdict: Verdict::Different,
        why: None,
        ends: Some((failed("ours is empty"), RunEnd::Done { requeue: None })),
        differences: vec![Difference {
            object: key.to_string(),
            key,
            recorded: None,
            replayed: Some("created"),
            diff: "+ours\n".to_owned(),
        }],
        writes: 0,
        assumed: 0,
    }
}

#[test]
fn a_replay_names_nothing_and_says_nothing_of_what_its_asker_may_not_get() {
    let (_, rights) = Gets::rights("configmaps");
    let told = replay::told(replayed("pods"), &rights);
    assert_eq!(
        (&told["object"], &told["differences"][0]["object"]),
        (&json!(HIDDEN), &json!(HIDDEN))
    );
    assert_eq!(told["ends"], json!([format!("permanent: {HIDDEN}"), "done"]));
    assert!(!told.to_string().contains("ours"), "{told}");
    // Its own object it is told of, but not which other one it was thrown away for.
    let (_, rights) = Gets::rights("secrets");
    let conflict = RunEnd::Conflict { key: Some(key("pods", "web")) };
    let ends = Some((conflict, failed("ours is empty")));
    let told = replay::told(Replayed { ends, ..replayed("secrets") }, &rights);
    let hidden = format!("thrown away: {HIDDEN} changed");
    assert_eq!(told["ends"], json!([hidden, "permanent: ours is empty"]));
    assert_eq!(told["object"], "secrets/default/ours");
    assert_eq!(told["differences"][0]["diff"], "+ours\n");
}
