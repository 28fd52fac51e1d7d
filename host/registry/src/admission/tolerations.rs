//! `DefaultTolerationSeconds`: a Pod stays five minutes on a node that is gone, unless it says otherwise.

use serde_json::{Value, json};

use super::{Operation, Plugin, is_of};
use crate::field::{self, Object};
use crate::status::Status;
use crate::write::Attempt;

const SECONDS: i64 = 300;

/// Adds tolerations of nodes that are not ready or not reachable.
#[derive(Debug)]
pub(super) struct DefaultTolerations;

impl Plugin for DefaultTolerations {
    fn mutate(
        &self,
        attempt: &mut Attempt<'_>,
        object: &mut Object,
        _before: Option<&Object>,
        operation: Operation,
    ) -> Result<(), Status> {
        let concerns = is_of(attempt, "", "pods") && attempt.subresource().is_none();
        if !concerns || operation == Operation::Delete {
            return Ok(());
        }
        let spec = field::map_mut(object, &["spec"]);
        let mut tolerations = field::list(spec, &["tolerations"]).to_vec();
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let covers = |toleration: &Value| {
                let text =
                    |key: &str| toleration.get(key).and_then(Value::as_str).unwrap_or_default();
                (text("key") == key || text("key").is_empty())
                    && (text("effect") == "NoExecute" || text("effect").is_empty())
            };
            if !tolerations.iter().any(covers) {
                tolerations.push(json!({
                    "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
                }));
            }
        }
        spec.insert("tolerations".to_owned(), tolerations.into());
        Ok(())
    }
}
