//! What fifty well-behaved plugins and the API's clients feel of hostile plugins beside them, in one host.
//!
//! `cargo run --release -p quadrille-bench --bin hostile -- PATH/quadrille [SECONDS] [ATTACK…]`; a host of its own is
//! started. Three times as many seconds: alone, beside the hostile ones, and after they are gone. From a creation to the
//! stamp of its team's plugin seen by a watch; a GET; a create. The load generator shares the machine with the host.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use quadrille_bench::{now, pause, percentile, processor_time, say, spawn};
use quadrille_guests::crowd;
use quadrille_tests::{Client, TestHost, guest, relabelled};
use serde_json::{Value, json};

const TEAMS: usize = 50;
const PREY: usize = 8;
/// Ten of as many kinds, where none is named.
const DEFAULT: [&str; 10] =
    ["spin", "sleep", "memory", "trap", "again", "names", "lists", "logs", "events", "recursion"];
/// Between two creations, and between two GETs.
const PAUSE: Duration = Duration::from_millis(15);
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PLUGINS: &str = "/apis/quadrille.dev/v1/plugins";

type Times = Arc<Mutex<HashMap<String, Instant>>>;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let program = args.next().context("name the quadrille program to test")?;
    let seconds: u64 = args.next().map_or(Ok(20), |text| text.parse())?;
    let named: Vec<String> = args.collect();
    let attacks = if named.is_empty() { DEFAULT.map(str::to_owned).to_vec() } else { named };
    let host = TestHost::start(&program)?;
    let client = host.client()?;
    for team in 0..TEAMS {
        load(&client, &format!("good-{team}"), &crowd::well_behaved(team))?;
    }
    let stamped = Times::default();
    watch(&client, &stamped)?;
    say(&format!("{TEAMS} well-behaved plugins; hostile: {}", attacks.join(", ")));
    say(&format!(
        "{:>8} {:>7} {:>6} {:>22} {:>22} {:>22} {:>8} {:>6} {:>9} {:>9}",
        "",
        "created",
        "lost",
        "stamp p50 p99 max ms",
        "GET p50 p99 max",
        "create p50 p99 max",
        "RSS MiB",
        "cores",
        "bad runs",
        "failures"
    ));
    phase(&host, &client, "alone", seconds, &stamped)?;
    for attack in &attacks {
        let_in(&client, attack)?;
    }
    for at in 0..PREY {
        create(&client, &format!("prey-{at}"), &json!({crowd::PREY.0: crowd::PREY.1}))?;
    }
    phase(&host, &client, "beside", seconds, &stamped)?;
    for (name, status) in statuses(&client)? {
        if name.starts_with("bad-") {
            let error: String =
                status["lastError"].as_str().unwrap_or("no failure").chars().take(110).collect();
            say(&format!(
                "    {name}: {} runs, {} failures; {error}",
                status["runs"], status["failures"]
            ));
        } else {
            ensure!(status["failures"] == 0, "{name} failed: {status:#}");
        }
    }
    for attack in &attacks {
        client.delete(&format!("{PLUGINS}/bad-{attack}"))?;
    }
    phase(&host, &client, "after", seconds, &stamped)?;
    Ok(())
}

fn load(client: &Client, plugin: &str, component: &[u8]) -> anyhow::Result<()> {
    let answer = client.upload(plugin, component)?;
    ensure!(answer.code < 300, "{plugin} was refused: {}", answer.body);
    Ok(())
}

fn let_in(client: &Client, attack: &str) -> anyhow::Result<()> {
    let plugin = format!("bad-{attack}");
    if let Some((_, component, _)) = crowd::hostile().into_iter().find(|(name, ..)| *name == attack)
    {
        return load(client, &plugin, &component);
    }
    let object = json!({"apiVersion": "quadrille.dev/v1", "kind": "Plugin",
        "metadata": {"name": plugin}, "spec": {"config": {"attack": attack}}});
    ensure!(client.post(PLUGINS, &object)?.code == 201, "the plugin is refused");
    load(client, &plugin, &relabelled(&std::fs::read(guest("intruder"))?, attack))
}

fn create(client: &Client, name: &str, labels: &Value) -> anyhow::Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels}});
    let answer = client.post(MAPS, &object)?;
    ensure!(answer.code == 201, "{}", answer.body);
    Ok(())
}

fn statuses(client: &Client) -> anyhow::Result<Vec<(String, Value)>> {
    let plugins = client.items(PLUGINS)?.into_iter();
    let named = |plugin: Value| {
        let name = plugin["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        (name, plugin["status"].clone())
    };
    Ok(plugins.map(named).collect())
}

/// Notes when each object is first seen with its stamp.
fn watch(client: &Client, stamped: &Times) -> anyhow::Result<()> {
    let path = format!("{MAPS}?watch=true&labelSelector=team");
    let (lines, stamped) = (client.lines(&path)?, Arc::clone(stamped));
    spawn(move || {
        for line in lines.map_while(Result::ok) {
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            if event.pointer("/object/data/done").is_some()
                && let Some(name) = event.pointer("/object/metadata/name").and_then(Value::as_str)
            {
                stamped.lock().expect("no panic").entry(name.to_owned()).or_insert_with(now);
            }
        }
    });
    Ok(())
}

struct Load {
    created: HashMap<String, Instant>,
    times: Vec<Duration>,
}

fn creations(client: &Client, phase: &str, stop: &AtomicBool) -> anyhow::Result<Load> {
    let mut load = Load { created: HashMap::new(), times: Vec::new() };
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("{phase}-{number}");
        let begun = now();
        create(client, &name, &json!({"team": format!("t{}", number % TEAMS)}))?;
        load.times.push(begun.elapsed());
        load.created.insert(name, begun);
        pause(PAUSE);
    }
    Ok(load)
}

fn reads(client: &Client, stop: &AtomicBool) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begun = now();
        let answer = client.get("/api/v1/namespaces/default")?;
        ensure!(answer.code == 200, "{}", answer.body);
        times.push(begun.elapsed());
        pause(PAUSE);
    }
    Ok(times)
}

fn phase(
    host: &TestHost,
    client: &Client,
    name: &'static str,
    seconds: u64,
    stamped: &Times,
) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let used = processor_time(host.pid())?;
    let begun = now();
    let writer = {
        let (client, stop) = (client.clone(), Arc::clone(&stop));
        spawn(move || creations(&client, name, &stop))
    };
    let reader = {
        let (client, stop) = (client.clone(), Arc::clone(&stop));
        spawn(move || reads(&client, &stop))
    };
    pause(Duration::from_secs(seconds));
    stop.store(true, Ordering::Relaxed);
    let load = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    let gets = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    let cores = (processor_time(host.pid())?.saturating_sub(used)).as_secs_f64()
        / begun.elapsed().as_secs_f64();
    let resident = host.resident_bytes()? >> 20;
    let lost = wait_for_stamps(&load, stamped);
    let stamps = {
        let stamped = stamped.lock().expect("no panic");
        let wait = |(name, begun): (&String, &Instant)| {
            Some(stamped.get(name)?.saturating_duration_since(*begun))
        };
        load.created.iter().filter_map(wait).collect()
    };
    let bad = statuses(client)?.into_iter().filter(|(name, _)| name.starts_with("bad-"));
    let (mut runs, mut failures) = (0, 0);
    for (_, status) in bad {
        runs += status["runs"].as_u64().unwrap_or(0);
        failures += status["failures"].as_u64().unwrap_or(0);
    }
    say(&format!(
        "{name:>8} {:>7} {lost:>6} {:>22} {:>22} {:>22} {resident:>8} {cores:>6.2} {runs:>9} {failures:>9}",
        load.created.len(),
        figures(stamps),
        figures(gets),
        figures(load.times),
    ));
    Ok(())
}

/// Waits until all have their stamp, for a minute at most; answers how many have none.
fn wait_for_stamps(load: &Load, stamped: &Times) -> usize {
    let deadline = now() + Duration::from_mins(1);
    loop {
        let lost = {
            let stamped = stamped.lock().expect("no panic");
            load.created.keys().filter(|name| !stamped.contains_key(*name)).count()
        };
        if lost == 0 || now() > deadline {
            return lost;
        }
        pause(PAUSE);
    }
}

fn figures(mut times: Vec<Duration>) -> String {
    times.sort();
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let longest = times.last().copied().unwrap_or_default();
    format!(
        "{:.1} {:.1} {:.1}",
        millis(percentile(&times, 0.5)),
        millis(percentile(&times, 0.99)),
        millis(longest)
    )
}
