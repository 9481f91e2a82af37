//! Policy: who a token says someone is, and what plugins say of a message.
//!
//! Plugins are WebAssembly components, called inline on the shard that a request came in on: one instance per plugin
//! and shard, reused from call to call, dropped after any failure. This is the only place that names wasmtime or
//! jsonwebtoken. It must not know rooms, connections or the store: it gets texts and answers with a verdict.

mod bindings;
mod chain;
mod engine;
mod instance;
mod jwt;
mod precompiled;
mod signing;

pub use chain::{Body, Chain, Filtered, Question};
pub use engine::{LoadError, Plugins, check};
pub use jwt::{Authenticator, Identity, KeyError, TokenError};
pub use signing::{SigningError, sign};
