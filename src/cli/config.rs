//! `stentor config`: the configuration in force as a file for copying, and the schema of that file for editors.

use clap::{Args, Subcommand};

use super::{ConfigPath, Failure, write_out};
use crate::config::{Config, print, schema};

/// `stentor config …`
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the configuration as a commented file: what file and environment say, else the defaults.
    Print(PrintArgs),
    /// Print the JSON Schema of the file.
    Schema,
}

#[derive(Debug, Args)]
struct PrintArgs {
    /// Print the configuration of a development server, with its sample policies.
    #[arg(long, conflicts_with = "config")]
    development: bool,
    #[command(flatten)]
    path: ConfigPath,
}

pub(crate) fn run(arguments: &ConfigArgs) -> Result<(), Failure> {
    match &arguments.command {
        ConfigCommand::Schema => write_out(&format!("{:#}\n", schema())),
        ConfigCommand::Print(arguments) if arguments.development => write_out(&print(&Config::development())),
        ConfigCommand::Print(arguments) => {
            let loaded = arguments.path.load()?;
            // Where nothing is configured, a file to start from says more than the development server that would run.
            let is_unconfigured = loaded.file.is_none() && loaded.config.development;
            write_out(&print(&if is_unconfigured { Config::default() } else { loaded.config }))
        }
    }
}
