//! `stentor serve`: starts a server, says where it is, and stops it on a signal.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::write_out;
use crate::app::{Listeners, Server};
use crate::config::{self, Config, Loaded, LogFormat, LogLevel};
use crate::policy::sign;

/// How long the token is good that a development server prints.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn run(loaded: Loaded) -> Result<(), Box<dyn Error>> {
    let Loaded { config, notes, .. } = loaded;
    start_logging(&config.log);
    for note in notes {
        tracing::warn!("{note}");
    }
    let listeners = Listeners::bind(&config)?;
    let server = Server::start(config.clone(), listeners)?;
    tracing::info!(client = %server.client_address(), admin = %server.admin_address(), version = env!("CARGO_PKG_VERSION"), "listening");
    if config.development && write_out(&greeting(&config, &server)?).is_err() {
        tracing::debug!("nobody reads the greeting");
    }
    server.block_on(until_told_to_stop())?;
    tracing::info!("stopping");
    server.stop();
    tracing::info!("stopped");
    Ok(())
}

/// Logs go to standard error, one line an event.
fn start_logging(log: &config::Log) {
    let level = match log.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    // Only our own events: a library's debug output may hold what must not be logged.
    let filter = EnvFilter::new(format!("warn,stentor={level}"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let started = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Err(error) = started {
        // Someone who embeds this program logs in a way of their own.
        tracing::debug!(%error, "logging is set up already");
    }
}

/// What a new user needs: where to look, and how to get in.
fn greeting(config: &Config, server: &Server) -> Result<String, Box<dyn Error>> {
    let (client, admin) = (server.client_address(), server.admin_address());
    let token = sign(config, "alice", TOKEN_TTL, serde_json::Map::new())?;
    let mut text = String::new();
    writeln!(text, "Stentor {} is a development server on this machine only.", env!("CARGO_PKG_VERSION"))?;
    writeln!(text)?;
    writeln!(text, "  demo       http://{client}/demo?user=alice&room=lobby")?;
    writeln!(text, "             http://{client}/demo?user=bob&room=lobby     (a second tab)")?;
    writeln!(text, "  WebSocket  ws://{client}/ws")?;
    writeln!(text, "  metrics    http://{admin}/metrics")?;
    writeln!(text, "  token      {token}")?;
    writeln!(text, "             (for alice, 24 h; others: stentor token --user NAME)")?;
    writeln!(text)?;
    Ok(text)
}

async fn until_told_to_stop() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        // Dropping the waits for the other signals loses nothing: each is asked for again, or not needed any more.
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hangup.recv() => tracing::warn!("this version cannot reload its configuration; restart it instead"),
        }
    }
}
