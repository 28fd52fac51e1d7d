//! Which histories are fights, and which only look busy.

use bytes::Bytes;
use quadrille_object::{GroupResource, Meta};
use quadrille_store::{Object, RequestCause, RunCause};
use serde_json::{Value, json};

use super::*;

/// A made-up history: each change names who made it and what woke them.
#[derive(Default)]
struct History {
    detector: Detector,
    newest: u64,
    states: BTreeMap<&'static str, Arc<Object>>,
    news: Vec<News>,
}

enum By<'a> {
    Outside,
    Run(&'static str, &'a [u64]),
    Timer(&'static str, &'a [u64]),
}

impl History {
    fn change(&mut self, by: &By<'_>, name: &'static str, value: &Value) -> u64 {
        self.newest += 1;
        let revision = Revision(self.newest);
        let key = Key::new(GroupResource::new("", "configmaps"), "default", name);
        let bytes = Bytes::from(value.to_string());
        let object = Arc::new(Object { key, revision, meta: Meta::default(), bytes });
        let before = self.states.insert(name, Arc::clone(&object));
        let kind = before.as_ref().map_or(ChangeKind::Created, |_| ChangeKind::Updated);
        let run = |who: &str, woken_by: &[u64], occasion: Option<&str>| {
            let woken_by = woken_by.iter().map(|revision| Revision(*revision)).collect();
            let (plugin, controller) = (who.to_owned(), who.to_owned());
            let (object, occasion) =
                (format!("configmaps/default/{name}"), occasion.map(Into::into));
            Cause::Run(RunCause {
                plugin,
                controller,
                woken_by,
                occasion,
                object,
                ..RunCause::default()
            })
        };
        let cause = match by {
            By::Outside => Cause::Request(RequestCause::default()),
            By::Run(who, woken_by) => run(who, woken_by, None),
            By::Timer(who, woken_by) => run(who, woken_by, Some("requeue")),
        };
        let (cause, at) = (Arc::new(cause), Timestamp(revision.0.cast_signed() * 1_000));
        let txn = (revision, revision);
        let change = Change { revision, txn, kind, before, object, cause, at };
        self.news.extend(self.detector.observe(&Arc::new(change)));
        self.newest
    }

    fn fights(&mut self) -> Vec<Fight> {
        self.detector.fights(Timestamp::default())
    }
}

fn names(fight: &Fight) -> Vec<String> {
    fight.writers.iter().map(|writer| writer.controller.clone()).collect()
}

#[test]
fn two_that_undo_each_other_are_found_in_the_second_round() {
    let mut history = History::default();
    let mut last = history.change(&By::Outside, "o", &json!({"spec": {"n": 0, "x": 1}}));
    for round in 1..=3 {
        for (who, n) in [("a", 3), ("b", 5)] {
            let value = json!({"spec": {"n": n, "x": 1}});
            last = history.change(&By::Run(who, &[last]), "o", &value);
        }
        assert_eq!(history.fights().len(), usize::from(round >= 2), "round {round}");
    }
    let fight = history.fights().remove(0);
    assert_eq!((fight.object.as_str(), fight.field.as_str()), ("configmaps/default/o", "spec.n"));
    assert_eq!((fight.kind, names(&fight)), (FightKind::Oscillation, vec!["a".into(), "b".into()]));
    assert_eq!(
        fight.values,
        ["3", "5", "3", "5", "3", "5"].map(str::to_owned)[6 - fight.values.len()..]
    );
    let chain: Vec<u64> = fight.chain.iter().map(|link| link.revision.0).collect();
    assert_eq!(chain, [last], "from the newest change back to the one that it undid");
    assert!(history.news.iter().filter(|news| news.is_new).count() == 1);
    assert_eq!(fight.rounds, 6);
}

#[test]
fn a_fight_by_way_of_another_object_is_found_with_the_whole_chain() {
    let mut history = History::default();
    history.change(&By::Outside, "o", &json!({"n": "x"}));
    let mut last = history.change(&By::Outside, "echo", &json!({"of": "x"}));
    for (a, b) in [("up", "down"); 3] {
        let up = history.change(&By::Run("a", &[last]), "o", &json!({"n": a}));
        let echo = history.change(&By::Run("c", &[up]), "echo", &json!({"of": a}));
        let down = history.change(&By::Run("b", &[echo]), "o", &json!({"n": b}));
        last = history.change(&By::Run("c", &[down]), "echo", &json!({"of": b}));
    }
    let fights = history.fights();
    let fight = fights.iter().find(|fight| fight.field == "n").expect("found");
    assert_eq!(names(fight), ["a", "b"]);
    let chain: Vec<&str> = fight.chain.iter().map(|link| link.by.as_str()).collect();
    assert_eq!(chain, ["b/b", "c/c"]);
}

#[test]
fn a_controller_that_wakes_itself_is_a_self_loop() {
    let mut history = History::default();
    let mut last = history.change(&By::Outside, "o", &json!({"n": "a"}));
    for n in ["b", "z", "k"] {
        assert!(history.fights().is_empty());
        last = history.change(&By::Run("a", &[last]), "o", &json!({"n": n}));
    }
    let fights = history.fights();
    assert_eq!((fights[0].kind, names(&fights[0])), (FightKind::SelfLoop, vec!["a".to_owned()]));
}

#[test]
fn a_value_that_grows_because_it_grew_runs_away() {
    for grown in
        [|n: u64| json!({"n": n}), |n| json!({"n": vec![0; usize::try_from(n).unwrap_or(0)]})]
    {
        let mut history = History::default();
        let mut last = history.change(&By::Outside, "o", &grown(0));
        history.change(&By::Outside, "echo", &json!({"n": 0}));
        for n in 1..=4 {
            let echo = history.change(&By::Run("b", &[last]), "echo", &json!({"n": n}));
            assert_eq!(history.fights().len(), usize::from(n >= 3), "in the third round");
            last = history.change(&By::Run("a", &[echo]), "o", &grown(n));
        }
        let fights = history.fights();
        assert_eq!(fights.len(), 1, "once, though two fields run: {fights:?}");
        assert_eq!(
            (fights[0].kind, names(&fights[0])),
            (FightKind::Runaway, vec!["a".into(), "b".into()])
        );
        assert_eq!(
            fights[0].chain.iter().map(|l| l.by.as_str()).collect::<Vec<_>>(),
            ["b/b", "a/a"]
        );
    }
}

#[test]
fn what_the_outside_drives_is_no_fight_however_fast_it_is() {
    let mut history = History::default();
    history.change(&By::Outside, "pod", &json!({"restarts": 0}));
    history.change(&By::Outside, "o", &json!({"restarts": 0, "ready": true}));
    let mut last = 0;
    for n in 1..50 {
        // A kubelet counts restarts, and a controller follows; it is also woken by what it wrote by way of another.
        let pod = history.change(&By::Outside, "pod", &json!({"restarts": n}));
        let woken = [last, pod];
        let value = json!({"restarts": n, "ready": true});
        last = history.change(&By::Run("a", &woken), "o", &value);
        // Timers: retries that each try something.
        let tried =
            history.change(&By::Timer("t", &[]), "o", &json!({"restarts": n, "ready": n % 2 == 0}));
        last = last.max(tried);
    }
    assert!(history.fights().is_empty(), "{:?}", history.fights());
}

#[test]
fn a_fan_out_of_five_hundred_children_is_no_fight() {
    let mut history = History::default();
    let root = history.change(&By::Outside, "o", &json!({"spec": 500, "ready": 0}));
    let names: Vec<&'static str> = (0..500).map(|n| &*format!("child{n}").leak()).collect();
    let made: Vec<u64> = names
        .iter()
        .map(|name| history.change(&By::Run("sets", &[root]), name, &json!({"ready": false})))
        .collect();
    for (n, (name, made)) in names.iter().zip(made).enumerate() {
        // A controller in the host makes each ready, and the parent counts.
        let ready = history.change(&By::Run("nodes", &[made]), name, &json!({"ready": true}));
        let counted = json!({"spec": 500, "ready": n + 1});
        history.change(&By::Run("sets", &[ready]), "o", &counted);
    }
    assert!(history.fights().is_empty(), "{:?}", history.fights());
}

#[test]
fn a_correction_of_what_somebody_changed_is_no_fight() {
    let mut history = History::default();
    history.change(&By::Outside, "o", &json!({"n": 3}));
    for _ in 0..10 {
        let theirs = history.change(&By::Outside, "o", &json!({"n": 5}));
        history.change(&By::Run("a", &[theirs]), "o", &json!({"n": 3}));
    }
    assert!(history.fights().is_empty());
}

#[test]
fn a_release_and_quiet_end_a_fight_and_a_deletion_too() {
    let mut history = History::default();
    let mut last = history.change(&By::Outside, "o", &json!({"n": 0}));
    for n in [1, 2, 1, 2] {
        let who = if n == 1 { "a" } else { "b" };
        last = history.change(&By::Run(who, &[last]), "o", &json!({"n": n}));
    }
    assert_eq!(history.fights().len(), 1);
    let later = Timestamp(QUIET_US_MAX + 1_000_000);
    assert!(history.detector.fights(later).is_empty());
    history.change(&By::Run("a", &[last]), "o", &json!({"n": 1}));
    let key = Key::new(GroupResource::new("", "configmaps"), "default", "o");
    history.detector.respond(&key, "n", Response::Freeze);
    assert_eq!(history.detector.fights(later).len(), 1, "a frozen one stays");
    assert_eq!((history.detector.release(&key).len(), history.fights().len()), (1, 0));
    assert_eq!(history.detector.found().get(&FightKind::Oscillation), Some(&2));
}

#[test]
fn memory_is_bounded_whatever_happens() {
    let mut history = History::default();
    for n in 0..CHANGES_MAX + 100 {
        history.change(&By::Run("a", &[]), "o", &json!({"n": n}));
    }
    assert_eq!(history.detector.recent.len(), CHANGES_MAX);
    assert!(history.detector.steps.is_empty() && history.detector.updates.len() == 1);
}
