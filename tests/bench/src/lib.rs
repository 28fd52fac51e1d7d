//! What the benchmarks share: percentiles and one way to print a figure.

/// Prints one line of a report.
#[expect(clippy::print_stdout, reason = "printing is what a benchmark is for")]
pub fn say(line: &str) {
    println!("{line}");
}
