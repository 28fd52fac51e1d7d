//! What the benchmarks share: percentiles, time, a client that costs little, and one way to print a figure.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock and has no supervisor")]

pub mod http;

use std::time::{Duration, Instant};

/// The allocator of the host, so that what is measured in process is what the host does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Prints one line of a report.
#[expect(clippy::print_stdout, reason = "printing is what a benchmark is for")]
pub fn say(line: &str) {
    println!("{line}");
}

/// The clock.
pub fn now() -> Instant {
    Instant::now()
}

/// Waits: a benchmark paces its load.
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// A thread of the load.
pub fn spawn<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    std::thread::spawn(work)
}

/// A time that a share of the sorted times does not exceed; `share` is between 0 and 1. Zero for no times.
pub fn percentile(sorted: &[Duration], share: f64) -> Duration {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a share of a length is within the length"
    )]
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

/// Processor time that a process has used so far, in user and kernel mode (Linux).
///
/// # Errors
/// When the process is gone.
pub fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // After the name come state, ppid, …; utime and stime are the 12th and 13th of these, in ticks of 10 ms.
    let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}
