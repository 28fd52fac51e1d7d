//! Handing out node ports.
//!
//! A port is taken by a record of its number that no client sees, written in the same transaction as the Service: two
//! Services can never have one port, whatever raced.

use std::collections::{BTreeMap, BTreeSet};

use quadrille_object::{GroupResource, Meta, Template};
use quadrille_store::{Expect, Key, Write};
use serde_json::{Value, json};

use crate::field::{self, Errors, Object};
use crate::metadata;
use crate::rules::service::{has_ports, kind, needs_health_port};
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

/// The ports that one write takes, beside those that its Service holds already.
struct Operation<'a, 'b> {
    attempt: &'a Attempt<'b>,
    taken: BTreeSet<i64>,
}

impl Operation<'_, '_> {
    fn is_dry(&self) -> bool {
        self.attempt.request.options.dry_run
    }

    /// Takes the number that the client chose. A dry run does not ask whether it is in the range.
    fn take(&mut self, number: i64) -> Result<(), String> {
        let range = FIRST..FIRST + COUNT;
        if !self.is_dry() && !range.contains(&number) {
            let last = FIRST + COUNT - 1;
            return Err(format!(
                "provided port is not in the valid range. The range of valid ports is {FIRST}-{last}"
            ));
        }
        if self.taken.contains(&number) || !is_free(self.attempt, number) {
            return Err("provided port is already allocated".to_owned());
        }
        self.taken.insert(number);
        Ok(())
    }

    /// Takes a number that nobody has. What a dry run chooses is an example beyond the range.
    fn choose(&mut self) -> Result<i64, Status> {
        if self.is_dry() {
            let number = self.taken.iter().max().map_or(FIRST + COUNT, |last| *last) + 1;
            self.taken.insert(number);
            return Ok(number);
        }
        let start = self.attempt.random.below(COUNT.unsigned_abs());
        let start = i64::try_from(start).unwrap_or(0);
        let mut numbers = (0..COUNT).map(|step| FIRST + (start + step) % COUNT);
        let is_free = |number: &i64| !self.taken.contains(number) && is_free(self.attempt, *number);
        let Some(number) = numbers.find(is_free) else {
            return Err(internal("failed to allocate a nodePort: range is full"));
        };
        self.taken.insert(number);
        Ok(number)
    }

    /// The same as [`Operation::take`], as an answer about the port at `index`.
    fn take_at(&mut self, object: &Object, index: usize, number: i64) -> Result<(), Status> {
        self.take(number).map_err(|why| {
            let mut errors = Errors::default();
            errors.invalid(format!("spec.ports[{index}].nodePort"), &number.into(), &why);
            self.attempt.invalid(metadata::text(object, "name"), &errors.0)
        })
    }
}

fn internal(text: impl Into<String>) -> Status {
    Status::new(Reason::InternalError, text.into())
}

/// What one port of a Service says, as far as it matters here.
struct Port {
    own: i64,
    protocol: String,
    on_node: i64,
}

fn ports(object: &Object) -> Vec<Port> {
    let integer = |port: &Value, key| port.get(key).and_then(Value::as_i64).unwrap_or(0);
    let read = |port: &Value| Port {
        own: integer(port, "port"),
        protocol: port.get("protocol").and_then(Value::as_str).unwrap_or_default().to_owned(),
        on_node: integer(port, "nodePort"),
    };
    field::list(object, &["spec", "ports"]).iter().map(read).collect()
}

/// Gives the Service the ports that it asks for or needs.
pub(super) fn settle(
    attempt: &Attempt<'_>,
    object: &mut Object,
    before: Option<&Object>,
) -> Result<(), Status> {
    let mut operation = Operation { attempt, taken: BTreeSet::new() };
    if has_ports(object) {
        let numbers = match before {
            None => assign_new(&mut operation, object)?,
            Some(before) => assign_changed(&mut operation, object, before)?,
        };
        let list = field::map_mut(object, &["spec"]).get_mut("ports").and_then(Value::as_array_mut);
        let list = list.into_iter().flatten().filter_map(Value::as_object_mut);
        for (port, number) in list.zip(numbers).filter(|(_, number)| *number != 0) {
            port.insert("nodePort".to_owned(), number.into());
        }
    }
    if !needs_health_port(object) || before.is_some_and(needs_health_port) {
        return Ok(());
    }
    match field::integer(object, &["spec", "healthCheckNodePort"]).unwrap_or(0) {
        0 => {
            let number = operation.choose()?;
            let spec = field::map_mut(object, &["spec"]);
            spec.insert("healthCheckNodePort".to_owned(), number.into());
        }
        number => operation.take(number).map_err(|why| {
            internal(format!("failed to allocate requested HealthCheck NodePort {number}: {why}"))
        })?,
    }
    Ok(())
}

/// Whether ports without a number get one.
fn gets_numbers(object: &Object) -> bool {
    let off = field::get(object, &["spec", "allocateLoadBalancerNodePorts"]) == Some(&false.into());
    kind(object) == "NodePort" || !off
}

/// Numbers for a new Service: ports of one number, that differ in their protocol alone, share theirs.
fn assign_new(operation: &mut Operation<'_, '_>, object: &Object) -> Result<Vec<i64>, Status> {
    let ports = ports(object);
    let mut shared: BTreeMap<i64, i64> = BTreeMap::new();
    let mut asked: BTreeMap<i64, i64> = BTreeMap::new();
    for port in ports.iter().filter(|port| port.on_node != 0) {
        asked.entry(port.own).or_insert(port.on_node);
    }
    let mut numbers = Vec::with_capacity(ports.len());
    for (index, port) in ports.iter().enumerate() {
        if port.on_node == 0 && !gets_numbers(object) {
            numbers.push(0);
            continue;
        }
        let number = match shared.get(&port.own) {
            Some(number) if port.on_node == 0 || port.on_node == *number => *number,
            Some(_) => {
                operation.take_at(object, index, port.on_node)?;
                port.on_node
            }
            None => {
                let number = match asked.get(&port.own).copied() {
                    Some(number) => {
                        operation.take_at(object, index, number)?;
                        number
                    }
                    None => operation.choose()?,
                };
                shared.insert(port.own, number);
                number
            }
        };
        numbers.push(number);
    }
    Ok(numbers)
}

/// Numbers for a changed Service, which keeps those that it has.
fn assign_changed(
    operation: &mut Operation<'_, '_>,
    object: &Object,
    before: &Object,
) -> Result<Vec<i64>, Status> {
    let held: BTreeSet<i64> = ports(before).into_iter().map(|port| port.on_node).collect();
    let mut seen = BTreeSet::new();
    let mut numbers = Vec::new();
    for (index, port) in ports(object).into_iter().enumerate() {
        if port.on_node == 0 && !gets_numbers(object) {
            numbers.push(0);
            continue;
        }
        let number = match port.on_node {
            0 => operation.choose()?,
            number => {
                if !held.contains(&number) && !operation.taken.contains(&number) {
                    operation.take_at(object, index, number)?;
                }
                number
            }
        };
        let shown = format!("duplicate nodePort: {{{} {number}}}", port.protocol);
        if !seen.insert((port.protocol, number)) {
            return Err(internal(shown));
        }
        numbers.push(number);
    }
    Ok(numbers)
}

/// Writes down which ports the Service has now, and gives back those that it had and has no more.
pub(super) fn keep_records(attempt: &Attempt<'_>, object: &Object, before: Option<&Object>) {
    let held = before.map(numbers).unwrap_or_default();
    let wanted = numbers(object);
    for number in wanted.difference(&held) {
        attempt.also(record(attempt, object, *number));
    }
    for number in held.difference(&wanted) {
        release_one(attempt, *number);
    }
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
