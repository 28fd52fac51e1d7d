//! Power cuts at every call and in every recovery: nothing acknowledged is lost, nothing appears that nobody wrote, and no
//! transaction is there in part. `QUADRILLE_DISK_SEEDS=N` runs as many lives.

use quadrille_disk::workload::Tally;
use quadrille_disk::{Lie, Life, Plan};

fn seeds(short: u64) -> u64 {
    let wanted = std::env::vars().find(|(name, _)| name == "QUADRILLE_DISK_SEEDS");
    wanted.and_then(|(_, value)| value.parse().ok()).unwrap_or(short)
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

#[test]
fn lives_with_power_cuts_lose_nothing() {
    let mut total = Tally::default();
    let lives = seeds(40);
    for seed in 0..lives {
        let mut life = Life::new(seed);
        if let Err(wrong) = run(life.rounds(8)) {
            panic!("seed {seed}: {wrong}; {:?}", life.tally);
        }
        total.add(life.tally);
    }
    println!("A3: {lives} lives: {total:?}; lost 0, phantom 0, torn 0, unopened 0");
    assert!(total.in_recovery > 0 && total.power_cuts > total.in_recovery);
}

/// A fixed life: made, worked on, compacted, shrunk, closed and opened again.
async fn fixed_life(life: &mut Life) -> Result<(), String> {
    for _ in 0..2 {
        let opened = quadrille_disk::workload::open(quadrille_disk::workload::config(&life.disk));
        let Ok(store) = opened.await else { return Ok(()) };
        for n in 0..20 {
            if n == 12 && store.shrink().await.is_err() {
                return Ok(());
            }
            if !life.commit(&store).await? {
                return Ok(());
            }
        }
        store.close().await;
    }
    Ok(())
}

#[test]
fn a_power_cut_at_any_call_leaves_what_was_acknowledged_or_in_flight() {
    let mut whole = Life::new(1);
    run(fixed_life(&mut whole)).expect("nothing goes wrong");
    let calls = whole.disk.calls();
    let step = if seeds(0) > 0 { 1 } else { 7 };
    let mut total = Tally::default();
    for cut in (1..=calls).step_by(step) {
        let mut life = Life::new(1);
        // The first boot counts from 0, so this is the call's number from the beginning of the disk.
        life.disk.plan(Plan::power_cut(cut));
        let outcome = run(async {
            fixed_life(&mut life).await?;
            life.tally.power_cuts += life.disk.power_cuts();
            let store = life.open(true).await?;
            life.compare(&store).await?;
            // And it goes on from there.
            if !life.commit(&store).await? {
                return Err("it takes no commits".to_owned());
            }
            life.compare(&store).await
        });
        assert_eq!(outcome, Ok(()), "cut at call {cut}");
        total.add(life.tally);
    }
    println!(
        "A2: {calls} calls, cut at each {step}.: {total:?}; lost 0, phantom 0, torn 0, unopened 0"
    );
}

#[test]
fn a_disk_that_lies_about_flushes_is_found_out() {
    let lives = seeds(40).min(400);
    let outcomes = (0..lives).map(|seed| {
        let mut life = Life::new(seed);
        life.disk.set_lie(Lie::HalfTheTime);
        // A lie may also make the engine panic; the store says that it is corrupt.
        run(life.rounds(8)).err()
    });
    let found: Vec<String> = outcomes.flatten().collect();
    println!("A2: {} of {lives} lives on a lying disk went wrong, as they must", found.len());
    assert!(found.len() as u64 > lives / 2, "the harness sees lost flushes: {found:?}");
}
