//! What every long-lived part of the host is handed by its builder: clock, chance, ids, tasks, shutdown.
//!
//! Time, randomness and the spawning of tasks belong to whoever runs the host, so that a simulation can hold
//! them. Nothing here knows of objects' kinds, storage or HTTP.

pub mod clock;
pub mod random;
pub mod supervisor;
pub mod virtual_time;

pub use clock::{Clock, ManualClock, SystemClock};
pub use random::{Random, SeededRandom, SystemRandom};
pub use supervisor::{Shutdown, Supervisor};
pub use virtual_time::VirtualTime;
