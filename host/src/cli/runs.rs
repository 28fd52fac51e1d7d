//! `quadrille runs`: what ran, when, for what, and how it ended.

use serde_json::Value;

use super::Common;
use super::load::short;
use crate::client::{Client, resolve};
use crate::output::{self, Format};

/// Arguments of `runs`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    /// Only runs for this object (`deployment/web`) or of this plugin (`deployment`).
    of: Option<String>,
    /// Only runs that failed.
    #[arg(long)]
    failed: bool,
    /// Only runs that committed something.
    #[arg(long)]
    wrote: bool,
    /// The newest so many.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// One run: what woke it, what it read, what of that was not there, what it wrote.
    Show {
        /// Its number.
        run: u64,
    },
    /// A run with everything that it read, as a case that a unit test of its controller can load.
    Export {
        /// Its number.
        run: u64,
    },
}

/// Prints the runs.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let client = common.client()?;
    match &args.what {
        Some(What::Show { run }) => show(&client.get(&format!("/quadrille/runs/{run}"))?, common),
        Some(What::Export { run }) => {
            output::json(&client.get(&format!("/quadrille/runs/{run}/case"))?)
        }
        None => list(args, common, &client),
    }
}

/// The parameters by which the host finds the runs for an object or of a plugin.
pub(super) fn parameters(of: &str, common: &Common, client: &Client) -> anyhow::Result<String> {
    let Some((kind, name)) = of.split_once('/') else { return Ok(format!("plugin={of}")) };
    let endpoint = resolve(client, kind)?;
    let namespace = if endpoint.namespaced { common.namespace(client) } else { String::new() };
    let (group, resource) = (&endpoint.group, &endpoint.resource);
    Ok(format!("group={group}&resource={resource}&namespace={namespace}&name={name}"))
}

fn list(args: &Args, common: &Common, client: &Client) -> anyhow::Result<()> {
    let mut path = format!("/quadrille/runs?limit={}", args.limit);
    if let Some(of) = &args.of {
        path.push('&');
        path.push_str(&parameters(of, common, client)?);
    }
    for (flag, set) in [("&failed=true", args.failed), ("&wrote=true", args.wrote)] {
        if set {
            path.push_str(flag);
        }
    }
    let answer = client.get(&path)?;
    if common.format == Format::Json {
        return output::json(&answer);
    }
    let runs = answer.get("runs").and_then(Value::as_array).cloned().unwrap_or_default();
    if runs.is_empty() {
        return output::line("no runs are known; the journal may not go back that far");
    }
    let headings =
        ["RUN", "AT", "CONTROLLER", "OBJECT", "WOKEN BY", "READS", "WRITES", "END", "TOOK"];
    output::line(output::table(&headings, &runs.iter().map(row).collect::<Vec<_>>()))
}

fn row(run: &Value) -> Vec<String> {
    let number = |name: &str| run.get(name).and_then(Value::as_u64).unwrap_or_default();
    let micros = std::time::Duration::from_micros(number("durationUs"));
    let at = text(run, "at");
    vec![
        number("run").to_string(),
        at.get(11..23).unwrap_or(at).to_owned(),
        controller(run),
        text(run, "object").to_owned(),
        woken_by(run),
        number("reads").to_string(),
        number("writes").to_string(),
        text(run, "end").chars().take(60).collect(),
        output::duration(micros),
    ]
}

/// `plugin/controller@digest`; `controller@digest` when both have one name.
fn controller(run: &Value) -> String {
    let (plugin, controller) = (text(run, "plugin"), text(run, "controller"));
    let name =
        if plugin == controller { controller.to_owned() } else { format!("{plugin}/{controller}") };
    match text(run, "digest") {
        "" => name,
        digest => format!("{name}@{}", short(digest)),
    }
}

fn woken_by(run: &Value) -> String {
    let revisions = run.get("wokenBy").and_then(Value::as_array).cloned().unwrap_or_default();
    match (revisions.as_slice(), text(run, "occasion")) {
        ([], "") => "-".to_owned(),
        ([], occasion) => occasion.to_owned(),
        ([one], _) => one.to_string(),
        ([first, .., last], _) => format!("{first} … {last} ({})", revisions.len()),
    }
}

fn show(run: &Value, common: &Common) -> anyhow::Result<()> {
    if common.format == Format::Json {
        return output::json(run);
    }
    let field = |name: &str| run.get(name).map(plain).unwrap_or_default();
    output::line(format!("run {} of {}", field("run"), controller(run)))?;
    output::line(format!("for       {}", field("object")))?;
    output::line(format!("at        {}, reading revision {}", field("at"), field("snapshot")))?;
    output::line(format!("woken by  {}", woken_by(run)))?;
    for wake in array(run, "/shown") {
        let (change, object) = (text(wake, "change"), text(wake, "object"));
        output::line(format!("          {} {object} {change}", plain(&wake["revision"])))?;
    }
    let (attempt, conflicts) = (field("attempt"), field("conflicts"));
    output::line(format!("tries     {attempt} failures, {conflicts} conflicts before it"))?;
    print_reads(run)?;
    for write in array(run, "/writes") {
        let (change, object) = (text(write, "change"), text(write, "object"));
        match write.get("revision").and_then(Value::as_u64) {
            Some(revision) => output::line(format!("wrote     {object} {change} at {revision}"))?,
            None => output::line(format!("wrote     {object} {change}, not committed"))?,
        }
    }
    output::line(format!("end       {}, after {} µs", field("end"), field("durationUs")))
}

fn print_reads(run: &Value) -> anyhow::Result<()> {
    for part in ["keys", "ranges", "weak"] {
        let empty: Vec<&Value> = array(run, &format!("/reads/empty/{part}")).collect();
        let ranges_empty: Vec<&Value> = array(run, "/reads/empty/ranges").collect();
        for read in array(run, &format!("/reads/{part}")) {
            let nothing = empty.contains(&read) || (part == "weak" && ranges_empty.contains(&read));
            let note = if nothing { " (nothing there)" } else { "" };
            let weak = if part == "weak" { " (weakly)" } else { "" };
            output::line(format!("read      {}{weak}{note}", plain(read)))?;
        }
    }
    Ok(())
}

fn array<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
