//! What is checked before anything is begun: everything that would make it impossible, each in one sentence.

use std::collections::HashSet;
use std::fmt;
use std::rc::Rc;

use deadpool_redis::redis;

use super::core::Core;
use super::dialer::Obstacle;
use super::error::{Meaning, Refusal};
use super::script::Script;
use super::settings::{Address, Topology};
use super::value::Value;

/// Whether the user may run a command. It runs nothing.
static MAY: Script = Script::new("may", "return redis.acl_check_cmd(unpack(ARGV)) and 1 or 0");

/// What is asked of a server beyond being there.
#[derive(Clone, Debug, Default)]
pub struct Preflight {
    /// All scripts that are ever called.
    pub scripts: &'static [&'static Script],
    /// An example of each command that is used, in scripts or not: name and arguments.
    pub commands: Vec<Vec<String>>,
    /// Replicas that a server must have.
    pub replicas_min: usize,
}

/// One reason why it cannot work, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem(pub(super) String);

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a server says of itself.
struct Server {
    version: (u32, u32),
    mode: String,
    role: String,
}

/// Looks at all servers that there are.
pub(super) async fn run(core: &Rc<Core>, preflight: &Preflight) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut tell =
        |address: &Address, problem: String| problems.push(Problem(format!("Redis at {address}: {problem}")));
    let first = match reachable(core).await {
        Ok(address) => address,
        Err(problem) => return vec![problem],
    };
    let mut servers: HashSet<Address> = HashSet::from([first.clone()]);
    if core.is_cluster() {
        match greet(core, &first).await {
            Ok(server) if server.mode != "cluster" => {
                tell(&first, "it is no cluster, and the configuration says that it is one".to_owned());
                return problems;
            }
            Ok(server) => core.is_sharded.set(server.version >= (7, 0)),
            Err(_) => {}
        }
        core.map.refresh(core).await;
        servers.extend(core.map.owners());
        if core.map.owners().is_empty() {
            tell(&first, "its cluster has no servers with slots".to_owned());
        } else if !core.map.owners().contains(&first) {
            // It may be a replica, which takes no writes and need not.
            servers.remove(&first);
        }
    }
    for address in servers {
        match examine(core, &address, preflight).await {
            Ok(found) => found.into_iter().for_each(|problem| tell(&address, problem)),
            Err(obstacle) => tell(&address, obstacle.text),
        }
    }
    problems
}

/// The first server that answers.
async fn reachable(core: &Rc<Core>) -> Result<Address, Problem> {
    let candidates = match &core.settings().topology {
        Topology::Cluster(servers) => servers.clone(),
        _ => vec![core.dialer.master().await.map_err(|obstacle| Problem(format!("Redis: {}", obstacle.text)))?],
    };
    let mut last = Problem("Redis: no server is named".to_owned());
    for address in candidates {
        match greet(core, &address).await {
            Ok(_) => return Ok(address),
            Err(obstacle) => last = Problem(format!("Redis at {address}: {}", obstacle.text)),
        }
    }
    Err(last)
}

async fn greet(core: &Rc<Core>, address: &Address) -> Result<Server, Obstacle> {
    let answer = core.dialer.ask(address, &redis::cmd("HELLO")).await?;
    let field = |name: &str| {
        let fields = answer.list().unwrap_or_default();
        let pair = fields.chunks_exact(2).find(|pair| pair.first().and_then(Value::text) == Some(name));
        pair.and_then(|pair| pair.last()).and_then(Value::text).unwrap_or_default().to_owned()
    };
    let version = field("version");
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Ok(Server { version, mode: field("mode"), role: field("role") })
}

async fn examine(core: &Rc<Core>, address: &Address, preflight: &Preflight) -> Result<Vec<String>, Obstacle> {
    let mut problems = Vec::new();
    let server = greet(core, address).await?;
    let (major, minor) = server.version;
    if server.version < (6, 2) {
        problems.push(format!("its version is {major}.{minor}, and 6.2 or later is needed"));
    }
    match server.mode.as_str() {
        "cluster" if !core.is_cluster() => problems
            .push("it is part of a cluster, and the configuration does not say so (redis-cluster://…)".to_owned()),
        "sentinel" => problems.push("it is a sentinel, and not the server (redis-sentinel://…/master)".to_owned()),
        _ => {}
    }
    if server.role != "master" && server.mode != "sentinel" {
        problems.push(format!("it is a {} and takes no writes", server.role));
    }
    if problems.is_empty() {
        problems.extend(policy(core, address).await);
        problems.extend(replicas(core, address, preflight.replicas_min).await);
        problems.extend(scripts(core, address, preflight.scripts).await);
        problems.extend(permissions(core, address, server.version, preflight).await);
    }
    Ok(problems)
}

/// What is thrown away when memory is short would be missed, whatever it is.
async fn policy(core: &Rc<Core>, address: &Address) -> Option<String> {
    let mut question = redis::cmd("INFO");
    question.arg("memory");
    let answer = core.dialer.ask(address, &question).await.ok()?;
    let policy = answer.text()?.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"))?.trim().to_owned();
    (policy != "noeviction").then(|| {
        format!("its maxmemory-policy is {policy}, which loses what was promised to be kept; set it to noeviction")
    })
}

async fn replicas(core: &Rc<Core>, address: &Address, replicas_min: usize) -> Option<String> {
    if replicas_min == 0 {
        return None;
    }
    match core.dialer.ask(address, &redis::cmd("ROLE")).await {
        Ok(role) => {
            let replicas = role.list().and_then(|role| role.get(2)).and_then(Value::list).map_or(0, <[_]>::len);
            (replicas < replicas_min).then(|| format!("it has {replicas} replicas, and {replicas_min} are needed"))
        }
        Err(obstacle) => Some(format!("how many replicas it has cannot be known: {}", obstacle.text)),
    }
}

async fn scripts(core: &Rc<Core>, address: &Address, scripts: &'static [&'static Script]) -> Vec<String> {
    let mut problems = Vec::new();
    for script in scripts.iter().copied().chain([&MAY]) {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(script.source());
        match core.dialer.ask(address, &load).await {
            Ok(sha1) if sha1.text() == Some(script.sha1()) => {}
            Ok(_) => problems.push(format!("it knows the script {} by another name", script.name())),
            Err(obstacle) => problems.push(format!("it does not take the script {}: {}", script.name(), obstacle.text)),
        }
    }
    problems
}

async fn permissions(core: &Rc<Core>, address: &Address, version: (u32, u32), preflight: &Preflight) -> Vec<String> {
    let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let mut commands = preflight.commands.clone();
    commands.extend([own(&["SETRANGE", &core.settings().probe_key, "0", ""]), own(&["PING"])]);
    commands.extend((preflight.replicas_min > 0).then(|| own(&["WAIT", "1", "1"])));
    let mut problems = Vec::new();
    for command in &commands {
        let verdict =
            if version >= (7, 0) { may(core, address, command).await } else { might(core, address, command).await };
        let words = command.join(" ");
        match verdict {
            Ok(true) => {}
            Ok(false) => {
                let user = core.settings().user.as_deref().unwrap_or("default");
                problems.push(format!("the user {user} has no permission for {words:?}"));
            }
            Err(why) => problems.push(format!("whether {words:?} is permitted cannot be known: {why}")),
        }
    }
    problems
}

/// Asks the server whether a command would be permitted.
async fn may(core: &Rc<Core>, address: &Address, command: &[String]) -> Result<bool, String> {
    let mut question = redis::cmd("EVALSHA");
    question.arg(MAY.sha1()).arg(0).arg(command);
    core.dialer.ask(address, &question).await.map(|answer| answer.int() == Some(1)).map_err(|obstacle| obstacle.text)
}

/// Queues a command and throws it away: only one that is permitted is queued.
async fn might(core: &Rc<Core>, address: &Address, command: &[String]) -> Result<bool, String> {
    let Some((name, arguments)) = command.split_first() else { return Ok(true) };
    let mut desk = core.dialer.desk(address).await.map_err(|obstacle| obstacle.text)?;
    let mut questions = redis::pipe();
    questions.cmd("MULTI");
    questions.cmd(name).arg(arguments);
    questions.cmd("DISCARD");
    let answers = desk.send_packed_commands(&questions, 0, 3).await.map_err(|error| error.to_string())?;
    let queued = answers.into_iter().nth(1).map(Value::from_answer);
    match queued.transpose() {
        Ok(_) => Ok(true),
        Err(error) => match Meaning::of(&error) {
            Meaning::Refused(Refusal::Denied(_)) => Ok(false),
            Meaning::Refused(refusal) => Err(refusal.to_string()),
            _ => Ok(true),
        },
    }
}
