//! Where the host is now: it comes and goes, and its clients wait here until it is back.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::wire::Endpoint;

/// What all clients share.
#[derive(Debug)]
pub struct Stage {
    scene: Mutex<Scene>,
    changed: Condvar,
    begun: Instant,
    writers_end: AtomicBool,
    /// Writers that may have a request under way.
    writing: AtomicUsize,
    /// Writers wait up to so many milliseconds between requests.
    pause_max: AtomicU64,
    /// Watchers end once they have seen everything up to here; 0 while there is no end.
    through: AtomicU64,
    /// The newest revision that the referee has seen.
    newest: AtomicU64,
}

#[derive(Debug, Default)]
struct Scene {
    endpoint: Option<Endpoint>,
    ended: bool,
}

impl Default for Stage {
    fn default() -> Self {
        Self {
            scene: Mutex::default(),
            changed: Condvar::new(),
            begun: Instant::now(),
            writers_end: AtomicBool::new(false),
            writing: AtomicUsize::new(0),
            pause_max: AtomicU64::new(0),
            through: AtomicU64::new(0),
            newest: AtomicU64::new(0),
        }
    }
}

impl Stage {
    /// The host is here.
    pub fn open(&self, endpoint: Endpoint) {
        self.scene().endpoint = Some(endpoint);
        self.changed.notify_all();
    }

    /// The host is gone, or will be in a moment.
    pub fn shut(&self) {
        self.scene().endpoint = None;
    }

    /// Nobody needs to wait any longer: something went wrong.
    pub fn end(&self) {
        self.scene().ended = true;
        self.end_writers();
        self.changed.notify_all();
    }

    /// Where the host is; waits while it is away. `None` when nobody shall wait any longer.
    pub fn endpoint(&self) -> Option<Endpoint> {
        let mut scene = self.scene();
        loop {
            if scene.ended {
                return None;
            }
            if let Some(endpoint) = &scene.endpoint {
                return Some(endpoint.clone());
            }
            scene = self.changed.wait(scene).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writers do not begin another request.
    pub fn end_writers(&self) {
        self.writers_end.store(true, Ordering::Release);
    }

    /// Whether writers shall end.
    pub fn writers_end(&self) -> bool {
        self.writers_end.load(Ordering::Acquire)
    }

    /// Somebody writes until what is answered is dropped.
    pub fn writing(&self) -> Writing<'_> {
        self.writing.fetch_add(1, Ordering::AcqRel);
        Writing(self)
    }

    /// Waits until nobody writes any more: what is acknowledged later would come after the end that is agreed on.
    pub fn wait_for_writers(&self) {
        let mut scene = self.scene();
        while self.writing.load(Ordering::Acquire) > 0 && !scene.ended {
            scene = self.changed.wait(scene).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How long writers pause between requests, at most.
    pub fn set_pause_max(&self, pause: Duration) {
        let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.pause_max.store(millis, Ordering::Relaxed);
    }

    /// The same, in milliseconds.
    pub fn pause_max(&self) -> u64 {
        self.pause_max.load(Ordering::Relaxed)
    }

    /// Watchers end once they have seen everything up to a revision.
    pub fn end_watchers(&self, through: u64) {
        self.through.store(through, Ordering::Release);
    }

    /// Whether a watcher at a revision is done.
    pub fn is_through(&self, position: u64) -> bool {
        let through = self.through.load(Ordering::Acquire);
        (through > 0 && position >= through) || self.scene().ended
    }

    /// The referee has seen a revision.
    pub(crate) fn show(&self, revision: u64) {
        self.newest.store(revision, Ordering::Relaxed);
    }

    /// The newest revision that the referee has seen.
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::Relaxed)
    }

    /// Microseconds since the run began: one clock for all journals.
    pub fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn scene(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who writes.
#[derive(Debug)]
#[must_use = "who drops it writes no more"]
pub struct Writing<'a>(&'a Stage);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let scene = self.0.scene();
        self.0.writing.fetch_sub(1, Ordering::AcqRel);
        drop(scene);
        self.0.changed.notify_all();
    }
}
