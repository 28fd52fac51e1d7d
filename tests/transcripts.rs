//! The oracle: recordings of a real API server, replayed against the real host, before and after a crash.
//!
//! What is compared and how is in `tests/transcripts/README.md`; where we differ on purpose is in `differs.txt`
//! beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use quadrille_tests::{TestHost, plugins, workspace};
use serde_json::Value;

/// How many scenarios are replayed at the same time: they wait for each other's controllers more than they
/// compute.
const JOBS: &str = "6";

/// Our waits are bounded by the same limits as the recordings', times this: a test machine is busy.
const TIMEOUT_SCALE: &str = "3";

fn data() -> PathBuf {
    workspace().join("tests/transcripts")
}

/// The categories in two halves, every other one: what the first half leaves behind is there in the second.
fn halves() -> anyhow::Result<[String; 2]> {
    let mut categories = BTreeSet::new();
    for entry in std::fs::read_dir(data().join("recorded"))? {
        categories.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    ensure!(categories.len() > 60, "the recordings are there");
    let half = |odd: usize| {
        let names = categories.iter().enumerate().filter(|(at, _)| at % 2 == odd);
        let names: Vec<&str> = names.map(|(_, name)| name.as_str()).collect();
        format!("^({})/", names.join("|"))
    };
    Ok([half(0), half(1)])
}

/// Scenarios and the reasons why we differ: lines of `category/name -- reason`; after `~` a name that differs only when
/// our controllers are quicker than the recorded ones were.
fn differing() -> anyhow::Result<(BTreeMap<String, String>, BTreeSet<String>)> {
    let text = std::fs::read_to_string(data().join("differs.txt"))?;
    let (mut all, mut timing) = (BTreeMap::new(), BTreeSet::new());
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, reason) = line.split_once(" -- ").context("a line is `name -- reason`")?;
        let name = match name.strip_prefix("~ ") {
            Some(name) => {
                timing.insert(name.to_owned());
                name
            }
            None => name,
        };
        all.insert(name.to_owned(), reason.to_owned());
    }
    Ok((all, timing))
}

/// What a replay found: the scenarios that passed, and those that did not with their first differences.
#[derive(Debug, Default)]
struct Outcome {
    passed: BTreeSet<String>,
    failed: BTreeMap<String, String>,
}

fn replay(host: &TestHost, filter: &str, into: &mut Outcome) -> anyhow::Result<()> {
    let report = host.dir().join("report.json");
    let mut tool = Command::new("python3");
    tool.arg(data().join("transcripts.py")).arg("replay").arg(data().join("recorded"));
    tool.args(["--server", &host.url, "--insecure", "--jobs", JOBS, "--filter", filter]);
    tool.args(["--timeout-scale", TIMEOUT_SCALE]);
    tool.arg("--tokens").arg(data().join("tokens.csv")).arg("--json-report").arg(&report);
    let output = tool.output().context("python3 is needed to replay")?;
    let text = std::fs::read(&report).with_context(|| {
        format!("no report; the tool said:\n{}", String::from_utf8_lossy(&output.stderr))
    })?;
    let report: Value = serde_json::from_slice(&text)?;
    for scenario in report["scenarios"].as_array().context("no scenarios")? {
        let name = format!(
            "{}/{}",
            scenario["category"].as_str().unwrap_or_default(),
            scenario["name"].as_str().unwrap_or_default()
        );
        if scenario["passed"] == true {
            into.passed.insert(name);
        } else {
            into.failed.insert(name, first_difference(scenario));
        }
    }
    Ok(())
}

fn first_difference(scenario: &Value) -> String {
    let mut text = scenario["failures"].to_string();
    if text == "null" {
        text = scenario.to_string();
    }
    text.chars().take(400).collect()
}

#[test]
fn the_recordings_of_a_real_server_are_answered_alike_across_a_crash() {
    let tokens = data().join("tokens.csv");
    let tokens = tokens.to_string_lossy();
    let components = plugins();
    let flags = ["--token-auth-file", &*tokens, "--plugins", &components.to_string_lossy()];
    let mut host = TestHost::start_with(env!("CARGO_BIN_EXE_quadrille"), &flags).expect("starts");
    let [first, second] = halves().expect("the recordings are readable");
    let mut outcome = Outcome::default();
    replay(&host, &first, &mut outcome).expect("the first half is replayed");
    host.kill_and_restart().expect("the host comes back");
    replay(&host, &second, &mut outcome).expect("the second half is replayed");

    let (differing, timing) = differing().expect("the list of differences is well formed");
    let all = outcome.passed.len() + outcome.failed.len();
    eprintln!(
        "transcripts: {} of {all} pass, {} differ on purpose",
        outcome.passed.len(),
        differing.len()
    );
    let unexpected = outcome.failed.iter().filter(|(name, _)| !differing.contains_key(*name));
    let unexpected: Vec<String> =
        unexpected.map(|(name, why)| format!("{name}\n    {why}")).collect();
    let stale = differing.keys().filter(|name| !timing.contains(*name));
    let stale: Vec<&String> = stale.filter(|name| outcome.passed.contains(*name)).collect();
    assert!(all >= 1388, "only {all} scenarios were replayed");
    assert!(unexpected.is_empty(), "{} fail:\n{}", unexpected.len(), unexpected.join("\n"));
    assert!(stale.is_empty(), "listed as differing, and pass: {stale:?}");
}
