//! A bell: who listens learns that it rang since they looked last, in the order in which they began to wait.
//!
//! The order is what a simulation needs to repeat itself; tokio's `watch` leaves it to chance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// The one who rings.
#[derive(Debug, Default)]
pub(crate) struct Bell(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    rings: AtomicU64,
    rang: Notify,
}

/// One who listens.
#[derive(Debug)]
pub(crate) struct Listener {
    bell: Arc<Inner>,
    heard: u64,
}

impl Bell {
    /// Wakes everybody who waits, and whoever looked before and waits next.
    pub(crate) fn ring(&self) {
        self.0.rings.fetch_add(1, Ordering::Release);
        self.0.rang.notify_waiters();
    }

    /// Somebody who has heard everything so far.
    pub(crate) fn listen(&self) -> Listener {
        let mut listener = Listener { bell: Arc::clone(&self.0), heard: 0 };
        listener.look();
        listener
    }

    /// Whether anybody listens.
    pub(crate) fn is_heard(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl Listener {
    /// What rang up to now has been heard.
    pub(crate) fn look(&mut self) {
        self.heard = self.bell.rings.load(Ordering::Acquire);
    }

    /// Ends when it has rung since the last look.
    ///
    /// # Cancel safety
    /// Dropping it forgets no ring.
    pub(crate) async fn rung(&mut self) {
        let bell = Arc::clone(&self.bell);
        loop {
            let rang = bell.rang.notified();
            tokio::pin!(rang);
            // Before the look, so that no ring falls in between.
            rang.as_mut().enable();
            if bell.rings.load(Ordering::Acquire) != self.heard {
                return self.look();
            }
            rang.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn a_ring_between_look_and_wait_is_heard() {
        let bell = Bell::default();
        let mut listener = bell.listen();
        bell.ring();
        listener.rung().await;
        listener.look();
        tokio::select! {
            biased;
            () = listener.rung() => unreachable!("it did not ring again"),
            () = tokio::task::yield_now() => {}
        }
        bell.ring();
        listener.rung().await;
        drop(listener);
        assert!(!bell.is_heard());
    }

    #[tokio::test]
    async fn listeners_are_woken_in_the_order_in_which_they_began_to_wait() {
        let (bell, woken) = (Bell::default(), Arc::new(Mutex::new(Vec::new())));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..100 {
            let (mut listener, woken) = (bell.listen(), Arc::clone(&woken));
            tasks.spawn(async move {
                listener.rung().await;
                woken.lock().expect("one thread").push(number);
            });
        }
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        bell.ring();
        tasks.join_all().await;
        assert!(woken.lock().expect("one thread").is_sorted());
    }
}
