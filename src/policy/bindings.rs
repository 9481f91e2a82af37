//! The host's side of the WIT package, generated: one module for each world.

#![allow(missing_docs, unreachable_pub, clippy::all, rust_2018_idioms, reason = "generated code")]

/// The world of message filters, called inline on a shard.
pub(super) mod filter {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "message-filter-plugin",
        imports: { default: trappable },
        // What is passed in is borrowed, so that a call copies a body once: into the guest.
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

/// The world of auth plugins, called on a stack of their own.
pub(super) mod auth {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "auth-plugin",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "stentor:plugin/types": super::filter::stentor::plugin::types,
            "stentor:plugin/log": super::filter::stentor::plugin::log,
        },
    });
}
