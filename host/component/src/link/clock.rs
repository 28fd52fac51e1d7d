//! `clock`: the run's moment.
//!
//! Grants: none needed. State: the time at which the run began; it does not pass, so that a run replays.

use wasmtime::Result;

use super::bindings::quadrille::controller::clock::Host;
use super::state::CallState;

impl Host for CallState {
    fn now(&mut self) -> Result<i64> {
        self.meter.charge(0)?;
        Ok(self.now.0)
    }
}
