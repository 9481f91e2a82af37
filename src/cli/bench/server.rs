//! The processes under test, started as our own children, from this very binary unless told otherwise, and ended by their own id, however the
//! benchmark ends. Writes the server's configuration; knows nothing of what is measured.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Signal, set_parent_process_death_signal};

use super::error::{BenchError, failed};
use super::place::{self, Place};
use super::program::Program;
use super::scrape;
use super::workload::Setup;

const READY_TIME_MAX: Duration = Duration::from_secs(20);
const READY_POLL: Duration = Duration::from_millis(20);
/// Lines of a child's output that are shown when it fails.
const OUTPUT_LINES_MAX: usize = 20;
/// Arguments before the path of the configuration file.
const SERVE: [&str; 2] = ["serve", "--config"];
/// Variables that would change what our configuration file says.
const VARIABLES_REMOVED: [&str; 5] = ["JWT_SECRET", "PORT", "FRONTEND_URL", "REDIS_HOST", "REDIS_PORT"];

/// The plugins that a workload may be measured with.
const MESSAGE_POLICY: &str = "[[plugins]]\nname = \"message-policy\"\ncomponent = \"bundled:message-policy\"\n";
const ROOM_ACL: &str = "[[plugins]]\nname = \"room-acl\"\ncomponent = \"bundled:room-acl\"\n\
    [[plugins.config.rules]]\nrooms = [\"dm:{userId}:*\", \"dm:*:{userId}\"]\n\
    [[plugins.config.rules]]\nrooms = [\"*\"]\nsend = [\"role=admin\", \"{userId}=*\"]\ndelete = [\"role=moderator\"]\n";

/// The name of the subcommand that becomes another command once it is tied to our life.
pub(super) const TIED: &str = "tied";
/// The name of the subcommand that serves the floor.
pub(super) const FLOOR: &str = "floor";

/// A child process and its directory; both are gone when this is dropped.
#[derive(Debug)]
pub(super) struct Child {
    what: String,
    process: std::process::Child,
    directory: Directory,
}

/// A running server of ours.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) child: Child,
    pub(super) listen: SocketAddr,
    pub(super) admin: SocketAddr,
}

/// A plugin that loops whenever it is told to, in the place of the bundled one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looping<'a> {
    pub(super) component: &'a Path,
    /// Whether it is put into quarantine for that, as plugins are by default.
    pub(super) quarantine: bool,
}

/// The deadline of its calls: the server's own default for a message filter.
pub(super) const LOOPING_CALL_MS_MAX: u32 = 5;

/// Starts the server and waits until it says that it is ready.
pub(super) fn start_server(
    program: &Program,
    setup: Setup,
    looping: Option<Looping<'_>>,
    secret: &str,
    place: &Place,
) -> Result<Server, BenchError> {
    let directory = Directory::new().map_err(failed("make a directory"))?;
    let (listen, admin) = (free_address()?, free_address()?);
    let file = directory.0.join("stentor.toml");
    let tables = delivery(program, setup) + &store(program, setup) + &plugins(setup, looping)?;
    let text = configuration(setup, &tables, secret, [listen, admin], &directory.0)?;
    fs::write(&file, text).map_err(failed("write the configuration"))?;
    let arguments = SERVE.map(str::to_owned).into_iter().chain([file.to_string_lossy().into_owned()]);
    let mut child = Child::start(program, "the server", arguments.collect(), directory, place)?;
    child.wait_until(|| matches!(scrape::get(admin, "/readyz"), Ok((200, _))))?;
    Ok(Server { child, listen, admin })
}

/// Starts the floor and waits until it listens.
pub(super) fn start_floor(frame_bytes: usize, place: &Place) -> Result<(Child, SocketAddr), BenchError> {
    let directory = Directory::new().map_err(failed("make a directory"))?;
    let address = free_address()?;
    let (port, frame_bytes) = (address.port().to_string(), frame_bytes.to_string());
    let arguments = ["bench", FLOOR, "--port", &port, "--frame-bytes", &frame_bytes];
    let arguments = arguments.map(str::to_owned).to_vec();
    let mut child = Child::start(&Program::own(), "the floor", arguments, directory, place)?;
    child.wait_until(|| TcpStream::connect(address).is_ok())?;
    Ok((child, address))
}

/// Ties this process to the one that started it (it is killed when that ends, even by a signal), keeps it to some
/// processors, and becomes `arguments` of this binary or another, under the same process id.
pub(super) fn run_tied(cpus: &[usize], program: Option<&Path>, arguments: &[String]) -> BenchError {
    place::move_to(cpus);
    let become_it = || -> io::Result<io::Error> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        let program = program.map_or_else(std::env::current_exe, |program| Ok(program.to_owned()))?;
        Ok(Command::new(program).args(arguments).exec())
    };
    failed("start a child")(become_it().unwrap_or_else(|error| error))
}

impl Child {
    fn start(
        program: &Program,
        what: &str,
        arguments: Vec<String>,
        directory: Directory,
        place: &Place,
    ) -> Result<Self, BenchError> {
        let what = program.name().map_or_else(|| what.to_owned(), |name| format!("{what} {name}"));
        let cpus: Vec<String> = place.target.iter().map(usize::to_string).collect();
        let launch = || -> io::Result<std::process::Child> {
            let output = File::create(directory.output())?;
            let mut command = Command::new(std::env::current_exe()?);
            command.args(["bench", TIED, "--cpus", &cpus.join(",")]);
            if let Some(path) = program.path() {
                command.arg("--program").arg(path);
            }
            command.arg("--").args(arguments);
            command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
            for variable in VARIABLES_REMOVED {
                command.env_remove(variable);
            }
            command.spawn()
        };
        let process = launch().map_err(|source| BenchError::Start { what: what.clone(), source })?;
        Ok(Self { what, process, directory })
    }

    /// The process id, which only this child has as long as it is not dropped.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    fn wait_until(&mut self, is_ready: impl Fn() -> bool) -> Result<(), BenchError> {
        let started = Instant::now();
        loop {
            if let Ok(Some(status)) = self.process.try_wait() {
                return Err(self.not_ready(format!("ended at its start ({status})")));
            }
            if is_ready() {
                return Ok(());
            }
            if started.elapsed() > READY_TIME_MAX {
                return Err(self.not_ready(format!("was not ready in {} s", READY_TIME_MAX.as_secs())));
            }
            std::thread::sleep(READY_POLL);
        }
    }

    fn not_ready(&self, problem: String) -> BenchError {
        let text = fs::read_to_string(self.directory.output()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(OUTPUT_LINES_MAX)..).unwrap_or_default();
        BenchError::NotReady { what: self.what.clone(), problem, output: last.join("\n") }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A directory of our own, removed with all that is in it.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn new() -> io::Result<Self> {
        let mut number = 0;
        loop {
            let path = std::env::temp_dir().join(format!("stentor-bench-{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1000 => number += 1,
                outcome => return outcome.map(|()| Self(path)),
            }
        }
    }

    fn output(&self) -> PathBuf {
        self.0.join("output")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An address whose port was free a moment ago.
fn free_address() -> Result<SocketAddr, BenchError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(failed("find a port"))
}

/// How long what is busy waits. Without pacing nothing waits for company.
fn delivery(program: &Program, setup: Setup) -> String {
    let Some(ms) = setup.room_flush_ms else { return String::new() };
    let gather = if program.has_input_gather() { "input_gather_us = 0\n" } else { "" };
    format!("[delivery]\nroom_flush_ms = {ms}\n{gather}")
}

/// Where the store is: a server that cannot be told keeps it in memory.
fn store(program: &Program, setup: Setup) -> String {
    let durability = if setup.durable { "disk" } else { "memory" };
    if program.has_durability() { format!("[store]\ndurability = \"{durability}\"\n") } else { String::new() }
}

/// The server's configuration: nothing limits the load, everything not named here or in `tables` is as delivered.
fn configuration(
    setup: Setup,
    tables: &str,
    secret: &str,
    [listen, admin]: [SocketAddr; 2],
    directory: &Path,
) -> Result<String, BenchError> {
    let shards = setup.shards.map(|shards| format!("shards = {shards}\n")).unwrap_or_default();
    Ok(format!(
        "listen = \"{listen}\"\n{shards}data_directory = {data}\n\
         [admin]\nlisten = \"{admin}\"\n\
         [log]\nlevel = \"warn\"\n\
         [[auth.keys]]\nalgorithm = \"HS256\"\nsecret = {secret}\n\
         [limits]\nrequests_per_second_max = 0\nrequest_burst_max = 1000000\nconnections_max = 0\n\
         connections_per_address_max = 0\nmembers_per_room_max = 0\n\
         {tables}",
        data = quote(&directory.join("data").to_string_lossy())?,
        secret = quote(secret)?,
    ))
}

/// The plugins of the configuration.
fn plugins(setup: Setup, looping: Option<Looping<'_>>) -> Result<String, BenchError> {
    let Some(Looping { component, quarantine }) = looping else {
        let acl = if setup.acl { ROOM_ACL } else { "" };
        let policy = if setup.plugin { MESSAGE_POLICY } else { "" };
        return Ok(format!("{acl}{policy}"));
    };
    let never = if quarantine { "" } else { "quarantine_failures = 0\n" };
    // Open, so that the others' messages pass while the plugin is in quarantine.
    Ok(format!(
        "[[plugins]]\nname = \"looping\"\ncomponent = {component}\non_failure = \"open\"\n\
         call_ms_max = {LOOPING_CALL_MS_MAX}\n{never}config = {{ behaviour = \"loop\" }}\n",
        component = quote(&component.to_string_lossy())?,
    ))
}

/// A JSON string is a TOML string too.
fn quote(text: &str) -> Result<String, BenchError> {
    Ok(serde_json::to_string(text)?)
}
