//! Services: addresses and ports are handed out here; nothing routes to them.
//!
//! A cluster IP is taken by the `IPAddress` object of its name, which is written in the same transaction: two
//! Services can never have one address, whatever raced. Node ports are taken alike.

mod allocate;
mod check;
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
        if kind != "ExternalName" {
            field::default(spec, "internalTrafficPolicy", "Cluster");
        }
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
            field::default(spec, "externalTrafficPolicy", "Cluster");
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
        field::map_mut(object, &["status", "loadBalancer"]);
    }

    fn before_create(&self, attempt: &Attempt<'_>, object: &mut Object) -> Result<(), Status> {
        object.insert("status".to_owned(), json!({"loadBalancer": {}}));
        check::before_allocation(attempt, object)?;
        allocate::families(object);
        allocate::addresses(attempt, object, None)?;
        ports::settle(attempt, object, None)
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
        allocate::keep(object, before);
        check::before_allocation(attempt, object)?;
        allocate::families(object);
        allocate::addresses(attempt, object, Some(before))?;
        ports::settle(attempt, object, Some(before))
    }

    fn on_removed(&self, attempt: &Attempt<'_>, object: &Object) {
        allocate::release(attempt, address(object));
        ports::release(attempt, object);
    }

    fn validate(&self, object: &Object, errors: &mut Errors) {
        check::validate(object, errors);
    }

    fn validate_update(&self, object: &Object, before: &Object, errors: &mut Errors) {
        let (old, new) = (address(before), address(object));
        let both = kind(before) != "ExternalName" && kind(object) != "ExternalName";
        if both && !old.is_empty() && old != new {
            let shown = field::get(object, &["spec", "clusterIPs"]).cloned();
            errors.invalid(
                "spec.clusterIPs[0]",
                &shown.unwrap_or(Value::Null),
                "may not change once set",
            );
        }
        let class = |o| field::get(o, &["spec", "loadBalancerClass"]);
        if kind(before) == "LoadBalancer" && kind(object) == "LoadBalancer" {
            errors.immutable("spec.loadBalancerClass", class(object), class(before));
        }
        self.validate(object, errors);
    }

    fn warn(&self, object: &Object, _before: Option<&Object>, warnings: &mut Vec<String>) {
        check::warn(object, warnings);
    }
}
