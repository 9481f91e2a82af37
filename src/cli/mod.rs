//! The command line: what each subcommand is called, and what its exit code says.
//!
//! Bad usage exits 64 and a bad configuration 78, as sysexits.h has them, so that a supervisor can tell a mistake from a
//! crash (1). Subcommands return what happened; only `main` turns it into a code. Nothing here knows how a server works.

pub mod bench;
pub mod check;
pub mod config;
pub mod serve;
pub mod token;

use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Durability, Loaded, Problem, Source, load};

/// A realtime server for chat-like applications whose policies are WebAssembly plugins.
#[derive(Debug, Parser)]
#[command(name = "stentor", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (also without any subcommand). With no configuration it is a development server on loopback.
    Serve(ServeArgs),
    /// Check the configuration and its plugins, and report every problem.
    Check(ConfigPath),
    /// Print a token for a user, signed with the configured secret or the development key.
    Token(token::TokenArgs),
    /// Print the configuration or its schema.
    Config(config::ConfigArgs),
    /// Measure a server.
    Bench(Box<bench::BenchArgs>),
}

/// Which configuration.
#[derive(Clone, Debug, Args)]
pub struct ConfigPath {
    /// The configuration file [default: stentor.toml, when there is one].
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
}

/// What to serve.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    path: ConfigPath,
    /// Keep everything in memory and nothing on disk, as with `store.durability = "memory"`.
    #[arg(long)]
    memory: bool,
}

impl ServeArgs {
    pub(crate) fn load(&self) -> Result<Loaded, Failure> {
        let mut loaded = self.path.load()?;
        if self.memory {
            loaded.config.store.durability = Durability::Memory;
        }
        Ok(loaded)
    }
}

impl ConfigPath {
    pub(crate) fn load(&self) -> Result<Loaded, Failure> {
        load(&Source::of_process(self.config.clone())).map_err(Failure::Configuration)
    }
}

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The arguments make no sense together.
    #[error("{0}")]
    Usage(String),
    /// The configuration is bad.
    #[error("the configuration has {} problem(s)", .0.len())]
    Configuration(Vec<Problem>),
    /// Everything else.
    #[error(transparent)]
    Other(#[from] Box<dyn Error>),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Other(error.into())
    }
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(64),
            Self::Configuration(_) => ExitCode::from(78),
            Self::Other(_) => ExitCode::FAILURE,
        }
    }

    /// One line a problem, so that tools and editors can follow them.
    fn report(&self) -> String {
        match self {
            Self::Configuration(problems) => problems.iter().map(|problem| format!("{problem}\n")).collect(),
            Self::Usage(message) => format!("error: {message}\n"),
            Self::Other(error) => {
                let causes = std::iter::successors(error.source(), |cause| (*cause).source());
                let causes: String = causes.map(|cause| format!(": {cause}")).collect();
                format!("error: {error}{causes}\n")
            }
        }
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(refusal) => {
            // Where even that cannot be printed, the code alone must do.
            refusal.print().ok();
            return if refusal.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output may stop early, as `head` does.
        Err(Failure::Other(error)) if is_broken_pipe(error.as_ref()) => ExitCode::SUCCESS,
        Err(failure) => {
            std::io::stderr().lock().write_all(failure.report().as_bytes()).ok();
            failure.exit_code()
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command.unwrap_or(Command::Serve(arguments.serve)) {
        Command::Serve(serve) => serve::run(&serve),
        Command::Check(path) => check::run(&path, crate::app::start_problems),
        Command::Token(arguments) => token::run(&arguments),
        Command::Config(arguments) => config::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments).map_err(|error| match error {
            bench::BenchError::Usage(message) => Failure::Usage(message),
            other => Failure::Other(other.into()),
        }),
    }
}

/// Writes to standard output.
pub(crate) fn write_out(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_subcommand_means_serve() {
        let arguments = Arguments::try_parse_from(["stentor", "--config", "a.toml"]).unwrap();
        assert!(arguments.command.is_none());
        assert_eq!(arguments.serve.path.config, Some("a.toml".into()));
        let arguments = Arguments::try_parse_from(["stentor", "serve", "--config", "b.toml"]).unwrap();
        assert!(matches!(arguments.command, Some(Command::Serve(serve)) if serve.path.config == Some("b.toml".into())));
        assert!(Arguments::try_parse_from(["stentor", "--config", "a.toml", "check"]).is_err());
    }
}
