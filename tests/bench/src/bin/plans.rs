//! What a plan costs over 10,000 objects: the time and the memory of asking what would follow, beside really doing it.
//!
//! `cargo run --release -p quadrille-bench --bin plans -- PATH/quadrille [DEPLOYMENTS]`; a host of its own is started, with the
//! controllers of Deployments and `ReplicaSets`: each has one and two Pods. Every plan forks the whole
//! store. The reference in the same run is the same change made in earnest, until all that follows has settled.
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

use std::time::Duration;

use anyhow::{Context, ensure};
use quadrille_bench::{now, percentile, say};
use quadrille_tests::{Client, TestHost, guest};
use serde_json::{Value, json};

const NAMESPACE: &str = "shop";
const PLANS: usize = 5;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let program = args.next().context("name the quadrille program to test")?;
    let deployments: usize = args.next().map_or(Ok(2_500), |text| text.parse())?;
    let host = TestHost::start(&program)?;
    let client = host.client()?;
    for plugin in ["deployment", "replicaset"] {
        client.load(plugin, &guest(plugin))?;
    }
    fill(&client, deployments)?;
    let objects = deployments * 4;
    let mebibytes = |host: &TestHost| anyhow::Ok(host.resident_bytes()? as f64 / 1_048_576.0);
    say(&format!("{objects} objects stored; the host holds {:.0} MiB", mebibytes(&host)?));
    let changed = host.dir().join("changed.json");
    std::fs::write(&changed, deployment(0, "nginx:2").to_string())?;
    let changed = changed.to_string_lossy().into_owned();
    measure(&host, "apply an image", &["-f", &changed, "--force"])?;
    say(&format!("the host holds {:.0} MiB after these plans", mebibytes(&host)?));
    measure(&host, "delete the namespace", &["delete", "namespace/shop", "--wall", "2m"])?;
    say(&format!("the host holds {:.0} MiB after these plans", mebibytes(&host)?));
    let begun = now();
    client.delete(&format!("/api/v1/namespaces/{NAMESPACE}"))?;
    client.settled()?;
    say(&format!("{:<24} {:>8.2} s", "the delete in earnest", begun.elapsed().as_secs_f64()));
    Ok(())
}

fn deployment(number: usize, image: &str) -> Value {
    let name = format!("d{number}");
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "web", "image": image}]},
        }},
    })
}

fn fill(client: &Client, deployments: usize) -> anyhow::Result<()> {
    client.post("/api/v1/namespaces", &json!({"metadata": {"name": NAMESPACE}}))?;
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments");
    for number in 0..deployments {
        let answer = client.post(&path, &deployment(number, "nginx:1"))?;
        ensure!(answer.code == 201, "{}", answer.body);
    }
    client.settled().map(drop)
}

fn measure(host: &TestHost, what: &str, args: &[&str]) -> anyhow::Result<()> {
    let all = [&["plan"], args, &["-n", NAMESPACE, "-o", "json"]].concat();
    let (mut times, mut writes) = (Vec::<Duration>::new(), 0);
    for _ in 0..PLANS {
        let begun = now();
        // A plan that a bound ended exits with 2; what it then says is no figure.
        let answer: Value = serde_json::from_str(&host.cli(&all)?)?;
        times.push(begun.elapsed());
        writes = answer["objects"].as_array().map_or(0, Vec::len);
    }
    times.sort_unstable();
    let median = percentile(&times, 0.5).as_secs_f64();
    let most = percentile(&times, 1.0).as_secs_f64();
    say(&format!("plan: {what:<24} {median:>8.2} s, longest {most:.2} s; {writes} objects change"));
    Ok(())
}
