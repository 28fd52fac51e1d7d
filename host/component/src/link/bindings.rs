//! What wasmtime generates from the contract: traits for the host functions, types, the exports' callers.
wasmtime::component::bindgen!({
    path: "../../wit",
    world: "quadrille:controller/controller-plugin",
    imports: { default: trappable },
    exports: { default: async },
});
