//! Stentor's bundled access list: who may do what in which rooms, by the user's id and attributes.
//!
//! The list itself is plain Rust and knows nothing of WebAssembly, so its tests run on the machine that builds. Only
//! `guest` knows the interface to the server. The keys of the configuration are described for operators in
//! `plugins/README.md`.

mod acl;
mod action;
mod condition;
mod config;
#[cfg(target_arch = "wasm32")]
mod guest;
mod pattern;

pub use acl::{Acl, Decision, Person};
pub use action::Action;
pub use operator_config::ConfigError;
