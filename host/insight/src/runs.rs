//! Runs as they are told: the record of a run as JSON, short for lists and whole for one.

use quadrille_object::Timestamp;
use quadrille_runtime::RunRecord;
use quadrille_runtime::case::end_text;
use quadrille_store::{Range, Revision, Selection};
use serde_json::{Value, json};

use crate::replay::kind_text;

/// A run in a list.
pub fn brief(record: &RunRecord) -> Value {
    json!({
        "run": record.run,
        "at": Timestamp::to_rfc3339_micros(record.now),
        "plugin": record.plugin(),
        "controller": record.controller(),
        "digest": record.digest(),
        "object": record.object.to_string(),
        "wokenBy": record.woken_by,
        "occasion": record.occasion,
        "reads": record.reads.keys.len() + record.reads.ranges.len() + record.reads.weak.len(),
        "writes": record.writes.len(),
        "committed": record.has_committed(),
        "end": end_text(&record.end),
        "failed": record.has_failed(),
        "durationUs": micros(record.duration),
    })
}

/// A run with all that is known of it.
pub fn whole(record: &RunRecord) -> Value {
    let mut value = brief(record);
    let texts = |ranges: &[Range]| ranges.iter().map(range_text).collect::<Vec<_>>();
    let keys = record.reads.keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    let wakes = record.wakes.iter().map(|wake| {
        json!({"revision": wake.revision, "change": kind_text(wake.kind), "object": wake.key.to_string()})
    });
    let writes = record.writes.iter().map(|write| {
        json!({
            "object": write.key.to_string(), "change": kind_text(write.kind),
            "revision": write.revision.map(|Revision(revision)| revision),
            "hash": format!("{:032x}", write.hash),
        })
    });
    let more = json!({
        "generation": record.code.generation,
        "snapshot": record.snapshot,
        "shown": wakes.collect::<Vec<_>>(),
        "wokenByUnlisted": record.wakes_dropped,
        "attempt": record.attempt,
        "conflicts": record.conflicts,
        "seed": format!("{:016x}", record.seed),
        "webhookAnswers": record.answers.len(),
        "reads": {
            "keys": keys,
            "ranges": texts(&record.reads.ranges),
            "weak": texts(&record.reads.weak),
            "empty": {
                "keys": record.empty.keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "ranges": texts(&record.empty.ranges),
            },
        },
        "writes": writes.collect::<Vec<_>>(),
        "reconcileUs": micros(record.reconcile_time),
    });
    if let (Some(value), Value::Object(more)) = (value.as_object_mut(), more) {
        value.extend(more);
    }
    value
}

/// A range as text: `pods in default with app=web`.
pub fn range_text(range: &Range) -> String {
    let place = match range.namespace.as_deref() {
        Some(namespace) => format!("{} in {namespace}", range.resource),
        None => format!("{} in all namespaces", range.resource),
    };
    match &range.selection {
        Selection::All => place,
        Selection::Labels(selector) => format!("{place} with {selector}"),
        Selection::Owner(uid) => format!("{place} owned by {uid}"),
        Selection::Names(names) => format!("{place} named {}", names.join(", ")),
    }
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
