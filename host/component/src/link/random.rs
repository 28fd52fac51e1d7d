//! `random`: the run's chance.
//!
//! Grants: none needed. State: a sequence that begins with the run's seed, so that a run replays.

use wasmtime::Result;

use super::bindings::quadrille::controller::random::Host;
use super::state::CallState;

impl Host for CallState {
    fn next(&mut self) -> Result<u64> {
        self.meter.charge(0)?;
        Ok(self.next_random())
    }
}
