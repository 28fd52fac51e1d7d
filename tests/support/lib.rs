//! What the black-box tests share: a real host in a process of its own, a client of it, guests, patience.
//!
//! A test sees the host as its users do: over HTTPS, with the files of its data directory, through its exit
//! code. Nothing here reaches into the host.

#![expect(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests of a whole process wait in real time, and say what they saw when they fail"
)]

pub mod desk;
pub mod life;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use tempfile::TempDir;
use ureq::tls::ClientCert;

/// How long a host may take to be ready, on a machine that is busy with other tests: it compiles its plugins before.
const READY_MAX: Duration = Duration::from_mins(5);

/// How long anything else may take that a test waits for.
const PATIENCE: Duration = Duration::from_mins(2);

/// A host in a process of its own, on a free port, with a data directory that goes with it.
#[derive(Debug)]
pub struct TestHost {
    /// A program and its arguments that starts the host, before the host's own.
    under: Vec<String>,
    program: PathBuf,
    dir: TempDir,
    /// Where the host keeps its files, when that is not `dir`.
    elsewhere: Option<PathBuf>,
    flags: Vec<String>,
    child: Option<Child>,
    /// `https://127.0.0.1:PORT`
    pub url: String,
}

impl TestHost {
    /// Starts a host; `program` is the binary under test (`env!("CARGO_BIN_EXE_quadrille")`).
    pub fn start(program: &str) -> anyhow::Result<Self> {
        Self::start_with(program, &[])
    }

    /// Starts a host with further flags of `serve`.
    pub fn start_with(program: &str, flags: &[&str]) -> anyhow::Result<Self> {
        Self::start_under(&[], program, None, flags)
    }

    /// The same with its files in a directory that only the host may be able to see.
    pub fn start_on(
        program: &str,
        elsewhere: Option<&Path>,
        flags: &[&str],
    ) -> anyhow::Result<Self> {
        Self::start_under(&[], program, elsewhere, flags)
    }

    /// The same, started by another program whose last arguments are the host's command line.
    pub fn start_under(
        under: &[&str],
        program: &str,
        elsewhere: Option<&Path>,
        flags: &[&str],
    ) -> anyhow::Result<Self> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let mut host = Self {
            under: owned(under),
            program: PathBuf::from(program),
            dir: TempDir::new().context("no temporary directory")?,
            elsewhere: elsewhere.map(Path::to_owned),
            flags: owned(flags),
            child: None,
            url: String::new(),
        };
        host.spawn()?;
        Ok(host)
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The kubeconfig that the host wrote.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir().join("kubeconfig")
    }

    /// The process id of the host.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// A client with the admin's token.
    pub fn client(&self) -> anyhow::Result<Client> {
        let token = std::fs::read_to_string(self.dir().join("admin-token"))?;
        Client::new(&self.url, &self.dir().join("ca.crt"), Some(token.trim()))
    }

    /// Ends the host without warning, as a crash does, and starts it again on the same directory.
    pub fn kill_and_restart(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        self.spawn()
    }

    /// Ends the host without warning.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("the host is not running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Starts the host and ends it without warning before it is ready.
    pub fn spawn_and_kill(&mut self, after: Duration) -> anyhow::Result<()> {
        let mut child = self.launch()?;
        std::thread::sleep(after);
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    fn launch(&self) -> anyhow::Result<Child> {
        let program = self.program.as_os_str();
        let mut words = self.under.iter().map(OsStr::new).chain([program]);
        let mut command = Command::new(words.next().unwrap_or(program));
        command.args(words).args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]);
        command.arg(self.elsewhere.as_deref().unwrap_or_else(|| self.dir.path()));
        command.args(&self.flags).stdin(Stdio::null()).stdout(Stdio::piped());
        let log = std::fs::File::create(self.dir.path().join("test-stderr.log"))?;
        command.stderr(log);
        command.spawn().context("cannot start the host")
    }

    /// Starts the host again on the same directory.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        let mut child = self.launch()?;
        let stdout = child.stdout.take().context("no stdout")?;
        self.child = Some(child);
        let line = first_line(stdout)?;
        let Some(url) = line.strip_prefix("ready url=").and_then(|l| l.split(' ').next()) else {
            bail!("the host printed {line:?} and no ready line; stderr:\n{}", self.stderr());
        };
        url.clone_into(&mut self.url);
        Ok(())
    }

    /// What the host wrote to stderr.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(self.dir().join("test-stderr.log")).unwrap_or_default()
    }

    /// Asks the host to end (SIGTERM) and answers its exit code.
    pub fn terminate(&mut self) -> anyhow::Result<Option<i32>> {
        let mut child = self.child.take().context("the host is not running")?;
        let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
        anyhow::ensure!(sent.success(), "cannot signal the host");
        let deadline = Instant::now() + READY_MAX;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill()?;
        bail!("the host did not end after SIGTERM; stderr:\n{}", self.stderr())
    }

    /// Runs the `quadrille` command line against this host and answers its stdout.
    pub fn cli(&self, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        command.args(args).arg("--kubeconfig").arg(self.kubeconfig()).stdin(Stdio::null());
        output_of(&mut command)
    }

    /// Resident memory of the host, in bytes (Linux).
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
        Ok(kib * 1024)
    }

    /// What the host has had of the processors, in ticks of 10 ms (Linux).
    pub fn processor_ticks(&self) -> anyhow::Result<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        // The name before may hold anything; user and system time are the 12th and 13th number after it.
        let (_, numbers) = stat.rsplit_once(')').context("no name")?;
        let mut times = numbers.split_whitespace().skip(11).map(str::parse::<u64>);
        let mut next = || times.next().context("no time")?.context("no number");
        Ok(next()? + next()?)
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            let stderr = self.stderr();
            let tail: Vec<&str> = stderr.lines().rev().take(40).collect();
            eprintln!("the host's last lines:");
            for line in tail.iter().rev() {
                eprintln!("  {line}");
            }
        }
    }
}

/// Runs a command to its end; an error names what it printed.
pub fn output_of(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}:\n{stdout}{stderr}", output.status);
    }
    Ok(stdout)
}

fn first_line(stdout: impl Read + Send + 'static) -> anyhow::Result<String> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = String::new();
        drop(reader.read_line(&mut line));
        drop(sender.send(line));
        // Whatever else comes is read, so that the host never blocks on its stdout.
        drop(std::io::copy(&mut reader, &mut std::io::sink()));
    });
    let line = receiver.recv_timeout(READY_MAX).context("the host printed nothing in time")?;
    Ok(line.trim().to_owned())
}

/// A client of one host with one identity.
#[derive(Clone, Debug)]
pub struct Client {
    agent: ureq::Agent,
    url: String,
    token: Option<String>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status code.
    pub code: u16,
    /// The body, as JSON where it is JSON, else as a JSON string.
    pub body: Value,
}

impl Client {
    /// A client that trusts the CA in a file.
    pub fn new(url: &str, ca: &Path, token: Option<&str>) -> anyhow::Result<Self> {
        Self::build(url, ca, token, None)
    }

    /// The same with a certificate of its own and its key, both as PEM, instead of a token.
    pub fn with_certificate(
        url: &str,
        ca: &Path,
        certificate: &str,
        key: &str,
    ) -> anyhow::Result<Self> {
        let certificate = ureq::tls::Certificate::from_pem(certificate.as_bytes())?.to_owned();
        let key = ureq::tls::PrivateKey::from_pem(key.as_bytes())?;
        Self::build(url, ca, None, Some(ClientCert::new_with_certs(&[certificate], key)))
    }

    fn build(
        url: &str,
        ca: &Path,
        token: Option<&str>,
        certificate: Option<ClientCert>,
    ) -> anyhow::Result<Self> {
        let pem = std::fs::read(ca)?;
        let ca = ureq::tls::Certificate::from_pem(&pem)?.to_owned();
        let roots = ureq::tls::RootCerts::Specific(Arc::new(vec![ca]));
        let tls =
            ureq::tls::TlsConfig::builder().root_certs(roots).client_cert(certificate).build();
        let config = ureq::Agent::config_builder().http_status_as_error(false).tls_config(tls);
        Ok(Self {
            agent: config.build().new_agent(),
            url: url.to_owned(),
            token: token.map(str::to_owned),
        })
    }

    /// Sends any request.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> anyhow::Result<Answer> {
        let url = format!("{}{path}", self.url);
        let mut request = ureq::http::Request::builder().method(method).uri(url);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut response = if body.is_empty() {
            self.agent.run(request.body(())?)?
        } else {
            self.agent.run(request.header("Content-Type", content_type).body(body)?)?
        };
        let bytes = response.body_mut().with_config().limit(1 << 30).read_to_vec()?;
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(Answer { code: response.status().as_u16(), body })
    }

    /// GET.
    pub fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send("GET", path, "", b"")
    }

    /// GET of a stream, line by line as it comes.
    pub fn lines(
        &self,
        path: &str,
    ) -> anyhow::Result<impl Iterator<Item = std::io::Result<String>> + use<>> {
        self.lines_with(path, &[])
    }

    /// The same with further header fields.
    pub fn lines_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<impl Iterator<Item = std::io::Result<String>> + use<>> {
        let mut request = ureq::http::Request::builder().uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let response = self.agent.run(request.body(())?)?;
        anyhow::ensure!(response.status().is_success(), "{path}: {}", response.status());
        Ok(BufReader::new(response.into_body().into_reader()).lines())
    }

    /// POST of JSON.
    pub fn post(&self, path: &str, object: &Value) -> anyhow::Result<Answer> {
        self.send("POST", path, "application/json", object.to_string().as_bytes())
    }

    /// Merge patch.
    pub fn merge(&self, path: &str, patch: &Value) -> anyhow::Result<Answer> {
        let patch = patch.to_string();
        self.send("PATCH", path, "application/merge-patch+json", patch.as_bytes())
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        self.send("DELETE", path, "", b"")
    }

    /// Uploads a component and grants what it asks for; the answer must be a success.
    pub fn load(&self, plugin: &str, component: &Path) -> anyhow::Result<Value> {
        let answer = self.upload(plugin, &std::fs::read(component)?)?;
        anyhow::ensure!(answer.code < 300, "{plugin} was refused: {}", answer.body);
        Ok(answer.body)
    }

    /// Uploads bytes as a component and grants what they ask for.
    pub fn upload(&self, plugin: &str, bytes: &[u8]) -> anyhow::Result<Answer> {
        let path = format!("/apis/quadrille.dev/v1/plugins/{plugin}/component?grant=all");
        self.send("PUT", &path, "application/wasm", bytes)
    }

    /// Waits until nothing is left to follow from what was written so far.
    pub fn settled(&self) -> anyhow::Result<Value> {
        let answer = self.get("/quadrille/settled?wait=60s")?;
        anyhow::ensure!(answer.code == 200, "not settled: {} {}", answer.code, answer.body);
        Ok(answer.body)
    }

    /// The items of a list.
    pub fn items(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let answer = self.get(path)?;
        anyhow::ensure!(answer.code == 200, "{path}: {} {}", answer.code, answer.body);
        Ok(answer.body["items"].as_array().cloned().unwrap_or_default())
    }
}

/// Tries until `check` answers something, for up to two minutes; the error names what it saw last.
#[track_caller]
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> anyhow::Result<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match check() {
            Ok(value) => return value,
            Err(error) if Instant::now() > deadline => panic!("{what}: {error:#}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// The workspace's root.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the workspace").to_owned()
}

static BUILT: LazyLock<Mutex<Vec<String>>> = LazyLock::new(Mutex::default);

/// The component of a plugin or example of this workspace; built now where it is not yet.
pub fn guest(package: &str) -> PathBuf {
    let mut built = BUILT.lock().expect("no test panics while it builds");
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| workspace().join("target"));
    let file = format!("{}.wasm", package.replace('-', "_"));
    let path = target.join("wasm32-wasip2/guest").join(file);
    if !built.iter().any(|name| name == package) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(workspace()).args(["build", "--profile", "guest", "--locked"]);
        cargo.args(["--target", "wasm32-wasip2", "-p", package]).env_remove("RUSTFLAGS");
        output_of(&mut cargo).expect("guests build");
        built.push(package.to_owned());
    }
    path
}

/// The folder with the components of all plugins; built now where it is not yet.
pub fn plugins() -> PathBuf {
    let mut built = BUILT.lock().expect("no test panics while it builds");
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| workspace().join("target"));
    if !built.iter().any(|name| name == "plugins") {
        let mut script = Command::new(workspace().join("tests/build-guests"));
        script.env("CARGO_TARGET_DIR", &target).env_remove("RUSTFLAGS");
        output_of(&mut script).expect("guests build");
        built.push("plugins".to_owned());
    }
    target.join("plugins")
}

/// The same component under another digest: a custom section is added at its end, which changes nothing else.
pub fn relabelled(component: &[u8], label: &str) -> Vec<u8> {
    let mut out = component.to_vec();
    let name = b"label";
    let mut section = vec![u8::try_from(name.len()).expect("short")];
    section.extend_from_slice(name);
    section.extend_from_slice(label.as_bytes());
    out.push(0);
    let mut length = section.len();
    loop {
        let low = u8::try_from(length & 0x7f).expect("seven bits");
        length >>= 7;
        out.push(if length == 0 { low } else { low | 0x80 });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(&section);
    out
}
