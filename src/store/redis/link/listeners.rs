//! Which connection hears which channel: one hears all, or in a cluster with channels in slots each server's its own.

use std::collections::HashMap;
use std::mem;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::{AbortHandle, JoinSet};

use super::channels::Heard;
use super::core::Core;
use super::listener::Listener;
use super::settings::Address;
use super::slots::slot_of;

/// All listeners: one, or in a cluster with channels in slots one for each server.
pub(super) struct Listeners {
    core: Rc<Core>,
    listeners: HashMap<Option<Address>, (Rc<Listener>, AbortHandle)>,
    tasks: JoinSet<()>,
    /// Each channel that is wanted, and which listener has it.
    channels: HashMap<Arc<str>, Option<Address>>,
}

impl Listeners {
    pub(super) fn new(core: Rc<Core>) -> Self {
        let (listeners, tasks, channels) = Default::default();
        Self { core, listeners, tasks, channels }
    }

    /// Lives as long as the thread.
    pub(super) async fn run(mut self) {
        let core = Rc::clone(&self.core);
        if !core.is_sharded.get() {
            // It shows how it stands, whether or not anything is wanted.
            self.listener(None);
        }
        loop {
            tokio::select! {
                () = core.shared.wanted.bell.notified() => self.take_changes(),
                () = core.map.changed.notified(), if core.is_sharded.get() => self.move_channels(),
            }
        }
    }

    fn take_changes(&mut self) {
        for (channel, is_wanted) in self.core.shared.wanted.take_changes() {
            if is_wanted {
                let owner = self.owner_of(&channel);
                self.channels.insert(Arc::clone(&channel), owner.clone());
                if let Some(listener) = self.listener(owner) {
                    listener.want(&self.core, &channel);
                }
            } else if let Some(owner) = self.channels.remove(&channel)
                && let Some((listener, _)) = self.listeners.get(&owner)
            {
                listener.unwant(&channel);
            }
        }
    }

    fn owner_of(&self, channel: &str) -> Option<Address> {
        self.core.is_sharded.get().then(|| self.core.map.owner_of(slot_of(channel.as_bytes())))?
    }

    fn listener(&mut self, owner: Option<Address>) -> Option<Rc<Listener>> {
        if owner.is_none() && self.core.is_sharded.get() {
            // Nobody has the slot now. It is looked for again when the map changes.
            return None;
        }
        if let Some((listener, _)) = self.listeners.get(&owner) {
            return Some(Rc::clone(listener));
        }
        let listener = Rc::new(Listener::new(owner.clone()));
        let task = self.tasks.spawn_local(Rc::clone(&listener).run(Rc::clone(&self.core)));
        self.listeners.insert(owner, (Rc::clone(&listener), task));
        Some(listener)
    }

    /// Slots went elsewhere, and their channels with them.
    fn move_channels(&mut self) {
        let channels = mem::take(&mut self.channels);
        for (channel, before) in channels {
            let owner = self.owner_of(&channel);
            if owner != before
                && let Some((listener, _)) = self.listeners.get(&before)
            {
                listener.unwant(&channel);
                (self.core.hear)(Heard::Lost(Some(Arc::clone(&channel))));
            }
            if let Some(listener) = self.listener(owner.clone()) {
                listener.want_anew(&channel);
            }
            self.channels.insert(channel, owner);
        }
        let owners = self.core.map.owners();
        let is_gone = |owner: &Option<Address>| owner.as_ref().is_some_and(|owner| !owners.contains(owner));
        for (_, (_, task)) in self.listeners.extract_if(|owner, _| is_gone(owner)) {
            task.abort();
        }
        while self.tasks.try_join_next().is_some() {}
    }
}
