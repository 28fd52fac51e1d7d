//! The command line: one file per command, errors that say what to do, `-o json` for programs.

mod access;
mod apply;
mod backup;
mod build;
mod bus;
mod check;
mod demo;
mod dev;
mod fights;
pub(crate) mod load;
mod logs;
mod new;
mod plan;
mod plugins;
mod replay;
mod runs;
mod serve;
mod store;
mod wait;
mod waiting;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use serde_json::json;

use crate::client::Client;
use crate::output::{self, Format};

/// A control plane in one binary, in which every controller is a sandboxed WebAssembly component.
#[derive(Debug, Parser)]
#[command(name = "quadrille", version, propagate_version = true, infer_subcommands = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Common {
    /// The kubeconfig to use; else $KUBECONFIG, ./quadrille-data/kubeconfig, ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// How to print the result.
    #[arg(short = 'o', long = "output", global = true, value_enum, default_value_t)]
    pub(crate) format: Format,
    /// The namespace; else the context's, else `default`.
    #[arg(short = 'n', long, global = true)]
    namespace: Option<String>,
}

impl Common {
    /// A client of the host that the kubeconfig names.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let path = crate::kubeconfig::find(self.kubeconfig.as_deref())?;
        Client::build(crate::kubeconfig::read(&path)?)
    }

    /// The namespace to use.
    pub(crate) fn namespace(&self, client: &Client) -> String {
        self.namespace.clone().unwrap_or_else(|| client.namespace().to_owned())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the host: the store, the API, the controllers.
    Serve(Box<serve::Args>),
    /// Make a new controller project: three files.
    New(new::Args),
    /// Compile a controller to a WebAssembly component.
    Build(build::Args),
    /// Upload a component (or build and upload a project) and run it.
    Load(load::Args),
    /// Build, load, and do both again whenever a source file changes.
    Dev(dev::Args),
    /// Show the plugins and how they are doing.
    Plugins(plugins::Args),
    /// Go back to the component that a plugin ran before, or to a named digest.
    Rollback(plugins::RollbackArgs),
    /// Print what a plugin logged.
    Logs(logs::Args),
    /// Create or change objects from YAML or JSON, as `kubectl apply --server-side` does.
    Apply(apply::Args),
    /// Show objects, as `kubectl get` does.
    Get(apply::GetArgs),
    /// Tell why an object is as it is: the causes of its last change, back to a request.
    Why(why::Args),
    /// Try whether a plugin's controllers stand refused calls, crashes, missed changes and second runs, on a fork.
    Check(check::Args),
    /// Tell what would follow from a change: every write of every controller, and a diff per object.
    Plan(Box<plan::Args>),
    /// Tell what followed from a change: the runs and writes that descend from it.
    Effects(why::EffectsArgs),
    /// Wait until everything that follows from a change has happened; says who is busy or stuck.
    Wait(wait::Args),
    /// Tell what objects that are not ready wait for, and who waits for each other.
    Waiting(waiting::Args),
    /// Print every change of every kind as it comes, in one order, with its cause.
    Bus(bus::Args),
    /// Show fields that controllers fight over, or release an object that they were held back from.
    Fights(fights::Args),
    /// Show what ran: for an object, of a plugin, or one run with all that is known of it.
    Runs(runs::Args),
    /// Make recorded runs again and compare what they write, with the code that ran or with another component.
    Replay(replay::Args),
    /// Save all objects of a running host, at one revision, to a file.
    Backup(backup::Args),
    /// Look at, save, put back or repair a store that nobody serves from.
    Store(store::Args),
    /// Show the main job, end to end, on a host of its own.
    Demo(demo::Args),
    /// Print the version of this program, and of the host where one answers.
    Version,
    /// Compile a component in this process: how the host keeps compilers at arm's length.
    #[command(name = "__compile", hide = true)]
    Compile {
        /// Given by the host.
        args: Vec<String>,
    },
    /// Print the completion script of a shell.
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Reads the arguments and runs the command.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let common = &cli.common;
    match cli.command {
        Command::Serve(args) => return serve::run(&args),
        Command::Check(args) => return check::run(&args, common),
        Command::Plan(args) => return plan::run(&args, common),
        Command::Store(args) => return store::run(&args, common),
        Command::Compile { args } => {
            quadrille_component::compile_child(&args).context("the compiling child failed")?;
        }
        Command::New(args) => new::run(&args, common)?,
        Command::Build(args) => build::run(&args, common)?,
        Command::Load(args) => load::run(&args, common)?,
        Command::Dev(args) => dev::run(&args, common)?,
        Command::Plugins(args) => plugins::run(&args, common)?,
        Command::Rollback(args) => plugins::rollback(&args, common)?,
        Command::Logs(args) => logs::run(&args, common)?,
        Command::Apply(args) => apply::run(&args, common)?,
        Command::Get(args) => apply::get(&args, common)?,
        Command::Why(args) => why::run(&args, common)?,
        Command::Effects(args) => why::effects(&args, common)?,
        Command::Wait(args) => return wait::run(&args, common),
        Command::Waiting(args) => waiting::run(&args, common)?,
        Command::Bus(args) => bus::run(&args, common)?,
        Command::Fights(args) => fights::run(&args, common)?,
        Command::Runs(args) => runs::run(&args, common)?,
        Command::Replay(args) => return replay::run(&args, common),
        Command::Backup(args) => backup::run(&args, common)?,
        Command::Demo(args) => demo::run(&args)?,
        Command::Version => version(common)?,
        Command::Completion { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "quadrille",
                &mut std::io::stdout(),
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn version(common: &Common) -> anyhow::Result<()> {
    let ours = env!("CARGO_PKG_VERSION");
    let host = common.client().and_then(|client| client.get("/version")).ok();
    let host = host.and_then(|answer| Some(answer.get("gitVersion")?.as_str()?.to_owned()));
    match common.format {
        Format::Json => output::json(&json!({"client": ours, "host": host})),
        Format::Text => {
            output::line(format!("client {ours}"))?;
            output::line(format!("host   {}", host.as_deref().unwrap_or("none reached")))
        }
    }
}
