//! Components that cost a compiler or a decoder far more than their size, and components that are broken in any way:
//! refused by name in bounded time and memory, and the next good one loads.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use quadrille_component::{
    CallLimits, CompileLimits, CompileMode, ComponentEngine, LoadConfig, Loader, PluginLog,
};
use quadrille_guests::{Guest, bombs};
use quadrille_kit::{Clock as _, Random as _, SeededRandom, Supervisor, SystemClock};

/// What the test's own process may grow by while it refuses all bombs, mutants beside them.
const GROWTH_MAX: u64 = 64 << 20;

/// What each bomb comes to. What the compiler bears within its limits is no bomb: how much that is depends on the machine.
const OUTCOMES: [(&str, &[&str]); 10] = [
    ("branch-table", &["loaded", "CompileLimit"]),
    ("data", &["CompileLimit", "DescribeFailed"]),
    ("locals-and-blocks", &["CompileLimit"]),
    ("long-expression", &["loaded", "CompileLimit"]),
    ("many-functions", &["loaded", "CompileLimit"]),
    ("many-imports", &["Malformed"]),
    ("nested-components", &["MissingExport"]),
    ("nested-loops", &["CompileLimit"]),
    ("nested-types", &["Malformed"]),
    ("wide-types", &["Malformed"]),
];

static ENGINE: LazyLock<(ComponentEngine, Supervisor)> = LazyLock::new(|| {
    let engine = ComponentEngine::build().expect("the machine has an engine");
    let supervisor = Supervisor::default();
    engine.run(&supervisor).expect("the machine has a thread");
    (engine, supervisor)
});

fn loader(dir: &Path, compile: CompileMode) -> Loader {
    let config = LoadConfig::new(dir.join("code"), compile);
    let compile_limits = CompileLimits {
        memory_bytes_max: 512 << 20,
        cpu_max: Duration::from_secs(1),
        ..CompileLimits::default()
    };
    let describe_limits =
        CallLimits { cpu_max: Duration::from_millis(100), ..CallLimits::default() };
    loader_with(LoadConfig { compile_limits, describe_limits, ..config })
}

fn loader_with(config: LoadConfig) -> Loader {
    let clock = Arc::new(SystemClock::default());
    Loader::build(config, ENGINE.0.clone(), clock, &SeededRandom::new(1))
        .expect("the directory is writable")
}

/// The highest resident memory of this process so far.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the peak");
    line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).expect("a number") << 10
}

#[tokio::test]
async fn every_bomb_is_refused_and_costs_the_host_nothing() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let program = env!("CARGO_BIN_EXE_compile-child").into();
    let in_child = CompileMode::Child { program, args: Vec::new() };
    let loader = loader(dir.path(), in_child.clone());
    let clock = SystemClock::default();
    let bombs = bombs::all();
    let before = peak();
    let mut outcomes = BTreeMap::new();
    for (name, bytes) in bombs {
        let begun = clock.monotonic();
        let outcome = loader.load(&bytes, Arc::new(PluginLog::default())).await;
        let outcome = outcome.map(|_| ()).map_err(|error| {
            assert!(error.is_refusal(), "{name}: {error}");
            (error.reason(), error.to_string().chars().take(150).collect::<String>())
        });
        println!(
            "{name}, {} KiB: {outcome:?}, {} ms",
            bytes.len() >> 10,
            clock.monotonic().saturating_sub(begun).as_millis()
        );
        let outcome = outcome.map_or_else(|(reason, _)| reason, |()| "loaded");
        outcomes.insert(name, outcome);
    }
    let names: Vec<&str> = outcomes.keys().copied().collect();
    assert_eq!(names, OUTCOMES.map(|(name, _)| name));
    for (name, allowed) in OUTCOMES {
        assert!(
            allowed.contains(&outcomes[name]),
            "{name}: {} instead of {allowed:?}",
            outcomes[name]
        );
    }
    let grown = peak().saturating_sub(before);
    println!("the process grew by {} MiB", grown >> 20);
    assert!(grown < GROWTH_MAX, "{} MiB", grown >> 20);
    // What a slow machine takes for a good one is not what the bombs are given.
    let unhurried = loader_with(LoadConfig::new(dir.path().join("code"), in_child));
    let good = unhurried.load(&Guest::default().build(), Arc::new(PluginLog::default())).await;
    good.expect("a good component still loads");
}

/// One mutation of a component: bytes flipped, cut out, doubled, moved, or lengths made large.
fn mutated(bytes: &[u8], random: &SeededRandom) -> Vec<u8> {
    let below = |n: usize| usize::try_from(random.next_u64() % n.max(1) as u64).expect("small");
    let mut out = bytes.to_vec();
    for _ in 0..=below(4) {
        let (at, length) = (8 + below(out.len().saturating_sub(9)), 1 + below(64));
        let end = (at + length).min(out.len());
        match below(7) {
            0 => out[at] ^= 1 << below(8),
            1 => out[at] = u8::try_from(below(256)).expect("a byte"),
            2 => out.truncate(at.max(9)),
            3 => drop(out.drain(at..end)),
            4 => {
                let piece = out[at..end].to_vec();
                drop(out.splice(at..at, piece));
            }
            5 => {
                let piece = out[at..end].to_vec();
                let to = 8 + below(out.len() - 8);
                drop(out.splice(to..to, piece));
            }
            _ => drop(out.splice(at..end, [0xff, 0xff, 0xff, 0xff, 0x0f])),
        }
        if out.len() < 16 {
            break;
        }
    }
    out
}

/// `QUADRILLE_MUTANTS=N` tries as many.
#[tokio::test]
async fn mutants_of_good_components_are_refused_or_run_within_their_limits() {
    let count = std::env::var_os("QUADRILLE_MUTANTS").and_then(|n| n.to_str()?.parse().ok());
    let count: u64 = count.unwrap_or(600);
    let dir = tempfile::tempdir().expect("temporary directories work");
    let loader = loader(dir.path(), CompileMode::InProcess);
    let parents = [
        Guest::default().build(),
        Guest::reads_and_writes().build(),
        Guest { texts: vec![("patch", "{}".to_owned())], ..Guest::stamps() }.build(),
    ];
    let mut reasons = BTreeMap::<&str, usize>::new();
    for seed in 0..count {
        let random = SeededRandom::new(seed);
        let parent = &parents[usize::try_from(seed).expect("small") % parents.len()];
        let bytes = mutated(parent, &random);
        let outcome = loader.load(&bytes, Arc::new(PluginLog::default())).await;
        let reason = match &outcome {
            Ok(loaded) => {
                loader.forget(loaded.digest());
                "loaded"
            }
            Err(error) => {
                assert!(error.is_refusal(), "seed {seed}: {error}");
                error.reason()
            }
        };
        *reasons.entry(reason).or_default() += 1;
    }
    println!("{count} mutants: {reasons:?}");
    assert!(reasons.len() >= 3, "they fail in different places: {reasons:?}");
}
