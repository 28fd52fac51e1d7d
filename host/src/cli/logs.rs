//! `quadrille logs PLUGIN`: what a plugin logged, and what it logs from now on.

use super::Common;
use crate::output;

/// Arguments of `logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The plugin.
    name: String,
    /// Go on printing what comes.
    #[arg(short, long)]
    follow: bool,
    /// The last so many lines.
    #[arg(long, default_value_t = 100)]
    tail: u32,
}

/// Prints the lines as the host sends them.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let client = common.client()?;
    let Args { name, follow, tail } = args;
    let path = format!("/apis/quadrille.dev/v1/plugins/{name}/log?tail={tail}&follow={follow}");
    for line in client.lines(&path)? {
        output::line(line?)?;
    }
    Ok(())
}
