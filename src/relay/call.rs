//! Requests of the application's own servers: askers that are no connections.
//!
//! A call is carried out by the verbs, like a connection's request. Its asker is a [`Peer`] that has no slot and no socket,
//! lives for this one request, and is named by a key that no connection can have; what differs is said where it differs:
//! it needs no membership, its rights are not asked for, and its answer goes back to whoever waits for it.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::{Asked, Peer, Relay};
use crate::ids::{ConnectionId, ConnectionKey, SessionId, UserId};
use crate::wire::request::{self, AuthOptions};
use crate::wire::{Dialect, Refusal};

/// The data of the verb's reply, as JSON, or why there is none.
pub type CallReply = Result<Vec<u8>, Refusal>;

/// One request of one of the application's own servers.
#[derive(Debug)]
pub struct Call {
    /// Who is acted for.
    pub user: UserId,
    /// Which of the protocol's requests it is.
    pub event: &'static str,
    /// The request's data.
    pub data: Box<RawValue>,
    /// Where the answer goes. Whoever has stopped waiting for it gets none.
    pub reply: oneshot::Sender<CallReply>,
}

/// Calls that are under way.
#[derive(Default)]
pub(super) struct Calls {
    next: u32,
    waiting: HashMap<ConnectionKey, oneshot::Sender<CallReply>>,
}

impl Relay {
    /// Carries out a call.
    pub(super) fn call(&mut self, call: Call) {
        let Call { user, event, data, reply } = call;
        let key = ConnectionKey::of_call(self.calls.next);
        self.calls.next = self.calls.next.wrapping_add(1);
        self.calls.waiting.insert(key, reply);
        self.peers.insert_apart(key, self.caller(user));
        let asked = Asked::of_server(key, event);
        match request::parse(event, Some(&data)) {
            Ok(request) => self.request(asked, request),
            Err(refusal) => self.refuse(&asked, None, &refusal),
        }
    }

    fn caller(&self, user: UserId) -> Peer {
        Peer {
            // Plugins know connections by their numbers, which begin at 1.
            connection: ConnectionId(0),
            user,
            attributes: Arc::default(),
            renewals: 0,
            verdicts: None,
            token_id: None,
            device: None,
            session: SessionId::default(),
            dialect: Dialect::Room,
            typing_in: Vec::new(),
            attach: AuthOptions::default().attach,
            watches: None,
            queue: None,
            pending: None,
            outstanding: 0,
            counted: false,
            gone: false,
        }
    }

    /// Brings a call its answer, which ends it.
    pub(super) fn answer_call(&mut self, key: ConnectionKey, answer: CallReply) {
        self.peers.remove(key);
        if let Some(reply) = self.calls.waiting.remove(&key) {
            let _nobody_waits = reply.send(answer);
        }
    }
}
