//! The window of a run, opened and shut by the clock, and what the processes spent in it. Knows nothing of what happens
//! in the window.

use super::process::CpuTime;
use super::swarm::Swarm;

/// The CPU times at one edge of the window.
struct Edge {
    at_ns: u64,
    target: Option<CpuTime>,
    own: Option<CpuTime>,
    pongs: u64,
}

/// What happened between two edges.
pub(super) struct Spent {
    pub(super) seconds: f64,
    /// Of the process under test, if it is known.
    pub(super) target_cpu_seconds: Option<f64>,
    /// Of the generator.
    pub(super) own_cpu_seconds: f64,
    /// Pings of the server answered.
    pub(super) pongs: u64,
}

/// The window.
pub(super) struct Meter {
    pid: Option<u32>,
    pub(super) from_ns: u64,
    pub(super) to_ns: u64,
    first: Option<Edge>,
    last: Option<Edge>,
}

impl Meter {
    /// A window of so many seconds, from a moment on.
    pub(super) fn new(pid: Option<u32>, from_ns: u64, seconds: u64) -> Self {
        Self { pid, from_ns, to_ns: from_ns + seconds * 1_000_000_000, first: None, last: None }
    }

    /// Takes the readings whose time has come; says whether the window is open.
    pub(super) fn see(&mut self, now_ns: u64, swarm: &Swarm) -> bool {
        if self.first.is_none() && now_ns >= self.from_ns {
            self.first = Some(self.edge(now_ns, swarm));
        } else if self.first.is_some() && self.last.is_none() && now_ns >= self.to_ns {
            self.last = Some(self.edge(now_ns, swarm));
        }
        self.first.is_some() && self.last.is_none()
    }

    /// Whether it is shut.
    pub(super) fn is_over(&self) -> bool {
        self.last.is_some()
    }

    /// When it opens or shuts next.
    pub(super) fn next_edge_ns(&self) -> u64 {
        match (&self.first, &self.last) {
            (None, _) => self.from_ns,
            (_, None) => self.to_ns,
            _ => u64::MAX,
        }
    }

    fn edge(&self, at_ns: u64, swarm: &Swarm) -> Edge {
        let (target, own) = (self.pid.and_then(CpuTime::of), CpuTime::of(std::process::id()));
        Edge { at_ns, target, own, pongs: swarm.pongs() }
    }

    /// What happened in it; nothing as long as it is not shut.
    pub(super) fn spent(&self) -> Spent {
        let (Some(first), Some(last)) = (&self.first, &self.last) else {
            return Spent { seconds: 0.0, target_cpu_seconds: None, own_cpu_seconds: 0.0, pongs: 0 };
        };
        let between = |first: &Option<CpuTime>, last: &Option<CpuTime>| {
            first.as_ref().zip(last.as_ref()).map(|(first, last)| last.seconds_since(first))
        };
        Spent {
            seconds: last.at_ns.saturating_sub(first.at_ns) as f64 / 1e9,
            target_cpu_seconds: between(&first.target, &last.target),
            own_cpu_seconds: between(&first.own, &last.own).unwrap_or_default(),
            pongs: last.pongs - first.pongs,
        }
    }
}
