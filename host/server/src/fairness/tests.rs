//! Who gets the next seat.

use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt as _;
use quadrille_kit::ManualClock;

use super::*;

fn fair() -> (Arc<Fair>, Arc<ManualClock>) {
    let limits = Limits {
        requests_max: 4,
        requests_per_user_max: 3,
        queue_per_user_max: 5,
        queue_max: 8,
        queue_wait: Duration::from_secs(5),
        ..Limits::default()
    };
    let clock = Arc::new(ManualClock::default());
    let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    (Arc::new(Fair::new(limits, shared)), clock)
}

/// A seat, where there is one at once.
fn at_once(fair: &Arc<Fair>, user: &Arc<str>) -> Option<Seat> {
    let ticket = fair.ticket(user).expect("the queue is not full");
    ticket.seat().now_or_never().map(|seat| seat.expect("a seat"))
}

#[test]
fn a_greedy_user_leaves_room_and_the_next_free_seat_to_others() {
    let (fair, _) = fair();
    let (greedy, modest): (Arc<str>, Arc<str>) = ("greedy".into(), "modest".into());
    let [one, _two, _three] = [(); 3].map(|()| at_once(&fair, &greedy).expect("it is free"));
    let ticket = |user| fair.ticket(user).expect("the queue is not full");
    let mut queued: Vec<_> = (0..5).map(|_| Box::pin(ticket(&greedy).seat())).collect();
    for seat in &mut queued {
        assert!(seat.now_or_never().is_none(), "beyond the user's share one waits");
    }
    assert_eq!(fair.ticket(&greedy).expect_err("the queue is full").code, 429);
    let first = at_once(&fair, &modest).expect("a seat is left");
    let mut second = Box::pin(ticket(&modest).seat());
    assert!((&mut second).now_or_never().is_none(), "all seats are taken");
    drop(one);
    let second = second.now_or_never().expect("the one with fewer is next").expect("a seat");
    assert!((&mut queued[0]).now_or_never().is_none());
    drop((first, second));
    assert!((&mut queued[0]).now_or_never().is_some(), "then the others");
}

#[tokio::test]
async fn who_gives_up_waiting_costs_nobody_a_seat() {
    let (fair, clock) = fair();
    let user: Arc<str> = "greedy".into();
    let [one, two] = [(); 2].map(|()| at_once(&fair, &user).expect("a seat is free"));
    let unused = fair.ticket(&user).expect("a seat is free");
    let wait = || Box::pin(fair.ticket(&user).expect("there is room").seat());
    let (mut gone, mut late, mut called) = (wait(), wait(), wait());
    for seat in [&mut gone, &mut late, &mut called] {
        assert!(seat.now_or_never().is_none());
    }
    drop(gone);
    clock.advance(Duration::from_secs(6));
    assert_eq!(late.await.expect_err("it took too long").code, 429);
    // This one is called, and gives up before it looks.
    drop(one);
    drop(called);
    drop((two, unused));
    let state = fair.state();
    assert_eq!((state.taken, state.waiting, state.users.len()), (0, 0, 0));
}

#[test]
fn who_leaves_too_much_untaken_waits_until_it_is_taken() {
    let limits =
        Limits { untaken_bytes_per_user_max: 100, untaken_bytes_max: 150, ..Limits::default() };
    let fair = Arc::new(Fair::new(limits, Arc::new(ManualClock::default())));
    let users: [Arc<str>; 3] = ["slow", "other", "third"].map(Arc::from);
    let [slow, other, third] = &users;
    let ticket = |user| Box::pin(fair.ticket(user).expect("there is room").seat());
    let leave = |user, bytes| at_once(&fair, user).expect("a seat").leave_with(bytes);
    assert!(leave(slow, 0).is_none(), "what is short does not count");
    let (first, second) = (leave(slow, 60), leave(slow, 60));
    let mut waiting = ticket(slow);
    assert!((&mut waiting).now_or_never().is_none(), "120 bytes are too many");
    let of_other = leave(other, 40);
    let mut waiting_other = ticket(other);
    assert!((&mut waiting_other).now_or_never().is_none(), "160 of all are too many");
    assert!(at_once(&fair, third).is_some(), "who has none does not wait");
    drop(first);
    assert!(waiting.now_or_never().is_some() && waiting_other.now_or_never().is_some());
    drop((second, of_other));
    let state = fair.state();
    assert_eq!((state.taken, state.untaken, state.users.len()), (0, 0, 0));
}

/// A seat to come.
type Waiting = Pin<Box<dyn Future<Output = Result<Seat, Status>>>>;

/// How many requests were finished before each of a user's requests had its seat, while another user keeps so many
/// waiting. Time is counted in finished requests, so the outcome is the same on any machine.
fn waits(user: &str, hostile: &str) -> Vec<usize> {
    const WAITING: usize = 60;
    let limits = Limits {
        requests_max: 8,
        requests_per_user_max: 8,
        queue_per_user_max: WAITING + 1,
        queue_max: 1000,
        ..Limits::default()
    };
    let fair = Arc::new(Fair::new(limits, Arc::new(ManualClock::default())));
    let (user, hostile): (Arc<str>, Arc<str>) = (user.into(), hostile.into());
    let ask =
        |user| -> Waiting { Box::pin(fair.ticket(user).expect("the queue is not full").seat()) };
    let (mut working, mut queued) = (VecDeque::new(), Vec::<Waiting>::new());
    let mut waits = Vec::new();
    for _ in 0..200 {
        let mut finished = 0;
        // The flood is always there first.
        let mut wanted = None;
        loop {
            queued.retain_mut(|seat| match seat.as_mut().now_or_never() {
                Some(seat) => {
                    working.push_back(seat.expect("a seat"));
                    false
                }
                None => true,
            });
            while queued.len() < WAITING {
                let mut seat = ask(&hostile);
                match seat.as_mut().now_or_never() {
                    Some(seat) => working.push_back(seat.expect("a seat")),
                    None => queued.push(seat),
                }
            }
            if let Some(seat) = wanted.get_or_insert_with(|| ask(&user)).as_mut().now_or_never() {
                // Answered; the next one is asked after it.
                drop(seat.expect("a seat"));
                break;
            }
            drop(working.pop_front());
            finished += 1;
        }
        waits.push(finished);
    }
    waits.sort_unstable();
    waits
}

#[test]
fn a_flood_costs_others_one_seat_of_waiting_and_without_queues_its_own_length() {
    let p99 = |waits: &[usize]| waits.get(waits.len() * 99 / 100).copied().expect("there are some");
    let polite = waits("polite", "hostile");
    assert!(p99(&polite) <= 1, "{polite:?}");
    // Everybody in one queue, as it were without them: the same requests wait for all that came before.
    let one_queue = waits("hostile", "hostile");
    assert!(p99(&one_queue) >= 60, "{one_queue:?}");
}
