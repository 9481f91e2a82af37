//! What is kept in Redis, for many processes. The only place that names redis or deadpool.

mod link;

pub use link::{
    Address, Answer, Call, Fault, Heard, Held, Link, LinkError, Message, Preflight, Problem, Refusal, Script, Settings,
    SettingsError, Sky, Snapshot, StartError, Tls, TooManyChannels, Topology, Value, Wait, Weather,
};
