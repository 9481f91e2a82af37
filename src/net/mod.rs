//! Sockets: accepting, HTTP, handshakes and WebSocket frames.
//!
//! This is the only place that names hyper or fastwebsockets. It turns bytes into messages and hands them to sessions;
//! what a message means is not known here.

mod accept;
mod address;
mod admin;
mod connection;
mod demo;
mod frame;
mod handshake;
mod http;
mod shard;

pub use accept::{Acceptor, Admissions, bind};
pub use admin::{Admin, Readiness};
pub use demo::{Demo, DemoToken};
pub use handshake::{Gate, Rules};
pub use shard::{Inbox, run as run_shard};
