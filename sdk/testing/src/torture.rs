//! Torture: what a host may do to a controller, on purpose and often.
//!
//! A commit is atomic, so that a crash between writes cannot happen. What can: a run is thrown away after it has done
//! all its work (its reads were stale, or the host crashed) and is run again; wakes come twice, late or for nothing.
//! After any of it the world must settle in the same state, and a run on a settled world must write nothing.

use quadrille_kit::Random;

use crate::world::{WorkKey, World, panic_with};

impl World {
    /// Settles, and then `rounds` times: throws away a run, wakes keys for nothing, settles again.
    ///
    /// # Panics
    /// When a run on a settled world writes something, or it does not settle: the message says what.
    #[track_caller]
    pub fn torture(&mut self, rounds: u32) {
        self.settle();
        for round in 0..rounds {
            if let Err(problem) = self.torture_once() {
                panic_with(&format!("torture round {round}: {problem}"));
            }
        }
    }

    fn torture_once(&mut self) -> Result<(), String> {
        let keys: Vec<WorkKey> = self.keys.keys().cloned().collect();
        let before = (self.registry.store().revision(), self.keys_now());
        for at in &keys {
            let chance = self.chance.next_u64();
            if chance.is_multiple_of(3) {
                // Work that is thrown away leaves no trace.
                let (result, overlay, _log) = self.reconcile(at, chance)?;
                let written = overlay.written();
                if result.is_ok() && !written.is_empty() {
                    let name = self.controllers.get(at.0).map(|c| c.described.name.as_str());
                    return Err(format!(
                        "{} writes to a settled world, on a run for {}: {written:?}",
                        name.unwrap_or_default(),
                        at.1
                    ));
                }
            }
            if chance.is_multiple_of(2) {
                self.ready.insert(at.clone());
            }
        }
        self.try_settle()?;
        let after = (self.registry.store().revision(), self.keys_now());
        if before == after {
            Ok(())
        } else {
            Err("waking keys for nothing changed something".to_owned())
        }
    }
}
