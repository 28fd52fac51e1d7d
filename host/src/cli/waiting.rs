//! `quadrille waiting [OBJECT]`: what objects that are not ready wait for.

use super::Common;
use super::why::{parameters, print};

/// Arguments of `waiting`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this object: `deployment/web`.
    object: Option<String>,
}

/// Prints it.
pub(crate) fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let client = common.client()?;
    let object = args.object.as_deref().map(|object| parameters(&client, common, object));
    let object = object.transpose()?.unwrap_or_default();
    print(&client.get(&format!("/quadrille/waiting?{object}"))?, common)
}
