//! Turns of plans and checks: one of them runs at a time, and few wait for theirs.
//!
//! Each takes a core and a copy of what the runtime knows, for minutes if it is told to, and holds a component meanwhile
//! that may be large. So there are few places, and nobody has all of them. Whoever gives up gives their place back; what
//! runs keeps it until it ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quadrille_registry::{Reason, Status};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many run or wait, of all users.
const PLACES: usize = 16;
/// The same of one user.
const PLACES_PER_USER: usize = 4;

/// Hands out places and turns; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Rehearsals(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    turn: Arc<Semaphore>,
    /// How many places each user has; those with none are not there.
    taken: Mutex<HashMap<Arc<str>, usize>>,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    of: Arc<Shared>,
    user: Arc<str>,
}

/// The one turn there is, over when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _permit: OwnedSemaphorePermit,
    _place: Place,
}

impl Default for Rehearsals {
    fn default() -> Self {
        let turn = Arc::new(Semaphore::new(1));
        Self(Arc::new(Shared { turn, taken: Mutex::default() }))
    }
}

impl Rehearsals {
    /// A place for one more.
    ///
    /// # Errors
    /// 429 when there is none, or the user has enough of them.
    pub(crate) fn place(&self, user: &Arc<str>) -> Result<Place, Status> {
        let mut taken = self.0.taken();
        let of_user = taken.get(user).copied().unwrap_or_default();
        if of_user >= PLACES_PER_USER || taken.values().sum::<usize>() >= PLACES {
            let message = "too many plans and checks wait already, please try again later";
            return Err(Status::new(Reason::TooManyRequests, message));
        }
        taken.insert(Arc::clone(user), of_user + 1);
        Ok(Place { of: Arc::clone(&self.0), user: Arc::clone(user) })
    }
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until it is their turn.
    ///
    /// # Errors
    /// 503 when there are no turns any more.
    pub(crate) async fn turn(self) -> Result<Turn, Status> {
        let permit = Arc::clone(&self.of.turn).acquire_owned().await;
        let ended = |_| Status::new(Reason::ServiceUnavailable, "the host plans nothing any more");
        Ok(Turn { _permit: permit.map_err(ended)?, _place: self })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken();
        if let Some(count) = taken.get_mut(&self.user) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn few_wait_one_runs_and_nobody_has_all_places() {
        let rehearsals = Rehearsals::default();
        let user = |number: usize| -> Arc<str> { format!("user-{number}").into() };
        let place = |number| rehearsals.place(&user(number));
        let mut places: Vec<Place> =
            (0..PLACES_PER_USER).map(|_| place(0).expect("there is room")).collect();
        assert_eq!(place(0).expect_err("these are enough for one").code, 429);
        let others = (PLACES_PER_USER..PLACES).map(|number| place(number / PLACES_PER_USER));
        places.extend(others.map(|place| place.expect("others have theirs")));
        assert_eq!(place(PLACES).expect_err("all are taken").code, 429);
        let first = places.remove(0).turn().now_or_never().expect("it is free").expect("a turn");
        let mut second = Box::pin(places.remove(0).turn());
        assert!((&mut second).now_or_never().is_none(), "one runs at a time");
        drop(first);
        assert!(place(PLACES).is_ok(), "who has run gives the place back");
        drop(second.now_or_never().expect("it is next").expect("a turn"));
        drop(places);
        assert!(rehearsals.0.taken().is_empty());
    }
}
