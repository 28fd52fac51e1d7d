//! Conditions: named observations in a status.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::time::Time;

/// One named observation, with the fields of `metav1.Condition`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// What is observed, such as `Ready`.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When the status last moved; filled in when the status is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// Why, as one word in CamelCase.
    pub reason: String,
    /// Why, for people.
    pub message: String,
    /// The generation that it speaks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// The conditions of a status.
///
/// ```
/// use quadrille_sdk::Conditions;
/// let mut conditions = Conditions::default();
/// conditions.set("Ready", false, "Starting", "0 of 3 pods are ready");
/// conditions.set("Ready", true, "PodsReady", "3 of 3 pods are ready");
/// assert!(conditions.is_true("Ready"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Conditions(pub Vec<Condition>);

impl Conditions {
    /// Says how something is. The transition time moves only when truth moves; it is filled in when the status is
    /// written.
    pub fn set(&mut self, r#type: &str, is: bool, reason: &str, message: impl Into<String>) {
        let status = if is { "True" } else { "False" };
        if self.get(r#type).is_none() {
            self.0.push(Condition { r#type: r#type.to_owned(), ..Condition::default() });
        }
        let Some(condition) = self.0.iter_mut().find(|c| c.r#type == r#type) else { return };
        if condition.status != status {
            status.clone_into(&mut condition.status);
            condition.last_transition_time = None;
        }
        reason.clone_into(&mut condition.reason);
        condition.message = message.into();
    }

    /// One condition.
    pub fn get(&self, r#type: &str) -> Option<&Condition> {
        self.0.iter().find(|c| c.r#type == r#type)
    }

    /// Whether a condition is there and true.
    pub fn is_true(&self, r#type: &str) -> bool {
        self.get(r#type).is_some_and(|c| c.status == "True")
    }
}

/// Fills in the transition times that are missing in the conditions of a status.
pub(crate) fn stamp_conditions(status: &mut Value, now: Time) {
    let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
        if condition.contains_key("status") && !condition.contains_key("lastTransitionTime") {
            condition.insert("lastTransitionTime".to_owned(), now.to_string().into());
        }
    }
}
