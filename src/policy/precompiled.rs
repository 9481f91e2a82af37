//! Stand-in until the branch lands.
use std::path::Path;
use wasmtime::Engine;
use wasmtime::component::Component;
pub(super) struct Cache;
impl Cache {
    pub(super) fn open(_directory: &Path) -> Self {
        Self
    }
    pub(super) fn component(
        &self,
        engine: &Engine,
        wasm: &[u8],
        _digest: &[u8; 32],
    ) -> Result<Component, wasmtime::Error> {
        Component::new(engine, wasm)
    }
}
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut d = [0u8; 32];
    for (i, b) in bytes.iter().enumerate() {
        if let Some(x) = d.get_mut(i % 32) {
            *x = x.wrapping_mul(31).wrapping_add(*b);
        }
    }
    d
}
