//! What the operating system knows of this process, read when it is asked for. Names and meanings are those of
//! Prometheus' own client libraries, so that what was made for any process fits this one.

use std::fmt::Write as _;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Units of time in `/proc/PID/stat`: Linux has told 100 a second to programs for as long as it is 64 bits wide.
const TICKS_PER_SECOND: f64 = 100.0;

/// This process.
pub(super) struct Process {
    /// When it started. Worked out once, because clocks are set, and a start that moves looks like a restart.
    started: Option<f64>,
}

impl Process {
    /// Looks at the clock.
    pub(super) fn new() -> Self {
        Self { started: started() }
    }

    /// Appends what is known, in the text format of Prometheus. What cannot be read is left out.
    pub(super) fn render(&self, text: &mut String) {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kibibytes = |key| Some(status_value(&status, key)? * 1024.0);
        let (open, max) = (open_files(), getrlimit(Resource::Nofile).current.map(|files| files as f64));
        for (name, kind, help, value) in [
            (
                "process_cpu_seconds_total",
                "counter",
                "Processor time of the process, of user and system.",
                Some(seconds(clock_gettime(ClockId::ProcessCPUTime))),
            ),
            ("process_resident_memory_bytes", "gauge", "Memory that is in RAM.", kibibytes("VmRSS:")),
            ("process_virtual_memory_bytes", "gauge", "Address space that is taken.", kibibytes("VmSize:")),
            ("process_threads", "gauge", "Threads of the process.", status_value(&status, "Threads:")),
            ("process_open_fds", "gauge", "Open file descriptors.", open),
            ("process_max_fds", "gauge", "File descriptors that there may be at once.", max),
            ("process_start_time_seconds", "gauge", "Start of the process, since the Unix epoch.", self.started),
        ] {
            if let Some(value) = value {
                let _never_fails = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n");
            }
        }
    }
}

/// Start of the process: how long ago it was, by the clock that runs since the machine started, taken from the time.
fn started() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may contain anything: fields are counted after it. The twentieth is the start.
    let ticks: f64 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let age = seconds(clock_gettime(ClockId::Boottime)) - ticks / TICKS_PER_SECOND;
    Some(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64() - age)
}

fn status_value(status: &str, key: &str) -> Option<f64> {
    let value = status.lines().find_map(|line| line.strip_prefix(key))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

/// Newer kernels tell the number as the directory's length; with older ones it has to be counted.
fn open_files() -> Option<f64> {
    let length = fs::metadata("/proc/self/fd").ok()?.len();
    let files = if length > 0 { length } else { fs::read_dir("/proc/self/fd").ok()?.count() as u64 };
    Some(files as f64)
}

fn seconds(time: Timespec) -> f64 {
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str, name: &str) -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is in {text}")).parse().unwrap()
    }

    #[test]
    fn everything_is_known_of_this_process() {
        let process = Process::new();
        let render = || {
            let mut text = String::new();
            process.render(&mut text);
            text
        };
        let before = render();
        assert!(value(&before, "process_resident_memory_bytes") > 1e6);
        assert!(value(&before, "process_virtual_memory_bytes") > value(&before, "process_resident_memory_bytes"));
        assert!(value(&before, "process_threads") >= 1.0);
        assert!(value(&before, "process_open_fds") < value(&before, "process_max_fds"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - value(&before, "process_start_time_seconds");
        assert!((-1.0..3600.0).contains(&age), "{age} s old");
        // Other tests open files too, but none opens a hundred.
        let files: Vec<_> = (0..200).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        let after = render();
        assert!(value(&after, "process_open_fds") >= value(&before, "process_open_fds") + 100.0);
        assert!(value(&after, "process_cpu_seconds_total") > value(&before, "process_cpu_seconds_total"));
        drop(files);
    }
}
