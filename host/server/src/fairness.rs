//! Fairness: how many requests are worked on at the same time, in all and for one user, and who is next.
//!
//! A request takes a seat when it arrives and leaves it when its answer begins. While all seats are
//! taken, requests wait in a queue per user; a free seat goes to the user who has the fewest, so that however many
//! requests and connections one user opens, another's next request waits for about one seat. Queues and waiting
//! have bounds, beyond which the answer is 429. Who has to be found out first shares seats with all such, and then takes
//! one of their own. An answer that lies in memory is counted until its client has taken it, and who leaves too much
//! untaken waits as well. Watches leave their seat as soon as they run, and a question that waits for its answer takes one
//! of other seats, which nobody queues for; `system:masters`, to
//! which the operator belongs, and the host's own controllers, which come by another way, need none.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quadrille_kit::Clock;
use quadrille_registry::{Reason, Status};
use tokio::sync::oneshot;

use crate::config::Limits;

/// Hands out seats.
#[derive(Debug)]
pub(crate) struct Fair {
    state: Mutex<State>,
    /// How many wait, readable without the lock.
    waiting: AtomicUsize,
    limits: Limits,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    waiting: usize,
    /// Bytes of answers that are not taken yet.
    untaken: usize,
    users: HashMap<Arc<str>, OfUser>,
    /// The users whose requests wait, the one who was served last at the end.
    order: VecDeque<Arc<str>>,
}

#[derive(Debug, Default)]
struct OfUser {
    taken: usize,
    untaken: usize,
    queue: VecDeque<oneshot::Sender<()>>,
}

impl OfUser {
    fn is_idle(&self) -> bool {
        self.taken == 0 && self.untaken == 0 && self.queue.is_empty()
    }
}

/// A seat, left when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    fair: Arc<Fair>,
    user: Arc<str>,
}

impl Seat {
    /// Whose it is.
    pub(crate) fn user(&self) -> &Arc<str> {
        &self.user
    }

    /// Leaves the seat; what the answer has in memory is counted until that is dropped.
    pub(crate) fn leave_with(self, bytes: usize) -> Option<Untaken> {
        if bytes == 0 {
            return None;
        }
        let (fair, user) = (Arc::clone(&self.fair), Arc::clone(&self.user));
        fair.count_untaken(&user, bytes);
        Some(Untaken { fair, user, bytes })
    }
}

/// Bytes of an answer that its client has not taken yet.
#[derive(Debug)]
pub(crate) struct Untaken {
    fair: Arc<Fair>,
    user: Arc<str>,
    bytes: usize,
}

impl Drop for Untaken {
    fn drop(&mut self) {
        self.fair.forget_untaken(&self.user, self.bytes);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.fair.leave(&self.user);
    }
}

/// A seat, or a place in a queue for one. Who gives up waiting gives back what came too late.
#[derive(Debug)]
pub(crate) struct Ticket {
    fair: Arc<Fair>,
    user: Arc<str>,
    /// `None` once the seat is had.
    called: Option<oneshot::Receiver<()>>,
    is_used: bool,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.is_used {
            return;
        }
        let has_seat = match &mut self.called {
            None => true,
            Some(called) => {
                called.close();
                called.try_recv().is_ok()
            }
        };
        if has_seat {
            self.fair.leave(&self.user);
        } else {
            self.fair.forget_gone(&self.user);
        }
    }
}

impl Ticket {
    /// The seat, when it is the user's turn.
    ///
    /// # Errors
    /// 429 when it takes too long.
    pub(crate) async fn seat(mut self) -> Result<Seat, Status> {
        if let Some(called) = &mut self.called {
            let clock = Arc::clone(&self.fair.clock);
            tokio::select! {
                biased;
                Ok(()) = called => self.called = None,
                () = clock.sleep(self.fair.limits.queue_wait) => return Err(too_many()),
            }
        }
        self.is_used = true;
        Ok(Seat { fair: Arc::clone(&self.fair), user: Arc::clone(&self.user) })
    }
}

impl Fair {
    pub(crate) fn new(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        let (state, waiting) = (Mutex::default(), AtomicUsize::new(0));
        Self { state, waiting, limits, clock }
    }

    /// Whether anybody waits for a seat.
    pub(crate) fn is_busy(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// How many wait for a seat.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Takes a seat for a user's request, or a place in the user's queue. Called when the request arrives, before
    /// anything is scheduled for it: what has no seat must not wait in the scheduler, where nobody is fair.
    ///
    /// # Errors
    /// 429 when too many wait.
    pub(crate) fn ticket(self: &Arc<Self>, user: &Arc<str>) -> Result<Ticket, Status> {
        let called = self.ask(user)?;
        Ok(Ticket { fair: Arc::clone(self), user: Arc::clone(user), called, is_used: false })
    }

    /// Takes a seat, or a place in the queue.
    fn ask(&self, user: &Arc<str>) -> Result<Option<oneshot::Receiver<()>>, Status> {
        let limits = &self.limits;
        let mut state = self.state();
        let state = &mut *state;
        let free = state.taken < limits.requests_max;
        let of = state.users.entry(Arc::clone(user)).or_default();
        if free && self.has_room(of, state.untaken) && of.queue.is_empty() {
            of.taken += 1;
            state.taken += 1;
            return Ok(None);
        }
        if of.queue.len() >= limits.queue_per_user_max || state.waiting >= limits.queue_max {
            forget_idle(state, user);
            return Err(too_many());
        }
        let (call, called) = oneshot::channel();
        if of.queue.is_empty() {
            state.order.push_back(Arc::clone(user));
        }
        of.queue.push_back(call);
        self.count_waiting(state, 1);
        Ok(Some(called))
    }

    /// Whether a user may begin another request, as far as their own go.
    fn has_room(&self, of: &OfUser, untaken: usize) -> bool {
        let limits = &self.limits;
        let is_heavy = of.untaken > 0 && untaken >= limits.untaken_bytes_max;
        of.taken < limits.requests_per_user_max
            && of.untaken < limits.untaken_bytes_per_user_max
            && !is_heavy
    }

    fn count_untaken(&self, user: &Arc<str>, bytes: usize) {
        let mut state = self.state();
        state.untaken = state.untaken.saturating_add(bytes);
        if let Some(of) = state.users.get_mut(user) {
            of.untaken = of.untaken.saturating_add(bytes);
        }
    }

    fn forget_untaken(&self, user: &Arc<str>, bytes: usize) {
        let mut state = self.state();
        let state = &mut *state;
        state.untaken = state.untaken.saturating_sub(bytes);
        if let Some(of) = state.users.get_mut(user) {
            of.untaken = of.untaken.saturating_sub(bytes);
        }
        self.call_next(state);
        forget_idle(state, user);
    }

    fn leave(&self, user: &Arc<str>) {
        let mut state = self.state();
        let state = &mut *state;
        state.taken = state.taken.saturating_sub(1);
        if let Some(of) = state.users.get_mut(user) {
            of.taken = of.taken.saturating_sub(1);
        }
        self.call_next(state);
        forget_idle(state, user);
    }

    /// Gives free seats to those who wait, to the user with the fewest first.
    fn call_next(&self, state: &mut State) {
        while state.taken < self.limits.requests_max {
            let next = state.order.iter().enumerate().filter_map(|(at, user)| {
                let of = state.users.get(user)?;
                self.has_room(of, state.untaken).then_some((of.taken, at))
            });
            let next = next.min();
            let Some((_, at)) = next else { return };
            let Some(user) = state.order.remove(at) else { return };
            let Some(of) = state.users.get_mut(&user) else { continue };
            let call = of.queue.pop_front();
            let called = call.is_some_and(|call| call.send(()).is_ok());
            if called {
                of.taken += 1;
                state.taken += 1;
            }
            if !of.queue.is_empty() {
                state.order.push_back(Arc::clone(&user));
            }
            self.count_waiting(state, -1);
            forget_idle(state, &user);
        }
    }

    /// Takes those who have given up waiting out of a user's queue.
    fn forget_gone(&self, user: &Arc<str>) {
        let mut state = self.state();
        let state = &mut *state;
        let Some(of) = state.users.get_mut(user) else { return };
        let before = of.queue.len();
        of.queue.retain(|call| !call.is_closed());
        let gone = before - of.queue.len();
        if of.queue.is_empty() {
            state.order.retain(|known| known != user);
        }
        self.count_waiting(state, -isize::try_from(gone).unwrap_or(isize::MAX));
        forget_idle(state, user);
    }

    fn count_waiting(&self, state: &mut State, by: isize) {
        state.waiting = state.waiting.saturating_add_signed(by);
        self.waiting.store(state.waiting, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing is kept of a user who neither works nor waits.
fn forget_idle(state: &mut State, user: &Arc<str>) {
    if state.users.get(user).is_some_and(OfUser::is_idle) {
        state.users.remove(user);
    }
}

/// The refusal of one who would have to wait where there is no room for it.
pub(crate) fn too_many() -> Status {
    Status::new(Reason::TooManyRequests, "too many requests, please try again later")
}

#[cfg(test)]
mod tests;
