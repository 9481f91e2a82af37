//! `stentor bench`: loads a server, counts every delivery, and sets the figures beside those of a floor, the least that
//! a server could do, on the same machine in the same minute. It starts both as its own children. It must not know the
//! server's code: it speaks the wire protocol, `/proc` and `/metrics`, as any outsider could.
//!
//! `workload` says what is run, `program` with which server, `series` in which order, `measure`, `crowd`, `durable`,
//! `reconnect`, `typing`, `presence` and `torture` run one thing once, `swarm` and `client`
//! hold the connections, `place` keeps them off the server's processors, `ledger` counts, `trials`, `report`, `comparison` and `table`
//! conclude and tell.

mod client;
mod comparison;
mod crowd;
mod dialect;
mod durable;
mod ephemeral;
mod error;
mod floor;
mod frame;
mod ledger;
mod measure;
mod median;
mod meter;
mod place;
mod presence;
mod process;
mod program;
mod reconnect;
mod report;
mod scrape;
mod series;
mod server;
mod stamp;
mod swarm;
mod table;
mod target;
mod torture;
mod trials;
mod typing;
mod watch;
mod workload;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;

pub use error::BenchError;

use program::Program;
use series::Series;
use target::Given;
use workload::{Choice, Settings};

/// What `stentor bench` is asked to do.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    part: Option<Part>,
    /// Workloads, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "all")]
    workload: Vec<Choice>,
    /// Shards of the server: a number, several separated by commas, or `both` for 1 and 2
    #[arg(long, default_value = "both")]
    shards: Shards,
    /// Pacing of busy rooms, and of the input of busy shards
    #[arg(long, value_enum, default_value = "default")]
    pacing: Pacing,
    /// The bundled message policy plugin, in the fan-out workloads
    #[arg(long, value_enum, default_value = "on")]
    plugin: Switch,
    /// The bundled room rights plugin, in the fan-out workloads
    #[arg(long, value_enum, default_value = "off")]
    acl: Switch,
    /// The store on disk, in the fan-out workloads
    #[arg(long, value_enum, default_value = "off")]
    durable: Switch,
    /// Acknowledgements by pong (`autoAck`), in the fan-out, durable and reconnect workloads; `both` also says what they
    /// cost
    #[arg(long, value_enum, default_value = "on")]
    acks: Switch,
    /// Seconds that are measured, after one of warm-up
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Repetitions, of which each figure is the median
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100))]
    reps: u64,
    /// Connections in the idle and storm workloads
    #[arg(long, default_value_t = 9000, value_parser = clap::value_parser!(u64).range(10..=19_000))]
    connections: u64,
    /// The component that loops in the torture workload: the test guest `misbehaving`, which does not come with the server
    #[arg(long, value_name = "PATH", default_value = "plugins/built/misbehaving.wasm")]
    torture_plugin: PathBuf,
    /// A build of the server to start instead of this one; of several, each runs in turn in every repetition, and is
    /// compared with the first
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    server: Vec<PathBuf>,
    /// Print one JSON document instead of tables
    #[arg(long)]
    json: bool,
    /// A running server (`ws://HOST:PORT/ws`) to load instead of our own; it must not limit the load
    #[arg(long, requires = "token_secret")]
    url: Option<String>,
    /// Its HS256 secret
    #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
    token_secret: Option<String>,
    /// Its admin listener, for what plugins did
    #[arg(long, requires = "url")]
    admin: Option<SocketAddr>,
    /// Its process id, if it runs here, for CPU and memory
    #[arg(long, requires = "url")]
    pid: Option<u32>,
}

/// The parts that run in processes of their own.
#[derive(Debug, clap::Subcommand)]
enum Part {
    /// Serve the floor
    #[command(name = server::FLOOR, hide = true)]
    Floor(floor::FloorArgs),
    /// Become another command, and end with whoever started it
    #[command(name = server::TIED, hide = true)]
    Tied {
        /// The processors it may use
        #[arg(long, value_delimiter = ',')]
        cpus: Vec<usize>,
        /// Another binary than this
        #[arg(long)]
        program: Option<PathBuf>,
        /// The arguments of that command
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

/// Numbers of shards to be tried.
#[derive(Clone, Debug)]
struct Shards(Vec<usize>);

impl FromStr for Shards {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "both" {
            return Ok(Self(vec![1, 2]));
        }
        let numbers: Result<Vec<usize>, _> = text.split(',').map(str::parse).collect();
        match numbers {
            Ok(numbers) if numbers.iter().all(|number| (1..=64).contains(number)) => Ok(Self(numbers)),
            _ => Err("not `both`, nor numbers from 1 to 64".to_owned()),
        }
    }
}

/// Whether busy rooms are paced.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Pacing {
    /// As the server does without being told
    Default,
    /// Never
    Off,
    /// Each in turn
    Both,
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Switch {
    /// Yes
    On,
    /// No
    Off,
    /// Each in turn
    Both,
}

impl Switch {
    fn settings(self) -> Vec<bool> {
        match self {
            Self::On => vec![true],
            Self::Off => vec![false],
            Self::Both => vec![false, true],
        }
    }
}

/// Runs the benchmark and prints what it came to.
///
/// # Errors
///
/// When it cannot be run, when what was accepted did not arrive exactly once, or when the machine is too busy for the
/// comparison to mean anything; in the last two cases after the report.
pub fn run(args: &BenchArgs) -> Result<(), BenchError> {
    match &args.part {
        Some(Part::Floor(floor)) => return floor::run(floor),
        Some(Part::Tied { cpus, program, arguments }) => {
            return Err(server::run_tied(cpus, program.as_deref(), arguments));
        }
        None => {}
    }
    let report = series(args)?.run()?;
    let text = if args.json { report.json()? } else { table::text(&report) };
    writeln!(std::io::stdout().lock(), "{}", text.trim_end()).map_err(error::failed("print"))?;
    report.verdict()
}

fn series(args: &BenchArgs) -> Result<Series, BenchError> {
    let given = args.url.as_ref().zip(args.token_secret.as_ref()).map(|(url, secret)| Given {
        url: url.clone(),
        secret: secret.clone(),
        admin: args.admin,
        pid: args.pid,
    });
    let ours = [
        (Choice::Plugin, "plugin"),
        (Choice::Torture, "torture"),
        (Choice::Durable, "durable"),
        (Choice::Reconnect, "reconnect"),
    ];
    if let Some((_, name)) = ours.iter().find(|(choice, _)| given.is_some() && args.workload.contains(choice)) {
        return Err(BenchError::Usage(format!("--workload {name}: needs a server of our own, not --url")));
    }
    if args.workload.contains(&Choice::Torture) && !args.torture_plugin.is_file() {
        let path = args.torture_plugin.display();
        return Err(BenchError::Usage(format!("--torture-plugin: {path} is not there; it is built by plugins/build")));
    }
    let settings = if given.is_some() { as_is(args) } else { settings(args) };
    let choices: &[Choice] = if given.is_some() && args.workload.contains(&Choice::All) {
        &[Choice::W1, Choice::W2, Choice::W2b, Choice::W3, Choice::Echo]
    } else {
        &args.workload
    };
    let cases = workload::cases(choices, &settings);
    let programs = programs(args)?;
    let in_memory = programs.iter().find(|program| !program.has_durability()).and_then(Program::name);
    if let Some(name) = in_memory.filter(|_| cases.iter().any(|case| case.setup.durable)) {
        return Err(BenchError::Usage(format!("--server {name}: this build has no store on disk")));
    }
    Ok(Series {
        cases,
        programs,
        reps: usize::try_from(args.reps).unwrap_or(1),
        seconds: args.seconds,
        connections: usize::try_from(args.connections).unwrap_or(usize::MAX),
        cpus: place::allowed(),
        torture_plugin: args.torture_plugin.clone(),
        given,
    })
}

fn programs(args: &BenchArgs) -> Result<Vec<Program>, BenchError> {
    if args.server.is_empty() {
        return Ok(vec![Program::own()]);
    }
    args.server.iter().map(|path| Program::at(path)).collect()
}

fn settings(args: &BenchArgs) -> Settings {
    Settings {
        shards: args.shards.0.iter().copied().map(Some).collect(),
        room_flush_ms: match args.pacing {
            Pacing::Default => vec![None],
            Pacing::Off => vec![Some(0)],
            Pacing::Both => vec![None, Some(0)],
        },
        plugin: args.plugin.settings(),
        acl: args.acl.settings(),
        durable: args.durable.settings(),
        acks: args.acks.settings(),
    }
}

/// Of a server that is not ours, nothing can be set; but the clients are ours.
fn as_is(args: &BenchArgs) -> Settings {
    Settings {
        shards: vec![None],
        room_flush_ms: vec![None],
        plugin: vec![false],
        acl: vec![false],
        durable: vec![false],
        acks: args.acks.settings(),
    }
}
