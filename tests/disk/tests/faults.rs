//! Errors and a full disk at every call of a fixed life: what was acknowledged stays, what was refused never appears, reads go
//! on, and service resumes by itself. `QUADRILLE_DISK_FAULTS=1` takes every call instead of a sample.

use quadrille_disk::workload::{self, Tally};
use quadrille_disk::{Life, Plan};

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

/// What goes wrong at a call.
type Planned = fn(u64) -> Plan;

fn step(short: usize) -> usize {
    if std::env::vars().any(|(name, _)| name == "QUADRILLE_DISK_FAULTS") { 1 } else { short }
}

/// Made, worked on, shrunk, closed, opened, worked on. Commits may be refused; everything else has to hold.
async fn fixed_life(life: &mut Life) -> Result<(), String> {
    for _ in 0..2 {
        let mut opened = workload::open(workload::config(&life.disk)).await;
        if opened.is_err() {
            // Opening may fail while the disk does, and must work when it does again.
            life.disk.heal();
            opened = workload::open(workload::config(&life.disk)).await;
        }
        let store = opened.map_err(|error| workload::chain(&error))?;
        for n in 0..20 {
            if n == 12 {
                // It may be refused; nothing depends on it.
                drop(store.shrink().await);
            }
            life.commit(&store).await?;
            life.world.compare(&store)?;
        }
        life.disk.heal();
        resume(life, &store).await?;
        life.compare(&store).await?;
        store.close().await;
    }
    Ok(())
}

/// Commits until one is taken: the disk works again, so that has to be the next, or the one after what the last error left.
async fn resume(life: &mut Life, store: &quadrille_store::Store) -> Result<(), String> {
    for _ in 0..2 {
        if life.commit(store).await? {
            return Ok(());
        }
    }
    Err("it does not take commits again".to_owned())
}

#[test]
fn a_fault_at_any_call_loses_nothing_and_service_resumes() {
    let mut whole = Life::new(3);
    run(fixed_life(&mut whole)).expect("nothing goes wrong");
    let calls = whole.disk.calls();
    let faults: [(&str, Planned); 5] = [
        ("one error", |n| Plan::errors(n, 1)),
        ("three errors", |n| Plan::errors(n, 3)),
        ("forty errors", |n| Plan::errors(n, 40)),
        ("full once", |n| Plan::full(n, 1)),
        ("full for long", |n| Plan::full(n, 60)),
    ];
    for (name, plan) in faults {
        let (mut total, mut points) = (Tally::default(), 0);
        for n in (1..=calls).step_by(step(23)) {
            let mut life = Life::new(3);
            life.disk.plan(plan(n));
            let outcome = run(async {
                fixed_life(&mut life).await?;
                // And after the next crash it is still so: what a failed flush left behind is not believed.
                life.disk.cut_power();
                let store = life.open(true).await?;
                life.compare(&store).await
            });
            assert_eq!(outcome, Ok(()), "A6: {name} at call {n}");
            points += 1;
            total.add(life.tally);
        }
        println!("{name} at {points} of {calls} calls: {total:?}; lost 0, wrong 0, stuck 0");
    }
}

#[test]
fn a_crash_after_any_fault_leaves_what_was_acknowledged() {
    let mut whole = Life::new(5);
    run(fixed_life(&mut whole)).expect("nothing goes wrong");
    let calls = whole.disk.calls();
    for n in (1..=calls).step_by(step(31)) {
        let mut life = Life::new(5);
        life.disk.plan(Plan::errors(n, 2));
        let outcome = run(async {
            if let Ok(store) = workload::open(workload::config(&life.disk)).await {
                for _ in 0..20 {
                    if !life.commit(&store).await? {
                        break;
                    }
                }
            }
            life.disk.cut_power();
            let store = life.open(true).await?;
            life.compare(&store).await
        });
        assert_eq!(outcome, Ok(()), "errors at call {n}");
    }
}
