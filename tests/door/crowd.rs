//! Crowds: connections that stall, strangers who hold every place, more requests than there are seats.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use quadrille_tests::{Client, eventually};
use serde_json::json;

use crate::wire::{self, Wire};
use crate::{CONFIG_MAPS, Target, is_full};

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const REVIEW: &str = r#"{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}"#;

/// Bounds that a test can wait for, and that leave time for a handshake on a busy machine: that is bounded as a head is.
const SHORT: &str = "[limits]\nhead_timeout = \"5s\"\nbody_timeout = \"5s\"\n";

fn head(token: &str, length: usize) -> String {
    format!(
        "POST {REVIEWS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Sends a byte now and then, until the other end closes.
fn drip(wire: &mut Wire, bytes: &[u8]) -> bool {
    let deadline = Instant::now() + Duration::from_mins(1);
    for byte in bytes.iter().cycle() {
        if !wire.send(&[*byte]) {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    false
}

#[test]
fn whoever_stalls_is_cut_at_every_stage() {
    let target = Target::configured(SHORT, &[]);
    let token = target.token();
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc];
    let ended = |mut stream: TcpStream| stream.read_to_end(&mut Vec::new()).is_ok_and(|_| true);
    // Before TLS: nothing, half a hello, a hello that promises more, no TLS at all.
    let silent: Vec<TcpStream> = [&b""[..], &hello[..3], &hello, b"GET / HTTP/1.1\r\n\r\n"]
        .iter()
        .map(|bytes| {
            let mut stream = wire::tcp(&target.host);
            stream.write_all(bytes).expect("sent");
            stream
        })
        .collect();
    let mut heads: Vec<Wire> = ["", "GET", "GET / HTTP/1.1\r\nHost: x\r\nX-A: "]
        .iter()
        .map(|bytes| {
            let mut wire = Wire::open(&target.host, "http/1.1");
            assert!(wire.send(bytes.as_bytes()));
            wire
        })
        .collect();
    // A body that does not come, and one that does not go on.
    let mut bodies: Vec<Wire> = ["", "{\"kind\""]
        .iter()
        .map(|start| {
            let mut wire = Wire::open(&target.host, "http/1.1");
            assert!(wire.send(format!("{}{start}", head(&token, 500)).as_bytes()));
            wire
        })
        .collect();
    std::thread::scope(|scope| {
        let dripping = scope.spawn(|| drip(&mut Wire::open(&target.host, "http/1.1"), b"GET /a"));
        for (number, stream) in silent.into_iter().enumerate() {
            assert!(ended(stream), "silence {number} is cut");
        }
        for wire in &mut heads {
            let answers = wire.answers();
            assert!(answers.iter().all(|answer| answer.code == 408), "{answers:?}");
        }
        for wire in &mut bodies {
            let answer = wire.answer().expect("an answer");
            assert_eq!(answer.code, 504, "{}", answer.head);
        }
        assert!(dripping.join().expect("no panic"), "a head that drips is cut");
    });
    let answer = target.admin.get("/metrics").expect("answered");
    assert_eq!(answer.code, 200);
}

#[test]
fn an_answer_that_nobody_takes_is_cut_and_its_memory_comes_back() {
    let target = Target::configured("[limits]\nstall_timeout = \"2s\"\n", &[]);
    let data = "x".repeat(500_000);
    for n in 0..40 {
        let object = json!({"metadata": {"name": format!("big-{n}")}, "data": {"x": data}});
        assert_eq!(target.admin.post(CONFIG_MAPS, &object).expect("answered").code, 201);
    }
    let before = target.host.resident_bytes().expect("memory");
    let token = target.token();
    let list = format!(
        "GET {CONFIG_MAPS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Connection: close\r\n\r\n"
    );
    let mut wires: Vec<Wire> = (0..100)
        .map(|_| {
            let mut wire = Wire::open(&target.host, "http/1.1");
            assert!(wire.send(list.as_bytes()));
            wire
        })
        .collect();
    let during = target.host.resident_bytes().expect("memory");
    let mut cut = 0;
    for wire in &mut wires {
        // 20 MB were on the way; what was in the buffers comes, and then the end.
        let taken = std::iter::from_fn(|| wire.receive()).map(|piece| piece.len()).sum::<usize>();
        assert!(taken > 0);
        cut += u32::from(taken < 20_000_000);
    }
    assert!(cut > 0, "all were kept until somebody took them");
    let growth = during.saturating_sub(before) >> 20;
    eprintln!("100 lists of 20 MB that nobody takes: {growth} MiB while they wait");
    assert!(growth < 500, "{growth} MiB");
    target.assert_unharmed(700 << 20);
}

#[test]
fn strangers_who_hold_every_place_make_room_for_those_who_are_known() {
    // However long the strangers take to come, whoever is known may be idle meanwhile.
    let limits = "[limits]\nconnections_max = 50\nhead_timeout = \"10m\"\n";
    let target = Target::configured(limits, &[]);
    let token = target.token();
    let mut known: Vec<Wire> = (0..20).map(|_| Wire::open(&target.host, "http/1.1")).collect();
    let ask = |wire: &mut Wire| {
        let text = head(&token, REVIEW.len()) + REVIEW;
        wire.send(text.as_bytes()) && wire.answer().is_some_and(|answer| answer.code == 201)
    };
    assert!(known.iter_mut().all(ask));
    // Strangers of all kinds, many times as many as there are places.
    let mut strangers = Vec::new();
    let mut asked = Vec::new();
    for n in 0..400 {
        strangers.push(wire::tcp(&target.host));
        if n % 4 == 0 {
            let config = wire::config(&target.host, "http/1.1");
            let Ok(mut wire) = Wire::with(&config, wire::tcp(&target.host)) else { continue };
            let _sent = wire.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
            asked.push(wire);
        }
    }
    assert!(known.iter_mut().all(ask), "whoever was known stays");
    let ca = target.host.dir().join("ca.crt");
    for _ in 0..20 {
        let fresh = Client::new(&target.host.url, &ca, Some(&token)).expect("a client");
        let path = format!("{CONFIG_MAPS}/witness");
        let code = eventually("a new client gets in", || Ok(fresh.get(&path)?.code));
        assert_eq!(code, 200);
    }
    drop((strangers, asked));
    target.assert_unharmed(64 << 20);
}

/// Raises what this process may open, as far as it may; how many connections that leaves for a crowd.
fn files(host: u32) -> usize {
    for pid in [std::process::id(), host] {
        let limit = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
        let line = limit.lines().find(|line| line.starts_with("Max open files")).expect("a line");
        let hard = line.split_whitespace().nth(4).expect("a number").to_owned();
        let mut prlimit = std::process::Command::new("prlimit");
        prlimit.args(["--pid", &pid.to_string(), &format!("--nofile={hard}:{hard}")]);
        quadrille_tests::output_of(&mut prlimit).expect("prlimit");
    }
    let limit = std::fs::read_to_string("/proc/self/limits").expect("limits");
    let line = limit.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    line.split_whitespace().nth(3).and_then(|n| n.parse().ok()).expect("a number")
}

#[test]
fn thousands_of_idle_watches_and_connections_are_held_and_the_host_writes_on() {
    let target = Target::start(&[]);
    let token = target.token();
    let wanted = if is_full() { 10_000 } else { 300 };
    let crowd = wanted.min(files(target.host.pid()).saturating_sub(200)).min(9_700);
    let config = wire::config(&target.host, "http/1.1");
    let begun = Instant::now();
    let watch = format!(
        "GET {CONFIG_MAPS}?watch=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let before = target.host.resident_bytes().expect("memory");
    let mut wires = Vec::with_capacity(crowd);
    for n in 0..crowd {
        let mut wire = Wire::with(&config, wire::tcp(&target.host)).expect("a place");
        // Every other one watches; the rest has asked once and is idle.
        let text = if n % 2 == 0 { watch.clone() } else { head(&token, REVIEW.len()) + REVIEW };
        assert!(wire.send(text.as_bytes()));
        wires.push(wire);
    }
    let took = begun.elapsed();
    for wire in wires.iter_mut().skip(1).step_by(2) {
        assert_eq!(wire.answer().expect("an answer").code, 201);
    }
    let marked = json!({"metadata": {"name": "marked"}});
    assert_eq!(target.admin.post(CONFIG_MAPS, &marked).expect("answered").code, 201);
    let mut saw = 0;
    for wire in wires.iter_mut().step_by(2) {
        let mut all = Vec::new();
        while !all.windows(8).any(|at| at == b"\"marked\"") {
            all.extend(wire.receive().expect("the watch goes on"));
        }
        saw += 1;
    }
    let grown = target.host.resident_bytes().expect("memory").saturating_sub(before);
    eprintln!(
        "{crowd} of {wanted} connections in {took:.1?}, {saw} watches told; {} KiB each",
        (grown >> 10) / u64::try_from(crowd).expect("a number")
    );
    drop(wires);
    target.assert_unharmed(2 << 30);
}

#[test]
fn a_watch_from_every_revision_goes_on_or_says_that_it_is_too_late() {
    let target = Target::start(&[]);
    for n in 0..60 {
        let label = json!({"metadata": {"labels": {"n": n.to_string()}}});
        let path = format!("{CONFIG_MAPS}/witness");
        assert_eq!(target.admin.merge(&path, &label).expect("answered").code, 200);
    }
    let list = target.admin.get(CONFIG_MAPS).expect("answered").body;
    let newest: u64 =
        list["metadata"]["resourceVersion"].as_str().expect("text").parse().expect("a number");
    let (mut events, mut late) = (0, 0);
    let step = if is_full() { 1 } else { 9 };
    for from in (1..newest).step_by(step) {
        let path = format!("{CONFIG_MAPS}?watch=1&resourceVersion={from}");
        let Ok(lines) = target.admin.lines(&path) else {
            late += 1;
            continue;
        };
        let mut last = from;
        for line in lines {
            let event: serde_json::Value =
                serde_json::from_str(&line.expect("a line")).expect("JSON");
            if event["type"] == "ERROR" {
                assert_eq!(event["object"]["code"], 410, "{event}");
                late += 1;
                break;
            }
            let version = event["object"]["metadata"]["resourceVersion"].as_str().expect("text");
            let version: u64 = version.parse().expect("a number");
            assert!(version > last, "from {from}: {version} after {last}");
            (last, events) = (version, events + 1);
            if version == newest {
                break;
            }
        }
    }
    eprintln!("{} revisions: {events} events in order, {late} too late", newest / step as u64);
    assert!(events > 0);
    target.assert_unharmed(64 << 20);
}

/// More requests than there are seats, held open by bodies that do not come: nothing here depends on how fast anything is.
#[test]
fn overload_by_one_user_is_shed_and_nobody_else_notices() {
    let users = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(users.path(), "t-greedy,greedy,1\nt-small,small,2\n").expect("written");
    let file = users.path().display().to_string();
    let text = "[limits]\nrequests_max = 40\nrequests_per_user_max = 10\nqueue_per_user_max = 30\nqueue_wait = \"5m\"\nbody_timeout = \"5m\"\n";
    let target = Target::configured(text, &["--token-auth-file", &file]);
    let begin = |token: &str| {
        let mut wire = Wire::open(&target.host, "http/1.1");
        assert!(wire.send(head(token, REVIEW.len()).as_bytes()));
        wire
    };
    // Ten are worked on, thirty wait, and everybody else of them is refused at once.
    let held: Vec<Wire> = (0..10).map(|_| begin("t-greedy")).collect();
    let metric = |wanted: u64| {
        eventually("the queue fills", || {
            let text = target.admin.get("/metrics")?.body.as_str().unwrap_or_default().to_owned();
            let waiting = text
                .lines()
                .find(|line| line.starts_with("apiserver_flowcontrol_current_inqueue_requests "));
            let waiting = waiting.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
            anyhow::ensure!(waiting == Some(wanted), "{waiting:?} wait");
            Ok(())
        });
    };
    let queued: Vec<Wire> = (0..30).map(|_| begin("t-greedy")).collect();
    metric(30);
    let mut shed = 0;
    for _ in 0..50 {
        let mut wire = Wire::open(&target.host, "http/1.1");
        assert!(wire.send((head("t-greedy", REVIEW.len()) + REVIEW).as_bytes()));
        let answer = wire.answer().expect("an answer");
        assert_eq!(answer.code, 429, "{}", answer.head);
        let wait: u64 =
            answer.header("retry-after").expect("when to come again").parse().expect("seconds");
        assert!((1..=60).contains(&wait));
        shed += 1;
    }
    let ca = target.host.dir().join("ca.crt");
    let client = |token: Option<&str>| Client::new(&target.host.url, &ca, token).expect("a client");
    let review = json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"});
    for _ in 0..20 {
        assert_eq!(client(Some("t-small")).post(REVIEWS, &review).expect("answered").code, 201);
        assert_eq!(client(None).get("/readyz").expect("answered").code, 200);
        assert_eq!(
            target.admin.get(&format!("{CONFIG_MAPS}/witness")).expect("answered").code,
            200
        );
    }
    // A wish made while the crowd waits is carried out by the host's own controllers.
    let namespace = json!({"metadata": {"name": "meanwhile"}});
    assert_eq!(target.admin.post("/api/v1/namespaces", &namespace).expect("answered").code, 201);
    assert_eq!(target.admin.delete("/api/v1/namespaces/meanwhile").expect("answered").code, 200);
    eventually("the namespace goes", || {
        let code = target.admin.get("/api/v1/namespaces/meanwhile")?.code;
        anyhow::ensure!(code == 404, "{code}");
        Ok(())
    });
    // Whoever waited is served once the bodies come.
    let mut served = 0;
    for mut wire in held.into_iter().chain(queued) {
        assert!(wire.send(REVIEW.as_bytes()));
        let answer = wire.answer().expect("an answer");
        assert_eq!(answer.code, 201, "{}", answer.head);
        served += 1;
    }
    eprintln!("{served} served, {shed} shed with a time to come again");
    target.assert_unharmed(64 << 20);
}
