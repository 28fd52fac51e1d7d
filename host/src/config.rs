//! Configuration: a TOML file, then the environment, then flags; checked as a whole before anything opens.
//!
//! Unknown keys are errors. Sizes and durations are text with units: `"64MiB"`, `"30s"`.

mod access;
mod limits;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) use access::{Audit, Clients, Oidc};
pub(crate) use limits::Limits;

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where all files are; default `./quadrille-data`.
    pub(crate) data_dir: PathBuf,
    /// The address to serve on; default `127.0.0.1:7443`, port 0 takes a free one. An address beyond loopback
    /// is refused unless `listen_beyond_loopback` is set.
    pub(crate) listen: SocketAddr,
    /// Allows an address that other machines can reach; default false.
    pub(crate) listen_beyond_loopback: bool,
    /// Further tokens, as CSV lines `token,user,uid,"group,group"`; default none.
    pub(crate) token_auth_file: Option<PathBuf>,
    /// A folder of components (`NAME.wasm`) that are loaded at start, each as the plugin of its name, with all that it
    /// asks for; default none. What is in the folder goes before what was loaded under the name earlier.
    pub(crate) plugins: Option<PathBuf>,
    /// How long a stop may wait for requests and runs; default `"10s"`. Longer lets slow clients finish,
    /// shorter ends sooner.
    pub(crate) drain_timeout: Text<Duration>,
    /// How long an Event is kept after its last write; default `"1h"`, and `"0s"` keeps Events for good. Events take
    /// memory and disk until then.
    pub(crate) event_ttl: Text<Duration>,
    /// How clients prove who they are, beside the token file.
    pub(crate) clients: Clients,
    /// Whose foreign tokens are believed.
    pub(crate) oidc: Oidc,
    /// How the audit log is kept.
    pub(crate) audit: Audit,
    /// What clients may cost.
    pub(crate) limits: Limits,
    /// How much history is kept.
    pub(crate) history: History,
    /// What runs are bounded by.
    pub(crate) runs: Runs,
}

/// How much history is kept: watches resume, and `why` reaches back, only as far as it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct History {
    /// Up to this much of it on disk; default `"256MiB"`.
    pub(crate) bytes_max: Text<Bytes>,
    /// Up to this age; default `"24h"`.
    pub(crate) age_max: Text<Duration>,
}

/// What runs are bounded by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Runs {
    /// How many runs compute at once; default four per processor. A run that spins gives way every 10 ms but keeps its
    /// place up to its deadline: fewer places let a bad plugin hold up the others, more cost memory.
    pub(crate) parallelism: usize,
    /// How much of the journal of runs is kept on disk; default `"64MiB"`, some 200,000 runs, and `"0B"` keeps none.
    /// `quadrille runs` and `quadrille replay` reach back only as far as it does.
    pub(crate) journal_bytes_max: Text<Bytes>,
    /// Up to which age; default `"24h"`.
    pub(crate) journal_age_max: Text<Duration>,
    /// What is done when controllers fight over a field: `"warn"` (default) tells people, `"slow"` lets the writers wait
    /// longer and longer, `"freeze"` holds them until they are released. A plugin may ask for more.
    pub(crate) fights: OnFight,
}

/// What is done about fights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnFight {
    /// People are told.
    #[default]
    Warn,
    /// The writers wait longer and longer between their runs.
    Slow,
    /// The writers wait until they are released, or something from outside changes.
    Freeze,
}

impl From<OnFight> for quadrille_insight::Response {
    fn from(on: OnFight) -> Self {
        match on {
            OnFight::Warn => Self::Warn,
            OnFight::Slow => Self::Slow,
            OnFight::Freeze => Self::Freeze,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("quadrille-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 7443)),
            listen_beyond_loopback: false,
            token_auth_file: None,
            plugins: None,
            clients: Clients::default(),
            oidc: Oidc::default(),
            audit: Audit::default(),
            limits: Limits::default(),
            drain_timeout: Text(Duration::from_secs(10)),
            event_ttl: Text(Duration::from_hours(1)),
            history: History::default(),
            runs: Runs::default(),
        }
    }
}

impl Default for History {
    fn default() -> Self {
        Self { bytes_max: Text(Bytes(256 << 20)), age_max: Text(Duration::from_hours(24)) }
    }
}

impl Default for Runs {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Self {
            parallelism: 4 * processors,
            journal_bytes_max: Text(Bytes(64 << 20)),
            journal_age_max: Text(Duration::from_hours(24)),
            fights: OnFight::default(),
        }
    }
}

impl Config {
    /// Reads a file; `None` gives the defaults.
    pub(crate) fn read(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read configuration {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("bad configuration {}", path.display()))
    }

    /// Checks what no type can say; all problems are reported at once.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let mut problems = Vec::new();
        if !self.listen.ip().is_loopback() && !self.listen_beyond_loopback {
            problems.push(format!(
                "listen = \"{}\" is reachable from other machines: set listen_beyond_loopback (or \
                 --listen-beyond-loopback) if that is meant",
                self.listen
            ));
        }
        if self.history.bytes_max.0.0 < 1 << 20 {
            problems.push("history.bytes_max is below 1MiB".to_owned());
        }
        if self.runs.parallelism == 0 {
            problems.push("runs.parallelism is 0: at least one run must go on".to_owned());
        }
        self.clients.problems(&mut problems);
        self.oidc.problems(&mut problems);
        self.audit.problems(&mut problems);
        self.limits.problems(&mut problems);
        if problems.is_empty() {
            Ok(())
        } else {
            bail!("bad configuration: {}", problems.join("; "))
        }
    }
}

/// A value that is written as text with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text<T>(pub(crate) T);

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

/// What has a form with a unit.
pub(crate) trait WithUnit: Sized {
    /// Units and how much of the smallest one each is, largest first.
    const UNITS: &'static [(&'static str, u64)];
    /// From the smallest unit.
    fn from_smallest(count: u64) -> Self;
    /// To the smallest unit.
    fn to_smallest(&self) -> u64;
}

impl WithUnit for Duration {
    const UNITS: &'static [(&'static str, u64)] =
        &[("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    fn from_smallest(count: u64) -> Self {
        Self::from_millis(count)
    }
    fn to_smallest(&self) -> u64 {
        u64::try_from(self.as_millis()).unwrap_or(u64::MAX)
    }
}

impl WithUnit for Bytes {
    const UNITS: &'static [(&'static str, u64)] =
        &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
    fn from_smallest(count: u64) -> Self {
        Self(count)
    }
    fn to_smallest(&self) -> u64 {
        self.0
    }
}

impl<T: WithUnit> std::str::FromStr for Text<T> {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> anyhow::Result<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(end);
        let units = || T::UNITS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let wrong = || anyhow!("\"{text}\" is no whole number with one of the units {}", units());
        let (_, size) = T::UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?;
        let count: u64 = digits.parse().map_err(|_| wrong())?;
        let smallest =
            count.checked_mul(*size).ok_or_else(|| anyhow!("\"{text}\" is too large"))?;
        Ok(Self(T::from_smallest(smallest)))
    }
}

impl<T: WithUnit> std::fmt::Display for Text<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.0.to_smallest();
        let fits = |(_, size): &&(&str, u64)| count.is_multiple_of(*size) && count >= *size;
        let smallest = T::UNITS.last().copied().unwrap_or(("", 1));
        let (name, size) = T::UNITS.iter().find(fits).copied().unwrap_or(smallest);
        write!(f, "{}{name}", count / size)
    }
}

impl<T: WithUnit> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T: WithUnit> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_print_and_read_back() {
        let text = toml::to_string(&Config::default()).expect("defaults are TOML");
        assert!(text.contains("drain_timeout = \"10s\""), "{text}");
        assert!(text.contains("bytes_max = \"256MiB\""), "{text}");
        assert_eq!(toml::from_str::<Config>(&text).expect("it reads back"), Config::default());
    }

    #[test]
    fn unknown_keys_and_units_are_refused() {
        let error = toml::from_str::<Config>("colour = 1").expect_err("unknown");
        assert!(error.to_string().contains("unknown field `colour`"), "{error}");
        let error = toml::from_str::<Config>("drain_timeout = \"10 parsecs\"").expect_err("unit");
        assert!(error.to_string().contains("one of the units h, m, s, ms"), "{error}");
    }

    #[test]
    fn an_address_beyond_loopback_must_be_meant() {
        let listen = SocketAddr::from(([0, 0, 0, 0], 7443));
        let open = Config { listen, ..Config::default() };
        assert!(open.check().is_err());
        assert!(Config { listen_beyond_loopback: true, ..open }.check().is_ok());
    }
}
