//! The load path on what strangers upload: each step refuses by name, and a good component passes by every way.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use quadrille_component::{
    CallLimits, CompileLimits, CompileMode, ComponentEngine, LoadConfig, LoadError, Loader,
    PluginLog,
};
use quadrille_guests::{Guest, bombs, hostile};
use quadrille_kit::{SeededRandom, Supervisor, SystemClock};

/// One engine per process, with its epoch moving.
static ENGINE: LazyLock<(ComponentEngine, Supervisor)> = LazyLock::new(|| {
    let engine = ComponentEngine::build().expect("the machine has an engine");
    let supervisor = Supervisor::default();
    engine.run(&supervisor).expect("the machine has a thread");
    (engine, supervisor)
});

fn in_child() -> CompileMode {
    CompileMode::Child { program: env!("CARGO_BIN_EXE_compile-child").into(), args: Vec::new() }
}

fn loader(dir: &Path, compile: CompileMode) -> Loader {
    loader_with(LoadConfig::new(dir.join("code"), compile))
}

fn loader_with(config: LoadConfig) -> Loader {
    let clock = Arc::new(SystemClock::default());
    Loader::build(config, ENGINE.0.clone(), clock, &SeededRandom::new(1))
        .expect("the directory is writable")
}

async fn refusal(loader: &Loader, bytes: &[u8]) -> LoadError {
    let log = Arc::new(PluginLog::default());
    loader
        .load(bytes, log)
        .await
        .map(|loaded| loaded.digest().clone())
        .expect_err("it must be refused")
}

#[tokio::test]
async fn every_bad_file_is_refused_by_its_own_name() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let loader = loader(dir.path(), CompileMode::InProcess);
    for (name, bytes, reason) in hostile::refused() {
        let error = refusal(&loader, &bytes).await;
        assert_eq!(error.reason(), reason, "{name}: {error}");
        assert!(error.is_refusal(), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_refusal_names_the_import_and_says_what_to_do() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let loader = loader(dir.path(), CompileMode::InProcess);
    let text = async |name: &str| {
        let corpus = hostile::refused();
        let (_, bytes, _) = corpus.iter().find(|(n, ..)| *n == name).expect("it is in the corpus");
        refusal(&loader, bytes).await.to_string()
    };
    assert!(text("core-module").await.contains("env.abort, env.seed"));
    assert!(text("foreign-import").await.contains("acme:secrets/vault@1.0.0"));
    assert!(text("later-wasi").await.contains("wasi:filesystem/preopens@0.3.0"));
    assert!(text("wrong-world").await.contains("it exports wasi:cli/run@0.2.6"));
    assert!(
        text("wrong-type").await.contains("controller@0.1.0#describe has the type func() -> u32")
    );
    assert!(text("text").await.contains("it begins with \"#!/bin/sh"));
}

#[tokio::test]
async fn a_component_over_the_size_is_refused_with_both_sizes() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let config = LoadConfig::new(dir.path().join("code"), CompileMode::InProcess);
    let loader = loader_with(LoadConfig { component_bytes_max: 1_000, ..config });
    let bytes = Guest::default().build();
    let error = refusal(&loader, &bytes).await.to_string();
    assert!(error.contains(&bytes.len().to_string()) && error.contains("1000"), "{error}");
}

#[tokio::test]
async fn attacks_in_describe_are_stopped_and_named() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let config = LoadConfig::new(dir.path().join("code"), CompileMode::InProcess);
    let cpu_max = Duration::from_millis(200);
    let describe_limits = CallLimits { cpu_max, host_calls_max: 1_000, ..CallLimits::default() };
    let loader = loader_with(LoadConfig { describe_limits, ..config });
    for (name, bytes, words) in hostile::bad_at_describe() {
        let error = refusal(&loader, &bytes).await;
        assert!(error.to_string().contains(words), "{name}: {error}");
        assert!(error.is_refusal(), "{name}: {error}");
    }
    let log = Arc::new(PluginLog::default());
    loader.load(&Guest::default().build(), log).await.expect("a good neighbour still loads");
}

#[tokio::test]
async fn a_component_compiled_in_the_child_runs_and_is_found_again() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let loader = loader(dir.path(), in_child());
    let bytes = Guest::reads_and_writes().build();
    let log = Arc::new(PluginLog::default());
    let loaded = loader.load(&bytes, Arc::clone(&log)).await.expect("it is good");
    assert_eq!(&*loaded.description().controllers[0].name, "guest");
    let again = loader.load_cached(loaded.digest(), bytes.len(), log).await.expect("it is good");
    assert_eq!(again.expect("it is in the cache").digest(), loaded.digest());
}

#[tokio::test]
async fn a_changed_file_of_compiled_code_is_never_mapped() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let loader = loader(dir.path(), CompileMode::InProcess);
    let bytes = Guest::default().build();
    let log = Arc::new(PluginLog::default());
    let loaded = loader.load(&bytes, Arc::clone(&log)).await.expect("it is good");
    let code =
        std::fs::read_dir(dir.path().join("code")).expect("the cache is a directory").flatten();
    let code = code.map(|e| e.path()).find(|p| p.extension().is_some_and(|e| e == "cwasm"));
    let code = code.expect("the code was kept");
    let mut changed = std::fs::read(&code).expect("it is readable");
    let last = changed.len() - 1;
    changed[last] ^= 1;
    std::fs::write(&code, changed).expect("it is writable");
    let cached = loader.load_cached(loaded.digest(), bytes.len(), Arc::clone(&log)).await;
    assert!(cached.expect("a changed file is no error").is_none());
    assert!(!code.exists(), "the changed file is deleted");
    loader.load(&bytes, log).await.expect("it is compiled again");
}

#[tokio::test]
async fn a_compile_bomb_is_stopped_by_the_childs_limits() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let config = LoadConfig::new(dir.path().join("code"), in_child());
    let compile_limits = CompileLimits {
        memory_bytes_max: 512 << 20,
        cpu_max: Duration::from_secs(2),
        wall_max: Duration::from_secs(20),
        ..CompileLimits::default()
    };
    let hurried = loader_with(LoadConfig { compile_limits, ..config });
    let error = refusal(&hurried, &bombs::compile_bomb()).await;
    assert_eq!(error.reason(), "CompileLimit", "{error}");
    let log = Arc::new(PluginLog::default());
    let unhurried = loader(dir.path(), in_child());
    unhurried.load(&Guest::default().build(), log).await.expect("a good component still compiles");
}

#[tokio::test]
async fn a_compiler_that_is_missing_is_the_hosts_fault() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let missing = CompileMode::Child { program: dir.path().join("nothing"), args: Vec::new() };
    let error = refusal(&loader(dir.path(), missing), &Guest::default().build()).await;
    assert_eq!(error.reason(), "CompilerUnavailable");
    assert!(!error.is_refusal());
}
