//! A Pod's row: how many containers are ready, and the one word that says how it is.

use serde_json::Value;

/// What a Pod's row says.
pub(super) struct PodRow {
    /// `1/2`
    pub(super) ready: String,
    /// `Running`, `Completed`, `CrashLoopBackOff`, `Init:0/1`, `Terminating`, …
    pub(super) status: String,
    /// The sum of the containers' restarts.
    pub(super) restarts: String,
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Reads a Pod.
pub(super) fn row(pod: &Value) -> PodRow {
    let statuses = list(pod, "/status/containerStatuses");
    let is_ready = |status: &&Value| status.get("ready").and_then(Value::as_bool).unwrap_or(false);
    let ready = statuses.iter().filter(is_ready).count();
    let restarts: i64 = statuses
        .iter()
        .chain(list(pod, "/status/initContainerStatuses"))
        .filter_map(|status| status.get("restartCount")?.as_i64())
        .sum();
    PodRow {
        ready: format!("{ready}/{}", list(pod, "/spec/containers").len()),
        status: status(pod, statuses),
        restarts: restarts.to_string(),
    }
}

fn status(pod: &Value, statuses: &[Value]) -> String {
    let phase = text(pod, "/status/phase");
    let reason = text(pod, "/status/reason");
    let lost = reason == "NodeLost";
    if !text(pod, "/metadata/deletionTimestamp").is_empty() {
        return if lost { "Unknown".to_owned() } else { "Terminating".to_owned() };
    }
    let base = if reason.is_empty() { phase } else { reason };
    let gated = list(pod, "/status/conditions").iter().any(|condition| {
        text(condition, "/type") == "PodScheduled"
            && text(condition, "/reason") == "SchedulingGated"
    });
    if let Some(init) = initializing(pod) {
        return init;
    }
    let mut word = if gated { "SchedulingGated".to_owned() } else { base.to_owned() };
    for container in statuses.iter().rev() {
        word = container_word(container).unwrap_or(word);
    }
    let running = |container: &Value| {
        container.pointer("/state/running").is_some()
            && container.get("ready").and_then(Value::as_bool) == Some(true)
    };
    if word == "Completed" && statuses.iter().any(running) {
        "Running".clone_into(&mut word);
    }
    word
}

/// Why a container waits or ended; `None` when it says nothing of its own.
fn container_word(container: &Value) -> Option<String> {
    let waiting = text(container, "/state/waiting/reason");
    if !waiting.is_empty() {
        return Some(waiting.to_owned());
    }
    let ended = container.pointer("/state/terminated")?;
    let reason = text(ended, "/reason");
    if !reason.is_empty() {
        return Some(reason.to_owned());
    }
    let number = |field: &str| ended.get(field).and_then(Value::as_i64).unwrap_or(0);
    Some(match number("signal") {
        0 => format!("ExitCode:{}", number("exitCode")),
        signal => format!("Signal:{signal}"),
    })
}

/// `Init:…` while an init container has not ended well.
fn initializing(pod: &Value) -> Option<String> {
    let total = list(pod, "/spec/initContainers").len();
    for (at, container) in list(pod, "/status/initContainerStatuses").iter().enumerate() {
        if let Some(ended) = container.pointer("/state/terminated") {
            if ended.get("exitCode").and_then(Value::as_i64) == Some(0) {
                continue;
            }
            return Some(format!("Init:{}", container_word(container).unwrap_or_default()));
        }
        let waiting = text(container, "/state/waiting/reason");
        if !waiting.is_empty() && waiting != "PodInitializing" {
            return Some(format!("Init:{waiting}"));
        }
        return Some(format!("Init:{at}/{total}"));
    }
    None
}
