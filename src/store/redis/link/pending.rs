//! Questions whose answers come later. The order in which they are asked is the order in which they are sent.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{self, Cmd, RedisResult};
use tokio::task::unconstrained;

/// An answer to come, with the command that it answers, which may be needed again.
pub(super) type Pending = Pin<Box<dyn Future<Output = Answered>>>;

/// An answer, and what it answers.
pub(super) type Answered = (RedisResult<redis::Value>, Cmd);

/// Asks. The library takes the command before this returns: its queue has room for more than is ever asked at once, and
/// this is not counted among what a task may do in one turn, or else it would be put off, and others sent before it.
pub(super) fn ask(connection: &MultiplexedConnection, command: Cmd) -> Pending {
    let mut connection = connection.clone();
    let mut pending: Pending = Box::pin(unconstrained(async move {
        let result = connection.send_packed_command(&command).await;
        (result, command)
    }));
    match poll_now(&mut pending) {
        Some(answered) => Box::pin(std::future::ready(answered)),
        None => pending,
    }
}

/// The answer, if it is there.
pub(super) fn poll_now(pending: &mut Pending) -> Option<Answered> {
    match pending.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answered) => Some(answered),
        Poll::Pending => None,
    }
}
