//! A score card for people.

use std::fmt::Write as _;

use super::{Principle, ScoreCard, Verdict};

impl Principle {
    /// What it asks for.
    pub fn title(self) -> &'static str {
        match self {
            Self::RunTwice => "run twice, the second run writes nothing",
            Self::SameWrites => "the same state gives the same writes",
            Self::TransientErrors => "a refused call changes nothing of the end",
            Self::Crash => "a crash at any call changes nothing of the end",
            Self::MissedChanges => "missed changes and stale reads change nothing of the end",
            Self::OwnFields => "no field is written that is somebody else's",
        }
    }
}

impl ScoreCard {
    /// The card as text.
    pub fn text(&self) -> String {
        let digests: Vec<String> = self.digests.iter().map(|digest| short(digest)).collect();
        let mut out = format!("{} {}\n", self.plugin, digests.join(" "));
        for score in &self.scores {
            let mark = match score.verdict {
                Verdict::Pass => "pass",
                Verdict::Fail => "FAIL",
                Verdict::Unknown => "?   ",
            };
            add(&mut out, &format!("{mark}  {}", score.principle.title()));
            if let Some(finding) = &score.finding {
                let lead = if finding.object.is_empty() { "" } else { ": " };
                for line in format!("{}{lead}{}", finding.object, finding.what).lines() {
                    add(&mut out, &format!("        {line}"));
                }
            }
        }
        let (objects, trials, ms) = (self.objects.len(), self.trials, self.wall_ms);
        add(&mut out, &format!("{objects} objects, {trials} ways to the end, {ms} ms"));
        out
    }
}

fn short(digest: &str) -> String {
    digest.trim_start_matches("sha256:").chars().take(12).collect()
}

fn add(out: &mut String, line: &str) {
    let written = writeln!(out, "{line}");
    debug_assert!(written.is_ok(), "writing into memory");
}
