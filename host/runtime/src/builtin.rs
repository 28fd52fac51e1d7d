//! The controllers that are part of every host.

use crate::runtime::Runtime;

/// Starts them.
pub(crate) fn start(_runtime: &Runtime) {}
