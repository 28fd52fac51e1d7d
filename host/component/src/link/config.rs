//! `config`: the plugin's own settings.
//!
//! Grants: none needed, because it is the plugin's own. State: `spec.config` of the `Plugin` object as it was when
//! the controllers were started with it.

use wasmtime::Result;

use super::bindings::quadrille::controller::config::Host;
use super::state::CallState;

impl Host for CallState {
    fn get(&mut self, key: String) -> Result<Option<String>> {
        self.meter.charge(key.len())?;
        let value = self.config.get(&key).cloned();
        self.meter.charge_bytes(value.as_ref().map_or(0, String::len));
        Ok(value)
    }
}
