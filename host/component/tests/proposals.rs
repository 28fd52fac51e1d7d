//! What WebAssembly has beyond what guests need is refused before anything of it runs: most faults of engines are in
//! there.

use std::sync::Arc;

use quadrille_component::{CompileMode, ComponentEngine, LoadConfig, Loader, PluginLog};
use quadrille_guests::Guest;
use quadrille_kit::{SeededRandom, SystemClock};

/// Each proposal with a definition that is only valid with it.
const REFUSED: [(&str, &str); 9] = [
    ("memory64", "(memory $far i64 1)"),
    ("multi-memory", "(memory $other 1)"),
    ("threads", "(memory $shared 1 1 shared)"),
    ("tail-call", "(func $again (return_call $again))"),
    (
        "relaxed-simd",
        "(func $vague (param v128 v128 v128) (result v128)
            (f32x4.relaxed_madd (local.get 0) (local.get 1) (local.get 2)))",
    ),
    ("gc", "(type $record (struct (field i32)))"),
    ("exceptions", "(tag $thrown (param i32))"),
    (
        "wide-arithmetic",
        "(func $wide (param i64 i64 i64 i64) (result i64 i64)
            (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3)))",
    ),
    ("custom-page-sizes", "(memory $small 1 (pagesize 1))"),
];

fn guest(definition: &str) -> Vec<u8> {
    Guest { definitions: definition.to_owned(), ..Guest::default() }.build()
}

#[tokio::test]
async fn no_proposal_that_guests_do_not_need_is_taken() {
    let dir = tempfile::tempdir().expect("temporary directories work");
    let engine = ComponentEngine::build().expect("the machine has an engine");
    let (clock, random) = (Arc::new(SystemClock::default()), SeededRandom::new(1));
    let config = LoadConfig::new(dir.path().join("code"), CompileMode::InProcess);
    let loader = Loader::build(config, engine, clock, &random).expect("a directory");
    let load = async |bytes: Vec<u8>| {
        let loaded = loader.load(&bytes, Arc::new(PluginLog::default())).await;
        loaded.map(|loaded| loaded.digest().clone())
    };
    load(guest("(func $plain (param i32))")).await.expect("what guests are made of");
    for (name, definition) in REFUSED {
        let error = load(guest(definition)).await.expect_err(name);
        assert!(error.is_refusal(), "{name}: {error}");
    }
}
