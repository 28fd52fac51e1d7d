//! What a read means for its run: it is checked precisely at the commit, weakly on demand, and nobody sees a conflict.

use quadrille_object::LabelSelector;
use quadrille_store::{Query, Range, Selection};

use super::life::write_hot;
use super::*;

/// Lists a range; once, while it is at work, somebody else creates an object.
#[derive(Debug)]
struct Meanwhile {
    query: Query,
    weakly: bool,
    created: Mutex<Option<Value>>,
}

impl Reconciler for Meanwhile {
    fn reconcile(
        &self,
        request: crate::ReconcileRequest,
        mut overlay: Overlay,
    ) -> quadrille_kit::clock::BoxFuture<'_, crate::Reconciled> {
        Box::pin(async move {
            let listed = if self.weakly {
                overlay.list_weakly(&self.query)
            } else {
                overlay.list(&self.query)
            };
            let n = listed.expect("granted").len().to_string();
            let other = self.created.lock().expect("no panic").take();
            if let Some(object) = other {
                create(overlay.registry(), object).await;
            }
            let wrote = put(&mut overlay, &format!("{}-out", request.key.name), &json!({"n": n}));
            crate::Reconciled { overlay, result: wrote.map(|()| Outcome::Done), memory_bytes: 0 }
        })
    }
}

async fn create(registry: &Registry, object: Value) {
    let kind = quadrille_object::Gvk::new("", "v1", "ConfigMap");
    let maps = registry.resource_of(&kind).expect("built in");
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
    let request = quadrille_registry::WriteRequest {
        target: target(&maps, &namespace, None),
        action: Action::Create(Body::from(object)),
        options: WriteOptions::default(),
        actor: quadrille_registry::Actor::default(),
    };
    let cause = quadrille_store::Cause::Request(quadrille_store::RequestCause::default());
    registry.submit(&request, cause).await.expect("created");
}

fn query(selection: Selection, namespace: Option<&str>) -> Query {
    let resource = GroupResource::new("", "configmaps");
    Query::whole(Range { resource, namespace: namespace.map(Into::into), selection })
}

fn labels(text: &str) -> Selection {
    Selection::Labels(LabelSelector::parse(text).expect("a selector"))
}

/// What one run that lists, and an object that comes meanwhile, lead to: runs thrown away, runs in all, and what the
/// last of them counted.
async fn meanwhile(query: Query, weakly: bool, created: Value) -> (u64, u64, u64) {
    let host = Host::new(false).await;
    let created = Mutex::new(Some(created));
    let reconciler = Arc::new(Meanwhile { query, weakly, created });
    host.runtime.add(spec("meanwhile"), reconciler).expect("new");
    host.map("a", runnable()).await;
    host.settle().await;
    let stats = &host.runtime.stats(None)[0];
    assert_eq!(stats.failures, 0, "{stats:?}");
    assert_eq!(stats.retries, stats.conflicts);
    let counted = host.value(&map_key("a-out"))["data"]["n"].as_str().map(str::to_owned);
    let counted = counted.and_then(|n| n.parse().ok()).expect("a number");
    (stats.conflicts, stats.runs, counted)
}

#[tokio::test]
async fn a_range_is_checked_precisely_at_the_commit() {
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u-1"}]);
    let other = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u-2"}]);
    let named = |name: &str| json!({"metadata": {"name": name}});
    let labelled = |value: &str| json!({"metadata": {"name": "b", "labels": {"app": value}}});
    let owned = |owners: &Value| json!({"metadata": {"name": "b", "ownerReferences": owners}});
    let elsewhere = json!({"metadata": {"name": "b", "namespace": "kube-public"}});
    let names = |names: &[&str]| Selection::Names(names.iter().map(|n| (*n).into()).collect());
    let here = Some("default");
    for (query, within, without) in [
        (query(names(&["b", "c"]), here), named("b"), named("d")),
        (query(names(&["b"]), None), elsewhere.clone(), named("d")),
        (query(labels("app=web"), here), labelled("web"), labelled("db")),
        (query(labels("app in (web,db)"), None), labelled("db"), labelled("cache")),
        (query(labels("app"), here), labelled("any"), named("b")),
        (query(labels("app!=web,app"), here), labelled("db"), labelled("web")),
        (query(Selection::Owner("u-1".into()), here), owned(&owner), owned(&other)),
        (query(Selection::Owner("u-1".into()), None), owned(&owner), named("b")),
        (query(Selection::All, Some("kube-public")), elsewhere.clone(), named("b")),
    ] {
        let (conflicts, runs, counted) = meanwhile(query.clone(), false, within).await;
        assert_eq!((conflicts, runs), (1, 2), "a change within invalidates: {query:?}");
        assert!(counted > 0, "what is committed saw it: {query:?}");
        let (conflicts, runs, counted) = meanwhile(query.clone(), false, without).await;
        assert_eq!((conflicts, runs), (0, 1), "a change elsewhere does not: {query:?}");
        let before = u64::from(query.range.namespace.as_deref() == Some("kube-public"));
        assert!(counted <= before, "{query:?}");
    }
    let whole = query(Selection::All, None);
    assert_eq!(meanwhile(whole, false, named("b")).await.0, 1);
    let first = Query { limit: Some(1), ..query(labels("app=web"), here) };
    let (conflicts, ..) = meanwhile(first, false, labelled("web")).await;
    assert_eq!(conflicts, 1, "what a limit cuts off counts as read");
}

#[tokio::test]
async fn a_weak_read_wakes_and_throws_no_run_away() {
    for range in [query(labels("app=web"), None), query(Selection::Owner("u-1".into()), None)] {
        let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u-1"}]);
        let within = json!({
            "metadata": {"name": "b", "labels": {"app": "web"}, "ownerReferences": owner}
        });
        let (conflicts, runs, counted) = meanwhile(range.clone(), true, within).await;
        assert_eq!((conflicts, runs, counted), (0, 2, 1), "it came before the commit: {range:?}");
        let without = json!({"metadata": {"name": "b"}});
        assert_eq!(meanwhile(range, true, without).await, (0, 1, 0));
    }
}

#[tokio::test]
async fn what_a_run_wrote_itself_does_not_wake_it_where_it_read_weakly() {
    let host = Host::new(false).await;
    let reconciler = native(|_, overlay| {
        overlay.list_weakly(&query(Selection::All, None)).map_err(transient)?;
        put(overlay, "out", &json!({"n": "1"}))?;
        Ok(Outcome::Done)
    });
    host.runtime.add(spec("weak"), reconciler).expect("new");
    host.map("a", runnable()).await;
    host.settle().await;
    assert_eq!(host.runtime.stats(None)[0].runs, 1);
    host.map("other", json!({})).await;
    host.settle().await;
    assert_eq!(host.runtime.stats(None)[0].runs, 2, "another's write does");
}

/// Looks for an object, which somebody else makes before the run is over, and writes nothing.
#[derive(Debug)]
struct Looker(Mutex<Option<Value>>);

impl Reconciler for Looker {
    fn reconcile(
        &self,
        _: crate::ReconcileRequest,
        mut overlay: Overlay,
    ) -> quadrille_kit::clock::BoxFuture<'_, crate::Reconciled> {
        Box::pin(async move {
            overlay.get(&map_key("b")).expect("granted");
            let other = self.0.lock().expect("no panic").take();
            if let Some(object) = other {
                create(overlay.registry(), object).await;
            }
            // The trigger looks at the change while the run is still under way.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            crate::Reconciled { overlay, result: Ok(Outcome::Done), memory_bytes: 0 }
        })
    }
}

#[tokio::test]
async fn what_changes_while_a_run_only_reads_wakes_it_afterwards() {
    for (name, runs) in [("b", 2), ("c", 1)] {
        let host = Host::new(false).await;
        let made = json!({"metadata": {"name": name}});
        let looker = Arc::new(Looker(Mutex::new(Some(made))));
        host.runtime.add(spec("looker"), looker).expect("new");
        host.map("a", runnable()).await;
        host.settle().await;
        assert_eq!(host.runtime.stats(None)[0].runs, runs, "{name} came meanwhile");
    }
}

/// Reads what somebody writes all the time, and takes three seconds over it.
#[derive(Debug)]
struct Sluggish(Arc<quadrille_kit::ManualClock>);

const SLUGGISH: Duration = Duration::from_secs(3);

impl Reconciler for Sluggish {
    fn reconcile(
        &self,
        request: crate::ReconcileRequest,
        mut overlay: Overlay,
    ) -> quadrille_kit::clock::BoxFuture<'_, crate::Reconciled> {
        Box::pin(async move {
            overlay.get(&map_key("hot")).expect("granted");
            self.0.sleep(SLUGGISH).await;
            let wrote = put(&mut overlay, &format!("{}-out", request.key.name), &json!({}));
            crate::Reconciled { overlay, result: wrote.map(|()| Outcome::Done), memory_bytes: 0 }
        })
    }
}

#[tokio::test]
async fn a_run_that_outlives_its_turn_gets_a_longer_one() {
    let host = Host::new(false).await;
    host.runtime.shared.lock().budgets.turn_rest = 8;
    host.map("hot", json!({})).await;
    let stop = Arc::new(AtomicUsize::new(0));
    let client = write_hot(host.registry.clone(), 0, Arc::clone(&stop));
    host.runtime.shared.supervisor.spawn_brief("client", client);
    host.runtime.add(spec("sluggish"), Arc::new(Sluggish(Arc::clone(&host.clock)))).expect("new");
    host.map("a", runnable()).await;
    let (mut steps, mut standing, mut longest) = (0, 0, 0);
    while host.get(&map_key("a-out")).is_none() {
        let before = host.registry.store().revision();
        host.clock.advance(Duration::from_millis(100));
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        standing = if host.registry.store().revision() == before { standing + 1 } else { 0 };
        longest = longest.max(standing);
        steps += 1;
        assert!(steps < 1_000, "starved: {:?}", host.runtime.stats(None));
    }
    stop.store(1, Ordering::SeqCst);
    while host.runtime.stats(None)[0].commits == 0 {
        tokio::task::yield_now().await;
    }
    let stats = &host.runtime.stats(None)[0];
    let thrown = host.runtime.shared.config.invalidations_max + 2;
    assert!(stats.conflicts >= u64::from(thrown), "{stats:?}");
    assert!((2..=3).contains(&stats.turns), "one outlived, or two, and then the last: {stats:?}");
    assert!(steps > 80, "others have eight times as long for themselves in between: {steps}");
    let lost = u128::from(stats.lost_us);
    assert!(lost >= SLUGGISH.as_micros() * u128::from(thrown), "the time in them: {stats:?}");
    assert!((25..=41).contains(&longest), "others wait for the last turn only so long: {longest}");
}

/// Everything that a client would be answered 409 for.
fn write_everything(overlay: &mut Overlay, key: &Key) -> Result<Outcome, Failure> {
    let kind = quadrille_object::Gvk::new("", "v1", "ConfigMap");
    let maps = overlay.registry().resource_of(&kind).expect("built in");
    let at = |name: &str| target(&maps, "default", Some(name));
    for round in 0..2 {
        let hot = overlay.get(&map_key("hot")).map_err(transient)?.expect("it exists");
        let mut value: Value = serde_json::from_slice(&hot.bytes).expect("stored JSON");
        value["data"][&*key.name] = format!("{}-{round}", hot.revision).into();
        let update = Action::Update(value.into());
        overlay.write(at("hot"), update, WriteOptions::default()).map_err(transient)?;
    }
    let scratch = format!("{}-scratch", key.name);
    if let Some(old) = overlay.get(&map_key(&scratch)).map_err(transient)? {
        let preconditions = quadrille_registry::Preconditions {
            uid: Some(old.meta.uid.to_string()),
            resource_version: None,
        };
        let options = quadrille_registry::DeleteOptions { preconditions, ..Default::default() };
        let delete = Action::Delete(options);
        overlay.write(at(&scratch), delete, WriteOptions::default()).map_err(transient)?;
    }
    put(overlay, &scratch, &json!({}))?;
    Ok(Outcome::Done)
}

#[tokio::test]
async fn nobody_in_a_run_is_answered_a_conflict() {
    let host = Host::new(false).await;
    host.map("hot", json!({})).await;
    let stop = Arc::new(AtomicUsize::new(0));
    let client = write_hot(host.registry.clone(), 0, Arc::clone(&stop));
    host.runtime.shared.supervisor.spawn_brief("client", client);
    let busy = native(|request, overlay| write_everything(overlay, &request.key));
    host.runtime.add(spec("busy"), busy).expect("new");
    for name in ["a", "b", "c", "d"] {
        host.map(name, runnable()).await;
    }
    while host.runtime.stats(None)[0].commits < 200 {
        tokio::task::yield_now().await;
    }
    stop.store(1, Ordering::SeqCst);
    let name = ControllerName::new("demo", "busy");
    host.runtime.suspend(&name).expect("known");
    let stats = &host.runtime.stats(None)[0];
    assert!(stats.conflicts > 0 && stats.failures == 0, "{stats:?}");
    assert!(stats.lost_us < u64::MAX && stats.retries >= stats.conflicts - 4, "{stats:?}");
}
