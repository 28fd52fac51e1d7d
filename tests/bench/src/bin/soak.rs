//! Hours of ordinary life: Deployments come, change and go, with watchers that come and go, and every so often a line of
//! what the host holds. A healthy host's lines stay the same.
//!
//! `cargo run --release -p quadrille-bench --bin soak -- PATH/quadrille [MINUTES]`; a host of its own is started, with a small
//! history, so that compaction is at work all the time. The last lines compare the last quarter with the second one: the
//! first is the way to what a host holds at this load.
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::time::Duration;

use anyhow::Context;
use quadrille_bench::{now, percentile, say};
use quadrille_tests::life::Life;

/// Lines of the table.
const LINES: u32 = 20;

/// What a line shows: MiB of memory and files, descriptors, threads, and the 99th percentile of writes in ms.
type Line = [f64; 5];
const COLUMNS: [&str; 5] = ["RSS MiB", "files MiB", "fds", "threads", "write p99 ms"];
/// How much more of each may be held late than early: a share of it, and so much besides.
const GROWTH_MAX: [(f64, f64); 4] = [(0.25, 32.0), (0.25, 32.0), (0.0, 16.0), (0.0, 8.0)];

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let program = args.next().context("name the quadrille program to test")?;
    let minutes: f64 = args.next().map_or(Ok(5.0), |text| text.parse())?;
    let mut life = Life::begin(&program)?;
    let period = Duration::from_secs_f64(minutes * 60.0 / f64::from(LINES));
    say(&format!("{:>9} {:>10} {}", "minutes", "writes/s", row(COLUMNS.map(str::to_owned))));
    let (begun, mut lines) = (now(), Vec::new());
    for _ in 0..LINES {
        let mut times = life.live(now() + period)?;
        times.sort_unstable();
        let line = line(&life, &times)?;
        let (at, rate) = (begun.elapsed().as_secs_f64() / 60.0, times.len() as f64);
        let figures = row(line.map(|figure| format!("{figure:.1}")));
        say(&format!("{at:>9.1} {:>10.0} {figures}", rate / period.as_secs_f64()));
        lines.push(line);
    }
    compare(&lines)
}

fn row(cells: [String; 5]) -> String {
    cells.map(|cell| format!("{cell:>12}")).join(" ")
}

fn line(life: &Life, times: &[Duration]) -> anyhow::Result<Line> {
    let held = life.look()?;
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    let p99 = percentile(times, 0.99).as_secs_f64() * 1_000.0;
    Ok([mib(held.resident), mib(held.files), held.descriptors as f64, held.threads as f64, p99])
}

/// Compares what is held late with what was held early; what grows by much more than chance does leaks. Nothing fails for
/// being slow.
fn compare(lines: &[Line]) -> anyhow::Result<()> {
    let quarter = lines.len() / 4;
    let early = lines.get(quarter..quarter * 2).unwrap_or_default();
    let late = lines.get(quarter * 3..).unwrap_or_default();
    let mut grown = Vec::new();
    for (column, name) in COLUMNS.iter().enumerate() {
        let mean = |lines: &[Line]| {
            let figures = lines.iter().filter_map(|line| line.get(column));
            figures.sum::<f64>() / lines.len().max(1) as f64
        };
        let (early, late) = (mean(early), mean(late));
        say(&format!("{name:>13}: second quarter {early:.1}, last quarter {late:.1}"));
        if GROWTH_MAX.get(column).is_some_and(|(share, more)| late > early * (1.0 + share) + more) {
            grown.push(format!("{name} from {early:.1} to {late:.1}"));
        }
    }
    anyhow::ensure!(grown.is_empty(), "it grows: {}", grown.join(", "));
    Ok(())
}
