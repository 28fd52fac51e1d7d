//! Services: addresses and ports are handed out here; nothing routes to them.
//!
//! A cluster IP is taken by the `IPAddress` object of its name, which is written in the same transaction: two
//! Services can never have one address, whatever raced. Node ports are taken alike.

mod allocate;
mod carry;
mod check;
mod families;
mod ports;

use serde_json::{Value, json};

use crate::field::{self, Errors, Object};
use crate::rules::Rules;
use crate::status::Status;
use crate::write::Attempt;

/// The rules of Services.
#[derive(Debug)]
pub(crate) struct Services;

/// The Service's type.
fn kind(object: &Object) -> &str {
    field::text(object, &["spec", "type"]).unwrap_or_default()
}

/// The Service's address; empty when it has none.
fn address(object: &Object) -> &str {
    field::text(object, &["spec", "clusterIP"]).unwrap_or_default()
}

fn has_ports(object: &Object) -> bool {
    matches!(kind(object), "NodePort" | "LoadBalancer")
}

/// Whether clients outside of the cluster reach it.
fn is_reachable_from_outside(object: &Object) -> bool {
    let given = !field::list(object, &["spec", "externalIPs"]).is_empty();
    has_ports(object) || kind(object) == "ClusterIP" && given
}

/// Whether balancers ask each node if it has an endpoint.
fn needs_health_port(object: &Object) -> bool {
    let policy = field::text(object, &["spec", "externalTrafficPolicy"]);
    kind(object) == "LoadBalancer" && policy == Some("Local")
}

impl Rules for Services {
    fn default(&self, object: &mut Object) {
        let spec = field::map_mut(object, &["spec"]);
        for key in ["clusterIP", "externalName", "loadBalancerIP"] {
            if spec.get(key).and_then(Value::as_str) == Some("") {
                spec.remove(key);
            }
        }
        field::default(spec, "sessionAffinity", "None");
        field::default(spec, "type", "ClusterIP");
        match field::text(spec, &["sessionAffinity"]) {
            Some("ClientIP") => {
                let client = field::map_mut(spec, &["sessionAffinityConfig", "clientIP"]);
                field::default(client, "timeoutSeconds", 10_800);
            }
            _ => drop(spec.remove("sessionAffinityConfig")),
        }
        let kind = field::text(spec, &["type"]).unwrap_or_default().to_owned();
        if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
            field::default(spec, "internalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            field::default(spec, "allocateLoadBalancerNodePorts", true);
        }
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten();
        for port in ports.filter_map(Value::as_object_mut) {
            field::default(port, "protocol", "TCP");
            let number = port.get("port").cloned().unwrap_or(Value::Null);
            let target = port.get("targetPort");
            let is_unset = target.is_none_or(|t| t.is_null() || t == &json!(0) || t == &json!(""));
            if is_unset {
                port.insert("targetPort".to_owned(), number);
            }
        }
        if is_reachable_from_outside(object) {
            let spec = field::map_mut(object, &["spec"]);
            field::default(spec, "externalTrafficPolicy", "Cluster");
        }
        let balancer = field::map_mut(object, &["status", "loadBalancer"]);
        if kind == "LoadBalancer" {
            let entries = balancer.get_mut("ingress").and_then(Value::as_array_mut);
            let entries = entries.into_iter().flatten().filter_map(Value::as_object_mut);
            for entry in entries.filter(|entry| field::text(entry, &["ip"]).is_some()) {
                field::default(entry, "ipMode", "VIP");
            }
        }
    }

    fn before_create(&self, attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
        object.insert("status".to_owned(), json!({"loadBalancer": {}}));
        carry::agree(object, None);
        families::settle(attempt, object, None)?;
        allocate::addresses(attempt, object, None)?;
        ports::settle(attempt, object, None)?;
        ports::keep_records(attempt, object, None);
        Ok(())
    }

    fn before_update(
        &self,
        attempt: &Attempt<'_>,
        object: &mut Object,
        before: &Object,
    ) -> Result<(), Status> {
        if attempt.subresource().is_some() {
            return Ok(());
        }
        carry::keep(object, before);
        carry::agree(object, Some(before));
        families::settle(attempt, object, Some(before))?;
        allocate::addresses(attempt, object, Some(before))?;
        ports::settle(attempt, object, Some(before))?;
        carry::drop_unused(object, before);
        ports::keep_records(attempt, object, Some(before));
        Ok(())
    }

    fn on_removed(&self, attempt: &Attempt<'_>, object: &Object) {
        allocate::release(attempt, address(object));
        ports::release(attempt, object);
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        check::validate(object, errors);
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        families::validate_update(object, before, errors);
        let class = |o| field::get(o, &["spec", "loadBalancerClass"]);
        if kind(before) == "LoadBalancer" && kind(object) == "LoadBalancer" {
            errors.immutable("spec.loadBalancerClass", class(object), class(before));
        }
        let health = |o| field::integer(o, &["spec", "healthCheckNodePort"]);
        if needs_health_port(before)
            && needs_health_port(object)
            && health(before) != health(object)
        {
            errors.forbidden("spec.healthCheckNodePort", "field is immutable");
        }
        self.validate(object, errors);
    }

    fn validate_below(
        &self,
        _subresource: &str,
        object: &Object,
        _before: &Object,
        errors: &mut Errors,
    ) {
        check::validate_status(object, errors);
    }

    fn warn(&self, object: &Object, _before: Option<&Object>, warnings: &mut Vec<String>) {
        check::warn(object, warnings);
    }
}
