//! The host's side of the WIT package, generated.

#![allow(missing_docs, unreachable_pub, clippy::all, rust_2018_idioms, reason = "generated code")]

wasmtime::component::bindgen!({
    path: "wit",
    world: "message-filter-plugin",
    // What is passed in is borrowed, so that a call copies a body once: into the guest.
    ownership: Borrowing { duplicate_if_necessary: true },
});
