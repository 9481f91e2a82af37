//! `stentor serve`: starts a server, says where it is, and follows signals: one to stop, one to reload.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{Failure, ServeArgs, write_out};
use crate::app::{Listeners, Server, StartError, plugin_faults};
use crate::config::{self, Config, Loaded, LogFormat, LogLevel, development_api_key};
use crate::policy::sign;

/// How long the token is good that a development server prints.
const TOKEN_TTL: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn run(serve: &ServeArgs) -> Result<(), Failure> {
    let Loaded { config, notes, .. } = serve.load()?;
    start_logging(&config.log);
    for note in notes {
        tracing::warn!("{note}");
    }
    let listeners = Listeners::bind(&config).map_err(other)?;
    let server = Server::start(config.clone(), listeners).map_err(|error| match error {
        StartError::Plugins(errors) => Failure::Configuration(plugin_faults(&config, &errors)),
        error => other(error),
    })?;
    // Before anybody knows that there is somebody to send them to.
    let signals = Signals::listen(&server)?;
    tracing::info!(client = %server.client_address(), admin = %server.admin_address(), version = env!("CARGO_PKG_VERSION"), "listening");
    if config.development && write_out(&greeting(&config, &server)?).is_err() {
        tracing::debug!("nobody reads the greeting");
    }
    signals.follow(&server, serve);
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
fn greeting(config: &Config, server: &Server) -> Result<String, Failure> {
    let token = sign(config, "alice", TOKEN_TTL, serde_json::Map::new()).map_err(other)?;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let makes_api_key = config.api.keys.is_empty();
    let api_key = makes_api_key.then(|| development_api_key(config)).transpose().map_err(other)?;
    write_greeting(&mut text, server, &token, api_key.as_ref().map(|(_, path)| path.as_path())).map_err(other)?;
    Ok(text)
}

fn write_greeting(text: &mut String, server: &Server, token: &str, api_key: Option<&Path>) -> std::fmt::Result {
    let (client, admin) = (server.client_address(), server.admin_address());
    writeln!(text, "Stentor {} is a development server on this machine only.", env!("CARGO_PKG_VERSION"))?;
    writeln!(text)?;
    writeln!(text, "  demo       http://{client}/demo?user=alice&room=lobby")?;
    writeln!(text, "             http://{client}/demo?user=bob&room=lobby     (a second tab)")?;
    writeln!(text, "  WebSocket  ws://{client}/ws")?;
    writeln!(text, "  metrics    http://{admin}/metrics")?;
    writeln!(text, "  API        http://{admin}/api/v1/publish, described at http://{admin}/api/openapi.json")?;
    if let Some(path) = api_key {
        writeln!(text, "             (the key is in {})", path.display())?;
    }
    writeln!(text, "  token      {token}")?;
    writeln!(text, "             (for alice, 24 h; others: stentor token --user NAME)")?;
    writeln!(text, "  reload     kill -HUP {}", std::process::id())?;
    writeln!(text, "             (after a change to stentor.toml; stentor config print --development shows one)")?;
    writeln!(text)
}

fn other(error: impl Error + 'static) -> Failure {
    Failure::Other(error.into())
}

/// What a signal asks for.
enum Wish {
    Stop,
    Reload,
}

/// What an operator says to a process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on a signal waits to be followed, and does not end the process.
    fn listen(server: &Server) -> std::io::Result<Self> {
        server.block_on(async {
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                hangup: signal(SignalKind::hangup())?,
            })
        })
    }

    /// Follows signals until one of them says to stop.
    fn follow(mut self, server: &Server, serve: &ServeArgs) {
        loop {
            let wish = server.block_on(async {
                // Dropping the waits for the other signals loses nothing: each is asked for again, or not needed.
                tokio::select! {
                    _ = self.terminate.recv() => Wish::Stop,
                    _ = self.interrupt.recv() => Wish::Stop,
                    _ = self.hangup.recv() => Wish::Reload,
                }
            });
            match wish {
                Wish::Stop => return,
                // Signals that come meanwhile wait: one more reload does for all of them.
                Wish::Reload => reload(server, serve),
            }
        }
    }
}

/// Puts the configuration into force as it is now, or says why not and leaves everything as it was.
fn reload(server: &Server, serve: &ServeArgs) {
    let began = Instant::now();
    let Loaded { config, notes, .. } = match serve.load() {
        Ok(loaded) => loaded,
        Err(failure) => {
            server.reload_refused();
            return refused(&failure.report());
        }
    };
    for note in notes {
        tracing::warn!("{note}");
    }
    match server.reload(config) {
        Ok(fixed) => {
            for key in fixed {
                tracing::warn!(key, "this key is as it was: it needs a restart");
            }
            tracing::info!(milliseconds = began.elapsed().as_millis(), "configuration reloaded");
        }
        Err(error) => refused(&error.to_string()),
    }
}

fn refused(report: &str) {
    for problem in report.lines() {
        tracing::error!(problem, "the configuration is not reloaded");
    }
}
