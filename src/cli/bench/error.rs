//! Why a benchmark could not be run, or must not be believed. Causes are left to whoever prints the chain. Knows nothing
//! of how a benchmark is run.

use std::io;

/// What stops a benchmark, or forbids a conclusion from it.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A child process could not be started.
    #[error("cannot start {what}")]
    Start {
        /// Which child.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// A child process was not ready in time, or ended.
    #[error("{what} {problem}\n{output}")]
    NotReady {
        /// Which child.
        what: String,
        /// What was seen of it.
        problem: String,
        /// The end of what it wrote.
        output: String,
    },
    /// A system call failed.
    #[error("{what} failed")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Connections could not all be made, authenticated and joined.
    #[error("{ready} of {wanted} connections were ready: {problem}")]
    Connect {
        /// Those that were.
        ready: usize,
        /// Those that should have been.
        wanted: usize,
        /// What the first failed one met.
        problem: String,
    },
    /// `/metrics` or `/readyz` could not be read.
    #[error("the admin listener: {0}")]
    Admin(String),
    /// An option that makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A token could not be signed.
    #[error("cannot sign a token")]
    Token(#[from] crate::policy::SigningError),
    /// The machine is too busy: ratios would mean nothing.
    #[error(
        "DISTURBED: the floor reached {reached:.0} deliveries per CPU second in W1, below {wanted:.0}: \
         this machine is too busy or too slow for a comparison"
    )]
    Disturbed {
        /// What the floor reached.
        reached: f64,
        /// What it has to reach.
        wanted: f64,
    },
    /// Something accepted did not arrive exactly once.
    #[error("NOT EVERYTHING ARRIVED EXACTLY ONCE: {0}")]
    Inexact(String),
    /// The report could not be written as JSON.
    #[error("cannot write the report")]
    Json(#[from] serde_json::Error),
}

/// Names what was tried when a system call fails.
pub(super) fn failed(what: &'static str) -> impl FnOnce(io::Error) -> BenchError {
    move |source| BenchError::System { what, source }
}
