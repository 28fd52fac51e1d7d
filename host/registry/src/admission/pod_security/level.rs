//! Levels, versions and the labels of namespaces that name them.

use std::fmt;

use crate::field::Errors;

/// How strict a standard is, the loosest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    #[default]
    Privileged,
    Baseline,
    Restricted,
}

/// A level as one minor version of Kubernetes 1 knew it; without one the latest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standard {
    pub(super) level: Level,
    pub(super) version: Option<u32>,
}

impl Standard {
    /// Whether the standard is at least as new as a minor version.
    pub(super) fn since(&self, minor: u32) -> bool {
        self.version.is_none_or(|version| version >= minor)
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            None => write!(f, "{level}:latest"),
            Some(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

/// What a namespace asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    pub(super) enforce: Standard,
    pub(super) audit: Standard,
    pub(super) warn: Standard,
}

const PREFIX: &str = "pod-security.kubernetes.io/";

impl Policy {
    /// Reads the labels of a namespace; a label that cannot be read is an error, and means the strictest level where
    /// it is enforced, the loosest elsewhere.
    pub(super) fn of<'a>(
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        errors: &mut Errors,
    ) -> Self {
        let mut policy = Self::default();
        let (mut enforces, mut warns, mut warns_version) = (false, false, false);
        for (key, value) in labels {
            let Some(mode) = key.strip_prefix(PREFIX) else { continue };
            let (mode, is_version) =
                mode.strip_suffix("-version").map_or((mode, false), |mode| (mode, true));
            let standard = match mode {
                "enforce" => &mut policy.enforce,
                "audit" => &mut policy.audit,
                "warn" => &mut policy.warn,
                _ => continue,
            };
            let path = format!("metadata.labels[{key}]");
            if is_version {
                warns_version |= mode == "warn";
                match version(value) {
                    Ok(version) => standard.version = version,
                    Err(NotAVersion) => {
                        errors.invalid(path, &value.into(), "must be \"latest\" or \"v1.x\"");
                    }
                }
                continue;
            }
            warns |= mode == "warn";
            if let Some(level) = level(value) {
                standard.level = level;
                enforces |= mode == "enforce";
            } else {
                let why = "must be one of privileged, baseline, restricted";
                errors.invalid(path, &value.into(), why);
                let strict = mode == "enforce";
                standard.level = if strict { Level::Restricted } else { Level::Privileged };
            }
        }
        // Who enforces and says nothing of warnings is warned of what would be refused.
        if enforces && !warns {
            policy.warn.level = policy.enforce.level;
            if !warns_version {
                policy.warn.version = policy.enforce.version;
            }
        }
        policy
    }
}

fn level(text: &str) -> Option<Level> {
    match text {
        "privileged" => Some(Level::Privileged),
        "baseline" => Some(Level::Baseline),
        "restricted" => Some(Level::Restricted),
        _ => None,
    }
}

/// A text that is neither `latest` nor `v1.N`.
struct NotAVersion;

/// More digits are no number of a version.
const MINOR_DIGITS_MAX: usize = 9;

/// The minor version; `None` for the latest.
fn version(text: &str) -> Result<Option<u32>, NotAVersion> {
    if text == "latest" {
        return Ok(None);
    }
    let minor = text.strip_prefix("v1.").ok_or(NotAVersion)?;
    let canonical = minor == "0" || !minor.starts_with('0');
    let digits = minor.len() <= MINOR_DIGITS_MAX && minor.bytes().all(|b| b.is_ascii_digit());
    if canonical && digits {
        minor.parse().map(Some).map_err(|_| NotAVersion)
    } else {
        Err(NotAVersion)
    }
}
