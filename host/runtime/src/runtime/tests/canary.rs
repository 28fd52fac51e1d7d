//! Candidates beside the version that runs.

use std::sync::Arc;

use serde_json::json;

use crate::testing::{Host, map_key, merge, native, runnable, spec};
use crate::{ControllerName, ControllerSpec, Failure, Outcome, Portion, Reconciler};
use quadrille_object::selector::LabelSelector;

fn stamps(version: &'static str) -> Arc<dyn Reconciler> {
    native(move |request, overlay| {
        super::put(overlay, &request.key.name, &json!({"by": version}))?;
        Ok(Outcome::Done)
    })
}

fn candidate() -> ControllerSpec {
    ControllerSpec { digest: "sha256:2".into(), ..spec("stamp") }
}

fn portion(percent: u8, selector: &str) -> Portion {
    Portion { percent, selector: LabelSelector::parse(selector).expect("a selector") }
}

async fn host_with_maps(count: usize) -> Host {
    let host = Host::new(false).await;
    host.runtime.add(spec("stamp"), stamps("one")).expect("it is new");
    for index in 0..count {
        let mut object = runnable();
        let tier = if index % 4 == 0 { "canary" } else { "rest" };
        merge(&mut object, json!({"metadata": {"labels": {"tier": tier}}}));
        host.map(&format!("m{index}"), object).await;
    }
    host.settle().await;
    host
}

fn written_by(host: &Host, version: &str, count: usize) -> usize {
    let by = |index: &usize| host.value(&map_key(&format!("m{index}")))["data"]["by"] == version;
    (0..count).filter(by).count()
}

#[tokio::test]
async fn a_candidate_has_its_share_of_the_keys_and_no_other() {
    let host = host_with_maps(200).await;
    host.runtime.try_out(candidate(), stamps("two"), portion(10, "")).expect("it starts");
    host.settle().await;
    let touched = written_by(&host, "two", 200);
    assert!((5..=40).contains(&touched), "{touched} of 200 at 10 %");
    let name = ControllerName::new("demo", "stamp");
    let trial = host.runtime.trial(&name).expect("known").expect("under way");
    assert_eq!(trial.objects_touched, touched);
    assert_eq!(&*trial.digest, "sha256:2");
    assert!(trial.candidate.runs >= touched as u64 && trial.candidate.failures == 0);
}

#[tokio::test]
async fn a_portion_may_be_chosen_by_labels() {
    let host = host_with_maps(40).await;
    host.runtime.try_out(candidate(), stamps("two"), portion(100, "tier=canary")).expect("starts");
    host.settle().await;
    assert_eq!(written_by(&host, "two", 40), 10);
}

#[tokio::test]
async fn when_it_is_called_off_the_version_that_runs_goes_over_its_keys() {
    let host = host_with_maps(40).await;
    host.runtime.try_out(candidate(), stamps("two"), portion(50, "")).expect("it starts");
    host.settle().await;
    assert!(written_by(&host, "two", 40) > 0);
    let name = ControllerName::new("demo", "stamp");
    let trial = host.runtime.call_off(&name).expect("known").expect("it was under way");
    assert!(trial.objects_touched > 0);
    host.settle().await;
    assert_eq!(written_by(&host, "one", 40), 40);
    assert_eq!(host.runtime.call_off(&name).expect("known"), None);
}

#[tokio::test]
async fn failures_are_counted_apart_by_version() {
    let host = host_with_maps(40).await;
    let fails = native(|_, _| Err(Failure::Trap("unreachable".to_owned())));
    host.runtime.try_out(candidate(), fails, portion(50, "")).expect("it starts");
    host.settle().await;
    let trial = host.runtime.trial(&ControllerName::new("demo", "stamp"));
    let trial = trial.expect("known").expect("under way");
    assert!(trial.candidate.broken > 0 && trial.candidate.broken == trial.candidate.failures);
    assert_eq!(trial.active.failures, 0);
    assert!(trial.candidate.last_error.expect("one").contains("unreachable"));
    assert_eq!(trial.objects_touched, 0);
}

#[tokio::test]
async fn a_replacement_ends_the_trial() {
    let host = host_with_maps(20).await;
    host.runtime.try_out(candidate(), stamps("two"), portion(10, "")).expect("it starts");
    host.runtime.replace(candidate(), stamps("two")).expect("it is there");
    host.settle().await;
    assert_eq!(written_by(&host, "two", 20), 20);
    assert_eq!(host.runtime.trial(&ControllerName::new("demo", "stamp")).expect("known"), None);
}
