//! Many definitions: what 500 of them with 10 objects each cost a host (start, memory, discovery, `OpenAPI`), and what it
//! takes to check one custom resource with 20 rules in expressions, split into parts.
//!
//! `cargo run --release -p quadrille-bench --bin definitions -- PATH/quadrille [DEFINITIONS] [OBJECTS]`; a host of its own is
//! started. References in the same run: a host without definitions, a bare axum route that copies the same bytes, and
//! parsing and writing the same object with serde alone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use quadrille_bench::http::{Connection, Target, bare};
use quadrille_bench::{now, percentile, processor_time, say};
use quadrille_kit::{Clock, Supervisor, SystemClock, SystemRandom};
use quadrille_object::schema::Nulls;
use quadrille_object::{Gvk, Schema};
use quadrille_registry::{
    Action, Actor, Body, Config, Registry, Target as Place, WriteOptions, WriteRequest,
};
use quadrille_store::Store;
use quadrille_tests::TestHost;
use serde_json::{Map, Value, json};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const READS: usize = 101;
const ROUNDS: u32 = 5_000;
const RULES: usize = 20;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let program = args.next().context("name the quadrille program to test")?;
    let mut number = |or: usize| args.next().map_or(Ok(or), |text| text.parse());
    let (definitions, objects) = (number(500)?, number(10)?);
    let empty = TestHost::start(&program)?;
    let empty_at_rest = at_rest(&empty).await?;
    drop(empty);
    let mut host = TestHost::start(&program)?;
    fill(&Target::host(&host)?, definitions, objects).await?;
    say(&format!("{definitions} definitions with {objects} objects each"));
    let begun = now();
    host.kill_and_restart()?;
    let start = begun.elapsed();
    let started = processor_time(host.pid())?;
    let full_at_rest = at_rest(&host).await?;
    say(&format!("start until ready: {start:.0?}, {started:.0?} of processor time"));
    say(&format!("memory at rest: {full_at_rest} MiB; without definitions {empty_at_rest} MiB"));
    documents(&host).await?;
    parts().await
}

/// Resident memory once a list was answered, in MiB.
async fn at_rest(host: &TestHost) -> anyhow::Result<u64> {
    let target = Target::host(host)?;
    let mut connection = target.connect().await?;
    target.get(&mut connection, DEFINITIONS).await?;
    Ok(host.resident_bytes()? >> 20)
}

/// A schema of the size that operators ship, with as many rules as asked for.
fn schema(rules: usize) -> Value {
    let part = |depth: usize| {
        let mut fields = Map::new();
        for field in 0..12 {
            fields.insert(format!("field{field}"), json!({"type": "string", "maxLength": 100}));
        }
        for number in 0..depth {
            let of = json!({"type": "object", "properties": fields.clone()});
            fields.insert(format!("part{number}"), of);
        }
        fields
    };
    let mut spec = part(3);
    spec.insert("replicas".to_owned(), json!({"type": "integer", "minimum": 0, "default": 1}));
    spec.insert("most".to_owned(), json!({"type": "integer"}));
    let port = json!({"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string", "maxLength": 63, "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$"},
        "port": {"type": "integer", "minimum": 1, "maximum": 65535}}});
    spec.insert(
        "ports".to_owned(),
        json!({"type": "array", "maxItems": 16, "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"], "items": port}),
    );
    let rules: Vec<Value> = (0..rules).map(|n| json!({"rule": rule(n), "message": "m"})).collect();
    let mut spec = json!({"type": "object", "properties": spec});
    if !rules.is_empty() {
        spec["x-kubernetes-validations"] = Value::Array(rules);
    }
    json!({"type": "object", "properties": {"spec": spec,
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
}

/// Rules of the kinds that real definitions have.
fn rule(number: usize) -> String {
    match number % 5 {
        0 => format!("!has(self.most) || self.replicas + {number} >= 0"),
        1 => "self.ports.all(p, p.port != 22)".to_owned(),
        2 => format!("!has(self.field{0}) || self.field{0}.startsWith('v')", number % 12),
        3 => "self.ports.exists(p, p.name == 'http')".to_owned(),
        _ => format!("!has(self.field{0}) || self.field{0}.matches('^v[0-9a-z]+$')", number % 12),
    }
}

fn definition(number: usize, rules: usize) -> Value {
    let (group, plural) = (format!("group{}.example.com", number % 50), format!("widget{number}s"));
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": plural, "kind": format!("Widget{number}")},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema(rules)}}],
        },
    })
}

fn object(number: usize, name: &str) -> Value {
    let mut spec = Map::new();
    for field in 0..12 {
        spec.insert(format!("field{field}"), json!(format!("v{field}")));
    }
    for part in 0..3 {
        let fields: Map<String, Value> =
            (0..12).map(|f| (format!("field{f}"), json!("some text of some length"))).collect();
        spec.insert(format!("part{part}"), Value::Object(fields));
    }
    let port = |name: &str, port: u16| json!({"name": name, "port": port});
    spec.insert(
        "ports".to_owned(),
        json!([port("http", 80), port("https", 443), port("admin", 99)]),
    );
    json!({
        "apiVersion": format!("group{}.example.com/v1", number % 50), "kind": format!("Widget{number}"),
        "metadata": {"name": name, "namespace": "default"}, "spec": spec,
    })
}

async fn post(
    target: &Target,
    connection: &mut Connection,
    path: &str,
    body: &Value,
) -> anyhow::Result<()> {
    let body = Bytes::from(body.to_string());
    let answer = target.send(connection, "POST", path, "application/json", body).await?;
    answer.collect().await?;
    Ok(())
}

async fn fill(target: &Target, definitions: usize, objects: usize) -> anyhow::Result<()> {
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..8 {
        let target = target.clone();
        workers.spawn(async move {
            let mut connection = target.connect().await?;
            for number in (worker..definitions).step_by(8) {
                let rules = if number % 10 == 0 { RULES } else { 0 };
                post(&target, &mut connection, DEFINITIONS, &definition(number, rules)).await?;
                let (group, plural) = (number % 50, format!("widget{number}s"));
                let path = format!("/apis/group{group}.example.com/v1/namespaces/default/{plural}");
                for name in 0..objects {
                    let body = object(number, &format!("object-{name}"));
                    post(&target, &mut connection, &path, &body).await?;
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = workers.join_next().await {
        done??;
    }
    Ok(())
}

/// The documents about everything: the first time, again, and again after one definition changed.
async fn documents(host: &TestHost) -> anyhow::Result<()> {
    let target = Target::host(host)?;
    let mut connection = target.connect().await?;
    say(&format!(
        "{:<34} {:>9} {:>10} {:>10} {:>14} {:>10}",
        "", "KiB", "first ms", "again ms", "after change", "bare axum"
    ));
    let group = "/openapi/v3/apis/group0.example.com/v1";
    for (number, path) in ["/openapi/v3", group, "/apis", "/openapi/v2"].into_iter().enumerate() {
        let begun = now();
        let bytes = target.read(&mut connection, path).await?;
        let first = begun.elapsed();
        let again = median(&target, &mut connection, path).await?;
        post(&target, &mut connection, DEFINITIONS, &definition(100_000 + number * 50, 0)).await?;
        let begun = now();
        target.get(&mut connection, path).await?;
        let changed = begun.elapsed();
        let size = bytes.len() >> 10;
        let copy = get(move || async move { Bytes::copy_from_slice(&bytes) });
        let reference = bare(Router::new().route("/document", copy)).await?;
        let theirs = median(&reference, &mut reference.connect().await?, "/document").await?;
        let [first, again, changed, theirs] =
            [first, again, changed, theirs].map(|time| time.as_secs_f64() * 1e3);
        say(&format!(
            "{path:<34} {size:>9} {first:>10.2} {again:>10.2} {changed:>14.2} {theirs:>10.2}"
        ));
    }
    Ok(())
}

async fn median(
    target: &Target,
    connection: &mut Connection,
    path: &str,
) -> anyhow::Result<Duration> {
    let mut times = Vec::with_capacity(READS);
    for _ in 0..READS {
        let begun = now();
        target.get(connection, path).await?;
        times.push(begun.elapsed());
    }
    times.sort();
    Ok(percentile(&times, 0.5))
}

/// What one check of a custom resource with rules is made of, in this process.
async fn parts() -> anyhow::Result<()> {
    let text = object(0, "w").to_string();
    say(&format!(
        "one custom resource of {} bytes, {RULES} rules, µs each of {ROUNDS}",
        text.len()
    ));
    let row = |what: &str, took: Duration| {
        say(&format!("{what:<44} {:>9.2}", took.as_secs_f64() * 1e6 / f64::from(ROUNDS)));
    };
    row(
        "reference: serde reads and writes it",
        time(|| {
            let tree: Value = serde_json::from_str(&text).unwrap_or_default();
            tree.to_string().len()
        }),
    );
    row("decode", time(|| quadrille_object::decode::json(text.as_bytes()).map_or(0, |_| 1)));
    let compiled = Schema::from_checked(&schema(RULES));
    let tree = object(0, "w").as_object().cloned().unwrap_or_default();
    row("copy the tree (part of the next two)", time(|| tree.clone().len()));
    row(
        "prune and default",
        time(|| {
            let mut tree = tree.clone();
            let dropped = compiled.prune(&mut tree);
            compiled.fill_defaults(&mut tree, Nulls::Drop);
            dropped.len() + tree.len()
        }),
    );
    row("schema", time(|| compiled.validate(&tree, None).len()));
    let without = prepare(0).await?;
    row("the whole write path, without rules", without);
    let with = prepare(RULES).await?;
    row(&format!("the whole write path, with {RULES} rules"), with);
    row("so the rules", with.saturating_sub(without));
    Ok(())
}

/// How long the rounds take; what they answer is used, so that none is left out.
fn time(mut round: impl FnMut() -> usize) -> Duration {
    let begun = now();
    let mut sum = 0_usize;
    for _ in 0..ROUNDS {
        sum = sum.wrapping_add(std::hint::black_box(round()));
    }
    std::hint::black_box(sum);
    begun.elapsed()
}

/// How long it takes to decide on that many creates of one object whose definition has some rules.
async fn prepare(rules: usize) -> anyhow::Result<Duration> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let config = quadrille_store::Config { dir: None, ..quadrille_store::Config::default() };
    let store = Store::open(config, Arc::clone(&clock), &Supervisor::default()).await?;
    let random = Arc::new(SystemRandom::default());
    let registry = Registry::build(Config::default(), store, clock, random)?;
    registry.bootstrap().await?;
    let create = |kind: &Gvk, namespace: &str, body: Value| {
        let resource = registry.resource_of(kind).context("not served")?;
        anyhow::Ok(WriteRequest {
            target: Place { resource, namespace: namespace.into(), name: None, subresource: None },
            action: Action::Create(Body::from(body)),
            options: WriteOptions::default(),
            actor: Actor { client: "bench/1.0".into(), ..Actor::default() },
        })
    };
    let kind = Gvk::new("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    let cause = quadrille_store::Cause::System(quadrille_store::SystemCause::default());
    registry.submit(&create(&kind, "", definition(0, rules))?, cause).await?;
    let kind = Gvk::new("group0.example.com", "v1", "Widget0");
    let request = create(&kind, "default", object(0, "w"))?;
    let view = registry.store().snapshot();
    // The first check compiles the rules.
    registry.prepare(&view, &request)?;
    let begun = now();
    for _ in 0..ROUNDS {
        std::hint::black_box(registry.prepare(&view, &request)?);
    }
    Ok(begun.elapsed())
}
