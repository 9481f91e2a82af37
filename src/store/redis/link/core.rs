//! What all tasks of the thread share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use deadpool_redis::redis::{self, Cmd};

use super::Shared;
use super::call::Job;
use super::channels::Heard;
use super::cluster::Map;
use super::dialer::Dialer;
use super::settings::{Address, Settings, Topology};
use super::slots::slot_of;
use super::weather::Board;

/// Keys that are tried to find one that a server has.
const PROBES_MAX: u32 = 1_000;

/// One of these per link.
pub(super) struct Core {
    pub(super) shared: Arc<Shared>,
    pub(super) dialer: Dialer,
    pub(super) board: Board,
    /// Where what is.
    pub(super) map: Map,
    pub(super) hear: Arc<dyn Fn(Heard) + Send + Sync>,
    /// Whether channels are in slots.
    pub(super) is_sharded: Cell<bool>,
    /// The master that the sentinels name.
    pub(super) named: RefCell<Option<Address>>,
}

impl Core {
    pub(super) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.settings().topology, Topology::Cluster(_))
    }

    /// Whether somebody knows which server is the master, should this one no longer be.
    pub(super) fn knows_others(&self) -> bool {
        !matches!(self.settings().topology, Topology::Standalone(_))
    }

    /// Whether the sentinels name another master.
    pub(super) fn is_elsewhere(&self, address: &Address) -> bool {
        self.named.borrow().as_ref().is_some_and(|named| named != address)
    }

    /// Asks the sentinels again and again which server is the master.
    pub(super) async fn watch_master(self: Rc<Self>) {
        if !matches!(self.settings().topology, Topology::Sentinel { .. }) {
            return;
        }
        loop {
            if let Ok(address) = self.dialer.master().await {
                *self.named.borrow_mut() = Some(address);
            }
            tokio::time::sleep(self.settings().watch()).await;
        }
    }

    /// Hands a job to its lane.
    pub(super) fn dispatch(self: &Rc<Self>, mut job: Job) {
        match self.map.lane_of(self, &mut job) {
            Some(lane) => lane.offer(job),
            None => job.ticket.refuse(super::error::Fault::Away),
        }
    }

    /// Hands jobs that were with a lane to where they belong now, in their order.
    pub(super) fn send_on(self: &Rc<Self>, jobs: impl Iterator<Item = Job>) {
        // None of them follows the others to where they were.
        let jobs: Vec<Job> = jobs.map(|job| Job { stay: None, ..job }).collect();
        jobs.into_iter().for_each(|job| self.dispatch(job));
    }

    /// The question to a connection: a write that changes nothing. Whoever cannot write says so. In a cluster the key is
    /// one that the server has, or else it would only be said where it is.
    pub(super) fn probe(&self, address: &Address) -> Cmd {
        let name = &self.settings().probe_key;
        let is_here = |key: &String| self.map.owner_of(slot_of(key.as_bytes())).as_ref() == Some(address);
        let key =
            if self.is_cluster() { (0..PROBES_MAX).map(|tag| format!("{name}{{{tag}}}")).find(is_here) } else { None };
        let mut probe = redis::cmd("SETRANGE");
        probe.arg(key.as_ref().unwrap_or(name)).arg(0).arg("");
        probe
    }
}
