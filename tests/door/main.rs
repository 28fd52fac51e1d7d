//! Hostile clients at the door of a whole host: whatever they send, others do not notice and nobody gets more than theirs.
//!
//! One file per promise. The short forms run here; `QUADRILLE_DOOR=full` makes them long.

#![expect(
    clippy::disallowed_methods,
    clippy::format_collect,
    clippy::panic,
    clippy::print_stderr,
    clippy::too_many_lines,
    reason = "tests of a whole process wait in real time and print their figures; tables of cases are long"
)]

mod bodies;
mod bounds;
mod crowd;
mod fields;
mod http1;
mod http2;
mod matrix;
mod record;
mod search;
mod tokens;
mod wire;

use quadrille_tests::{Client, TestHost};
use serde_json::{Value, json};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Whether the long forms are asked for.
fn is_full() -> bool {
    std::env::var("QUADRILLE_DOOR").is_ok_and(|value| value == "full")
}

/// A host under fire, and what it was before.
struct Target {
    host: TestHost,
    admin: Client,
    resident: u64,
}

impl Target {
    fn start(flags: &[&str]) -> Self {
        let host = TestHost::start_with(env!("CARGO_BIN_EXE_quadrille"), flags);
        Self::of(host.expect("the host starts"))
    }

    /// A host with such a configuration file.
    fn configured(text: &str, flags: &[&str]) -> Self {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        let path = file.path().display().to_string();
        let flags: Vec<&str> = flags.iter().copied().chain(["--config", &path]).collect();
        Self::start(&flags)
    }

    fn of(host: TestHost) -> Self {
        let admin = host.client().expect("a client");
        let witness =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "witness"}});
        assert_eq!(admin.post(CONFIG_MAPS, &witness).expect("answered").code, 201);
        let resident = host.resident_bytes().expect("resident memory");
        Self { host, admin, resident }
    }

    fn token(&self) -> String {
        let token = std::fs::read_to_string(self.host.dir().join("admin-token"));
        token.expect("a token").trim().to_owned()
    }

    /// What was there is there, the host writes, has not panicked, and has called nothing its own fault.
    #[track_caller]
    fn assert_unharmed(&self, growth_max: u64) {
        self.assert_alive(growth_max);
        let faults = self.faults();
        assert!(faults.is_empty(), "{faults:?}");
    }

    /// The same where faults that Kubernetes has, too, were asked for.
    #[track_caller]
    fn assert_alive(&self, growth_max: u64) {
        let path = format!("{CONFIG_MAPS}/witness");
        let answer = self.admin.get(&path).expect("answered");
        assert_eq!(answer.code, 200, "{}", answer.body);
        let label = json!({"metadata": {"labels": {"alive": "yes"}}});
        assert_eq!(self.admin.merge(&path, &label).expect("answered").code, 200);
        assert!(!self.host.stderr().contains("panicked"), "{}", self.host.stderr());
        let resident = self.host.resident_bytes().expect("resident memory");
        let growth = resident.saturating_sub(self.resident);
        assert!(growth < growth_max, "memory grew by {} MiB", growth >> 20);
    }

    /// The lines of the metrics that count answers of 500 to 599.
    fn faults(&self) -> Vec<String> {
        let metrics = self.admin.get("/metrics").expect("answered");
        let Value::String(text) = metrics.body else { panic!("metrics are text") };
        let is_fault =
            |line: &&str| line.starts_with("apiserver_request_total{") && line.contains("code=\"5");
        text.lines().filter(is_fault).map(str::to_owned).collect()
    }
}
