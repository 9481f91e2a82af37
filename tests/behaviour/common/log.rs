//! What the servers of this process write to their log. There is one log for all of them, so tests give their plugins
//! names that no other test has.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde_json::Value;

/// Lines that are kept; of more, the last.
const LINES_MAX: usize = 100_000;

/// The log, from warnings upwards, from the first start on.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<VecDeque<Value>>>);

impl Log {
    /// Keeps what is logged from now on.
    pub(crate) fn start() -> Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        let start = || {
            let log = Self::default();
            let writer = log.clone();
            let lines = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(tracing::Level::WARN);
            // A process has one subscriber.
            lines.with_writer(move || writer.clone()).init();
            log
        };
        LOG.get_or_init(start).clone()
    }

    /// The lines about a plugin with this message.
    pub(crate) fn lines(&self, plugin: &str, message: &str) -> Vec<Value> {
        let lines = self.0.lock();
        lines.iter().filter(|line| line["plugin"] == plugin && line["message"] == message).cloned().collect()
    }
}

impl Write for Log {
    /// One event is one write.
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let line = serde_json::from_slice(bytes)?;
        let mut lines = self.0.lock();
        if lines.len() == LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
