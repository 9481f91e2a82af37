//! How connections are made: to which server, as whom, with TLS or without, and what is checked before one is used.
//!
//! Lanes hold connections of a pool and give none back while it works, so nothing is asked on the way of a call. Whoever
//! listens has connections of its own, because what they hear is told to a function of theirs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{
    self, AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo as _,
    ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisError, RedisResult, TlsCertificates,
};
use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::error::{Meaning, Refusal};
use super::script::Script;
use super::settings::{Address, Settings, Topology};
use super::value::Value;
use super::weather::Sky;

/// Calls that are with a connection at the same time. What is more waits with the lane.
pub(super) const WINDOW: usize = 1_024;

/// Bytes that are gathered for one write.
const WRITE_BYTES: usize = 64 << 10;

/// Makes connections.
pub(super) struct Dialer {
    settings: Settings,
    pub(super) scripts: &'static [&'static Script],
    roots: Option<Vec<u8>>,
    pools: RefCell<HashMap<Address, Pool>>,
    /// Rung when a connection of a lane is lost, whosever it was.
    pub(super) lost: Arc<Notify>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct Obstacle {
    /// How it stands with the server.
    pub(super) sky: Sky,
    /// What to tell people.
    pub(super) text: String,
}

impl Obstacle {
    fn away(text: impl Into<String>) -> Self {
        Self { sky: Sky::Away, text: text.into() }
    }
}

impl From<RedisError> for Obstacle {
    fn from(error: RedisError) -> Self {
        let sky = match Meaning::of(&error) {
            Meaning::Refused(refusal) => Sky::of(&refusal).max(Sky::NotReady),
            _ => Sky::Away,
        };
        let text = if error.kind() == ErrorKind::AuthenticationFailed || error.code() == Some("WRONGPASS") {
            format!("it refuses the user or the password ({error})")
        } else {
            error.to_string()
        };
        Self { sky, text }
    }
}

impl Dialer {
    /// Reads what is needed for TLS.
    pub(super) fn new(settings: Settings, scripts: &'static [&'static Script]) -> Result<Self, String> {
        let roots = settings.tls.as_ref().and_then(|tls| tls.roots.as_ref());
        let roots = roots
            .map(|path| {
                fs::read(path).map_err(|error| format!("cannot read the certificates in {}: {error}", path.display()))
            })
            .transpose()?;
        Ok(Self { settings, scripts, roots, pools: RefCell::default(), lost: Arc::new(Notify::new()) })
    }

    /// The server that takes writes, where there is one such server.
    pub(super) async fn master(&self) -> Result<Address, Obstacle> {
        match &self.settings.topology {
            Topology::Standalone(address) => Ok(address.clone()),
            Topology::Cluster(servers) => servers.first().cloned().ok_or_else(|| Obstacle::away("no server is named")),
            Topology::Sentinel { master, sentinels, .. } => {
                let mut last = Obstacle::away("no sentinel is named");
                for sentinel in sentinels {
                    match self.ask_sentinel(sentinel, master).await {
                        Ok(address) => return Ok(address),
                        Err(obstacle) => last = obstacle,
                    }
                }
                Err(last)
            }
        }
    }

    async fn ask_sentinel(&self, sentinel: &Address, master: &str) -> Result<Address, Obstacle> {
        let ask = async {
            let mut connection = self.client(self.sentinel_info(sentinel)?)?.get_multiplexed_async_connection().await?;
            let mut question = redis::cmd("SENTINEL");
            question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
            Value::from_answer(connection.send_packed_command(&question).await?)
        };
        let answer: Value = timeout(self.settings.connect_max(), ask)
            .await
            .map_err(|_| Obstacle::away(format!("the sentinel {sentinel} does not answer")))?
            .map_err(|error| Obstacle::away(format!("the sentinel {sentinel} cannot be asked: {error}")))?;
        match answer.list() {
            Some([host, port]) => {
                let (host, port) = (host.text(), port.int().and_then(|port| u16::try_from(port).ok()));
                host.zip(port).map(|(host, port)| Address { host: host.to_owned(), port })
            }
            _ => None,
        }
        .ok_or_else(|| Obstacle::away(format!("the sentinel {sentinel} knows no master {master:?}")))
    }

    /// A connection for calls: checked, and with all scripts known to the server.
    pub(super) async fn lane(&self, address: &Address) -> Result<Connection, Obstacle> {
        let mut connection = self.desk(address).await?;
        match timeout(self.settings.connect_max(), self.prepare(&mut connection)).await {
            Ok(Ok(())) => Ok(connection),
            Ok(Err(obstacle)) => {
                discard(connection);
                Err(obstacle)
            }
            Err(_) => {
                discard(connection);
                Err(Obstacle::away(format!("{address} does not answer")))
            }
        }
    }

    async fn prepare(&self, connection: &mut MultiplexedConnection) -> Result<(), Obstacle> {
        if matches!(self.settings.topology, Topology::Sentinel { .. }) {
            let role = Value::from_answer(connection.send_packed_command(&redis::cmd("ROLE")).await?)?;
            let role = role.list().and_then(|role| role.first()).and_then(Value::text);
            if role != Some("master") {
                return Err(Obstacle {
                    sky: Sky::ReadOnly,
                    text: "the sentinels name a server that is no master".to_owned(),
                });
            }
        }
        self.load(connection).await?;
        Ok(())
    }

    /// Makes all scripts known to the server.
    pub(super) async fn load(&self, connection: &mut MultiplexedConnection) -> RedisResult<()> {
        if self.scripts.is_empty() {
            return Ok(());
        }
        let mut loading = redis::pipe();
        for script in self.scripts {
            loading.cmd("SCRIPT").arg("LOAD").arg(script.source());
        }
        for answer in connection.send_packed_commands(&loading, 0, self.scripts.len()).await? {
            Value::from_answer(answer)?;
        }
        Ok(())
    }

    /// A connection to ask how things are.
    pub(super) async fn desk(&self, address: &Address) -> Result<Connection, Obstacle> {
        self.pool(address)?.get().await.map_err(|error| match error {
            PoolError::Backend(error) => Obstacle::from(error),
            other => Obstacle::away(other.to_string()),
        })
    }

    /// Asks one question of somebody who may not answer.
    pub(super) async fn ask(&self, address: &Address, question: &Cmd) -> Result<Value, Obstacle> {
        let mut desk = self.desk(address).await?;
        match timeout(self.settings.connect_max(), desk.send_packed_command(question)).await {
            Ok(answer) => Ok(Value::from_answer(answer?)?),
            Err(_) => {
                discard(desk);
                Err(Obstacle::away(format!("{address} does not answer")))
            }
        }
    }

    /// Which servers have which slots, as one of them says.
    pub(super) async fn slots(&self, address: &Address) -> Result<Value, Obstacle> {
        let mut question = redis::cmd("CLUSTER");
        question.arg("SLOTS");
        self.ask(address, &question).await
    }

    /// A connection that tells a function what is pushed to it.
    pub(super) async fn listener(
        &self,
        address: &Address,
        hear: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, Obstacle> {
        let config = self.config(self.settings.connect_max()).set_push_sender(move |info| {
            hear(info);
            Ok::<(), ()>(())
        });
        Ok(self.client(self.info(address)?)?.get_multiplexed_async_connection_with_config(&config).await?)
    }

    fn pool(&self, address: &Address) -> RedisResult<Pool> {
        let mut pools = self.pools.borrow_mut();
        if let Some(pool) = pools.get(address) {
            return Ok(pool.clone());
        }
        let lost = Arc::clone(&self.lost);
        let config = self.config(self.settings.connect_max()).set_push_sender(move |info: PushInfo| {
            if info.kind == PushKind::Disconnection {
                lost.notify_waiters();
            }
            Ok::<(), ()>(())
        });
        let manager = Manager::new_with_config(self.info(address)?, config)?;
        let max = Some(self.settings.connect_max());
        let pool = Pool::builder(manager)
            // One more than there are lanes, for whoever asks how things are.
            .max_size(self.settings.lanes + 1)
            .wait_timeout(max)
            .create_timeout(max)
            .recycle_timeout(max)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| RedisError::from((ErrorKind::InvalidClientConfig, "no pool", error.to_string())))?;
        pools.insert(address.clone(), pool.clone());
        Ok(pool)
    }

    /// The server is no longer wanted.
    pub(super) fn forget(&self, address: &Address) {
        if let Some(pool) = self.pools.borrow_mut().remove(address) {
            pool.close();
        }
    }

    /// Times of the library's own would hide what is known here: when a call was sent.
    fn config(&self, connect_max: Duration) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect_max))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(2 * WINDOW)
            .set_write_backpressure_boundary(WRITE_BYTES)
    }

    fn client(&self, info: ConnectionInfo) -> RedisResult<Client> {
        Client::open(info)
    }

    fn info(&self, address: &Address) -> RedisResult<ConnectionInfo> {
        let Settings { user, password, database, .. } = &self.settings;
        let login = login(user.as_deref(), password.as_ref().map(crate::config::Secret::reveal));
        self.with_login(address, login.set_db(i64::from(*database)).set_protocol(ProtocolVersion::RESP3))
    }

    fn sentinel_info(&self, address: &Address) -> RedisResult<ConnectionInfo> {
        let Topology::Sentinel { user, password, .. } = &self.settings.topology else {
            return self.with_login(address, RedisConnectionInfo::default());
        };
        self.with_login(address, login(user.as_deref(), password.as_ref().map(crate::config::Secret::reveal)))
    }

    fn with_login(&self, address: &Address, login: RedisConnectionInfo) -> RedisResult<ConnectionInfo> {
        let Address { host, port } = address.clone();
        let address = match self.settings.tls {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        };
        let info = address.into_connection_info()?;
        let info = match &self.roots {
            None => info,
            Some(roots) => {
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(roots.clone()) };
                Client::build_with_tls(info, certificates)?.get_connection_info().clone()
            }
        };
        Ok(info.set_redis_settings(login.set_skip_set_lib_name()))
    }
}

/// A connection that no longer works does not go back to the pool.
pub(super) fn discard(connection: Connection) {
    drop(Connection::take(connection));
}

fn login(user: Option<&str>, password: Option<&str>) -> RedisConnectionInfo {
    let login = RedisConnectionInfo::default();
    let login = match user {
        Some(user) => login.set_username(user),
        None => login,
    };
    match password {
        Some(password) => login.set_password(password),
        None => login,
    }
}

/// Whether a server that refuses that takes no writes any more, so that another should be looked for.
pub(super) fn is_demoted(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::ReadOnly(text) if !text.starts_with("MISCONF"))
}
