//! What a `Plugin` object asks for, read from its JSON.
//!
//! The registry has validated the shape; whatever is still wrong (a digest, a quantity) is an error for the status.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quadrille_runtime::GrantRule;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rollout::{RawRollout, Rollout};
use crate::digest::Digest;
use crate::engine::MEMORY_SLOT_BYTES;
use crate::limit::CallLimits;

/// How many versions are kept where the spec does not say.
const VERSIONS_KEPT: usize = 5;

/// A plugin's spec.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PluginSpec {
    pub(super) digest: Option<Digest>,
    pub(super) suspended: bool,
    pub(super) versions_kept: usize,
    pub(super) config: BTreeMap<String, String>,
    pub(super) grants: Vec<GrantRule>,
    pub(super) limits: CallLimits,
    pub(super) concurrency_max: Option<usize>,
    pub(super) rollout: Rollout,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Raw {
    digest: String,
    suspended: bool,
    versions_kept: Option<usize>,
    config: BTreeMap<String, String>,
    grants: Vec<RawGrant>,
    limits: RawLimits,
    rollout: RawRollout,
}

/// A grant as it stands in a spec or a status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RawGrant {
    pub(super) group: String,
    pub(super) resource: String,
    pub(super) verbs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) namespaces: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawLimits {
    memory: Value,
    cpu_time: Option<String>,
    wall_time: Option<String>,
    host_calls: Option<u64>,
    log_lines: Option<u64>,
    concurrency: Option<usize>,
}

impl PluginSpec {
    /// Reads the spec of a whole object; the error names the field.
    pub(super) fn read(object: &Value) -> Result<Self, String> {
        let spec =
            object.get("spec").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let raw: Raw = serde_json::from_value(spec).map_err(|error| format!("spec: {error}"))?;
        let digest = match raw.digest.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|error| format!("spec.digest: {error}"))?),
        };
        Ok(Self {
            digest,
            suspended: raw.suspended,
            versions_kept: raw.versions_kept.unwrap_or(VERSIONS_KEPT).clamp(1, 100),
            config: raw.config,
            grants: raw.grants.iter().map(RawGrant::rule).collect(),
            concurrency_max: raw.limits.concurrency,
            limits: raw.limits.read()?,
            rollout: raw.rollout.read()?,
        })
    }
}

impl PluginSpec {
    /// As much of a whole object's spec as what it left behind depends on.
    pub(super) fn of_leaving(object: &Value) -> Self {
        Self::read(object).unwrap_or_else(|_| {
            let (grants, suspended) = Self::leave(object).unwrap_or_default();
            Self { suspended, grants, ..Self::default() }
        })
    }

    /// The grants of a whole object, and whether it is suspended, whatever the rest of its spec is worth; `None` when
    /// these cannot be read either.
    pub(super) fn leave(object: &Value) -> Option<(Vec<GrantRule>, bool)> {
        let raw: Raw = serde_json::from_value(object.get("spec")?.clone()).ok()?;
        Some((raw.grants.iter().map(RawGrant::rule).collect(), raw.suspended))
    }
}

/// The grants that stand somewhere in an object; none where nothing can be read.
pub(super) fn grants_at(object: &Value, pointer: &str) -> Vec<GrantRule> {
    let raw = object.pointer(pointer).cloned().unwrap_or_default();
    let raw: Vec<RawGrant> = serde_json::from_value(raw).unwrap_or_default();
    raw.iter().map(RawGrant::rule).collect()
}

impl RawGrant {
    pub(super) fn of(rule: &GrantRule) -> Self {
        let texts =
            |texts: &[Arc<str>]| texts.iter().map(|text| text.as_ref().to_owned()).collect();
        Self {
            group: rule.group.as_ref().to_owned(),
            resource: rule.resource.as_ref().to_owned(),
            verbs: texts(&rule.verbs),
            namespaces: texts(&rule.namespaces),
        }
    }

    fn rule(&self) -> GrantRule {
        let shared = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
        GrantRule {
            group: self.group.as_str().into(),
            resource: self.resource.as_str().into(),
            verbs: shared(&self.verbs),
            namespaces: shared(&self.namespaces),
        }
    }
}

impl RawLimits {
    fn read(&self) -> Result<CallLimits, String> {
        let mut limits = CallLimits::default();
        if let Some(bytes) = bytes(&self.memory)? {
            limits.memory_bytes_max = bytes;
        }
        if let Some(text) = &self.cpu_time {
            limits.cpu_max = duration("spec.limits.cpuTime", text)?;
        }
        if let Some(text) = &self.wall_time {
            limits.wall_max = duration("spec.limits.wallTime", text)?;
        }
        limits.host_calls_max = self.host_calls.unwrap_or(limits.host_calls_max);
        limits.log_lines_max = self.log_lines.unwrap_or(limits.log_lines_max);
        Ok(limits)
    }
}

fn bytes(memory: &Value) -> Result<Option<usize>, String> {
    let text = match memory {
        Value::Null => return Ok(None),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => String::new(),
    };
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        _ => return Err(format!("spec.limits.memory: {text:?} is not a size such as 64Mi")),
    };
    let bytes = digits.parse::<usize>().ok().and_then(|n| n.checked_mul(unit));
    match bytes {
        Some(bytes) if (65_536..=MEMORY_SLOT_BYTES).contains(&bytes) => Ok(Some(bytes)),
        _ => Err(format!(
            "spec.limits.memory: {text:?} is not between 64Ki and {}Mi",
            MEMORY_SLOT_BYTES >> 20
        )),
    }
}

/// `500ms`, `10s` or `2m`, up to ten minutes.
pub(super) fn duration(field: &str, text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let millis = match text.get(digits.len()..).unwrap_or_default() {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        _ => None,
    };
    let millis = digits.parse::<u64>().ok().zip(millis).and_then(|(n, unit)| n.checked_mul(unit));
    match millis {
        Some(millis @ 10..=600_000) => Ok(Duration::from_millis(millis)),
        _ => Err(format!("{field}: {text:?} is not a time between 10ms and 10m")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_spec_is_read_and_what_is_wrong_is_named() {
        let spec = PluginSpec::read(
            &json!({"spec": {"suspended": true, "limits": {"memory": "128Mi", "cpuTime": "250ms"}}}),
        );
        let spec = spec.expect("it is right");
        assert!(spec.suspended && spec.digest.is_none());
        assert_eq!(spec.limits.memory_bytes_max, 128 << 20);
        assert_eq!(spec.limits.cpu_max, Duration::from_millis(250));
        let wrong =
            |spec: Value| PluginSpec::read(&json!({"spec": spec})).expect_err("it is wrong");
        assert!(wrong(json!({"digest": "latest"})).starts_with("spec.digest"));
        assert!(wrong(json!({"limits": {"memory": "99Gi"}})).starts_with("spec.limits.memory"));
        assert!(wrong(json!({"limits": {"cpuTime": "1h"}})).starts_with("spec.limits.cpuTime"));
    }
}
