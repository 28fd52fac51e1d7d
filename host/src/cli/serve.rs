//! `quadrille serve`: the host itself, and `__compile`, the child that compiles for it.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use super::access::AccessArgs;
use crate::config::{Bytes, Config, OnFight, Text};
use crate::{host, output};

/// Arguments of `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where all files are.
    #[arg(long, value_name = "DIR", env = "QUADRILLE_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// The address to serve on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", env = "QUADRILLE_LISTEN")]
    listen: Option<SocketAddr>,
    /// Allow an address that other machines can reach.
    #[arg(long)]
    listen_beyond_loopback: bool,
    /// Further tokens: CSV lines of token, user, uid and "groups".
    #[arg(long, value_name = "FILE", env = "QUADRILLE_TOKEN_AUTH_FILE")]
    token_auth_file: Option<PathBuf>,
    /// How long an Event is kept after its last write, such as 1h; 0s keeps Events for good.
    #[arg(long, value_name = "DURATION", env = "QUADRILLE_EVENT_TTL")]
    event_ttl: Option<Text<Duration>>,
    /// A folder of components that are loaded at start, with all that they ask for.
    #[arg(long, value_name = "DIR", env = "QUADRILLE_PLUGINS")]
    plugins: Option<PathBuf>,
    /// How much of the journal of runs is kept, such as 64MiB; 0B keeps none.
    #[arg(long, value_name = "SIZE", env = "QUADRILLE_JOURNAL_BYTES_MAX")]
    journal_bytes_max: Option<Text<Bytes>>,
    /// What is done when controllers fight over a field.
    #[arg(long, value_enum, value_name = "RESPONSE", env = "QUADRILLE_ON_FIGHT")]
    on_fight: Option<OnFight>,
    #[command(flatten)]
    access: AccessArgs,
    /// A configuration file in TOML; flags and environment go before it.
    #[arg(long, value_name = "FILE", env = "QUADRILLE_CONFIG")]
    config: Option<PathBuf>,
    /// Print the configuration that results, as TOML, and end.
    #[arg(long)]
    print_config: bool,
    /// What is logged to stderr: a level, or directives such as `quadrille_store=debug`.
    #[arg(long, value_name = "FILTER", env = "QUADRILLE_LOG", default_value = "info")]
    log: String,
    /// How log lines are written.
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How long what is still at work may take to be given up, once the host has ended.
const END: Duration = Duration::from_secs(1);

/// Runs the host until it is asked to end.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let config = config(args)?;
    if args.print_config {
        output::line(
            toml::to_string(&config).context("cannot write the configuration")?.trim_end(),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    start_log(args)?;
    // Runs compute on threads of their own: a client's request never stands in line behind a plugin that spins.
    let (requests, runs) = (scheduler("requests")?, scheduler("runs")?);
    let good = requests.block_on(host::run(config, runs.handle().clone()));
    runs.shutdown_background();
    // Nor does the end wait for work that blocks (a store that is read, a plugin that is checked): nothing is lost with it.
    requests.shutdown_timeout(END);
    let good = good?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One thread for each processor.
fn scheduler(name: &str) -> anyhow::Result<tokio::runtime::Runtime> {
    let mut scheduler = tokio::runtime::Builder::new_multi_thread();
    scheduler.enable_all().thread_name(name);
    scheduler.build().context("cannot start the scheduler")
}

fn config(args: &Args) -> anyhow::Result<Config> {
    let mut config = Config::read(args.config.as_deref())?;
    if let Some(dir) = &args.data_dir {
        config.data_dir.clone_from(dir);
    }
    config.listen = args.listen.unwrap_or(config.listen);
    config.listen_beyond_loopback |= args.listen_beyond_loopback;
    config.token_auth_file = args.token_auth_file.clone().or(config.token_auth_file);
    config.event_ttl = args.event_ttl.unwrap_or(config.event_ttl);
    let journal_bytes_max = args.journal_bytes_max;
    config.runs.journal_bytes_max = journal_bytes_max.unwrap_or(config.runs.journal_bytes_max);
    config.plugins = args.plugins.clone().or(config.plugins);
    config.runs.fights = args.on_fight.unwrap_or(config.runs.fights);
    args.access.apply(&mut config);
    config.check()?;
    Ok(config)
}

fn start_log(args: &Args) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log)
        .with_context(|| format!("--log {:?} is no filter: use a level such as info", args.log))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match args.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
