//! Handing out node ports.
//!
//! A port is taken by a record of its number that no client sees, written in the same transaction as the Service: two
//! Services can never have one port, whatever raced.

use std::collections::BTreeSet;

use quadrille_object::{GroupResource, Meta, Template};
use quadrille_store::{Expect, Key, Write};
use serde_json::{Value, json};

use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::rules::service::kind;
use crate::status::{Reason, Status};
use crate::write::Attempt;

const FIRST: i64 = 30_000;
const COUNT: i64 = 2_768;
/// The group of records that are nobody's resource.
const GROUP: &str = "internal.quadrille.dev";

/// The numbers that a Service holds.
fn numbers(object: &Object) -> BTreeSet<i64> {
    let ports = field::list(object, &["spec", "ports"]).iter();
    let of_ports = ports.filter_map(|port| port.get("nodePort").and_then(Value::as_i64));
    let health = field::integer(object, &["spec", "healthCheckNodePort"]);
    of_ports.chain(health).filter(|number| *number != 0).collect()
}

fn key(number: i64) -> Key {
    Key::new(GroupResource::new(GROUP, "nodeports"), "", number.to_string())
}

fn is_free(attempt: &Attempt<'_>, number: i64) -> bool {
    attempt.view.get(&key(number)).is_none()
}

/// Gives the Service the ports that it asks for or needs, and gives back those that it had and has no more.
pub(super) fn settle(
    attempt: &Attempt<'_>,
    object: &mut Object,
    before: Option<&Object>,
) -> Result<(), Status> {
    let held = before.map(numbers).unwrap_or_default();
    check(attempt, object, &held)?;
    let mut taken = numbers(object);
    taken.extend(&held);
    fill(attempt, object, &mut taken)?;
    let wanted = numbers(object);
    for number in wanted.difference(&held) {
        attempt.also(record(attempt, object, *number));
    }
    for number in held.difference(&wanted) {
        release_one(attempt, *number);
    }
    Ok(())
}

/// Ports that the client chose must be in the range and free. A dry run takes every number, as kube-apiserver does.
fn check(attempt: &Attempt<'_>, object: &Object, held: &BTreeSet<i64>) -> Result<(), Status> {
    if attempt.request.options.dry_run {
        return Ok(());
    }
    let mut errors = Errors::default();
    let mut seen = BTreeSet::new();
    for (index, port) in field::list(object, &["spec", "ports"]).iter().enumerate() {
        let number = port.get("nodePort").and_then(Value::as_i64).unwrap_or(0);
        check_one(
            attempt,
            number,
            held,
            &mut seen,
            &format!("spec.ports[{index}].nodePort"),
            &mut errors,
        );
    }
    let health = field::integer(object, &["spec", "healthCheckNodePort"]).unwrap_or(0);
    check_one(attempt, health, held, &mut seen, "spec.healthCheckNodePort", &mut errors);
    if errors.0.is_empty() {
        return Ok(());
    }
    Err(attempt.invalid(metadata::text(object, "name"), &errors.0))
}

fn check_one(
    attempt: &Attempt<'_>,
    number: i64,
    held: &BTreeSet<i64>,
    seen: &mut BTreeSet<i64>,
    at: &str,
    errors: &mut Errors,
) {
    if number == 0 || held.contains(&number) || !seen.insert(number) {
        return;
    }
    if !(FIRST..FIRST + COUNT).contains(&number) {
        let why = format!(
            "provided port is not in the valid range. The range of valid ports is {FIRST}-{}",
            FIRST + COUNT - 1
        );
        errors.invalid(at, &number.into(), &why);
    } else if !is_free(attempt, number) {
        errors.invalid(at, &number.into(), "provided port is already allocated");
    }
}

/// Chooses numbers for ports that have none and need one.
fn fill(
    attempt: &Attempt<'_>,
    object: &mut Object,
    taken: &mut BTreeSet<i64>,
) -> Result<(), Status> {
    let balanced = kind(object) == "LoadBalancer";
    let off = field::get(object, &["spec", "allocateLoadBalancerNodePorts"]) == Some(&false.into());
    let local = field::text(object, &["spec", "externalTrafficPolicy"]) == Some("Local");
    let is_missing = |port: &Object| field::integer(port, &["nodePort"]).unwrap_or(0) == 0;
    let ported = kind(object) == "NodePort" || balanced && !off;
    let spec = field::map_mut(object, &["spec"]);
    if ported {
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten();
        for port in ports.filter_map(Value::as_object_mut).filter(|port| is_missing(port)) {
            port.insert("nodePort".to_owned(), choose(attempt, taken)?.into());
        }
    }
    if !(balanced && local) {
        return Ok(());
    }
    if field::integer(spec, &["healthCheckNodePort"]).unwrap_or(0) == 0 {
        spec.insert("healthCheckNodePort".to_owned(), choose(attempt, taken)?.into());
    }
    Ok(())
}

fn choose(attempt: &Attempt<'_>, taken: &mut BTreeSet<i64>) -> Result<i64, Status> {
    let start = i64::try_from(attempt.random.below(COUNT.unsigned_abs())).unwrap_or(0);
    let mut numbers = (0..COUNT).map(|step| FIRST + (start + step) % COUNT);
    let found = numbers.find(|number| !taken.contains(number) && is_free(attempt, *number));
    let Some(number) = found else {
        let text = "failed to allocate a nodePort: range is full";
        return Err(Status::new(Reason::InternalError, text));
    };
    taken.insert(number);
    Ok(number)
}

fn record(attempt: &Attempt<'_>, object: &Object, number: i64) -> Write {
    let record = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "NodePort",
        "metadata": {
            "name": number.to_string(), "uid": attempt.random.uuid(),
            "creationTimestamp": attempt.now.to_rfc3339(),
        },
        "service": {
            "namespace": metadata::text(object, "namespace"), "name": metadata::text(object, "name"),
        },
    });
    let record = record.as_object().cloned().unwrap_or_default();
    Write::Put {
        key: key(number),
        meta: Meta::from_object(&record),
        object: Template::encode(&record),
        expect: Expect::Absent,
    }
}

fn release_one(attempt: &Attempt<'_>, number: i64) {
    if !is_free(attempt, number) {
        attempt.also(Write::Delete { key: key(number), expect: Expect::Any });
    }
}

/// Gives all ports of a Service back.
pub(super) fn release(attempt: &Attempt<'_>, object: &Object) {
    for number in numbers(object) {
        release_one(attempt, number);
    }
}
