//! A disk that is really full: writes are refused, reads go on, nothing acknowledged is lost, and once there is room again the
//! host takes writes by itself.
//!
//! The disk is a small tmpfs in a namespace of its own, which an unprivileged user may make on most machines (`unshare
//! -rm`); where that is forbidden the test says so and only the second form of it runs, in which files may not grow beyond a
//! limit (`RLIMIT_FSIZE`) until it is lifted.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use quadrille_crash::{Endpoint, say};
use quadrille_tests::{TestHost, eventually, output_of};
use serde_json::{Value, json};

use crate::program;

const COLLECTION: &str = "/api/v1/namespaces/default/configmaps";
/// Both segments of the write-ahead log, and a store of some size.
const DISK: &str = "200m";
/// The most that a file may hold, in blocks of 512 bytes: more than a segment, less than what is written.
const FILE_BLOCKS: u64 = 24 * 1024 * 2;
/// The size of an object: some hundred of them fill what the host has reserved.
const OBJECT_BYTES: usize = 700_000;
/// More than the host can take when its disk is full.
const WRITES_MAX: usize = 200;

/// A disk that can be full.
enum Disk {
    /// A file system, seen through the process that holds it.
    Small { holder: Child, at: PathBuf },
    /// A limit on the size of files.
    Limited,
}

impl Disk {
    /// A small file system at `at`; the error says why there is none.
    fn small(at: &Path) -> Result<Self, String> {
        std::fs::create_dir(at).expect("a directory");
        let mount =
            format!("mount -t tmpfs -o size={DISK},mode=700 tmpfs \"$0\" && echo ready && cat");
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", &mount]).arg(at).stdin(Stdio::piped());
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = command.spawn().map_err(|error| format!("unshare: {error}"))?;
        let mut line = String::new();
        let stdout = holder.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("readable");
        if line.trim() == "ready" {
            return Ok(Self::Small { holder, at: at.to_owned() });
        }
        let output = holder.wait_with_output().expect("it has ended");
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Starts a host on it.
    fn host(&self) -> TestHost {
        let program = program();
        let started = match self {
            Self::Small { holder, at } => {
                let holder = holder.id().to_string();
                let enter = ["nsenter", "-t", &holder, "-U", "-m", "--preserve-credentials", "--"];
                TestHost::start_under(&enter, &program, Some(at), &[])
            }
            Self::Limited => {
                let limited =
                    format!("trap '' XFSZ; ulimit -S -f {FILE_BLOCKS}; exec \"$0\" \"$@\"");
                TestHost::start_under(&["sh", "-c", &limited], &program, None, &[])
            }
        };
        started.expect("the host starts")
    }

    /// The data directory as the test sees it.
    fn seen(&self, host: &TestHost) -> PathBuf {
        match self {
            Self::Small { holder, at } => {
                let inside = at.strip_prefix("/").expect("absolute");
                Path::new("/proc").join(holder.id().to_string()).join("root").join(inside)
            }
            Self::Limited => host.dir().to_owned(),
        }
    }

    /// Takes all the room there is.
    fn fill(&self, host: &TestHost) {
        if let Self::Small { .. } = self {
            let filler = self.seen(host).join("filler");
            let mut file = std::fs::File::create(filler).expect("a file");
            while file.write_all(&[1; 4096]).is_ok() {}
        }
    }

    /// Gives it back.
    fn free(&self, host: &TestHost) {
        match self {
            Self::Small { .. } => {
                std::fs::remove_file(self.seen(host).join("filler")).expect("removed");
            }
            Self::Limited => {
                let pid = host.pid().to_string();
                let mut command = Command::new("prlimit");
                output_of(command.args(["--pid", &pid, "--fsize=unlimited:"])).expect("lifted");
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Self::Small { holder, .. } = self {
            drop(holder.kill());
            drop(holder.wait());
        }
    }
}

/// What a client knows.
struct Client {
    endpoint: Endpoint,
    asked: usize,
    acknowledged: Vec<String>,
    refused: Vec<String>,
}

impl Client {
    fn write(&mut self) -> u16 {
        let name = format!("o-{}", self.asked);
        self.asked += 1;
        let data = "x".repeat(OBJECT_BYTES);
        let object = json!({"metadata": {"name": name}, "data": {"x": data}});
        let answer = self.endpoint.ask("POST", COLLECTION, &object).expect("answered");
        if answer.code == 201 {
            self.acknowledged.push(name);
        } else {
            let said = answer.json()["message"].as_str().unwrap_or_default().to_owned();
            assert!(answer.code == 503 && !said.is_empty(), "{}: {said}", answer.code);
            self.refused.push(name);
        }
        answer.code
    }

    /// Writes until the disk is full.
    fn write_until_refused(&mut self) {
        let written = (0..WRITES_MAX).take_while(|_| self.write() == 201).count();
        assert!(written < WRITES_MAX, "the disk is never full");
    }

    /// Everything that was acknowledged is there, and nothing else.
    fn check(&self) {
        for name in &self.acknowledged {
            let path = format!("{COLLECTION}/{name}");
            let answer = self.endpoint.ask("GET", &path, &Value::Null).expect("answered");
            let whole = answer.json()["data"]["x"].as_str().map(str::len);
            assert_eq!((answer.code, whole), (200, Some(OBJECT_BYTES)), "{name} was acknowledged");
        }
        for name in &self.refused {
            let path = format!("{COLLECTION}/{name}");
            let answer = self.endpoint.ask("GET", &path, &Value::Null).expect("answered");
            assert_eq!(answer.code, 404, "{name} was refused, and is there");
        }
    }

    fn ready(&self) -> u16 {
        self.endpoint.ask("GET", "/readyz", &Value::Null).expect("answered").code
    }
}

fn refuses_and_recovers(disk: &Disk) {
    let host = disk.host();
    let endpoint = Endpoint::of(&host.url, &disk.seen(&host)).expect("an endpoint");
    let mut client = Client { endpoint, asked: 0, acknowledged: Vec::new(), refused: Vec::new() };
    assert_eq!(client.write(), 201);
    let first = client.endpoint.ask("GET", COLLECTION, &Value::Null).expect("answered").revision();
    disk.fill(&host);
    client.write_until_refused();
    let taken = client.acknowledged.len();
    // It is full for good: reads go on, writes are refused at once.
    client.check();
    (0..5).for_each(|_| assert_eq!(client.write(), 503));
    assert_ne!(client.ready(), 200, "a host that takes no writes is not ready");
    assert_eq!(client.endpoint.ask("GET", "/livez", &Value::Null).expect("answered").code, 200);
    let watch = format!("{COLLECTION}?watch=1&resourceVersion={first}");
    let lines = client.endpoint.connect().and_then(|c| c.lines(&watch)).expect("answered");
    let mut lines = lines.expect("a watch");
    for name in &client.acknowledged[1..] {
        let event: Value = serde_json::from_slice(lines.next_line().expect("sent").expect("more"))
            .expect("an event");
        assert_eq!(
            (&event["type"], &event["object"]["metadata"]["name"]),
            (&json!("ADDED"), &json!(name))
        );
    }
    disk.free(&host);
    let begun = Instant::now();
    eventually("it takes writes by itself", || {
        let code = client.write();
        anyhow::ensure!(code == 201, "{code}");
        Ok(())
    });
    let took = begun.elapsed();
    assert_eq!(client.ready(), 200);
    client.check();
    let refused = client.refused.len();
    say(&format!(
        "A6: {taken} writes taken on a full disk, {refused} refused, writes again after {took:?}"
    ));
    restarts_when_full(disk, host, client);
}

/// Full again, and killed: what was acknowledged is there, at once or when there is room.
fn restarts_when_full(disk: &Disk, mut host: TestHost, mut client: Client) {
    disk.fill(&host);
    if let Disk::Small { .. } = disk {
        client.write_until_refused();
    }
    client.refused.clear();
    host.kill().expect("it was running");
    let full = host.spawn();
    match full {
        Ok(()) => say("it starts on a full disk"),
        Err(error) => {
            let said = format!("{error:#}");
            let clear = said.contains("No space left") || said.contains("File too large");
            assert!(clear && !said.contains("panicked"), "{said}");
            drop(host.kill());
            if let Disk::Limited = disk {
                return;
            }
            disk.free(&host);
            host.spawn().expect("it starts when there is room");
            disk.fill(&host);
        }
    }
    client.endpoint = Endpoint::of(&host.url, &disk.seen(&host)).expect("an endpoint");
    client.check();
    disk.free(&host);
    eventually("it takes writes by itself", || {
        let code = client.write();
        anyhow::ensure!(code == 201, "{code}");
        Ok(())
    });
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers_by_itself() {
    let folder = tempfile::tempdir().expect("a directory");
    match Disk::small(&folder.path().join("disk")) {
        Ok(disk) => refuses_and_recovers(&disk),
        Err(why) => say(&format!(
            "NOT PROVEN HERE: this machine lets nobody have a file system of their own: {}",
            why.trim()
        )),
    }
}

#[test]
fn files_that_cannot_grow_refuse_writes_and_recover_by_themselves() {
    refuses_and_recovers(&Disk::Limited);
}
