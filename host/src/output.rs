//! What people see: lines on stdout, problems and progress on stderr, tables, JSON with `-o json`.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

/// How a command prints its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document, for programs.
    Json,
}

/// Writes one line to stdout. A reader that went away ends the command quietly.
pub(crate) fn line(text: impl AsRef<str>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", text.as_ref()).context("cannot write to stdout")
}

/// Writes a JSON document to stdout.
pub(crate) fn json(value: &Value) -> anyhow::Result<()> {
    line(serde_json::to_string_pretty(value).context("cannot encode the answer")?)
}

/// Writes a note to stderr; nothing depends on it arriving.
pub(crate) fn note(text: impl AsRef<str>) {
    let written = writeln!(std::io::stderr().lock(), "{}", text.as_ref());
    drop(written);
}

/// Writes an error and its causes to stderr.
pub(crate) fn error(error: &anyhow::Error) {
    note(format!("error: {error:#}"));
}

/// A table with a heading, columns padded to their widest cell.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        cells.chain(headings.get(at).map(|h| h.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut lines =
        vec![row(&headings.iter().map(|h| (*h).to_owned()).collect::<Vec<_>>(), &widths)];
    lines.extend(rows.iter().map(|cells| row(cells, &widths)));
    lines.join("\n")
}

fn row(cells: &[String], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
    padded.collect::<Vec<_>>().join("   ").trim_end().to_owned()
}

/// A spinner on stderr while something takes long; plain lines where nobody watches.
pub(crate) fn progress(text: impl Into<String>) -> ProgressBar {
    let text = text.into();
    if !std::io::stderr().is_terminal() {
        note(format!("… {text}"));
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_message(text);
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// `1.5 s`, `12 ms`, `340 µs`: a duration as people read it.
pub(crate) fn duration(value: Duration) -> String {
    match value.as_micros() {
        micros @ 0..1_000 => format!("{micros} µs"),
        micros @ 1_000..10_000 => format!("{:.1} ms", micros_f64(micros) / 1e3),
        micros @ 10_000..1_000_000 => format!("{} ms", micros / 1_000),
        micros => format!("{:.1} s", micros_f64(micros) / 1e6),
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
fn micros_f64(micros: u128) -> f64 {
    micros as f64
}

/// `205 KB`, `1.6 MB`.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{} KB", count / 1_000),
        _ => format!("{}.{} MB", count / 1_000_000, count / 100_000 % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_padded_to_its_widest_cells() {
        let rows =
            vec![vec!["web".to_owned(), "1".to_owned()], vec!["a".to_owned(), "22".to_owned()]];
        assert_eq!(table(&["NAME", "N"], &rows), "NAME   N\nweb    1\na      22");
    }

    #[test]
    fn durations_and_sizes_read_well() {
        assert_eq!(duration(Duration::from_micros(340)), "340 µs");
        assert_eq!(duration(Duration::from_micros(2_500)), "2.5 ms");
        assert_eq!(duration(Duration::from_millis(1500)), "1.5 s");
        assert_eq!(bytes(205_123), "205 KB");
        assert_eq!(bytes(1_650_000), "1.6 MB");
    }
}
