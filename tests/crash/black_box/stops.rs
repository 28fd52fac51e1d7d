//! Starts that cannot be: a second host on the same directory, and a port that is taken. They say what is wrong, end, and
//! disturb nobody.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use quadrille_tests::TestHost;

use crate::program;

/// Starts a host that must end by itself, without success; answers what it said.
fn refused(listen: &str, dir: &Path) -> String {
    let said = dir.with_extension("said");
    let stderr = std::fs::File::create(&said).expect("a file");
    let mut command = Command::new(program());
    command.args(["serve", "--listen", listen, "--data-dir"]).arg(dir);
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    let mut child = command.spawn().expect("it starts");
    let deadline = Instant::now() + Duration::from_mins(1);
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break Some(status);
        }
        if Instant::now() > deadline {
            child.kill().expect("it was running");
            break child.wait().ok().and(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = std::fs::read_to_string(&said).expect("readable");
    std::fs::remove_file(&said).expect("removed");
    let status = status.unwrap_or_else(|| unreachable!("it goes on, and says:\n{text}"));
    assert_eq!(status.code(), Some(1), "{text}");
    text
}

#[test]
fn a_second_host_on_the_same_directory_is_refused_with_the_process_that_has_it() {
    let host = TestHost::start(&program()).expect("the host starts");
    let before = std::fs::read(host.kubeconfig()).expect("readable");
    let said = refused("127.0.0.1:0", host.dir());
    assert!(said.contains(&format!("process {}", host.pid())), "{said}");
    assert!(said.contains("in use"), "{said}");
    assert_eq!(
        std::fs::read(host.kubeconfig()).expect("readable"),
        before,
        "clients find the first"
    );
    let object = serde_json::json!({"metadata": {"name": "still"}});
    let client = host.client().expect("a client");
    let answer = client.post("/api/v1/namespaces/default/configmaps", &object).expect("answered");
    assert_eq!(answer.code, 201, "{}", answer.body);
}

#[test]
fn a_port_that_is_taken_is_said_and_the_directory_is_free_again() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut host = TestHost::start(&program()).expect("the host starts");
    assert_eq!(host.terminate().expect("it ends"), Some(0));
    let said = refused(&address, host.dir());
    assert!(said.contains(&format!("cannot listen on {address}")), "{said}");
    host.spawn().expect("it starts on the same directory");
}
