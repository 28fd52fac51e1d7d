//! Bad requests from outside: each gets its clear error, others do not notice, nothing acknowledged is lost.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use quadrille_tests::{Client, TestHost, guest, output_of};
use serde_json::json;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const JSON: &str = "application/json";

fn start() -> (TestHost, Client) {
    let host = TestHost::start(env!("CARGO_BIN_EXE_quadrille")).expect("the host starts");
    let client = host.client().expect("a client");
    let witness = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "witness"}});
    assert_eq!(client.post(CONFIG_MAPS, &witness).expect("answered").code, 201);
    (host, client)
}

/// What was there before is there still, and the host still writes.
fn assert_unharmed(host: &TestHost, client: &Client) {
    let answer = client.get(&format!("{CONFIG_MAPS}/witness")).expect("answered");
    assert_eq!(answer.code, 200, "{}\n{}", answer.body, host.stderr());
    let label = json!({"metadata": {"labels": {"alive": "yes"}}});
    assert_eq!(
        client.merge(&format!("{CONFIG_MAPS}/witness"), &label).expect("answered").code,
        200
    );
}

#[track_caller]
fn refused(client: &Client, method: &str, path: &str, content_type: &str, body: &[u8], code: u16) {
    let answer = client.send(method, path, content_type, body).expect("answered");
    let start = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
    assert_eq!(answer.code, code, "{method} {path} {start:?}: {}", answer.body);
    let message = answer.body["message"].as_str().unwrap_or_default();
    assert!(message.len() > 5, "{method} {path}: no message: {}", answer.body);
    assert_eq!(answer.body["kind"], "Status", "{}", answer.body);
}

#[test]
fn malformed_bodies_are_told_what_is_wrong() {
    let (host, client) = start();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n".to_owned()
        + "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
        + "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"
        + "g: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
    let cases: [(&str, &[u8], u16); 9] = [
        (JSON, b"{", 400),
        (JSON, b"[]", 400),
        (JSON, b"\xff\xfe{}", 400),
        (JSON, deep.as_bytes(), 400),
        (
            JSON,
            br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":1}}"#,
            400,
        ),
        (JSON, br#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}"#, 400),
        ("application/yaml", bomb.as_bytes(), 400),
        ("application/vnd.kubernetes.protobuf", b"k8s\0\xff\xff\xff\xff", 400),
        ("application/x-unknown", b"{}", 415),
    ];
    for (content_type, body, code) in cases {
        refused(&client, "POST", CONFIG_MAPS, content_type, body, code);
    }
    assert_unharmed(&host, &client);
}

#[test]
fn wrong_fields_paths_and_sizes_are_told_what_is_wrong() {
    let (host, client) = start();
    let bad_name = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"Not A Name"}}"#;
    refused(&client, "POST", CONFIG_MAPS, JSON, bad_name, 422);
    refused(&client, "GET", "/api/v1/namespaces/default/nothings", "", b"", 404);
    refused(&client, "GET", &format!("{CONFIG_MAPS}/absent"), "", b"", 404);
    refused(&client, "GET", &format!("{CONFIG_MAPS}?labelSelector=a=b=c"), "", b"", 400);
    refused(&client, "GET", &format!("{CONFIG_MAPS}?limit=10&continue=nonsense"), "", b"", 400);
    refused(&client, "PUT", CONFIG_MAPS, JSON, b"{}", 405);
    let large = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"},
        "data": {"x": "y".repeat(4 << 20)}});
    refused(&client, "POST", CONFIG_MAPS, JSON, large.to_string().as_bytes(), 413);
    assert_unharmed(&host, &client);
}

#[test]
fn an_oversized_component_is_told_so_by_curl_over_both_versions_of_http() {
    let (host, client) = start();
    let file = host.dir().join("big.wasm");
    std::fs::File::create(&file).and_then(|f| f.set_len(70_000_000)).expect("a sparse file");
    let token = std::fs::read_to_string(host.dir().join("admin-token")).expect("a token");
    for version in ["--http1.1", "--http2"] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", version, "--write-out", "%{http_code}", "--cacert"]);
        curl.arg(host.dir().join("ca.crt")).arg("--upload-file").arg(&file);
        curl.args(["--header", &format!("Authorization: Bearer {}", token.trim())]);
        curl.args(["--header", "Content-Type: application/wasm"]);
        curl.arg(format!("{}/apis/quadrille.dev/v1/plugins/big/component", host.url));
        let output = curl.output().expect("curl runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("413") && text.contains("too large"), "{version}: {text}");
    }
    assert_unharmed(&host, &client);
}

#[test]
fn strangers_learn_nothing() {
    let (host, client) = start();
    for token in [None, Some("wrong")] {
        let stranger = Client::new(&host.url, &host.dir().join("ca.crt"), token).expect("a client");
        let code = stranger.get(CONFIG_MAPS).expect("answered").code;
        assert!(code == 401 || code == 403, "{token:?} got {code}");
    }
    assert_unharmed(&host, &client);
}

#[test]
fn clients_that_stall_or_go_away_harm_nobody() {
    let (host, client) = start();
    let address = host.url.strip_prefix("https://").expect("https").to_owned();
    let mut idle = Vec::new();
    for kind in 0..60_u8 {
        let mut stream = TcpStream::connect(&address).expect("connects");
        match kind % 3 {
            // Not TLS at all.
            0 => stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("written"),
            // Half a TLS record, then silence.
            1 => stream.write_all(&[0x16, 3, 1, 2, 0, 1]).expect("written"),
            // Nothing.
            _ => {}
        }
        idle.push(stream);
    }
    assert_unharmed(&host, &client);
    for mut stream in idle.drain(..20) {
        stream.set_read_timeout(Some(Duration::from_millis(50))).expect("set");
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest));
    }
    drop(idle);
    assert_unharmed(&host, &client);
}

#[test]
fn what_is_no_component_in_the_folder_of_plugins_keeps_none_of_the_others_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let named = |name: &str| folder.path().join(format!("{name}.wasm"));
    std::fs::write(named("a-text"), "no component").expect("written");
    std::fs::create_dir(named("b-folder")).expect("made");
    output_of(Command::new("mkfifo").arg(named("c-pipe"))).expect("a pipe");
    std::fs::copy(guest("hello"), named("d-hello")).expect("copied");
    let flags = ["--plugins", &*folder.path().to_string_lossy()];
    let host = TestHost::start_with(env!("CARGO_BIN_EXE_quadrille"), &flags).expect("it starts");
    let client = host.client().expect("a client");
    let plugins = client.items("/apis/quadrille.dev/v1/plugins").expect("answered");
    let phases: Vec<_> =
        plugins.iter().map(|p| (&p["metadata"]["name"], &p["status"]["phase"])).collect();
    assert_eq!(phases, [(&json!("d-hello"), &json!("Active"))]);
    let told = host.stderr().lines().filter(|line| line.contains("not loaded")).count();
    assert_eq!(told, 3, "{}", host.stderr());
}
