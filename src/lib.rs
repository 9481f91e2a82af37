//! # Stentor
//!
//! A realtime server for chat-like applications: rooms, messages with acknowledgements and history, over raw WebSocket
//! JSON. Its core is lean; its policies are plugins, WebAssembly components called in-process for a few
//! microseconds.
//!
//! This page is the architecture. The protocol is described in [`protocol`], the operator's surface in [`operations`],
//! and plugins in `plugins/README.md`.
//!
//! ## The way of a message
//!
//! ```text
//! socket ─ net: frame ─ session: message ─ wire: request ─ session: may it? ─ relay: one verb
//!                                                                     │ policy: has it the right?      (remembered, or asked)
//!                                                                     │ policy: plugins fold over it   (once, where it came in)
//!                                                                     │ store: append → seq            (the room's owner)
//!                 ack to the sender ◄─────────────────────────────────┤
//!                                                                     ▼
//!                     relay: encode once ─ every shard's hub: room's outbox ─ flush pass ─ direct write ─ sockets
//! ```
//!
//! One way, one direction. [`net`] turns bytes into messages. [`session`] decides whether a connection may do anything
//! at all. [`relay`] holds the verbs, one file each: read it to know the product. [`policy`] asks the plugins, [`store`]
//! gives every event its place in the room's log, [`hub`] writes it to whoever is live.
//!
//! ## Shards
//!
//! A shard is an OS thread with its own single-threaded runtime, its own connections, and for each room the dense list
//! of its own members. Its parts are plain values that only its own tasks touch, so there is no lock, allocation or
//! atomic per receiver. In the embedded store every room has one owner, a shard found by hash: it assigns `seq` and hands
//! the encoded event to every shard with live members. Shards talk by mail ([`relay::Mail`]) and wait for nothing: a verb
//! that needs another shard's answer has a second half that runs when the answer comes.
//!
//! What the store changes is written by one thread, in commits that all who wait share (`store/disk`). What an operation
//! led to is passed on when its commit is over, in the order of the operations; if the disk fails, what waits is undone
//! and refused (`relay/commit`). So nobody ever sees what may still be lost.
//!
//! The other engine keeps everything in a Redis that several processes share ([`store::redis`]). A room has an owner on
//! each of them, which knows who is live there and puts the room's events in order; `seq` is assigned by a script. An
//! operation is then answered when Redis has answered, by the same second halves. No configuration asks for this engine yet.
//!
//! A request of the server API (`net::api`) is an asker beside connections: it comes to the shard that owns its room as
//! mail, and is carried out by the same verbs ([`relay::Call`]). What is asked of all connections or rooms goes to every
//! shard, and is put together from their answers ([`relay::Survey`]).
//!
//! A shard that hears many connections begins its turns a moment apart, so that it wakes once for several messages
//! ([`session::Gather`]); mail ends the wait ([`relay::Nap`]).
//!
//! Beside the shards a small runtime accepts connections, serves the operator's listener, and fetches an issuer's keys.
//!
//! ## Plugins
//!
//! There are two kinds, and they run in two places. A **message filter** never waits, so it is called inline on the
//! shard where the message came in: each shard has a chain with one instance of each filter. An **auth plugin** may
//! take its time, so it is called in a pool: two threads of their own, a fiber for each call that gives way at every
//! tick of the engine's clock, and bounds on instances, on calls that wait for one, and on the time of a call. A shard
//! never waits for an answer from there. The connection's request waits, as it would wait for the store, and begins
//! again when the answer comes as mail (`relay/rights`); what was answered is remembered with the connection for as
//! long as it holds.
//!
//! Making an instance, and ending one, may take long. For filters that is done on the **builder thread**, which keeps a
//! spare for each shard and plugin, so that after a failure a shard takes what is there. Instances of auth plugins are
//! made in the pool. Whatever fails too often is in quarantine, whose state is one atomic that all shards share.
//!
//! A configuration makes a **generation** ([`policy::Generation`]): the auth chain, with its number, and a chain of
//! filters for each shard. A reload loads the next one beside the one in force, and everything that can fail fails
//! there. Then each shard is sent its part and takes it between two requests, in one step with the rest of the
//! configuration. Verdicts carry the number of their generation, and those of another one do not hold. The reload is
//! over when the last shard has changed over; only then does the old generation end.
//!
//! ## Invariants
//!
//! - Everything a connection gets is written in the order in which it was caused ([`hub`]).
//! - A connection has one request under way at most. That keeps its requests in order, and bounds whatever is on its way
//!   between shards by the number of connections.
//! - A shard changes from one generation of the configuration to the next between two requests, in one step. Only a
//!   right that was being asked for meanwhile is the old one's, and holds for that request alone.
//! - What a plugin says may be late, absent or wrong, and none of that ends a shard or holds it up for longer than
//!   `call_ms_max` and a millisecond of its running time more.
//! - Nobody waits for a slow receiver. What its socket does not take waits in a bounded backlog; beyond the bound it is
//!   closed and comes back to the log.
//! - `hub`, `store` and `policy` know nothing of each other. `wire`, the session's state machine and the store have no
//!   `async`, no clock and no I/O.
//! - wasmtime and jsonwebtoken are named in [`policy`] only, hyper, rustls and fastwebsockets in [`net`] only, and
//!   deadpool-redis in [`store::redis`] only.
//!   `tests/tidy.rs` checks these edges.
//!
//! ## Embedding
//!
//! [`Server::start`] starts a whole server from a [`config::Config`] on given listeners; it is what the program and the
//! tests use.

pub mod app;
pub mod cli;
pub mod config;
pub mod hub;
pub mod ids;
pub mod message;
pub mod metrics;
pub mod net;
pub mod policy;
pub mod relay;
pub mod session;
pub mod store;
pub mod wire;

#[doc = include_str!("operations.md")]
pub mod operations {}

#[doc = include_str!("protocol.md")]
pub mod protocol {}

pub use app::{Listeners, ReloadError, Server, StartError};
