//! Policy: who a connection is, what it may do, and what plugins say of a message.
//!
//! Plugins are WebAssembly components of two worlds. Message filters (`chain`) never wait: they are called inline on the
//! shard that a request came in on, one instance per plugin and shard. Auth plugins (`auth`, `pool`) may take their time:
//! they are called on threads of their own, and the answer comes back by a call. Whatever a guest does, its instance is
//! dropped after any failure, what fails too often is left alone for a while (`quarantine`), and making or ending an
//! instance never happens on a shard (`builder`).
//!
//! This is the only place that names wasmtime or jsonwebtoken. It must not know connections or the store: it gets texts
//! and answers with a verdict.

mod auth;
mod bindings;
mod builder;
mod chain;
mod clock;
mod engine;
mod host;
mod identity;
mod instance;
mod jwk;
mod jwt;
mod load;
mod overtime;
mod plugin;
mod policies;
mod pool;
mod precompiled;
mod published;
mod quarantine;
mod refresh;
mod revocations;
mod signing;
mod verdict;

pub use crate::config::JWKS_BYTES_MAX;
pub use auth::Auth;
pub use chain::{Body, Chain, Filtered, Question};
pub use host::Forget;
pub use identity::{Attribute, Identity};
pub use jwk::JwksFault;
pub use jwt::{Authenticator, KeyError, TokenError};
pub use load::LoadError;
pub use policies::{Generation, Policies, check};
pub use refresh::Refresh;
pub use revocations::{Full, Prolonged, Revocations, Revoked};
pub use signing::{SigningError, sign};
pub use verdict::{Action, AuthError, Credentials, Decision, Denial, NotAllowed, Who};
