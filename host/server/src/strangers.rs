//! Connections on which nobody has been recognised yet, and how they make room.
//!
//! Connections are bounded, and opening one takes no credentials. So that strangers cannot keep everybody else out by
//! holding all of them, a new connection that finds no room takes the place of the oldest stranger. A connection stops
//! being a stranger's with the first request of somebody who is known.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// All of them, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    waiting: BTreeMap<u64, Arc<Notify>>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Stranger {
    of: Arc<Strangers>,
    number: u64,
    leave: Arc<Notify>,
    is_known: AtomicBool,
}

impl Strangers {
    /// A new connection.
    pub(crate) fn arrive(self: &Arc<Self>) -> Stranger {
        let leave = Arc::new(Notify::new());
        let mut open = self.open();
        let number = open.next;
        open.next += 1;
        open.waiting.insert(number, Arc::clone(&leave));
        drop(open);
        Stranger { of: Arc::clone(self), number, leave, is_known: AtomicBool::new(false) }
    }

    /// Tells the oldest to leave; false when there is none.
    pub(crate) fn send_away_oldest(&self) -> bool {
        let oldest = self.open().waiting.pop_first();
        oldest.is_some_and(|(_, leave)| {
            leave.notify_one();
            true
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stranger {
    /// Somebody known has asked for something here.
    pub(crate) fn recognise(&self) {
        if !self.is_known.load(Ordering::Relaxed) && !self.is_known.swap(true, Ordering::Relaxed) {
            self.of.open().waiting.remove(&self.number);
        }
    }

    /// Ends when the connection has to make room.
    pub(crate) async fn sent_away(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        if !self.is_known.load(Ordering::Relaxed) {
            self.of.open().waiting.remove(&self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn the_oldest_stranger_makes_room_and_who_is_known_stays() {
        let strangers = Arc::new(Strangers::default());
        let [first, second, third] = [(); 3].map(|()| strangers.arrive());
        first.recognise();
        first.recognise();
        assert!(strangers.send_away_oldest());
        assert!(first.sent_away().now_or_never().is_none());
        assert!(second.sent_away().now_or_never().is_some());
        assert!(third.sent_away().now_or_never().is_none());
        drop(third);
        assert!(!strangers.send_away_oldest(), "nobody is left who would have to go");
        drop((first, second));
        assert!(strangers.open().waiting.is_empty());
    }
}
