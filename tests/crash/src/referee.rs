//! The referee: follows the bus of all changes from the first one on, and so knows the one true order.
//!
//! Every other client is measured by it; it is itself measured by the numbers of its changes, which must follow each
//! other without a gap, and by what was acknowledged to writers.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::journal::{Change, Item, Journal};
use crate::stage::Stage;
use crate::watcher::Object;

/// A line of the bus.
#[derive(Deserialize)]
struct Line {
    r#type: String,
    #[serde(default)]
    revision: u64,
    txn: Option<Txn>,
    #[serde(default)]
    resource: String,
    #[serde(default)]
    key: String,
    object: Option<Object>,
}

#[derive(Deserialize)]
struct Txn {
    first: u64,
    last: u64,
}

/// Follows the bus until it has seen everything.
pub fn follow(stage: &Stage, dir: &Path) -> anyhow::Result<()> {
    let mut journal = Journal::create(&dir.join("referee"))?;
    let mut position = 0;
    while !stage.is_through(position) {
        let Some(endpoint) = stage.endpoint() else { break };
        let path = format!("/quadrille/bus?from={position}");
        let Ok(answered) = endpoint.connect().and_then(|connection| connection.lines(&path)) else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        let mut lines = match answered {
            Ok(lines) => lines,
            Err(answer) if matches!(answer.code, 429 | 503) => continue,
            Err(answer) => bail!("the bus from {position}: {} {}", answer.code, answer.json()),
        };
        while !stage.is_through(position)
            && let Ok(Some(line)) = lines.next_line()
        {
            let bytes = line.len() as u64;
            let line: Line = serde_json::from_slice(line).context("a line of the bus")?;
            match line.r#type.as_str() {
                "bookmark" => {}
                "error" => bail!("the bus after {position} ended with an error"),
                _ => {
                    position = line.revision;
                    stage.show(position);
                    journal.note_later(change(&line, bytes)?)?;
                }
            }
        }
    }
    Ok(())
}

fn change(line: &Line, bytes: u64) -> anyhow::Result<Change> {
    let txn = line.txn.as_ref().context("a change without its transaction")?;
    let item = match &line.object {
        Some(object) => object.item()?,
        None => bail!("a change without its object: {}", line.key),
    };
    anyhow::ensure!(item.revision == line.revision, "{} has another revision", line.key);
    let kind = line.r#type.parse()?;
    // Names of some objects have a blank where fields have none.
    let key = item.key.replace(char::is_whitespace, "_").into();
    let item = Item { key, ..item };
    Ok(Change {
        txn: (txn.first, txn.last),
        kind,
        resource: line.resource.as_str().into(),
        bytes,
        item,
    })
}
