//! Sockets: accepting, HTTP, handshakes and WebSocket frames.
//!
//! This is the only place that names hyper, rustls or fastwebsockets. It turns bytes into messages and hands them to
//! sessions; what a message means is not known here. It also asks the one server that we are a client of (`issuer`).

mod accept;
mod address;
mod admin;
mod api;
mod connection;
mod demo;
mod fetch;
mod frame;
mod handshake;
mod http;
mod issuer;
mod shard;

pub use accept::{Acceptor, Admissions, bind};
pub use admin::{Admin, Readiness};
pub use api::{Api, Bounds as ApiBounds, Keys as ApiKeys, Rules as ApiRules, WrongKeys};
pub use demo::{Demo, DemoToken};
pub use fetch::{Endpoint, EndpointError};
pub use handshake::{Gate, Rules};
pub use issuer::Issuer;
pub use shard::{Inbox, run as run_shard};
