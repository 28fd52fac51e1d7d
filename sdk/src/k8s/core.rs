//! The core group.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Raw;
use crate::kind;
use crate::meta::Metadata;
use crate::resource::Resource;
use crate::time::Time;

/// Plain text by key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMap {
    /// The metadata.
    pub metadata: Metadata,
    /// The texts.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    /// Whether it may no longer change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub immutable: Option<bool>,
}
kind!(ConfigMap, "", "v1", "configmaps");

impl ConfigMap {
    /// One with a name and nothing in it.
    pub fn new(name: impl Into<String>) -> Self {
        Self { metadata: Metadata::named(name), ..Self::default() }
    }

    /// With one text more.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, text: impl Into<String>) -> Self {
        self.data.insert(key.into(), text.into());
        self
    }
}

/// Secret bytes by key, in base64.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Secret {
    /// The metadata.
    pub metadata: Metadata,
    /// The bytes, in base64.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    /// Plain texts, for writing only: the host moves them into `data`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub string_data: BTreeMap<String, String>,
    /// What is in it, such as `Opaque`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub r#type: String,
}
kind!(Secret, "", "v1", "secrets");

/// A name under which pods are reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// The metadata.
    pub metadata: Metadata,
    /// What is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<Raw>,
}
kind!(Service, "", "v1", "services");

/// Who pods act as.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceAccount {
    /// The metadata.
    pub metadata: Metadata,
}
kind!(ServiceAccount, "", "v1", "serviceaccounts");

/// A room for names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Namespace {
    /// The metadata.
    pub metadata: Metadata,
}
kind!(Namespace, "", "v1", "namespaces", cluster);

/// Containers that run together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    /// The metadata.
    pub metadata: Metadata,
    /// What is wanted, unparsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<Raw>,
    /// What is observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<PodStatus>,
}
kind!(Pod, "", "v1", "pods");

/// What is observed of a pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: String,
    /// Why it is in that phase.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Its first address.
    #[serde(rename = "podIP", skip_serializing_if = "String::is_empty")]
    pub pod_ip: String,
    /// All its addresses.
    #[serde(rename = "podIPs", skip_serializing_if = "Vec::is_empty")]
    pub pod_ips: Vec<PodIp>,
    /// Observations.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<PodCondition>,
    /// Of the containers that run first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub init_container_statuses: Vec<ContainerStatus>,
    /// Of its containers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub container_statuses: Vec<ContainerStatus>,
}

/// An address of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodIp {
    /// The address.
    pub ip: String,
}

/// One observation of a pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodCondition {
    /// Such as `Ready`.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When the status last moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
}

/// What is observed of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// Its name.
    pub name: String,
    /// How often it was started again.
    pub restart_count: i64,
    /// How it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<ContainerState>,
}

/// How a container is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated: Option<Terminated>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// Its exit code; 0 for success.
    pub exit_code: i64,
}

impl Pod {
    /// A pod from a template: its labels, annotations, finalizers and spec; without a name.
    pub fn from_template(template: &PodTemplate) -> Self {
        let metadata = Metadata {
            labels: template.metadata.labels.clone(),
            annotations: template.metadata.annotations.clone(),
            finalizers: template.metadata.finalizers.clone(),
            ..Metadata::default()
        };
        Self { metadata, spec: template.spec.clone(), status: None }
    }

    /// The phase; `Pending` when nobody has said one.
    pub fn phase(&self) -> &str {
        match &self.status {
            Some(status) if !status.phase.is_empty() => &status.phase,
            _ => "Pending",
        }
    }

    /// Whether it counts: neither finished nor terminating.
    pub fn is_active(&self) -> bool {
        !matches!(self.phase(), "Succeeded" | "Failed") && !self.metadata.is_terminating()
    }

    /// Whether its `Ready` condition is true.
    pub fn is_ready(&self) -> bool {
        self.ready_condition().is_some()
    }

    /// Since when it is ready; `None` when it is not, or does not say.
    pub fn ready_since(&self) -> Option<Time> {
        self.ready_condition()?.last_transition_time
    }

    fn ready_condition(&self) -> Option<&PodCondition> {
        let ready = self.status.as_ref()?.conditions.iter().find(|c| c.r#type == "Ready");
        ready.filter(|condition| condition.status == "True")
    }

    /// Whether it has been ready for so long.
    pub fn is_available(&self, min_ready: std::time::Duration, now: Time) -> bool {
        match self.ready_since() {
            _ if min_ready.is_zero() => self.is_ready(),
            Some(since) => since + min_ready <= now,
            None => false,
        }
    }

    /// Its name, with the pods of one owner numbered: `web-0`.
    #[must_use]
    pub fn numbered(mut self, owner: &impl Resource, number: u32) -> Self {
        self.metadata.name = format!("{}-{number}", owner.name());
        self
    }
}

/// What pods are made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodTemplate {
    /// The metadata that pods get.
    pub metadata: Metadata,
    /// The spec that pods get, unparsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<Raw>,
}

impl crate::Schema for PodTemplate {
    fn schema() -> serde_json::Value {
        serde_json::json!({
            "type": "object",
            "properties": {
                "metadata": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            },
        })
    }
}
