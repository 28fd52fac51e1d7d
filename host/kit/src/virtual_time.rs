//! Virtual time: work in one thread, on a clock that jumps to the next timer whenever every task waits.
//!
//! An hour of timers passes as fast as what they lead to is done, and the same work gives the same order of tasks.
//! The clock is a [`ManualClock`], handed to every part as their [`crate::Clock`]. That all tasks wait is known from
//! the scheduler, which says when its thread is about to sleep; so work must not wait for other threads (the jump would
//! come too early), unless it steers time itself with [`VirtualTime::idle`].

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::clock::ManualClock;

/// The steering of one thread's time; cheap to clone.
#[derive(Clone, Debug)]
pub struct VirtualTime {
    clock: Arc<ManualClock>,
    idle: Arc<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    /// Whether somebody wants to hear of it instead of a jump.
    awaited: AtomicBool,
    came: Notify,
}

impl VirtualTime {
    /// Works in this thread, which must not be one of a scheduler's, until the work is done. Tasks that it leaves
    /// behind are dropped.
    ///
    /// # Errors
    /// When the operating system does not give what a scheduler needs.
    pub fn run<T, F: Future<Output = T>>(
        clock: Arc<ManualClock>,
        work: impl FnOnce(Self) -> F,
    ) -> io::Result<T> {
        let this = Self { clock, idle: Arc::default() };
        let at_rest = this.clone();
        let scheduler = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .on_thread_park(move || at_rest.rest())
            .build()?;
        Ok(scheduler.block_on(work(this)))
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<ManualClock> {
        &self.clock
    }

    /// Ends when every other task waits; the clock stands until then, and afterwards until it is waited again. One
    /// task at a time may ask.
    ///
    /// # Cancel safety
    /// Dropping it takes the question back.
    pub async fn idle(&self) {
        struct Asked<'a>(&'a Idle);
        impl Drop for Asked<'_> {
            fn drop(&mut self) {
                self.0.awaited.store(false, Ordering::Release);
            }
        }
        self.idle.awaited.store(true, Ordering::Release);
        let _asked = Asked(&self.idle);
        self.idle.came.notified().await;
    }

    /// All tasks wait: tells whoever asked, else lets the next timer be due.
    fn rest(&self) {
        if self.idle.awaited.swap(false, Ordering::AcqRel) {
            self.idle.came.notify_one();
        } else if let Some(wait) = self.clock.next_due() {
            self.clock.advance(wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Supervisor;
    use crate::clock::Clock;
    use std::sync::Mutex;
    use std::time::Duration;

    /// Sleeps of several tasks, in the order of their ends.
    fn ends() -> (Vec<(u64, Duration)>, Duration) {
        let clock = Arc::new(ManualClock::default());
        let ended = Arc::new(Mutex::new(Vec::new()));
        let of_tasks = Arc::clone(&ended);
        let passed = VirtualTime::run(clock, async |time| {
            let supervisor = Supervisor::default();
            for task in 0..5_u64 {
                let (clock, ended) = (Arc::clone(time.clock()), Arc::clone(&of_tasks));
                supervisor.spawn_brief("sleeper", async move {
                    for step in 1..4_u64 {
                        clock.sleep(Duration::from_mins((task * 7 + step * 3) % 11)).await;
                        ended.lock().expect("one thread").push((task, clock.monotonic()));
                    }
                });
            }
            time.clock().sleep(Duration::from_hours(2)).await;
            time.clock().monotonic()
        });
        let ended = ended.lock().expect("one thread").clone();
        (ended, passed.expect("a thread is there"))
    }

    #[test]
    fn hours_pass_at_once_and_in_the_same_order_each_time() {
        let (first, passed) = ends();
        assert_eq!(first.len(), 15);
        assert!(first.is_sorted_by_key(|(_, at)| *at));
        assert_eq!(passed, Duration::from_hours(2));
        assert_eq!(ends().0, first);
    }

    #[test]
    fn whoever_asks_hears_that_all_tasks_wait_and_time_stands() {
        let clock = Arc::new(ManualClock::default());
        let found = VirtualTime::run(clock, async |time| {
            let supervisor = Supervisor::default();
            let sleeper = time.clock().sleep(Duration::from_secs(9));
            supervisor.spawn_brief("sleeper", sleeper);
            time.idle().await;
            (time.clock().monotonic(), time.clock().next_due())
        });
        let expected = (Duration::ZERO, Some(Duration::from_secs(9)));
        assert_eq!(found.expect("a thread is there"), expected);
    }
}
