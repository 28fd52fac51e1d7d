//! A plan for people: the tree, what becomes of the objects, and how it ended.

use std::fmt::{Display, Write as _};

use quadrille_store::{Cause, Object};
use serde_json::Value;

use super::{Outcome, Plan};
use crate::rehearsal::Ended;
use crate::why::Step;

/// The most lines of the tree; the objects below it are all told.
const STEPS_MAX: usize = 1_000;

impl Plan {
    /// The whole plan as text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for step in self.steps.iter().take(STEPS_MAX) {
            add(&mut out, format_args!("{}{}", "  ".repeat(step.depth), line_of(step)));
        }
        if self.steps.len() > STEPS_MAX {
            let more = self.steps.len() - STEPS_MAX;
            add(&mut out, format_args!("(and {more} more writes)"));
        }
        if self.steps.is_empty() {
            add(&mut out, "nothing changes");
        } else {
            add(&mut out, "");
        }
        for object in &self.objects {
            add_object(&mut out, object);
        }
        self.add_end(&mut out);
        out
    }

    fn add_end(&self, out: &mut String) {
        let count = |change: &str| self.objects.iter().filter(|o| o.change == change).count();
        let counts = format!(
            "{} created, {} updated, {} deleted; {} runs, {} ms",
            count("created"),
            count("updated") + count("replaced"),
            count("deleted"),
            self.runs,
            self.wall_ms
        );
        add(out, format_args!("\n{counts}; {}", self.end()));
        if self.background > 0 {
            let many = self.background;
            add(out, format_args!("{many} more writes do not follow from the change"));
        }
        for failing in &self.failing {
            let (controller, object) = (&failing.controller, &failing.object);
            add(out, format_args!("{controller} fails on {object}: {}", failing.message));
        }
        for url in &self.assumed {
            add(out, format_args!("not asked, taken to consent: webhook {url}"));
        }
        for warning in &self.warnings {
            add(out, format_args!("warning: {warning}"));
        }
    }

    fn end(&self) -> String {
        let timer = self.next_timer_ms.unwrap_or_default();
        match self.ended {
            Ended::Quiet => "nothing is left to do".to_owned(),
            Ended::VirtualTime => {
                format!("only timers are left, the next in {}", seconds(timer))
            }
            Ended::Runs => "NOT to its end: the bound of runs is met".to_owned(),
            Ended::Writes => "NOT to its end: the bound of writes is met".to_owned(),
            Ended::WallTime => "NOT to its end: the bound of real time is met".to_owned(),
        }
    }
}

fn seconds(millis: u64) -> String {
    match millis {
        0..10_000 => format!("{millis} ms"),
        10_000..600_000 => format!("{} s", millis / 1_000),
        more => format!("{} min", more / 60_000),
    }
}

fn add(out: &mut String, line: impl Display) {
    let written = writeln!(out, "{line}");
    debug_assert!(written.is_ok(), "writing into memory");
}

fn line_of(step: &Step) -> String {
    let maker = match &step.cause {
        Cause::Request(request) => format!("{}: {}", request.user, request.verb),
        Cause::Run(run) => format!("controller {} on {}", run.controller, run.object),
        Cause::System(system) => format!("the host's {}", system.part),
    };
    format!("{} {} by {maker}", step.object, step.change)
}

fn add_object(out: &mut String, object: &Outcome) {
    let sign = match object.change {
        "created" => "+",
        "deleted" => "-",
        "passing" => "±",
        _ => "~",
    };
    let about = if object.about.is_empty() { "" } else { "   " };
    add(out, format_args!("{sign} {} {}{about}{}", object.object, object.change, object.about));
    for line in object.diff.lines() {
        add(out, format_args!("    {line}"));
    }
}

/// A created object in a few words: whose it is, how many, with which images.
pub(super) fn about(object: &Object) -> String {
    let mut words: Vec<String> = object
        .meta
        .owners
        .iter()
        .map(|owner| format!("of {} {}", owner.kind, owner.name))
        .collect();
    let value: Value = serde_json::from_slice(&object.bytes).unwrap_or_default();
    if let Some(replicas) = value.pointer("/spec/replicas").and_then(Value::as_u64) {
        words.push(format!("replicas {replicas}"));
    }
    let places = ["/spec/template/spec/containers", "/spec/containers"];
    let containers = places.iter().find_map(|place| value.pointer(place)?.as_array());
    for container in containers.into_iter().flatten() {
        if let Some(image) = container.get("image").and_then(Value::as_str) {
            words.push(format!("image {image}"));
        }
    }
    let reason = value.get("reason").and_then(Value::as_str);
    let message = value.get("message").and_then(Value::as_str);
    words.extend(reason.into_iter().chain(message).map(str::to_owned));
    words.join(", ")
}
