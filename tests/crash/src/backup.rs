//! Backups that are taken under load from a host that is killed, and what is in them once they are restored.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use quadrille_tests::{TestHost, output_of};
use serde_json::Value;

use crate::check::{Found, History};
use crate::journal::Item;
use crate::run::items;
use crate::stage::Stage;
use crate::watcher::Scope;
use crate::wire::Endpoint;

/// Takes backups as long as there are writers, `count_max` at most. One that is cut by a kill is none.
pub(crate) fn take(stage: &Stage, dir: &Path, count_max: usize) -> anyhow::Result<()> {
    let mut taken = 0;
    while !stage.writers_end() && taken < count_max {
        std::thread::sleep(Duration::from_millis(200));
        let Some(endpoint) = stage.endpoint() else { break };
        let answer = endpoint.connect().and_then(|mut of| of.get("/quadrille/backup"));
        let Ok(answer) = answer else { continue };
        if answer.code == 200 {
            std::fs::write(dir.join(format!("backup-{taken}")), &answer.body)?;
            taken += 1;
        } else {
            ensure!(matches!(answer.code, 429 | 503), "a backup: {}", answer.code);
        }
    }
    Ok(())
}

/// The backups that were taken.
pub(crate) fn taken(dir: &Path, count_max: usize) -> Vec<PathBuf> {
    let files = (0..count_max).map(|number| dir.join(format!("backup-{number}")));
    files.filter(|file| file.exists()).collect()
}

/// Restores a backup and starts a host on it: it holds the state at its revision, and whoever has seen more is told so.
pub(crate) fn check(
    program: &str,
    file: &Path,
    history: &History,
    found: &mut Found,
) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let at = dir.path().join("restored");
    let mut restore = Command::new(program);
    restore.args(["store", "restore"]).arg(file).arg(&at).args(["-o", "json"]);
    let done: Value = serde_json::from_str(&output_of(&mut restore)?)?;
    let revision: u64 = done["from"].as_str().context("a revision")?.parse()?;
    let host = TestHost::start_on(program, Some(&at), &[])?;
    let endpoint = Endpoint::of(&host.url, &at)?;
    let list = endpoint.ask("GET", "/api/v1/configmaps", &Value::Null)?;
    let contents = |item: &Item| {
        let Item { key, uid, value, team, .. } = item.clone();
        (key, uid, value, team)
    };
    let restored: Vec<_> = items(&list.json())?.iter().map(contents).collect();
    let state = history.state(&Scope::All, revision);
    let expected: Vec<_> = state.values().map(|item| contents(item)).collect();
    found.backups += 1;
    if sorted(restored) != sorted(expected) {
        found.violate(format!("a backup of revision {revision} is not the state there"));
    }
    // A watcher that is ahead of the backup must not wait until the new store has come as far.
    let newest = history.newest();
    let path = format!("/api/v1/configmaps?watch=1&timeoutSeconds=5&resourceVersion={newest}");
    let told = match endpoint.connect()?.lines(&path)? {
        Err(answer) => answer.code == 410,
        Ok(mut lines) => {
            let line = lines.next_line()?.unwrap_or_default();
            let event: Value = serde_json::from_slice(line).unwrap_or_default();
            event["object"]["code"] == 410
        }
    };
    if !told {
        found.violate(format!("after a restore of {revision} a watch from {newest} goes on"));
    }
    Ok(())
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}
