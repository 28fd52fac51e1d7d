//! A plugin's log: a bounded ring of lines, with what was dropped counted, to be read and followed.
//!
//! Three ceilings: lines and bytes per call, lines per second and plugin, lines and bytes of the ring.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quadrille_object::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

use crate::limit::CallLimits;

/// Lines that a plugin keeps.
const RING_LINES_MAX: usize = 2_000;
/// Bytes that a plugin keeps.
const RING_BYTES_MAX: usize = 512 << 10;
/// Bytes of one line; the rest is cut off.
const LINE_BYTES_MAX: usize = 8 << 10;
/// Lines per second and plugin.
const LINES_PER_SECOND_MAX: u64 = 1_000;

/// How much a line matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For the author.
    Debug,
    /// Normal.
    #[default]
    Info,
    /// Something to look at.
    Warn,
    /// Something went wrong.
    Error,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        })
    }
}

/// One line of a plugin's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// Grows by one with every line of the plugin, kept or not.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// How much it matters.
    pub level: LogLevel,
    /// Which controller; `describe` while the component describes itself, empty for the host's own lines.
    pub controller: Arc<str>,
    /// For which object, as `deployments.apps/default/web`; empty for none.
    pub object: Arc<str>,
    /// The run's number; 0 outside of runs.
    pub run: u64,
    /// What.
    pub message: String,
}

/// `2026-01-01T00:00:00Z INFO controller deployments.apps/default/web: message`
impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at.to_rfc3339(), self.level)?;
        for part in [&self.controller, &self.object] {
            if !part.is_empty() {
                write!(f, " {part}")?;
            }
        }
        write!(f, ": {}", self.message)
    }
}

/// The log of one plugin.
#[derive(Debug)]
pub struct PluginLog {
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<LogLine>,
    bytes: usize,
    next: u64,
    second: i64,
    in_second: u64,
    dropped: u64,
    dropped_unsaid: u64,
}

impl Default for PluginLog {
    fn default() -> Self {
        Self { ring: Mutex::default(), newest: watch::Sender::new(0) }
    }
}

impl PluginLog {
    /// Adds a line; over the rate it is dropped and counted.
    pub fn push(&self, line: LogLine) {
        self.push_with_dropped(line, 0);
    }

    /// Adds a line that says how many others were dropped, and counts those: who sees the one finds the other.
    fn push_with_dropped(&self, line: LogLine, dropped: u64) {
        let mut ring = self.lock();
        ring.dropped += dropped;
        ring.offer(line);
        let newest = ring.next;
        drop(ring);
        self.newest.send_replace(newest);
    }

    /// The last `lines` lines, oldest first.
    pub fn tail(&self, lines: usize) -> Vec<LogLine> {
        let ring = self.lock();
        ring.lines.iter().skip(ring.lines.len().saturating_sub(lines)).cloned().collect()
    }

    /// The lines with a number of at least `from`, oldest first; those that fell out of the ring are missing.
    pub fn since(&self, from: u64) -> Vec<LogLine> {
        let ring = self.lock();
        ring.lines.iter().filter(|line| line.number >= from).cloned().collect()
    }

    /// Changes with every line: the number of the next one.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// How many lines were dropped, in all.
    pub fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn offer(&mut self, line: LogLine) {
        let second = line.at.0.div_euclid(1_000_000);
        if second != self.second {
            self.second = second;
            self.in_second = 0;
        }
        self.in_second += 1;
        if self.in_second > LINES_PER_SECOND_MAX {
            self.dropped += 1;
            self.dropped_unsaid += 1;
            return;
        }
        let unsaid = std::mem::take(&mut self.dropped_unsaid);
        if unsaid > 0 {
            let message =
                format!("… {unsaid} lines dropped: more than {LINES_PER_SECOND_MAX} in a second");
            self.keep(LogLine {
                level: LogLevel::Warn,
                message,
                at: line.at,
                ..LogLine::default()
            });
        }
        self.keep(line);
    }

    fn keep(&mut self, mut line: LogLine) {
        line.number = self.next;
        self.next += 1;
        self.bytes += line.message.len();
        self.lines.push_back(line);
        while self.lines.len() > RING_LINES_MAX || self.bytes > RING_BYTES_MAX {
            let Some(old) = self.lines.pop_front() else { break };
            self.bytes -= old.message.len();
        }
    }
}

/// The log of one call: a share of the plugin's.
#[derive(Debug)]
pub(crate) struct RunLog {
    sink: Arc<Mutex<RunSink>>,
}

#[derive(Debug)]
struct RunSink {
    log: Arc<PluginLog>,
    origin: LogLine,
    lines_left: u64,
    bytes_left: u64,
    dropped: u64,
    /// The last output of the guest that did not come through the log: where a panic's message is.
    output: VecDeque<u8>,
    /// A line of output without its end.
    partial: Vec<u8>,
}

/// How much of the end of a guest's output is kept to explain a trap.
const OUTPUT_BYTES_MAX: usize = 4 << 10;

impl RunLog {
    pub(crate) fn new(log: Arc<PluginLog>, origin: LogLine, limits: &CallLimits) -> Self {
        let sink = RunSink {
            log,
            origin,
            lines_left: limits.log_lines_max,
            bytes_left: limits.log_bytes_max,
            dropped: 0,
            output: VecDeque::new(),
            partial: Vec::new(),
        };
        Self { sink: Arc::new(Mutex::new(sink)) }
    }

    pub(crate) fn write(&self, level: LogLevel, message: &str) {
        self.lock().line(level, message);
    }

    /// Where stdout and stderr go.
    pub(crate) fn output(&self) -> GuestOutput {
        GuestOutput { sink: Arc::clone(&self.sink) }
    }

    /// The end of what the guest wrote to stdout and stderr.
    pub(crate) fn last_output(&self) -> String {
        let sink = self.lock();
        let bytes: Vec<u8> = sink.output.iter().copied().collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    /// Ends the call's log: says what was dropped.
    pub(crate) fn finish(&self) {
        let mut sink = self.lock();
        sink.end_partial();
        let dropped = std::mem::take(&mut sink.dropped);
        if dropped > 0 {
            let message = format!("… {dropped} lines dropped: over the log limit of one call");
            let line = LogLine { level: LogLevel::Warn, message, ..sink.origin.clone() };
            sink.log.push_with_dropped(line, dropped);
        }
    }

    fn lock(&self) -> MutexGuard<'_, RunSink> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RunSink {
    fn line(&mut self, level: LogLevel, message: &str) {
        let mut end = message.len().min(LINE_BYTES_MAX);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        let bytes = end as u64;
        if self.lines_left == 0 || self.bytes_left < bytes {
            self.dropped += 1;
            return;
        }
        self.lines_left -= 1;
        self.bytes_left -= bytes;
        let message = message.get(..end).unwrap_or_default().to_owned();
        self.log.push(LogLine { level, message, ..self.origin.clone() });
    }

    fn end_partial(&mut self) {
        if !self.partial.is_empty() {
            let line = std::mem::take(&mut self.partial);
            self.line(LogLevel::Info, String::from_utf8_lossy(&line).trim_end());
        }
    }
}

/// What a guest's stdout and stderr write to: lines of the log.
#[derive(Clone, Debug)]
pub(crate) struct GuestOutput {
    sink: Arc<Mutex<RunSink>>,
}

impl GuestOutput {
    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = bytes.len().min(OUTPUT_BYTES_MAX);
        sink.output.extend(bytes.iter().skip(bytes.len() - kept));
        let over = sink.output.len().saturating_sub(OUTPUT_BYTES_MAX);
        sink.output.drain(..over);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_BYTES_MAX.saturating_sub(sink.partial.len());
            sink.partial.extend_from_slice(part.get(..part.len().min(room)).unwrap_or_default());
            if part.ends_with(b"\n") {
                sink.end_partial();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_per_call_and_what_was_dropped_is_said() {
        let log = Arc::new(PluginLog::default());
        let limits = CallLimits { log_lines_max: 3, ..CallLimits::default() };
        let run = RunLog::new(Arc::clone(&log), LogLine::default(), &limits);
        for _ in 0..10 {
            run.write(LogLevel::Info, "spam");
        }
        run.finish();
        let lines = log.tail(100);
        assert_eq!(lines.len(), 4);
        assert!(lines[3].message.contains("7 lines dropped"), "{}", lines[3].message);
        assert_eq!(log.dropped(), 7);
    }

    #[test]
    fn whoever_sees_that_lines_were_dropped_finds_the_lines_that_say_so() {
        /// Less than what a second may have.
        const CALLS: u64 = 900;
        let limits = CallLimits { log_lines_max: 0, ..CallLimits::default() };
        for _ in 0..10 {
            let log = Arc::new(PluginLog::default());
            std::thread::scope(|threads| {
                threads.spawn(|| {
                    for _ in 0..CALLS {
                        let run = RunLog::new(Arc::clone(&log), LogLine::default(), &limits);
                        run.write(LogLevel::Info, "spam");
                        run.finish();
                    }
                });
                let mut dropped = 0;
                while dropped < CALLS {
                    dropped = log.dropped();
                    let said = log.lock().lines.len() as u64;
                    assert!(said >= dropped, "{dropped} dropped, {said} lines say so");
                }
            });
        }
    }

    #[test]
    fn a_plugin_keeps_so_many_lines_a_second_and_the_ring_is_bounded() {
        let log = PluginLog::default();
        let line = |second: i64| LogLine {
            at: Timestamp(second * 1_000_000),
            message: "x".repeat(1000),
            ..LogLine::default()
        };
        for _ in 0..3_000 {
            log.push(line(1));
        }
        log.push(line(2));
        assert_eq!(log.dropped(), 2_000);
        let lines = log.tail(10_000);
        assert!(lines.iter().map(|l| l.message.len()).sum::<usize>() <= RING_BYTES_MAX);
        assert!(lines[lines.len() - 2].message.contains("2000 lines dropped"));
    }

    #[test]
    fn output_becomes_lines_and_its_end_is_kept() {
        let log = Arc::new(PluginLog::default());
        let run = RunLog::new(Arc::clone(&log), LogLine::default(), &CallLimits::default());
        run.output().push(b"one\ntw");
        run.output().push(b"o\npanicked at 'x'");
        assert_eq!(run.last_output(), "one\ntwo\npanicked at 'x'");
        run.finish();
        let lines: Vec<String> = log.tail(9).into_iter().map(|l| l.message).collect();
        assert_eq!(lines, ["one", "two", "panicked at 'x'"]);
    }
}
