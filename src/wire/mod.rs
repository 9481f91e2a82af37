//! The client protocol, version 1, as pure functions: text to requests, values to frames.
//!
//! No I/O, no clock, no `async`: what is here can be tested by table. It knows the names, codes and limits of the
//! protocol and nothing of rooms' members, stores or sockets.

mod ack;
mod auth;
pub mod decode;
pub mod deflate;
pub mod dialect;
pub mod encode;
pub mod error;
pub mod frame;
pub mod presence;
pub mod request;

pub use dialect::{Dialect, Encoding};
pub use error::{CloseCode, ErrorCode, Refusal};
pub use frame::Frame;

/// The WebSocket subprotocol of this version.
pub const SUBPROTOCOL: &str = "stentor.v1";

/// Deepest nesting of arrays and objects in a request. Deeper text is refused, because clients that would receive it parse recursively.
pub const JSON_DEPTH_MAX: usize = 64;

/// Longest request `id`, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// Most messages in one `history` reply.
pub const HISTORY_MESSAGES_MAX: usize = 200;

/// Most messages that one `ack` names.
pub const ACK_MESSAGES_MAX: usize = 500;

/// Messages in a `history` reply when the request does not say.
pub const HISTORY_MESSAGES_DEFAULT: usize = 50;
