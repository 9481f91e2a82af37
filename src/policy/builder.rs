//! The thread that makes and ends instances of message filters, so that no shard waits for a guest that starts slowly,
//! or that does not want to end.
//!
//! A shard asks for a spare instance and finds it in its slot when it is there. Work is bounded: each slot has at most
//! one instance on order, and what cannot be queued is not done (an instance is then dropped without `retire`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use parking_lot::Mutex;

use super::instance::{CONFIGURE_MAX, Instance};
use super::plugin::Plugin;

/// Jobs that wait for the thread.
const JOBS_MAX: usize = 4096;

/// Where a spare instance is put.
#[derive(Default)]
pub(super) struct Slot {
    on_order: AtomicBool,
    spare: Mutex<Option<Instance>>,
}

enum Job {
    Make { plugin: Arc<Plugin>, index: u32, count: u32, slot: Arc<Slot> },
    Retire(Box<Instance>),
    Drop(Box<Instance>),
}

/// The way to the thread. It ends with the last of these.
#[derive(Clone)]
pub(super) struct Builder(SyncSender<Job>);

impl Builder {
    /// Starts the thread.
    pub(super) fn start() -> std::io::Result<Self> {
        let (sender, jobs) = sync_channel(JOBS_MAX);
        std::thread::Builder::new().name("plugin-builder".to_owned()).spawn(move || work(&jobs))?;
        Ok(Self(sender))
    }

    /// Lets a healthy instance end.
    pub(super) fn retire(&self, instance: Instance) {
        let _refused = self.0.try_send(Job::Retire(Box::new(instance)));
    }

    /// Gives a broken instance's memory back.
    pub(super) fn bury(&self, instance: Instance) {
        let _refused = self.0.try_send(Job::Drop(Box::new(instance)));
    }
}

impl Slot {
    /// The spare, if it is there.
    pub(super) fn take(&self) -> Option<Instance> {
        self.spare.try_lock()?.take()
    }

    /// Puts an instance there that was made elsewhere.
    pub(super) fn put(&self, instance: Instance) {
        *self.spare.lock() = Some(instance);
    }

    /// Orders a spare, unless there is one or it is on order.
    pub(super) fn order(self: &Arc<Self>, builder: &Builder, plugin: &Arc<Plugin>, index: u32, count: u32) {
        if self.spare.lock().is_some() || self.on_order.swap(true, Ordering::AcqRel) {
            return;
        }
        let job = Job::Make { plugin: Arc::clone(plugin), index, count, slot: Arc::clone(self) };
        if builder.0.try_send(job).is_err() {
            self.on_order.store(false, Ordering::Release);
        }
    }
}

fn work(jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Make { plugin, index, count, slot } => {
                match Instance::new(&plugin, (index, count), CONFIGURE_MAX) {
                    Ok((instance, _)) => slot.put(instance),
                    Err(failure) => plugin.stillborn(failure.kind()),
                }
                slot.on_order.store(false, Ordering::Release);
            }
            Job::Retire(instance) => instance.retire(),
            Job::Drop(instance) => drop(instance),
        }
    }
}
