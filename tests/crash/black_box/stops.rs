//! Starts that cannot be: a second host on the same directory, two at the same time, and a port that is taken. They say
//! what is wrong, end, and disturb nobody. And hosts that are called off: while they load their plugins, while they wait for
//! a disk, and once more while they drain.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quadrille_guests::Guest;
use quadrille_tests::{Client, TestHost, eventually};

use crate::program;

/// Components that take a while to load: as many as a folder may have, but for a few.
const PLUGINS: u8 = 250;

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

/// Starts a host and does not wait for it.
fn launched(dir: &Path) -> Child {
    let mut command = Command::new(program());
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir);
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().expect("it starts")
}

/// Where a host serves; `None` when it ends instead.
fn served(child: &mut Child) -> Option<String> {
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("readable");
    let url = line.strip_prefix("ready url=")?.split(' ').next()?;
    Some(url.to_owned())
}

fn admin(url: &str, dir: &Path) -> Client {
    let token = std::fs::read_to_string(dir.join("admin-token")).expect("readable");
    Client::new(url, &dir.join("ca.crt"), Some(token.trim())).expect("a client")
}

#[test]
fn of_two_hosts_that_start_together_on_a_new_directory_one_serves_and_keeps_what_it_acknowledged() {
    for apart in [50, 150, 300].map(Duration::from_millis) {
        let parent = tempfile::tempdir().expect("a directory");
        let dir = parent.path().join("data");
        let first = launched(&dir);
        std::thread::sleep(apart);
        let mut hosts = [first, launched(&dir)];
        let urls = hosts.each_mut().map(served);
        let object = serde_json::json!({"metadata": {"name": "kept"}});
        let mut wrote = 0;
        for (host, url) in hosts.iter_mut().zip(&urls) {
            let Some(url) = url else {
                assert_eq!(host.wait().expect("it ends").code(), Some(1), "{apart:?} apart");
                continue;
            };
            let maps = "/api/v1/namespaces/default/configmaps";
            let answer = admin(url, &dir).post(maps, &object).expect("answered");
            assert_eq!(answer.code, 201, "{apart:?} apart: {}", answer.body);
            wrote += 1;
            host.kill().expect("it was running");
            host.wait().expect("it ends");
        }
        assert_eq!(wrote, 1, "{apart:?} apart: one serves");
        let mut again = launched(&dir);
        let url = served(&mut again).expect("it serves");
        let kept = "/api/v1/namespaces/default/configmaps/kept";
        let answer = admin(&url, &dir).get(kept).expect("answered");
        again.kill().expect("it was running");
        again.wait().expect("it ends");
        assert_eq!(answer.code, 200, "{apart:?} apart: {}", answer.body);
    }
}

#[test]
fn a_host_that_is_ended_while_it_loads_its_plugins_ends_well_and_at_once() {
    let parent = tempfile::tempdir().expect("a directory");
    let (dir, plugins) = (parent.path().join("data"), parent.path().join("plugins"));
    std::fs::create_dir(&plugins).expect("made");
    for n in 0..PLUGINS {
        let guest = Guest { mark: Some(vec![n; 8]), ..Guest::default() }.build();
        std::fs::write(plugins.join(format!("p{n:03}.wasm")), guest).expect("written");
    }
    let mut command = Command::new(program());
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&dir);
    command.arg("--plugins").arg(&plugins).stdin(Stdio::null());
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let components = dir.join("components");
    eventually("it has begun with its plugins", || {
        anyhow::ensure!(std::fs::read_dir(&components)?.next().is_some(), "none is kept");
        Ok(())
    });
    terminate(child.id());
    let status = eventually("it ends", || {
        anyhow::ensure!(child.try_wait()?.is_some(), "it still runs");
        Ok(child.wait()?)
    });
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!(served(&mut child), None, "it was never ready");
    let kept = std::fs::read_dir(&components).expect("readable").count();
    assert!(kept < usize::from(PLUGINS), "it had them all before it was told");
}

fn terminate(pid: u32) {
    let sent = Command::new("kill").args(["-TERM", &pid.to_string()]).status();
    assert!(sent.expect("it runs").success());
}

/// A host of which nothing is left when its test fails.
struct Cleared(Child);

impl Drop for Cleared {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Cleared {
    fn ended(&mut self) -> Option<i32> {
        let what = "it ends";
        let child = &mut self.0;
        eventually(what, || child.try_wait()?.ok_or_else(|| anyhow::anyhow!("it still runs")))
            .code()
    }
}

#[test]
fn a_host_that_is_ended_while_it_waits_for_its_disk_ends_well() {
    let parent = tempfile::tempdir().expect("a directory");
    let dir = parent.path().join("data");
    std::fs::create_dir_all(dir.join("runs")).expect("made");
    // Whoever reads it waits for what nobody writes.
    let hangs = dir.join("runs/0000000000000001.runs");
    assert!(Command::new("mkfifo").arg(&hangs).status().expect("it runs").success());
    let hangs = hangs.canonicalize().expect("there");
    let mut host = Cleared(launched(&dir));
    let open = format!("/proc/{}/fd", host.0.id());
    eventually("it reads the journal", || {
        let mut files = std::fs::read_dir(&open)?.flatten();
        let reads = files.any(|file| std::fs::read_link(file.path()).is_ok_and(|of| of == hangs));
        anyhow::ensure!(reads, "it does not");
        Ok(())
    });
    terminate(host.0.id());
    assert_eq!(host.ended(), Some(0));
    assert_eq!(served(&mut host.0), None, "it was never ready");
}

#[test]
fn a_host_that_is_ended_once_more_while_it_drains_waits_for_nobody() {
    let parent = tempfile::tempdir().expect("a directory");
    let (dir, config) = (parent.path().join("data"), parent.path().join("config.toml"));
    std::fs::write(&config, "drain_timeout = \"10m\"\n").expect("written");
    let mut command = Command::new(program());
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&dir);
    command.arg("--config").arg(&config).stdin(Stdio::null());
    let said = parent.path().join("said");
    let stderr = std::fs::File::create(&said).expect("a file");
    let child = command.stdout(Stdio::piped()).stderr(stderr).spawn().expect("it starts");
    let mut host = Cleared(child);
    let url = served(&mut host.0).expect("it serves");
    let (client, patient) = (admin(&url, &dir), admin(&url, &dir));
    let waits =
        std::thread::spawn(move || patient.get("/quadrille/settled?revision=999999&wait=5m"));
    eventually("somebody waits for an answer", || {
        let metrics = client.get("/metrics")?.body;
        let text = metrics.as_str().unwrap_or_default();
        anyhow::ensure!(text.contains("\napiserver_current_inflight_requests 2\n"), "{text}");
        Ok(())
    });
    terminate(host.0.id());
    eventually("it drains", || {
        let text = std::fs::read_to_string(&said)?;
        anyhow::ensure!(text.contains("draining"), "{text}");
        Ok(())
    });
    assert!(host.0.try_wait().expect("a child").is_none(), "it waits for whom it serves");
    terminate(host.0.id());
    assert_eq!(host.ended(), Some(1));
    assert!(waits.join().expect("no panic").is_err(), "there was no answer");
}
