//! Stentor's bundled content policy: which types of messages may be sent, what shape their content has, how long they
//! are, which words they may not use and where their links may lead.
//!
//! The policy itself is plain Rust and knows nothing of WebAssembly, so its tests run on the machine that builds.
//! Only `guest` knows the interface to the server. The rules, their keys and the codes of the refusals are described
//! for operators in `plugins/README.md`.

mod config;
#[cfg(target_arch = "wasm32")]
mod guest;
mod json;
mod links;
mod policy;
mod shape;
mod words;

pub use operator_config::ConfigError;
pub use policy::{Policy, Refusal, Verdict};
