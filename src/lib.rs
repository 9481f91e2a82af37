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
//! Beside the shards a small runtime accepts connections, serves the operator's listener, and fetches an issuer's keys.
//!
//! ## Invariants
//!
//! - Everything a connection gets is written in the order in which it was caused ([`hub`]).
//! - A connection has one request under way at most. That keeps its requests in order, and bounds whatever is on its way
//!   between shards by the number of connections.
//! - Nobody waits for a slow receiver. What its socket does not take waits in a bounded backlog; beyond the bound it is
//!   closed and comes back to the log.
//! - `hub`, `store` and `policy` know nothing of each other. `wire`, the session's state machine and the store have no
//!   `async`, no clock and no I/O.
//! - wasmtime and jsonwebtoken are named in [`policy`] only, hyper, rustls and fastwebsockets in [`net`] only.
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
