//! What a write costs, in parts: a Deployment of 2 KB created, applied and patched; decoding, types, field managers and
//! encoding apart, beside the whole decision and the whole write (store in memory). And what it costs to find out who may:
//! with 10, 1,000 and 10,000 bindings.
//!
//! `cargo run --release -p quadrille-bench --bin writes [ROUNDS]`. The reference in the same run is what `serde_json` needs
//! to read the same bytes into a tree and write it again.

#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use quadrille_bench::{now, percentile, say};
use quadrille_kit::{Clock, Random, Supervisor, SystemClock, SystemRandom};
use quadrille_object::decode::{self, TextEncoding};
use quadrille_object::managed::{self, FieldManager, Scope};
use quadrille_object::{Gvr, Meta, Template};
use quadrille_registry::access::{Attributes, ResourceAttributes};
use quadrille_registry::{
    Action, Actor, Body, PatchFormat, Registry, Resource, Target, User, WriteOptions, WriteRequest,
};
use quadrille_store::{Cause, RequestCause, Store};
use serde_json::{Map, Value, json};

struct Bench {
    registry: Registry,
    resource: Arc<Resource>,
    rounds: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(2000), |text| text.parse())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let random: Arc<dyn Random> = Arc::new(SystemRandom::default());
    let store = quadrille_store::Config { dir: None, ..quadrille_store::Config::default() };
    let store = Store::open(store, Arc::clone(&clock), &Supervisor::default()).await?;
    let config = quadrille_registry::Config::default();
    let registry = Registry::build(config, store, clock, random)?;
    registry.bootstrap().await?;
    let resource = registry.catalog().by_gvr(&Gvr::new("apps", "v1", "deployments")).cloned();
    let resource = resource.context("Deployments are served")?;
    let bench = Bench { registry, resource, rounds };
    let bytes = deployment("web", 1).to_string();
    say(&format!("a Deployment of {} bytes; p50 of {rounds}, in µs", bytes.len()));
    bench.parts(bytes.as_bytes())?;
    bench.whole().await?;
    bench.decisions().await
}

/// How many decisions count as one time.
const DECISIONS: usize = 100;

/// A binding of the cluster role `edit`.
fn binding(kind: &str, name: &str, user: &str) -> Value {
    let group = "rbac.authorization.k8s.io";
    json!({
        "apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": user}],
    })
}

/// A Deployment as people write it, of about 2 KB.
fn deployment(name: &str, replicas: usize) -> Value {
    let env: Vec<Value> = (0..12)
        .map(|at| json!({"name": format!("SETTING_{at}"), "value": format!("value-{at}-of-the-shop")}))
        .collect();
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 5});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name, "tier": "front"}, "annotations": {"team": "shop"}},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name, "tier": "front"}},
                "spec": {
                    "containers": [{
                        "name": "shop", "image": "registry.example.com/shop:1.2.3", "env": env,
                        "ports": [{"name": "http", "containerPort": 8080}],
                        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                        "livenessProbe": probe, "readinessProbe": probe,
                        "volumeMounts": [{"name": "config", "mountPath": "/etc/shop"}],
                    }, {"name": "proxy", "image": "registry.example.com/proxy:7", "args": ["--upstream", "127.0.0.1:8080"]}],
                    "volumes": [{"name": "config", "configMap": {"name": "shop"}}],
                    "serviceAccountName": "default", "terminationGracePeriodSeconds": 30,
                },
            },
        },
    })
}

impl Bench {
    fn time(
        &self,
        what: &str,
        mut work: impl FnMut(usize) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut times = Vec::with_capacity(self.rounds);
        for round in 0..self.rounds {
            let begun = now();
            work(round)?;
            times.push(begun.elapsed());
        }
        self.line(what, &mut times);
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "reads as part of the bench")]
    fn line(&self, what: &str, times: &mut [Duration]) {
        times.sort();
        let micros = |share| percentile(times, share).as_nanos() as f64 / 1e3;
        say(&format!("{what:<52} {:>8.1}   p99 {:>8.1}", micros(0.5), micros(0.99)));
    }

    fn parts(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let object = |bytes| -> anyhow::Result<Map<String, Value>> {
            let decoded = decode::object(bytes, TextEncoding::Json, "Deployment");
            let value = decoded.map_err(|error| anyhow::anyhow!("{}", error.0))?.value;
            value.as_object().cloned().context("an object")
        };
        let tree = object(bytes)?;
        self.time("reference: serde_json reads and writes the tree", |_| {
            let value: Value = serde_json::from_slice(bytes)?;
            black_box(serde_json::to_vec(&value)?);
            Ok(())
        })?;
        self.time("part: decode", |_| {
            black_box(object(bytes)?);
            Ok(())
        })?;
        self.time("part: check types", |_| {
            self.resource.schema.check_types(&tree).map_err(anyhow::Error::msg)
        })?;
        self.time("part: note field managers (create)", |_| {
            let mut tree = tree.clone();
            managed::update(&self.resource.schema, None, &mut tree, &self.manager());
            black_box(tree);
            Ok(())
        })?;
        self.time("part: encode, and read the metadata", |_| {
            black_box((Template::encode(&tree), Meta::from_object(&tree)));
            Ok(())
        })
    }

    fn manager(&self) -> FieldManager<'_> {
        FieldManager {
            name: "bench",
            api_version: &self.resource.api_version,
            api_versions: &[],
            subresource: "",
            scope: Scope::Except(&["status"]),
            time: self.registry.clock().now(),
        }
    }

    fn request(&self, name: Option<&str>, action: Action) -> WriteRequest {
        let options = WriteOptions {
            field_manager: Some("bench".into()),
            force: true,
            ..WriteOptions::default()
        };
        WriteRequest {
            target: Target {
                resource: Arc::clone(&self.resource),
                namespace: "default".into(),
                name: name.map(Into::into),
                subresource: None,
            },
            action,
            options,
            actor: Actor { user: "admin".into(), client: "bench".into(), ..Actor::default() },
        }
    }

    async fn whole(&self) -> anyhow::Result<()> {
        let create =
            |name: &str| self.request(None, Action::Create(Body::from(deployment(name, 1))));
        let apply = |replicas| {
            self.request(Some("web"), Action::Apply(Body::from(deployment("web", replicas))))
        };
        let patch = |round: usize| {
            let body = json!({"spec": {"template": {"spec": {"containers": [
                {"name": "shop", "image": format!("registry.example.com/shop:{round}")},
            ]}}}});
            self.request(Some("web"), Action::Patch(PatchFormat::Strategic, Body::from(body)))
        };
        let decide = |request: &WriteRequest| -> anyhow::Result<()> {
            let snapshot = self.registry.store().snapshot();
            let prepared = self.registry.prepare(&snapshot, request);
            black_box(prepared.map_err(|status| anyhow::anyhow!("{}", status.message))?);
            Ok(())
        };
        let request = create("web");
        self.time("decide: create", |_| decide(&request))?;
        self.submit(&apply(1)).await?;
        let (same, other) = (apply(1), apply(2));
        self.time("decide: apply, nothing to do", |_| decide(&same))?;
        self.time("decide: apply, one field changes", |_| decide(&other))?;
        let request = patch(0);
        self.time("decide: strategic merge patch", |_| decide(&request))?;
        let requests = |make: &dyn Fn(usize) -> WriteRequest| -> Vec<WriteRequest> {
            (0..self.rounds).map(make).collect()
        };
        let creates = requests(&|round| create(&format!("web-{round}")));
        self.write("write: create", &creates).await?;
        self.write("write: apply, one field changes", &requests(&|round| apply(round % 7 + 2)))
            .await?;
        self.write("write: strategic merge patch", &requests(&patch)).await
    }

    /// Bindings of one user each, but for one user who has a hundredth of them: the dearest answer is that none allows it.
    async fn decisions(&self) -> anyhow::Result<()> {
        let gvr = Gvr::new("rbac.authorization.k8s.io", "v1", "clusterrolebindings");
        let bindings = self.registry.catalog().by_gvr(&gvr).cloned();
        let bindings = bindings.context("bindings are served")?;
        let mut made = 0_usize;
        for count in [10, 1000, 10_000] {
            for number in made..count {
                let user = match number % 100 {
                    0 => "many".to_owned(),
                    _ => format!("user-{number}"),
                };
                let object = binding("ClusterRoleBinding", &format!("bound-{number}"), &user);
                let mut request = self.request(None, Action::Create(Body::from(object)));
                request.target.resource = Arc::clone(&bindings);
                request.target.namespace = "".into();
                self.submit(&request).await?;
            }
            made = count;
            for (user, resource) in
                [("user-1", "configmaps"), ("user-1", "nodes"), ("many", "nodes")]
            {
                self.decide(count, user, resource)?;
            }
        }
        Ok(())
    }

    fn decide(&self, bindings: usize, user: &str, resource: &str) -> anyhow::Result<()> {
        let asker = User::known(user, "", &[]);
        let of = ResourceAttributes {
            group: "",
            version: "v1",
            resource,
            subresource: "",
            namespace: "default",
            name: "a",
        };
        let asked = Attributes::of("get", of);
        let allowed = self.registry.access().allows(asker.asker(), &asked);
        anyhow::ensure!(allowed == (resource == "configmaps"), "{user} may not get {resource}");
        let what = format!("{DECISIONS} decisions, {bindings} bindings: {user}, {resource}");
        self.time(&what, |_| {
            for _ in 0..DECISIONS {
                black_box(self.registry.access().allows(asker.asker(), black_box(&asked)));
            }
            Ok(())
        })
    }

    async fn write(&self, what: &str, requests: &[WriteRequest]) -> anyhow::Result<()> {
        let mut times = Vec::with_capacity(requests.len());
        for request in requests {
            let begun = now();
            self.submit(request).await?;
            times.push(begun.elapsed());
        }
        self.line(what, &mut times);
        Ok(())
    }

    async fn submit(&self, request: &WriteRequest) -> anyhow::Result<()> {
        let cause = Cause::Request(RequestCause {
            user: "admin".to_owned(),
            client: "bench".to_owned(),
            address: String::new(),
            verb: "write".to_owned(),
        });
        let written = self.registry.submit(request, cause).await;
        black_box(written.map_err(|status| anyhow::anyhow!("{}", status.message))?);
        Ok(())
    }
}
