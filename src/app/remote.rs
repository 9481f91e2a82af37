//! The engine for many processes: the link to Redis, and what each shard's way to it is made of.

use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use super::StartError;
use super::settings::store_limits;
use crate::config::{Config, Redis};
use crate::ids::{IdSource, ShardId};
use crate::net::Readiness;
use crate::relay::{Mail, Mailboxes};
use crate::store::{
    Classes, Ear, Heard, Keys, Link, LinkSettings, Post, Preflight, RemoteParts, RemoteSettings, SCRIPTS, Sky,
    Topology, Wait,
};

/// What the shards of a node need, and the thread of the link, which ends with the last of them.
pub(super) struct Remotes {
    pub(super) parts: Vec<RemoteParts>,
    pub(super) thread: JoinHandle<()>,
}

/// Begins to use Redis.
pub(super) fn open(
    config: &Config,
    redis: &Redis,
    shards: u16,
    mailboxes: Mailboxes,
    readiness: &Arc<Readiness>,
) -> Result<Remotes, StartError> {
    let mut settings = LinkSettings::parse(redis.url.reveal())?;
    settings.probe_key = format!("{}stentor:probe", redis.prefix);
    let is_cluster = matches!(settings.topology, Topology::Cluster(_));
    let keys = Keys::new(redis.prefix.clone(), is_cluster);
    let post: Post = Arc::new(move |shard: ShardId, news| mailboxes.send(shard, Mail::Store(Box::new(news))));
    let ear = Ear::new(keys.clone(), shards, Arc::clone(&post));
    let bus = ear.bus().to_owned();
    let (ready, started) = (Arc::clone(readiness), Arc::new(OnceLock::new()));
    let hear = {
        let started = Arc::clone(&started);
        move |heard: Heard| {
            if let Heard::Weather(weather) = &heard {
                ready.set_has_store(weather.sky == Sky::Up);
                // Of the first connection there is nothing to tell.
                if started.get().is_some() {
                    tracing::warn!(sky = ?weather.sky, "the weather at Redis has changed");
                }
            }
            ear.hear(heard);
        }
    };
    let preflight = Preflight {
        scripts: SCRIPTS,
        commands: Vec::new(),
        replicas_min: usize::try_from(redis.replicas_min).unwrap_or(usize::MAX),
    };
    let (link, thread) = Link::start(settings, preflight, hear)?;
    let _first = started.set(());
    let _never_too_many = link.subscribe(&bus);
    let wait = Wait { replicas: redis.replicas_min, ms_max: redis.wait_ms_max };
    let remote = RemoteSettings {
        keys,
        publish: if is_cluster { "SPUBLISH" } else { "PUBLISH" },
        is_cluster,
        shards,
        lease_ms: redis.lease_ms,
        wait: (redis.replicas_min > 0).then_some(wait),
    };
    let node: Arc<str> = IdSource::default().epoch();
    let classes = Arc::new(Classes::new(&config.store, &config.rooms));
    let parts = (0..shards).map(ShardId).map(|shard| RemoteParts {
        shard,
        node: Arc::clone(&node),
        settings: remote.clone(),
        classes: Arc::clone(&classes),
        limits: store_limits(config, shards),
        link: link.clone(),
        post: Arc::clone(&post),
    });
    Ok(Remotes { parts: parts.collect(), thread })
}
