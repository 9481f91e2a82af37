//! The admin listener, read: is the server ready, and what did plugins do. Knows the names of seven metrics and no
//! others, and nothing of the run between two readings.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde::Serialize;

use super::error::BenchError;

const WAIT: Duration = Duration::from_secs(2);
const BODY_BYTES_MAX: u64 = 8 << 20;
const CALLS: &str = "stentor_plugin_calls_total";
const DURATION: &str = "stentor_plugin_call_duration_seconds";
const COMMITS: &str = "stentor_store_commits_total{result=\"ok\"} ";
const COMMIT_SECONDS: &str = "stentor_store_commit_duration_seconds_sum ";
const CONNECTIONS: &str = "stentor_connections ";
const QUARANTINED: &str = "stentor_plugin_quarantined{";
const QUARANTINES: &str = "stentor_plugin_quarantines_total{";

/// What one plugin did in one hook, by outcome, for each message of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PluginCalls {
    pub(crate) plugin: String,
    pub(crate) hook: String,
    /// Calls by outcome.
    pub(crate) calls: BTreeMap<String, u64>,
    pub(crate) calls_per_message: f64,
    /// Mean time of a call, in microseconds.
    pub(crate) mean_us: Option<f64>,
    /// Upper bound of the bucket that has the median call, in microseconds.
    pub(crate) median_us_max: Option<f64>,
}

/// The plugin metrics at one moment, by name, labels (with their bucket) and value.
#[derive(Clone, Debug, Default)]
pub(super) struct PluginCounters(BTreeMap<(String, Labels), f64>);

type Labels = BTreeMap<String, String>;

/// The status and the body of a GET.
pub(super) fn get(admin: SocketAddr, path: &str) -> Result<(u16, String), BenchError> {
    let fetch = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&admin, WAIT)?;
        stream.set_read_timeout(Some(WAIT))?;
        stream.set_write_timeout(Some(WAIT))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.take(BODY_BYTES_MAX).read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = fetch().map_err(|error| BenchError::Admin(format!("{path}: {error}")))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| BenchError::Admin(format!("{path}: not an HTTP answer")))?;
    Ok((status, body.to_owned()))
}

/// Whether the only plugin is in quarantine, and how often it was put there so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quarantine {
    pub(super) is_on: bool,
    pub(super) times: u64,
}

/// Reads it from `/metrics`.
pub(super) fn quarantine(admin: SocketAddr) -> Result<Quarantine, BenchError> {
    let (status, body) = get(admin, "/metrics")?;
    let value = |series: &str| {
        let line = body.lines().find(|line| line.starts_with(series))?;
        parse_line(line).map(|(_, value)| value)
    };
    match (value(QUARANTINED), value(QUARANTINES)) {
        (Some(is_on), Some(times)) => Ok(Quarantine { is_on: is_on > 0.0, times: times as u64 }),
        _ => Err(BenchError::Admin(format!("/metrics: status {status}, and nothing about quarantines"))),
    }
}

/// Connections of clients now.
pub(super) fn connections(admin: SocketAddr) -> Result<f64, BenchError> {
    let (_, body) = get(admin, "/metrics")?;
    value(&body, CONNECTIONS).ok_or_else(|| BenchError::Admin("/metrics: nothing about connections".to_owned()))
}

/// Commits to the disk so far, and the seconds that they took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Commits {
    pub(super) count: f64,
    pub(super) seconds: f64,
}

/// What commits to the disk cost while messages came in.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct StoreFigures {
    pub(crate) commits_per_second: f64,
    pub(crate) messages_per_commit: f64,
    /// Mean time of a commit, in milliseconds.
    pub(crate) commit_ms: f64,
    /// Share of the time in which one was under way.
    pub(crate) busy_share: f64,
}

impl Commits {
    /// Reads it from `/metrics`, if the server tells of commits.
    pub(super) fn read(admin: SocketAddr) -> Result<Option<Self>, BenchError> {
        let (_, body) = get(admin, "/metrics")?;
        let commits = value(&body, COMMITS).zip(value(&body, COMMIT_SECONDS));
        Ok(commits.map(|(count, seconds)| Self { count, seconds }))
    }

    /// What happened since `before`, so many seconds ago, with so many messages; nothing if there was no commit.
    pub(super) fn since(self, before: Self, messages: u64, seconds: f64) -> Option<StoreFigures> {
        let (count, busy_seconds) = (self.count - before.count, self.seconds - before.seconds);
        (count > 0.0 && seconds > 0.0).then(|| StoreFigures {
            commits_per_second: count / seconds,
            messages_per_commit: messages as f64 / count,
            commit_ms: busy_seconds * 1000.0 / count,
            busy_share: busy_seconds / seconds,
        })
    }
}

/// The value of a series that is named to its end.
fn value(body: &str, series: &str) -> Option<f64> {
    body.lines().find_map(|line| line.strip_prefix(series)?.split_ascii_whitespace().next()?.parse().ok())
}

impl PluginCounters {
    /// Reads `/metrics`.
    pub(super) fn read(admin: SocketAddr) -> Result<Self, BenchError> {
        match get(admin, "/metrics")? {
            (200, body) => Ok(Self::parse(&body)),
            (status, _) => Err(BenchError::Admin(format!("/metrics: status {status}"))),
        }
    }

    fn parse(text: &str) -> Self {
        let ours = text.lines().filter(|line| line.starts_with(CALLS) || line.starts_with(DURATION));
        Self(ours.filter_map(parse_line).collect())
    }

    /// What happened since `before`, for each of `messages`.
    pub(super) fn since(&self, before: &Self, messages: u64) -> Vec<PluginCalls> {
        let grown: Vec<(&str, &Labels, f64)> = self
            .0
            .iter()
            .map(|(key, value)| (key.0.as_str(), &key.1, value - before.0.get(key).unwrap_or(&0.0)))
            .filter(|(_, _, growth)| *growth > 0.0)
            .collect();
        let mut all: BTreeMap<(&str, &str), BTreeMap<String, u64>> = BTreeMap::new();
        for (name, labels, growth) in &grown {
            if *name == CALLS {
                let outcome = label(labels, "outcome").to_owned();
                let calls = all.entry((label(labels, "plugin"), label(labels, "hook"))).or_default();
                *calls.entry(outcome).or_default() += *growth as u64;
            }
        }
        all.into_iter()
            .map(|((plugin, hook), calls)| {
                let total: u64 = calls.values().sum();
                let durations: Vec<_> = grown
                    .iter()
                    .filter(|(_, labels, _)| label(labels, "plugin") == plugin && label(labels, "hook") == hook)
                    .copied()
                    .collect();
                PluginCalls {
                    plugin: plugin.to_owned(),
                    hook: hook.to_owned(),
                    calls,
                    calls_per_message: total as f64 / messages.max(1) as f64,
                    mean_us: mean_us(&durations),
                    median_us_max: median_us_max(&durations),
                }
            })
            .collect()
    }
}

fn mean_us(durations: &[(&str, &Labels, f64)]) -> Option<f64> {
    let total = |suffix| -> f64 {
        let of = |name: &str| name.strip_prefix(DURATION) == Some(suffix);
        durations.iter().filter(|(name, _, _)| of(name)).map(|(_, _, growth)| growth).sum()
    };
    let count = total("_count");
    (count > 0.0).then(|| total("_sum") / count * 1e6)
}

fn median_us_max(durations: &[(&str, &Labels, f64)]) -> Option<f64> {
    let mut buckets: Vec<(f64, f64)> = durations
        .iter()
        .filter(|(name, _, _)| name.strip_prefix(DURATION) == Some("_bucket"))
        .filter_map(|(_, labels, growth)| Some((label(labels, "le").parse().ok()?, *growth)))
        .collect();
    buckets.sort_by(|left, right| left.0.total_cmp(&right.0));
    let all = buckets.last()?.1;
    buckets.iter().find(|(_, below)| *below * 2.0 >= all).map(|(bound, _)| bound * 1e6)
}

fn label<'a>(labels: &'a Labels, key: &str) -> &'a str {
    labels.get(key).map_or("", String::as_str)
}

fn parse_line(line: &str) -> Option<((String, Labels), f64)> {
    let (name, rest) = line.split_once('{')?;
    let (labels, value) = rest.rsplit_once('}')?;
    let labels = labels
        .split("\",")
        .filter_map(|pair| pair.split_once("=\""))
        .map(|(key, value)| (key.trim().to_owned(), value.trim_end_matches('"').to_owned()))
        .collect();
    let value = value.split_ascii_whitespace().next()?.parse().ok()?;
    Some(((name.to_owned(), labels), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_by_plugin_and_hook() {
        let before = PluginCounters::parse(
            "# TYPE stentor_plugin_calls_total counter\n\
             stentor_plugin_calls_total{plugin=\"p\",hook=\"message\",outcome=\"accept\"} 5\n",
        );
        let after = PluginCounters::parse(
            "stentor_plugin_calls_total{plugin=\"p\",hook=\"message\",outcome=\"accept\"} 205\n\
             stentor_plugin_calls_total{plugin=\"p\",hook=\"message\",outcome=\"trap\"} 1\n\
             stentor_plugin_call_duration_seconds_bucket{plugin=\"p\",hook=\"message\",le=\"0.000001\"} 20\n\
             stentor_plugin_call_duration_seconds_bucket{plugin=\"p\",hook=\"message\",le=\"0.000002\"} 150\n\
             stentor_plugin_call_duration_seconds_bucket{plugin=\"p\",hook=\"message\",le=\"+Inf\"} 201\n\
             stentor_plugin_call_duration_seconds_sum{plugin=\"p\",hook=\"message\"} 0.000402\n\
             stentor_plugin_call_duration_seconds_count{plugin=\"p\",hook=\"message\"} 201\n\
             stentor_connections{shard=\"0\"} 7\n",
        );
        let calls = after.since(&before, 200);
        let [only] = calls.as_slice() else { panic!("one plugin and hook") };
        assert_eq!((only.plugin.as_str(), only.hook.as_str()), ("p", "message"));
        assert_eq!(only.calls, [("accept".to_owned(), 200), ("trap".to_owned(), 1)].into());
        assert!((only.calls_per_message - 1.005).abs() < 1e-9);
        assert!((only.mean_us.expect("a mean") - 2.0).abs() < 1e-9);
        assert!((only.median_us_max.expect("a median") - 2.0).abs() < 1e-9);
    }

    #[test]
    fn commits_are_by_message_and_by_second() {
        let body = "stentor_store_commits_total{result=\"error\"} 3\nstentor_store_commits_total{result=\"ok\"} 40\n\
                    stentor_store_commit_duration_seconds_sum 0.5\n";
        assert_eq!(value(body, COMMITS).zip(value(body, COMMIT_SECONDS)), Some((40.0, 0.5)));
        let (before, after) = (Commits { count: 20.0, seconds: 0.3 }, Commits { count: 40.0, seconds: 0.5 });
        let figures = after.since(before, 200, 2.0).expect("commits");
        assert!((figures.messages_per_commit - 10.0).abs() < 1e-9 && (figures.commit_ms - 10.0).abs() < 1e-9);
        assert!((figures.commits_per_second - 10.0).abs() < 1e-9 && (figures.busy_share - 0.1).abs() < 1e-9);
        assert!(after.since(after, 200, 2.0).is_none());
    }
}
