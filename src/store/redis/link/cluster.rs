//! Where what is: which servers there are, which of them has which slot, and the lanes to each.
//!
//! Without a cluster there is one server, wherever it is.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::call::Job;
use super::core::Core;
use super::lane::Lane;
use super::settings::{Address, Topology};
use super::slots::SLOTS;
use super::value::Value;

/// How often a cluster is asked how it looks, whether or not there is reason to doubt.
const REFRESH: Duration = Duration::from_secs(5);

/// The servers.
#[derive(Default)]
pub(super) struct Map {
    inner: RefCell<Inner>,
    routes: Routes,
    turn: Cell<usize>,
    /// Held by whoever asks how things look.
    refreshing: tokio::sync::Mutex<()>,
    doubt: Notify,
    /// Rung when slots went elsewhere.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct Inner {
    servers: HashMap<Option<Address>, Vec<Rc<Lane>>>,
    /// Who has which slot; empty without a cluster.
    slots: Vec<Option<Address>>,
}

/// Where the jobs of a slot and a lane's number are, as long as there are any.
type Routes = Arc<Mutex<HashMap<(u16, usize), Route>>>;

struct Route {
    server: Option<Address>,
    is_ask: bool,
    jobs: usize,
}

/// A job's stay with a lane.
pub(super) struct Stay {
    routes: Routes,
    key: (u16, usize),
}

impl Stay {
    /// Joins those that are there, or goes a way of its own.
    fn begin(routes: &Routes, key: (u16, usize), way: impl FnOnce() -> Route) -> (Self, (Option<Address>, bool)) {
        let mut all = routes.lock();
        let route = all.entry(key).or_insert_with(way);
        route.jobs += 1;
        let way = (route.server.clone(), route.is_ask);
        drop(all);
        (Self { routes: Arc::clone(routes), key }, way)
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut routes = self.routes.lock();
        if let Some(route) = routes.get_mut(&self.key) {
            route.jobs -= 1;
            if route.jobs == 0 {
                routes.remove(&self.key);
            }
        }
    }
}

impl Map {
    /// The lane of a job. As long as others of its slot are with a lane it follows them there, and they are sent on
    /// together if the slot is elsewhere by then: or else it would be done before them.
    pub(super) fn lane_of(&self, core: &Rc<Core>, job: &mut Job) -> Option<Rc<Lane>> {
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        let lanes = core.settings().lanes.max(1);
        let index = job.lane.map_or(turn, |lane| usize::try_from(lane % (1 << 32)).unwrap_or(0)) % lanes;
        let server = match job.slot {
            Some(slot) if core.is_cluster() => {
                let (stay, route) = Stay::begin(&self.routes, (slot, index), || Route {
                    server: job.ask.clone().or_else(|| self.owner_of(slot)),
                    is_ask: job.ask.is_some(),
                    jobs: 0,
                });
                let (server, is_ask) = route;
                job.ask = if is_ask { server.clone() } else { None };
                job.stay = Some(stay);
                self.ensure(core, Some(server.clone()?));
                server
            }
            _ => {
                let inner = self.inner.borrow();
                inner.servers.keys().nth(turn % inner.servers.len().max(1))?.clone()
            }
        };
        self.inner.borrow().servers.get(&server)?.get(index).cloned()
    }

    /// The server that has a slot.
    pub(super) fn owner_of(&self, slot: u16) -> Option<Address> {
        self.inner.borrow().slots.get(usize::from(slot)).cloned().flatten()
    }

    /// The servers that have slots.
    pub(super) fn owners(&self) -> HashSet<Address> {
        self.inner.borrow().slots.iter().flatten().cloned().collect()
    }

    /// Lanes to a server.
    pub(super) fn ensure(&self, core: &Rc<Core>, address: Option<Address>) {
        let mut inner = self.inner.borrow_mut();
        inner.servers.entry(address.clone()).or_insert_with(|| {
            let lane = |_| {
                let lane = Rc::new(Lane::new(address.clone()));
                spawn_local(Rc::clone(&lane).run(Rc::clone(core)));
                lane
            };
            (0..core.settings().lanes.max(1)).map(lane).collect()
        });
    }

    /// A slot is with another server, as the one says that had it.
    pub(super) fn assign(&self, core: &Rc<Core>, slot: u16, address: &Address) {
        self.ensure(core, Some(address.clone()));
        if let Some(owner) = self.inner.borrow_mut().slots.get_mut(usize::from(slot)) {
            *owner = Some(address.clone());
        }
        self.changed.notify_one();
    }

    /// There is reason to look again.
    pub(super) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Looks again and again how the cluster looks.
    pub(super) async fn watch(core: Rc<Core>) {
        if !core.is_cluster() {
            return;
        }
        loop {
            let _either = timeout(REFRESH, core.map.doubt.notified()).await;
            core.map.refresh(&core).await;
            // Also when nothing is new: a channel may have been taken away and belong where it was.
            core.map.changed.notify_one();
            // Whoever doubts again at once is not asked all the time.
            tokio::time::sleep(core.settings().watch() / 5).await;
        }
    }

    /// Asks a server of the cluster how it looks. Everything stays as it is if none answers.
    pub(super) async fn refresh(&self, core: &Rc<Core>) {
        let Topology::Cluster(seeds) = &core.settings().topology else { return };
        let _one_at_a_time = self.refreshing.lock().await;
        let mut asked: Vec<Address> = self.owners().into_iter().collect();
        asked.extend(seeds.iter().cloned());
        for address in asked {
            if let Ok(answer) = core.dialer.slots(&address).await
                && let Some(slots) = owners_in(&answer, &address)
            {
                return self.install(core, slots);
            }
        }
    }

    fn install(&self, core: &Rc<Core>, slots: Vec<Option<Address>>) {
        let owners: HashSet<Address> = slots.iter().flatten().cloned().collect();
        let is_changed = self.inner.borrow().slots != slots;
        self.inner.borrow_mut().slots = slots;
        for owner in &owners {
            self.ensure(core, Some(owner.clone()));
        }
        let is_gone = |server: &Option<Address>| server.as_ref().is_some_and(|server| !owners.contains(server));
        let gone: Vec<_> = self.inner.borrow_mut().servers.extract_if(|server, _| is_gone(server)).collect();
        for (server, lanes) in gone {
            lanes.iter().for_each(|lane| lane.retire());
            if let Some(server) = server {
                core.dialer.forget(&server);
            }
        }
        if is_changed {
            self.changed.notify_one();
        }
    }
}

/// Who has which slot, as `CLUSTER SLOTS` says; `None` if it says nothing of the kind.
fn owners_in(answer: &Value, asked: &Address) -> Option<Vec<Option<Address>>> {
    let mut slots = vec![None; usize::from(SLOTS)];
    for range in answer.list()? {
        let [first, last, master, ..] = range.list()? else { return None };
        let [host, port, ..] = master.list()? else { return None };
        // A server that does not know its own address leaves it out.
        let host = host.text().filter(|host| !host.is_empty() && *host != "?").unwrap_or(&asked.host);
        let port = u16::try_from(port.int()?).ok()?;
        let (first, last) = (usize::try_from(first.int()?).ok()?, usize::try_from(last.int()?).ok()?);
        slots.get_mut(first..=last)?.fill(Some(Address { host: host.to_owned(), port }));
    }
    Some(slots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_read() {
        let text = |text: &'static str| Value::Bytes(text.into());
        let range = |first, last, host, port| {
            Value::List(vec![
                Value::Int(first),
                Value::Int(last),
                Value::List(vec![text(host), Value::Int(port), text("id")]),
            ])
        };
        let asked = Address { host: "seed".to_owned(), port: 1 };
        let slots = owners_in(&Value::List(vec![range(0, 5, "a", 7000), range(7, 16_383, "", 7001)]), &asked).unwrap();
        let owner = |slot: usize| slots[slot].as_ref().map(Address::to_string);
        assert_eq!(owner(5).as_deref(), Some("a:7000"));
        assert_eq!(owner(6), None);
        assert_eq!(owner(16_383).as_deref(), Some("seed:7001"));
        for bad in [Value::Nil, Value::List(vec![Value::Int(1)]), Value::List(vec![range(0, 16_384, "a", 1)])] {
            assert_eq!(owners_in(&bad, &asked), None, "{bad:?}");
        }
    }
}
