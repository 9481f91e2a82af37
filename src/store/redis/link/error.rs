//! Why a call was not done, and whether that is sure.

use deadpool_redis::redis::{ErrorKind, RedisError, ServerErrorKind};
use thiserror::Error;

/// Why there is no answer of the kind that was hoped for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LinkError {
    /// Too many calls wait. Nothing was done.
    #[error("too many calls wait for Redis")]
    Busy,
    /// Nothing was done: it was never sent, or sent to where it is not done.
    #[error("not sent to Redis: {0}")]
    NotSent(Fault),
    /// It may have been done, or be done later.
    #[error("whether Redis did it is unknown: {0}")]
    Unknown(Fault),
    /// Redis answers that it does not do it. A script may have done what stands before the place that failed.
    #[error("Redis refuses: {0}")]
    Refused(Refusal),
}

/// What is wrong with the way to Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// Nobody answers there.
    #[error("nobody is there")]
    Away,
    /// There was no answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// A later call of the same lane was done meanwhile, so this one no longer can be in its place.
    #[error("overtaken by a later call")]
    Overtaken,
    /// A cluster sends it from one server to the next.
    #[error("sent from server to server")]
    Moved,
    /// The link ends with the process.
    #[error("the link is closed")]
    Closed,
}

/// What Redis says no with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It is a replica, or cannot write its disk.
    #[error("it takes no writes: {0}")]
    ReadOnly(String),
    /// It reads its data, runs a script that does not end, or its cluster is not whole.
    #[error("it is not ready: {0}")]
    NotReady(String),
    /// Its memory is full.
    #[error("its memory is full: {0}")]
    Full(String),
    /// It has fewer replicas than it wants.
    #[error("it has too few replicas: {0}")]
    NoReplicas(String),
    /// The user may not do that.
    #[error("no permission: {0}")]
    Denied(String),
    /// The script or the command says so itself. The first word, and the rest.
    #[error("{0} {1}")]
    Said(String, String),
}

/// What an error of the library means for the call that got it.
pub(super) enum Meaning {
    /// The server does not know the script.
    NoScript,
    /// Another server has the slot: which.
    Moved(String),
    /// Another server has the key, for this once.
    Ask(String),
    /// The slot is on its way, and only some of the keys are where they were.
    TryAgain,
    /// An answer.
    Refused(Refusal),
    /// The connection is gone.
    Lost,
}

impl Meaning {
    pub(super) fn of(error: &RedisError) -> Self {
        let text = error.detail().unwrap_or_default().to_owned();
        let server = || error.redirect_node().map(|(address, _)| address.to_owned()).unwrap_or_default();
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::NoScript) => Self::NoScript,
            ErrorKind::Server(ServerErrorKind::Moved) => Self::Moved(server()),
            ErrorKind::Server(ServerErrorKind::Ask) => Self::Ask(server()),
            ErrorKind::Server(ServerErrorKind::TryAgain) => Self::TryAgain,
            ErrorKind::Server(_) | ErrorKind::Extension => {
                Self::Refused(Refusal::of(error.code().unwrap_or("ERR"), text))
            }
            _ => Self::Lost,
        }
    }
}

impl Refusal {
    fn of(code: &str, text: String) -> Self {
        // Before version 7 what a script met is said inside its own error.
        let code = match code {
            "ERR" => ["OOM", "READONLY", "NOREPLICAS", "MISCONF", "NOPERM"]
                .into_iter()
                .find(|inner| text.contains(&format!(": -{inner} ")))
                .unwrap_or(code),
            other => other,
        };
        match code {
            "READONLY" => Self::ReadOnly(text),
            "MISCONF" => Self::ReadOnly(format!("MISCONF {text}")),
            "LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" => Self::NotReady(text),
            "OOM" => Self::Full(text),
            "NOREPLICAS" => Self::NoReplicas(text),
            "NOPERM" | "NOAUTH" | "WRONGPASS" => Self::Denied(text),
            other => Self::Said(other.to_owned(), text),
        }
    }
}
