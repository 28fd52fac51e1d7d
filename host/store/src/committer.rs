//! The committer: the one place where transactions get their order.
//!
//! # Protocol
//! Callers put a transaction into a bounded queue and wait for the answer. The committer takes everything
//! that is queued (there is no linger: what arrives while a group is flushed forms the next one), stages the
//! transactions one after the other ([`crate::group`]), persists the group as one durable engine commit, then
//! makes the snapshot visible, then the changes, then answers.
//!
//! # Guarantees
//! - An answer `Ok` means: on disk, in the snapshot, on the bus.
//! - Nothing is visible before it is on disk.
//! - When the engine refuses, the whole group is refused with `Unavailable` and the state is as before; that
//!   includes conflicts found in it, which may rest on changes that did not happen. The next group tries the
//!   engine afresh. (After a crash, changes refused like this may turn out to be there.)
//!
//! # Caveats
//! With an engine that waits for a disk the committer is a thread of its own, because a flush must not sit on
//! a worker of the runtime. With the memory engine it runs inside the caller's `commit`, which keeps a
//! simulation in one thread and its order in one hand.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use crate::group::{Group, Working};
use crate::query::View;
use crate::shared::Shared;
use crate::txn::{CommitError, Committed, Txn};

/// How many transactions may wait for the committer; callers wait when it is full. Some flushes' worth at the
/// highest rate, so that the committer never idles for lack of room.
const QUEUE_MAX: usize = 4096;

/// A group is closed when it has this many bytes: with a usual transaction on top it still fits one segment of the
/// write-ahead log.
const GROUP_BYTES_MAX: usize = 4 * 1024 * 1024;

/// After the shutdown starts, the committer ends once nobody has committed for this long.
const IDLE_BEFORE_END: Duration = Duration::from_millis(250);

type Answer = Result<Committed, CommitError>;

#[derive(Debug)]
struct Pending {
    txn: Txn,
    answer: oneshot::Sender<Answer>,
}

/// Where transactions wait.
#[derive(Debug)]
pub(crate) struct Queue {
    room: Semaphore,
    state: Mutex<QueueState>,
    ready: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    pending: VecDeque<Pending>,
    ending: Ending,
    /// Whether the committer sleeps: waking one that does not is a system call for nothing.
    sleeping: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ending {
    #[default]
    No,
    /// End when nobody has come for a while.
    WhenIdle,
    /// End when the queue is empty.
    Now,
}

impl Default for Queue {
    fn default() -> Self {
        let (state, ready) = (Mutex::default(), Condvar::new());
        Self { room: Semaphore::new(QUEUE_MAX), state, ready }
    }
}

impl Queue {
    /// Queues a transaction and waits for its answer.
    pub(crate) async fn submit(&self, txn: Txn) -> Answer {
        let permit = self.room.acquire().await.map_err(|_| CommitError::Closed)?;
        permit.forget();
        let (answer, answered) = oneshot::channel();
        self.push(Pending { txn, answer })?;
        answered.await.unwrap_or(Err(CommitError::Closed))
    }

    fn push(&self, pending: Pending) -> Result<(), CommitError> {
        let mut state = self.lock();
        if state.ending == Ending::Now {
            return Err(CommitError::Closed);
        }
        state.pending.push_back(pending);
        let sleeping = std::mem::take(&mut state.sleeping);
        drop(state);
        if sleeping {
            self.ready.notify_one();
        }
        Ok(())
    }

    /// Lets the committer end once it is idle.
    pub(crate) fn end_when_idle(&self) {
        let mut state = self.lock();
        if state.ending == Ending::No {
            state.ending = Ending::WhenIdle;
        }
        drop(state);
        self.ready.notify_one();
    }

    /// Takes no more; what is queued is still committed.
    pub(crate) fn close(&self) {
        self.lock().ending = Ending::Now;
        self.room.close();
        self.ready.notify_one();
    }

    /// Waits for work; `None` when there is none and will be none.
    fn take(&self) -> Option<VecDeque<Pending>> {
        let mut state = self.lock();
        loop {
            state.sleeping = false;
            if !state.pending.is_empty() {
                let taken = std::mem::take(&mut state.pending);
                drop(state);
                self.room.add_permits(taken.len());
                return Some(taken);
            }
            state.sleeping = true;
            state = match state.ending {
                Ending::Now => return None,
                Ending::No => self.ready.wait(state).unwrap_or_else(PoisonError::into_inner),
                Ending::WhenIdle => {
                    let waited = self.ready.wait_timeout(state, IDLE_BEFORE_END);
                    let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                    if timeout.timed_out() && state.pending.is_empty() {
                        state.ending = Ending::Now;
                        self.room.close();
                    }
                    state
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The committer's own state.
#[derive(Debug)]
pub(crate) struct Committer {
    shared: Arc<Shared>,
    working: Working,
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, working: Working) -> Self {
        Self { shared, working }
    }

    /// Commits what is queued until the queue ends.
    pub(crate) fn run(mut self, queue: &Queue) {
        while let Some(mut pending) = queue.take() {
            while !pending.is_empty() {
                self.commit_group(&mut pending);
            }
        }
    }

    /// Commits a single transaction.
    pub(crate) fn commit(&mut self, txn: Txn) -> Answer {
        let (answer, mut answered) = oneshot::channel();
        self.commit_group(&mut VecDeque::from([Pending { txn, answer }]));
        answered.try_recv().unwrap_or(Err(CommitError::Closed))
    }

    /// Takes a group off the front of `pending` and commits it.
    fn commit_group(&mut self, pending: &mut VecDeque<Pending>) {
        for (key, revision) in self.shared.take_buried() {
            if self.working.graves.get(&key) == Some(&revision) {
                self.working.graves.remove(&key);
            }
        }
        let shared = Arc::clone(&self.shared);
        let published = shared.bus.recent();
        let (oldest, at) = (shared.oldest(), shared.clock.now());
        let mut group = Group::new(self.working.clone(), &published, oldest, at);
        let (mut answers, mut bytes) = (Vec::with_capacity(pending.len()), 0);
        while bytes < GROUP_BYTES_MAX {
            let Some(Pending { txn, answer }) = pending.pop_front() else { break };
            bytes += group.weight(&txn);
            answers.push((answer, group.stage(txn)));
        }
        let Group { working, changes, entries, .. } = group;
        drop(published);
        let persisted = if entries.is_empty() { Ok(()) } else { shared.persist(&entries) };
        let mut published = None;
        match persisted {
            Ok(()) => {
                if !changes.is_empty() {
                    published = Some(shared.publish(working.snapshot.clone(), &changes));
                    tracing::trace!(revision = working.snapshot.revision().0, "group committed");
                }
                self.working = working;
            }
            Err(message) => {
                tracing::error!(error = message, "storage refused a commit");
                for (_, answer) in &mut answers {
                    if !matches!(answer, Err(CommitError::Invalid(_) | CommitError::Fenced)) {
                        *answer = Err(CommitError::Unavailable(message.clone()));
                    }
                }
            }
        }
        for (sender, answer) in answers {
            // A caller that went away does not take its transaction back.
            let _heard: bool = sender.send(answer).is_ok();
        }
        if let Some(published) = published {
            shared.bus.wake(published, &changes);
        }
    }
}

#[cfg(test)]
mod tests {
    use quadrille_kit::ManualClock;
    use quadrille_object::{GroupResource, Meta, Template};

    use super::*;
    use crate::bus::Bus;
    use crate::cause::{Cause, SystemCause};
    use crate::engine::memory::MemoryEngine;
    use crate::key::{Key, Revision};
    use crate::recent::Limits;
    use crate::snapshot::Snapshot;
    use crate::store::Config;
    use crate::txn::{Expect, Write};

    fn key(n: usize) -> Key {
        Key::new(GroupResource::new("", "things"), "", format!("large-{n}"))
    }

    fn txn(write: Write) -> Txn {
        let cause = Cause::System(SystemCause::default());
        Txn { writes: vec![write], requires: Vec::new(), reads: None, fence: None, cause }
    }

    #[test]
    fn a_group_of_deletions_is_bounded_by_the_last_states_that_it_keeps() {
        let bus = Bus::new(Limits { changes_max: 100, bytes_max: 1 << 30 }, Revision(0));
        let (clock, snapshot) = (Arc::new(ManualClock::default()), Snapshot::default());
        let engine = Box::<MemoryEngine>::default();
        let shared = Shared::new(Config::default(), clock, snapshot, bus, Revision(0), engine);
        let mut committer = Committer::new(Arc::new(shared), Working::default());
        let object = serde_json::json!({"metadata": {}, "pad": "x".repeat(1 << 20)});
        let object = object.as_object().expect("a map");
        for n in 0..10 {
            let (meta, object) = (Meta::from_object(object), Template::encode(object));
            let made = Write::Put { key: key(n), meta, object, expect: Expect::Absent };
            committer.commit(txn(made)).expect("commits");
        }
        let mut pending: VecDeque<Pending> = (0..10)
            .map(|n| {
                let (answer, _) = oneshot::channel();
                Pending { txn: txn(Write::Delete { key: key(n), expect: Expect::Present }), answer }
            })
            .collect();
        committer.commit_group(&mut pending);
        assert_eq!(pending.len(), 6, "four of a mebibyte close a group");
    }
}
