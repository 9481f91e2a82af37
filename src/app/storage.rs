//! Where things are kept: the store's file is opened, read and given its threads, or the way to Redis, if the
//! configuration wants one of them.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::{StartError, remote};
use crate::config::{Config, Durability};
use crate::metrics::Metrics;
use crate::net::Readiness;
use crate::policy::{Revocations, Revoked};
use crate::relay::{Mail, Mailboxes, wall_clock};
use crate::store::{Disk, Image, Journal, News, Reader, Reading, RemoteParts, Revocation, RevokedTokens};

/// The ways to the disk and back, if there is one.
pub(super) type Ways = (Option<Journal>, Option<Reader>);

/// What a shard's store begins with.
pub(super) enum Beginning {
    /// Nothing.
    Empty,
    /// What was on the disk.
    Image(Image),
    /// The way to Redis.
    Redis(Box<RemoteParts>),
}

/// What the shards begin with, and where they write.
pub(super) struct Storage {
    /// One for each shard.
    pub(super) beginnings: Vec<Beginning>,
    pub(super) ways: Ways,
    /// They end when nobody can ask them any more.
    pub(super) threads: Vec<JoinHandle<()>>,
}

impl Storage {
    pub(super) fn open(
        config: &Config,
        shards: u16,
        mailboxes: Mailboxes,
        revocations: &Revocations,
        (metrics, readiness): (Arc<Metrics>, Arc<Readiness>),
    ) -> Result<Self, StartError> {
        if let Some(redis) = &config.redis {
            let remote::Remotes { parts, thread } = remote::open(config, redis, shards, mailboxes, &readiness)?;
            let beginnings = parts.into_iter().map(|parts| Beginning::Redis(Box::new(parts))).collect();
            return Ok(Self { beginnings, ways: (None, None), threads: vec![thread] });
        }
        if config.store.durability == Durability::Memory {
            let beginnings = (0..shards).map(|_| Beginning::Empty).collect();
            return Ok(Self { beginnings, ways: (None, None), threads: Vec::new() });
        }
        let disk = Disk::open(&config.data_directory)?;
        for Revocation { of, at, until, .. } in disk.revocations(wall_clock())? {
            let what = match of {
                RevokedTokens::User(user) => Revoked::User(user),
                RevokedTokens::Token(id) => Revoked::Token(id),
            };
            revocations.restore(what, at, until);
        }
        let beginnings = disk.images(shards)?.into_iter().map(Beginning::Image).collect();
        metrics.store.file_bytes.set(disk.file_bytes() as f64);
        let (told, counted) = (mailboxes.clone(), Arc::clone(&metrics));
        let gather = Duration::from_micros(config.store.commit_gather_us);
        let (reader, reads) = Reader::start(&disk, move |reading| read(reading, &told, &counted))?;
        let (journal, writes) = Journal::start(disk, gather, move |news| tell(news, &mailboxes, &metrics, &readiness))?;
        Ok(Self { beginnings, ways: (Some(journal), Some(reader)), threads: vec![reads, writes] })
    }
}

fn read(reading: Reading, mailboxes: &Mailboxes, metrics: &Metrics) {
    metrics.store.read_duration.record(reading.took);
    match &reading.result {
        Ok(_) => metrics.store.reads.count("ok"),
        Err(error) => {
            metrics.store.reads.count("error");
            tracing::error!(%error, room = %reading.wanted.log.room, "a room cannot be read");
        }
    }
    mailboxes.send(reading.wanted.shard, Mail::Read(Box::new(reading)));
}

fn tell(news: News, mailboxes: &Mailboxes, metrics: &Metrics, readiness: &Readiness) {
    match news {
        News::Done(done) => mailboxes.send(done.shard, Mail::Stored(done)),
        News::Commit { took, changes, error, file_bytes } => {
            metrics.store.commit_duration.record(took);
            metrics.store.file_bytes.set(file_bytes as f64);
            readiness.set_has_store(error.is_none());
            metrics.store.failing.set(f64::from(error.is_some()));
            match error {
                None => {
                    metrics.store.commits.count("ok");
                    metrics.store.changes.increment(changes as u64);
                }
                Some(error) => {
                    metrics.store.commits.count("error");
                    tracing::error!(%error, "nothing can be stored");
                }
            }
        }
        News::Compacted { file_bytes } => {
            metrics.store.file_bytes.set(file_bytes as f64);
            tracing::info!(bytes = file_bytes, "the store's file was compacted");
        }
    }
}
