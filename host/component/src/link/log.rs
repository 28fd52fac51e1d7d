//! `log`: lines of the plugin's log.
//!
//! Grants: none needed. State: the call's share of the log; over it a line is dropped and counted.

use wasmtime::Result;

use super::bindings::quadrille::controller::log::{Host, Level};
use super::state::CallState;
use crate::log::LogLevel;

impl Host for CallState {
    fn write(&mut self, level: Level, message: String) -> Result<()> {
        self.meter.charge(message.len())?;
        let level = match level {
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        self.log.write(level, &message);
        Ok(())
    }
}
