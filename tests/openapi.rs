//! Our own `OpenAPI` documents, given to a fuzzer that makes requests of them: no answer may be a server's fault.
//!
//! schemathesis comes from `PyPI`; `QUADRILLE_FUZZ_SECONDS` is the time per document (default 6).

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a long test says how far it is; how long it fuzzes is given by whoever runs it"
)]

use std::process::Command;

use anyhow::{Context, ensure};
use quadrille_tests::desk::install;
use quadrille_tests::{TestHost, workspace};

fn fuzz() -> anyhow::Result<()> {
    let clients = install(&["schemathesis"])?;
    let host = TestHost::start(env!("CARGO_BIN_EXE_quadrille"))?;
    let client = host.client()?;
    let token = std::fs::read_to_string(host.dir().join("admin-token"))?;
    let seconds = std::env::var("QUADRILLE_FUZZ_SECONDS").unwrap_or_else(|_| "6".to_owned());
    let index = client.get("/openapi/v3")?.body;
    let paths = index["paths"].as_object().context("an index of documents")?;
    ensure!(paths.len() > 20, "every group has its document");
    let mut faults = Vec::new();
    for path in paths.keys() {
        let url = format!("{}/openapi/v3/{path}", host.url);
        let mut fuzzer = Command::new(clients.join("schemathesis/bin/schemathesis"));
        fuzzer.args(["run", &url, "--url", &host.url, "--tls-verify", "false", "--no-color"]);
        fuzzer.arg("-H").arg(format!("Authorization: Bearer {}", token.trim()));
        fuzzer.args(["--checks", "no_server_fault", "--phases", "fuzzing", "--max-time", &seconds]);
        fuzzer.args(["--max-examples", "1000", "--suppress-health-check", "all"]);
        fuzzer
            .env("SCHEMATHESIS_HOOKS", "checks")
            .env("PYTHONPATH", workspace().join("tests/openapi"));
        let output = fuzzer.current_dir(host.dir()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let cases = text.lines().find(|line| line.contains(" generated, "));
        let cases = cases.with_context(|| {
            format!("{path}: {text}{}", String::from_utf8_lossy(&output.stderr))
        })?;
        eprintln!("{path}: {}", cases.trim());
        let failures = text.lines().skip_while(|line| !line.contains("FAILURES"));
        let failures: Vec<&str> = failures.take(40).collect();
        if !failures.is_empty() {
            faults.push(format!("{path}:\n{}", failures.join("\n")));
        }
        ensure!(client.get("/readyz")?.code == 200, "the host is no longer ready after {path}");
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n\n"));
    Ok(())
}

#[test]
fn no_request_that_the_documents_allow_is_answered_with_a_fault() {
    let done = fuzz();
    assert!(done.is_ok(), "{}", done.err().map(|error| format!("{error:#}")).unwrap_or_default());
}
