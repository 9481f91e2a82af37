//! Behaviour: what a client of the server sees, over real sockets.
//!
//! One file per behaviour. Every test starts servers of its own in this process, on ports of the system's choice, and
//! speaks to them with a client that shares no code with the server. Nothing here waits for time to pass: every wait is
//! for an event and has a generous deadline, and that something is *not* sent is known from what comes after it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod cold;
mod common;
mod compression;
mod durable;

mod admin;
mod api;
mod api_document;
mod api_door;
mod api_people;
mod api_revoke;
mod auth_plugins;
mod authentication;
mod bad_plugins;
mod devices;
mod envelope;
mod handshake;
mod history;
mod jwks;
mod limits;
mod long_queue;
mod messages;
mod metrics;
mod offline;
mod plugins;
mod presence;
mod receipts;
mod recovery;
mod redis_faults;
mod room_acl;
mod rooms;
mod specification;
mod two_nodes;
mod typing;
mod verdicts;
mod websocket;
