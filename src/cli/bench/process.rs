//! What the kernel says a process has used: CPU time and resident memory, from `/proc`. Knows nothing of what runs there.

use std::collections::BTreeMap;
use std::fs;

/// `USER_HZ` of every Linux that this runs on.
const TICK_NS: u64 = 10_000_000;

/// The CPU time of a process up to a moment, seen in two ways.
///
/// The sum over its threads is exact but forgets threads that end; the process's own total keeps them, in steps of 10 ms.
#[derive(Clone, Debug, Default)]
pub(super) struct CpuTime {
    process_ns: u64,
    threads_ns: BTreeMap<u64, u64>,
}

impl CpuTime {
    /// Reads it, if the process is there.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may contain anything: fields are counted after it. 11 and 12 are utime and stime.
        let fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        let threads_ns = fs::read_dir(format!("/proc/{pid}/task"))
            .ok()?
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let thread = entry.file_name().to_str()?.parse().ok()?;
                let text = fs::read_to_string(entry.path().join("schedstat")).ok()?;
                Some((thread, text.split_ascii_whitespace().next()?.parse().ok()?))
            })
            .collect();
        Some(Self { process_ns: ticks * TICK_NS, threads_ns })
    }

    /// Seconds used since `before`: the exact sum, unless the coarse total shows that it misses something.
    pub(super) fn seconds_since(&self, before: &Self) -> f64 {
        let coarse_ns = self.process_ns.saturating_sub(before.process_ns);
        let exact_ns: u64 = self
            .threads_ns
            .iter()
            .map(|(thread, ns)| ns.saturating_sub(before.threads_ns.get(thread).copied().unwrap_or(0)))
            .sum();
        let agree = exact_ns.abs_diff(coarse_ns) <= 3 * TICK_NS;
        let ns = if agree { exact_ns } else { coarse_ns };
        ns as f64 / 1e9
    }
}

/// Resident bytes of a process. `smaps_rollup` counts pages; the figure in `status` is allowed to lag.
pub(super) fn resident_bytes(pid: u32) -> Option<u64> {
    let read = |file: &str, key: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(key))?;
        value.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    read("smaps_rollup", "Rss:").or_else(|| read("status", "VmRSS:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_work_is_seen() {
        let pid = std::process::id();
        let before = CpuTime::of(pid).expect("own process");
        let started = std::time::Instant::now();
        while started.elapsed().as_millis() < 60 {
            std::hint::spin_loop();
        }
        let after = CpuTime::of(pid).expect("own process");
        assert!(after.seconds_since(&before) > 0.0);
        assert!(resident_bytes(pid).expect("own memory") > 100_000);
    }

    #[test]
    fn a_thread_that_ended_is_not_forgotten() {
        let before = CpuTime { process_ns: 0, threads_ns: [(1, 0), (2, 0)].into() };
        let after = CpuTime { process_ns: 500_000_000, threads_ns: [(1, 100_000_000)].into() };
        assert!((after.seconds_since(&before) - 0.5).abs() < 1e-9);
        let exact = CpuTime { process_ns: 100_000_000, threads_ns: [(1, 104_000_000)].into() };
        assert!((exact.seconds_since(&before) - 0.104).abs() < 1e-9);
    }
}
