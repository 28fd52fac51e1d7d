//! A plugin that attacks its host: in each way that `spec.config` names.
//!
//! `attack` is a bad neighbour ([`attack`]): it takes what it can get of time, memory, calls, bytes and commits.
//! `attempts` tries one forbidden thing after the other ([`attempt`]) and writes down what came of it, so that a test can
//! see from outside that nothing did.

mod attack;
mod attempt;

use quadrille_sdk::prelude::*;

/// Attacks for every object with the label `prey=yes`.
#[derive(Debug)]
pub struct Intruder;

impl Controller for Intruder {
    type Primary = ConfigMap;
    const NAME: &'static str = "intruder";
    const LABEL_SELECTOR: &'static str = "prey=yes";
    const CONCURRENCY: u32 = 64;
    const CAPABILITIES: &'static [Capability] = &[owns::<ConfigMap>()];

    fn reconcile(prey: &ConfigMap, ctx: &Context) -> Result<Next> {
        match ctx.config("attack") {
            Some(attack) => attack::run(&attack, prey, ctx),
            None => attempt::run(prey, ctx),
        }
    }
}

/// A refusal that ends the run.
fn failed(refusal: &quadrille_sdk::ApiError) -> Error {
    Error::transient(refusal.to_string())
}

quadrille_sdk::plugin!(Intruder);
