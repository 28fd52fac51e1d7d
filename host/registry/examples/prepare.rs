//! What deciding a write costs: `cargo run --release -p quadrille-registry --example prepare`.
//!
//! Creates a 1 KB `ConfigMap` against a view many times, encoding included, and prints the mean.

use std::sync::Arc;

use quadrille_kit::{Clock, Supervisor, SystemClock, SystemRandom};
use quadrille_object::Gvk;
use quadrille_registry::{
    Action, Actor, Body, Config, Registry, Target, WriteOptions, WriteRequest,
};
use quadrille_store::Store;
use serde_json::json;

const ROUNDS: u32 = 50_000;

#[expect(clippy::print_stdout, reason = "an example prints its result")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let supervisor = Supervisor::default();
    let store = quadrille_store::Config { dir: None, ..quadrille_store::Config::default() };
    let store = Store::open(store, Arc::clone(&clock), &supervisor).await?;
    let random = Arc::new(SystemRandom::default());
    let registry = Registry::build(Config::default(), store, Arc::clone(&clock), random)?;
    registry.bootstrap().await?;
    let resource = registry.resource_of(&Gvk::new("", "v1", "ConfigMap")).ok_or("not served")?;
    let body = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "load", "labels": {"app": "load"}}, "data": {"payload": "x".repeat(900)},
    });
    let request = WriteRequest {
        target: Target { resource, namespace: "default".into(), name: None, subresource: None },
        action: Action::Create(Body::from(body)),
        options: WriteOptions::default(),
        actor: Actor { client: "prepare/1.0".into(), ..Actor::default() },
    };
    let view = registry.store().snapshot();
    let start = clock.monotonic();
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        bytes += registry.prepare(&view, &request)?.writes.len();
    }
    let each = clock.monotonic().saturating_sub(start) / ROUNDS;
    println!("prepare of a 1 KB ConfigMap: {each:?} mean of {ROUNDS} ({bytes} writes decided)");
    Ok(())
}
