//! A disk for simulations, and a workload with its model for what must hold on it.
//!
//! ```
//! # use std::sync::Arc;
//! # use quadrille_disk::{Plan, SimDisk};
//! # use quadrille_kit::{ManualClock, Supervisor};
//! # use quadrille_store::{Config, Store};
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let disk = SimDisk::new(7);
//! let open = async |disk: &SimDisk| {
//!     let config = Config { disk: Some(disk.boot()), checkpoint_bytes: 10_000, ..Config::default() };
//!     Store::open(config, Arc::new(ManualClock::default()), &Supervisor::default()).await
//! };
//! let store = open(&disk).await.expect("a new store");
//! disk.plan(Plan::power_cut(3)); // at the third call from now; or at once: disk.cut_power()
//! // … everything fails from then on, for all who hold this boot's files …
//! drop(store);
//! let store = open(&disk).await.expect("what was acknowledged is there");
//! # drop(store);
//! # });
//! ```
//!
//! The disk does not wait, so a store on it starts no threads and does everything in its callers' tasks, in an order that
//! the seed decides.

pub mod image;
pub mod sim;
pub mod workload;

pub use sim::{Lie, Plan, SimDisk};
pub use workload::{Life, World};
