//! When published keys are fetched again: by time, and when somebody brings a token whose key is not known yet.
//!
//! Fetches come one after the other, each in a round that whoever needs it waits for. Rounds that tokens cause are kept
//! apart by a floor, or a stranger with made-up key ids would have us ask the issuer as often as it pleases them. What
//! is fetched, and how, is not known here.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// How long anyone waits for a round. A client's handshake has a little more, and says no itself when it is over.
const WAIT_MAX: Duration = Duration::from_secs(4);

/// The rounds of one authenticator.
pub struct Refresh {
    rounds: watch::Sender<Rounds>,
    floor: Duration,
}

#[derive(Default)]
struct Rounds {
    /// Somebody waits for a round that has not begun.
    wanted: bool,
    running: bool,
    finished: u64,
    /// When a token last caused one.
    caused_at: Option<Instant>,
}

impl Rounds {
    fn is_under_way(&self) -> bool {
        self.wanted || self.running
    }

    fn may_be_caused(&self, floor: Duration) -> bool {
        self.caused_at.is_none_or(|at| at.elapsed() >= floor)
    }
}

impl Refresh {
    /// Rounds that tokens cause at most every `floor`. The first one is wanted already if nothing was fetched yet.
    pub(super) fn new(floor: Duration, is_first_wanted: bool) -> Self {
        let rounds = Rounds { wanted: is_first_wanted, ..Rounds::default() };
        Self { rounds: watch::Sender::new(rounds), floor }
    }

    /// Whether a token with an unknown key has a round to wait for, or may cause one.
    pub(super) fn may_help(&self) -> bool {
        let rounds = self.rounds.borrow();
        rounds.is_under_way() || rounds.may_be_caused(self.floor)
    }

    /// Waits for the round that is under way, or for one that this causes. Returns at once where neither may be, and
    /// after a few seconds in any case.
    pub(super) async fn finished(&self) {
        let mut rounds = self.rounds.subscribe();
        let mut awaited = None;
        self.rounds.send_if_modified(|rounds| {
            let causes = !rounds.is_under_way() && rounds.may_be_caused(self.floor);
            if causes {
                rounds.wanted = true;
                rounds.caused_at = Some(Instant::now());
            }
            awaited = rounds.is_under_way().then_some(rounds.finished);
            causes
        });
        let Some(before) = awaited else { return };
        // What the wait returns is a lock, which goes at once.
        let _in_time = tokio::time::timeout(WAIT_MAX, rounds.wait_for(|rounds| rounds.finished > before)).await.is_ok();
    }

    /// Waits until a round is due or wanted, and begins it.
    pub async fn begin(&self, due: Duration) {
        let mut rounds = self.rounds.subscribe();
        let _is_wanted = tokio::time::timeout(due, rounds.wait_for(|rounds| rounds.wanted)).await.is_ok();
        self.rounds.send_modify(|rounds| {
            rounds.wanted = false;
            rounds.running = true;
        });
    }

    /// Ends the round, whatever came of it.
    pub fn end(&self) {
        self.rounds.send_modify(|rounds| {
            rounds.running = false;
            rounds.finished += 1;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const LONG: Duration = Duration::from_secs(3600);

    fn is_under_way(refresh: &Refresh) -> bool {
        refresh.rounds.borrow().is_under_way()
    }

    /// Starts somebody who waits, and returns when they do.
    async fn waiting(refresh: &Arc<Refresh>) -> tokio::task::JoinHandle<()> {
        let before = refresh.rounds.receiver_count();
        let waits = Arc::clone(refresh);
        let task = tokio::spawn(async move { waits.finished().await });
        while refresh.rounds.receiver_count() == before {
            tokio::task::yield_now().await;
        }
        task
    }

    #[tokio::test]
    async fn many_tokens_cause_one_round() {
        let refresh = Arc::new(Refresh::new(LONG, false));
        assert!(refresh.may_help() && !is_under_way(&refresh));
        let mut tasks = Vec::new();
        for _ in 0..10 {
            tasks.push(waiting(&refresh).await);
        }
        refresh.begin(LONG).await;
        // Who comes while it runs waits for the same one.
        tasks.push(waiting(&refresh).await);
        assert!(tasks.iter().all(|task| !task.is_finished()));
        refresh.end();
        for task in tasks {
            task.await.unwrap();
        }
        assert!(!is_under_way(&refresh) && !refresh.may_help());
        // Below the floor nobody waits, and nothing begins.
        refresh.finished().await;
        assert!(!is_under_way(&refresh));
    }

    #[tokio::test]
    async fn the_floor_is_for_tokens_alone() {
        let refresh = Arc::new(Refresh::new(LONG, false));
        // A round by time leaves tokens theirs.
        refresh.begin(Duration::ZERO).await;
        refresh.end();
        assert!(refresh.may_help());
        let task = waiting(&refresh).await;
        refresh.begin(LONG).await;
        refresh.end();
        task.await.unwrap();
        assert!(!refresh.may_help());
        refresh.begin(Duration::ZERO).await;
        assert!(refresh.may_help(), "there is one to wait for");
        refresh.end();
        assert!(!refresh.may_help());
    }

    #[tokio::test]
    async fn without_a_floor_each_may_cause_one() {
        let refresh = Arc::new(Refresh::new(Duration::ZERO, true));
        for _ in 0..3 {
            let task = waiting(&refresh).await;
            refresh.begin(LONG).await;
            refresh.end();
            task.await.unwrap();
            assert!(refresh.may_help());
        }
    }
}
