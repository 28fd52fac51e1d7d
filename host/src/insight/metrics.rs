//! What `/metrics` tells of controllers: runs, and what of them was in vain.

use std::fmt::Write;

use quadrille_runtime::ControllerStats;

/// A name, what it is, and where its value comes from.
type Counter = (&'static str, &'static str, fn(&ControllerStats) -> u64);

const COUNTERS: [Counter; 7] = [
    ("runs", "Runs that ended, whichever way.", |stats| stats.runs),
    ("commits", "Runs that committed something.", |stats| stats.commits),
    ("failures", "Runs that failed.", |stats| stats.failures),
    ("conflicts", "Runs that were thrown away because somebody else was first.", |stats| {
        stats.conflicts
    }),
    ("retries", "Runs of a key whose run before was thrown away or failed.", |stats| stats.retries),
    ("turns", "Runs that had the commit for themselves.", |stats| stats.turns),
    ("fenced", "Runs that outlived their version.", |stats| stats.fenced),
];

/// The numbers of all controllers, in the text form of Prometheus.
pub(super) fn controllers(all: &[ControllerStats]) -> String {
    let mut out = String::new();
    for (name, help, value) in COUNTERS {
        head(&mut out, &format!("{name}_total"), help, "counter");
        for stats in all {
            sample(&mut out, &format!("{name}_total"), stats, format_args!("{}", value(stats)));
        }
    }
    head(&mut out, "lost_seconds_total", "Time in runs that were thrown away.", "counter");
    for stats in all {
        let (seconds, micros) = (stats.lost_us / 1_000_000, stats.lost_us % 1_000_000);
        sample(&mut out, "lost_seconds_total", stats, format_args!("{seconds}.{micros:06}"));
    }
    head(&mut out, "queue_length", "Keys that could run now.", "gauge");
    for stats in all {
        sample(&mut out, "queue_length", stats, format_args!("{}", stats.queued));
    }
    out
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    line(out, format_args!("# HELP quadrille_controller_{name} {help}"));
    line(out, format_args!("# TYPE quadrille_controller_{name} {kind}"));
}

fn sample(out: &mut String, name: &str, of: &ControllerStats, value: std::fmt::Arguments<'_>) {
    let (plugin, controller) = (&of.plugin, &of.controller);
    let labels = format_args!("{{plugin=\"{plugin}\",controller=\"{controller}\"}}");
    line(out, format_args!("quadrille_controller_{name}{labels} {value}"));
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("writing into memory cannot fail");
}
