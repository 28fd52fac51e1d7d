//! Bad neighbours: each takes without end what a run can get, and does not mind refusals.

use std::hint::black_box;
use std::time::Duration;

use quadrille_sdk::prelude::*;
use quadrille_sdk::{EventKind, Level, ObjectRef, PatchFormat, Query, ResourceRef};
use serde_json::json;

const MIB: usize = 1 << 20;

/// One run of an attack.
pub(crate) fn run(attack: &str, prey: &ConfigMap, ctx: &Context) -> Result<Next> {
    let host = ctx.host();
    match attack {
        "spin" => spin(u64::MAX),
        "memory" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(vec![1_u8; MIB]);
                black_box(&hoard);
            }
        }
        // Nothing is computed, and the run never ends by itself.
        #[expect(clippy::disallowed_methods, reason = "that is the attack")]
        "sleep" => std::thread::sleep(Duration::from_hours(1)),
        "trap" => {
            // It reads what everybody changes, so that it is woken before its backoff is over.
            drop(host.list(&everything()));
            std::process::abort();
        }
        "again" => return Next::after(Duration::ZERO),
        "names" => loop {
            drop(host.get(&config_map("default", &long(ctx, MIB))));
        },
        "owners" => loop {
            drop(host.list(&Query { owner_uid: Some(long(ctx, MIB)), ..everything() }));
        },
        "selectors" => loop {
            let terms: Vec<String> =
                (0..20_000).map(|_| format!("k{:x}=v", ctx.random())).collect();
            listed_by(ctx, terms.join(","));
        },
        "ranges" => (0..20_000).for_each(|_| listed_by(ctx, format!("k{:x}", ctx.random()))),
        "values" => values(ctx),
        "lists" => loop {
            drop(host.list(&everything()));
        },
        "json" => loop {
            drop(host.create(&config_maps(), &"[".repeat(4 * MIB)));
        },
        "deep" => {
            let deep = format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
            let patch = format!(r#"{{"metadata":{{"annotations":{deep}}}}}"#);
            let this = config_map(&prey.metadata.namespace, &prey.metadata.name);
            host.patch(&this, PatchFormat::Merge, &patch)
                .map_err(|refusal| crate::failed(&refusal))?;
        }
        "logs" => loop {
            host.log(Level::Error, &"flood ".repeat(MIB / 6));
        },
        "output" => loop {
            use std::io::Write as _;
            drop(std::io::stdout().write_all(&"\n".repeat(60_000).into_bytes()));
        },
        "events" => return events(prey, ctx),
        "writes" => return writes(ctx),
        "objects" => return objects(ctx),
        // It reads what everybody changes, takes long, and wants to write: it is always too late.
        "turns" => {
            drop(host.list(&everything()).map_err(|refusal| crate::failed(&refusal))?);
            spin(150_000_000);
            return writes(ctx);
        }
        other => return Err(Error::permanent(format!("no attack {other:?}"))),
    }
    Next::done()
}

/// Each selector is as long as one may be, and no two are alike.
fn values(ctx: &Context) {
    let values: Vec<String> = (0..1_000).map(|value| format!("{value:x}")).collect();
    let values = values.join(",");
    for list in 0..1_000 {
        listed_by(ctx, format!("k{list} in ({values})"));
    }
}

fn listed_by(ctx: &Context, selector: String) {
    let label_selector = Some(selector);
    drop(ctx.host().list(&Query { label_selector, limit: Some(1), ..everything() }));
}

fn spin(turns: u64) {
    for turn in 0..turns {
        black_box(turn);
    }
}

fn config_maps() -> ResourceRef {
    ResourceRef {
        version: "v1".to_owned(),
        resource: "configmaps".to_owned(),
        ..Default::default()
    }
}

fn config_map(namespace: &str, name: &str) -> ObjectRef {
    ObjectRef { resource: config_maps(), namespace: namespace.to_owned(), name: name.to_owned() }
}

fn everything() -> Query {
    Query { resource: config_maps(), namespace: Some("default".to_owned()), ..Query::default() }
}

/// A text of so many bytes that no other call had.
fn long(ctx: &Context, bytes: usize) -> String {
    format!("{}{:x}", "x".repeat(bytes), ctx.random())
}

/// As many different events as a run may record, and again at once.
fn events(prey: &ConfigMap, ctx: &Context) -> Result<Next> {
    let this = config_map(&prey.metadata.namespace, &prey.metadata.name);
    for _ in 0..16 {
        let message = long(ctx, 1_000);
        let said = ctx.host().record_event(&this, EventKind::Warning, "Flood", &message);
        said.map_err(|refusal| crate::failed(&refusal))?;
    }
    Next::after(Duration::ZERO)
}

/// An object of nearly a mebibyte, written anew in each run, and again at once.
fn writes(ctx: &Context) -> Result<Next> {
    let text = long(ctx, 900_000);
    let name = format!("flood-{}", ctx.request().object.name);
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"}, "data": {"text": text},
    });
    ctx.host()
        .apply(&config_maps(), &object.to_string(), true)
        .map_err(|refusal| crate::failed(&refusal))?;
    Next::after(Duration::ZERO)
}

/// More objects than one run may write.
fn objects(ctx: &Context) -> Result<Next> {
    for _ in 0..10_000 {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"generateName": "flood-", "namespace": "default"},
        });
        ctx.host()
            .create(&config_maps(), &object.to_string())
            .map_err(|refusal| crate::failed(&refusal))?;
    }
    Next::done()
}
