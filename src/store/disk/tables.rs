//! The tables of the file, and how changes become rows.
//!
//! Keys are names as they are, values are JSON: what is kept can be read without us. A row of an event outside its
//! room's bounds is none: it is what an attempt that failed left behind.

use std::collections::HashMap;
use std::sync::Arc;

use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};

use super::error::{Failure, storage};
use crate::ids::{MessageId, RoomId, UserId};
use crate::message::{Event, Seq, Timestamp};
use crate::store::{Change, ColdLog, Image, Member, Receipt, RoomImage, RoomState, Sent, owner_of};

/// The version of all that is written here.
pub(super) const FORMAT: u64 = 3;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const ROOMS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("rooms");
const EVENTS: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("events");
const MEMBERS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("members");
const CURSORS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("cursors");
const SEEN: TableDefinition<'_, &str, u64> = TableDefinition::new("seen");
const SENT: TableDefinition<'_, (&str, &str, &str), &[u8]> = TableDefinition::new("sent");

const FORMAT_KEY: &str = "format";

#[derive(Serialize, Deserialize)]
struct RoomRow {
    epoch: Option<Arc<str>>,
    first: Seq,
    head: Seq,
    bytes: usize,
    oldest_at: Timestamp,
    memberships: u64,
}

#[derive(Serialize, Deserialize)]
struct MemberRow {
    membership: u64,
    joined_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct SentRow {
    message_id: MessageId,
    log: Option<(Arc<str>, Seq)>,
    sent_at: Timestamp,
    expiry: Timestamp,
}

/// Writes the tables into a file without any.
pub(super) fn create(database: &Database) -> Result<(), StorageError> {
    let create = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
        transaction.open_table(ROOMS)?;
        transaction.open_table(EVENTS)?;
        transaction.open_table(MEMBERS)?;
        transaction.open_table(CURSORS)?;
        transaction.open_table(SEEN)?;
        transaction.open_table(SENT)?;
        transaction.commit()?;
        Ok(())
    };
    create().map_err(|error| match storage(error) {
        DatabaseError::Storage(error) => error,
        other => StorageError::Corrupted(other.to_string()),
    })
}

/// Whether this version knows how to read the file.
pub(super) fn check_format(database: &Database) -> Result<(), Failure> {
    let read = || -> Result<Option<u64>, redb::Error> {
        let meta = database.begin_read()?.open_table(META)?;
        Ok(meta.get(FORMAT_KEY)?.map(|format| format.value()))
    };
    match read().map_err(storage)? {
        Some(FORMAT) => Ok(()),
        found => {
            let found = found.map_or_else(|| "none".to_owned(), |format| format.to_string());
            Err(Failure::Format { found, known: FORMAT })
        }
    }
}

/// Bytes of the pages that hold something.
pub(super) fn used_bytes(database: &Database) -> Result<u64, Failure> {
    let read = || -> Result<u64, redb::Error> {
        let transaction = database.begin_write()?;
        let stats = transaction.stats()?;
        transaction.abort()?;
        Ok(stats.allocated_pages().saturating_mul(stats.page_size() as u64))
    };
    Ok(read().map_err(storage)?)
}

/// Writes changes in one transaction.
pub(super) fn write<'a>(database: &Database, changes: impl Iterator<Item = &'a Change>) -> Result<(), Failure> {
    let write = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        let mut rows = Rows::open(&transaction)?;
        for change in changes {
            rows.apply(change)?;
        }
        drop(rows);
        transaction.commit()?;
        Ok(())
    };
    Ok(write().map_err(storage)?)
}

struct Rows<'t> {
    rooms: Table<'t, &'static str, &'static [u8]>,
    events: Table<'t, (&'static str, u64), &'static [u8]>,
    members: Table<'t, (&'static str, &'static str), &'static [u8]>,
    cursors: Table<'t, (&'static str, &'static str), &'static [u8]>,
    seen: Table<'t, &'static str, u64>,
    sent: Table<'t, (&'static str, &'static str, &'static str), &'static [u8]>,
}

impl<'t> Rows<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            rooms: transaction.open_table(ROOMS)?,
            events: transaction.open_table(EVENTS)?,
            members: transaction.open_table(MEMBERS)?,
            cursors: transaction.open_table(CURSORS)?,
            seen: transaction.open_table(SEEN)?,
            sent: transaction.open_table(SENT)?,
        })
    }

    fn apply(&mut self, change: &Change) -> Result<(), redb::Error> {
        match change {
            Change::Room(state) => self.room(state)?,
            Change::Closed(room) => {
                self.rooms.remove(room.as_str())?;
                self.drop_events(room, 0, Seq::MAX)?;
            }
            Change::Event { room, event } => self.event(room, event)?,
            Change::Redacted { room, after, .. } => {
                for event in after {
                    self.event(room, event)?;
                }
            }
            Change::Member { room, user, after, .. } => {
                let key = (room.as_str(), user.as_str());
                match after {
                    Some(Member { membership, joined_at, live: _ }) => {
                        let row = MemberRow { membership: *membership, joined_at: *joined_at };
                        self.members.insert(key, json(&row)?.as_slice())?;
                    }
                    None => {
                        self.members.remove(key)?;
                    }
                }
            }
            Change::Cursors { room, user, after, .. } => {
                let key = (room.as_str(), user.as_str());
                match after {
                    Some(cursors) => self.cursors.insert(key, json(cursors)?.as_slice())?,
                    None => self.cursors.remove(key)?,
                };
            }
            Change::Seen { user, at } => {
                match at {
                    Some(at) => self.seen.insert(user.as_str(), at)?,
                    None => self.seen.remove(user.as_str())?,
                };
            }
            Change::Sent { sent, receipt, expiry } => {
                let Receipt { message_id, log, sent_at, duplicate: _ } = receipt.clone();
                let row = SentRow { message_id, log, sent_at, expiry: *expiry };
                self.sent.insert(sent_key(sent), json(&row)?.as_slice())?;
            }
            Change::Forgotten(sent) => {
                self.sent.remove(sent_key(sent))?;
            }
        }
        Ok(())
    }

    fn event(&mut self, room: &RoomId, event: &Event) -> Result<(), redb::Error> {
        if let Some(seq) = event.seq {
            self.events.insert((room.as_str(), seq), json(event)?.as_slice())?;
        }
        Ok(())
    }

    fn room(&mut self, state: &RoomState) -> Result<(), redb::Error> {
        let RoomState { room, epoch, first, head, bytes, oldest_at, memberships } = state.clone();
        let before = self.rooms.get(room.as_str())?.map(|row| parse::<RoomRow>(row.value())).transpose()?;
        match before {
            Some(before) if before.epoch != epoch => self.drop_events(&room, 0, Seq::MAX)?,
            Some(before) if before.first < first => self.drop_events(&room, before.first, first)?,
            _ => {}
        }
        let row = RoomRow { epoch, first, head, bytes, oldest_at, memberships };
        self.rooms.insert(room.as_str(), json(&row)?.as_slice())?;
        Ok(())
    }

    /// Drops a room's events from one `seq` to before another.
    fn drop_events(&mut self, room: &RoomId, from: Seq, to: Seq) -> Result<(), redb::Error> {
        self.events.retain_in((room.as_str(), from)..(room.as_str(), to), |_, _| false)?;
        Ok(())
    }
}

fn sent_key(sent: &Sent) -> (&str, &str, &str) {
    (sent.room.as_str(), sent.user.as_str(), &sent.temp_id)
}

fn json(row: &impl Serialize) -> Result<Vec<u8>, StorageError> {
    serde_json::to_vec(row).map_err(|error| StorageError::Corrupted(format!("a row cannot be written: {error}")))
}

fn parse<'a, T: Deserialize<'a>>(row: &'a [u8]) -> Result<T, StorageError> {
    serde_json::from_slice(row).map_err(|error| StorageError::Corrupted(format!("a row cannot be read: {error}")))
}

fn id<T>(parsed: Result<T, crate::ids::IdError>) -> Result<T, StorageError> {
    parsed.map_err(|error| StorageError::Corrupted(format!("a name cannot be read: {error}")))
}

/// Reads a room's events, which are all there.
pub(super) fn read_events(database: &Database, log: &ColdLog) -> Result<Vec<Arc<Event>>, Failure> {
    let ColdLog { room, first, head } = log;
    let read = || -> Result<Vec<Arc<Event>>, redb::Error> {
        let table = database.begin_read()?.open_table(EVENTS)?;
        let rows = table.range((room.as_str(), *first)..=(room.as_str(), *head))?;
        rows.map(|row| Ok(Arc::new(parse::<Event>(row?.1.value())?))).collect()
    };
    let events = read().map_err(storage)?;
    if !events.iter().map(|event| event.seq).eq((*first..=*head).map(Some)) {
        return Err(Failure::Damaged(format!("the log of the room {room} has a hole")));
    }
    Ok(events)
}

/// Reads everything but events.
pub(super) fn read(database: &Database, shards: u16) -> Result<Vec<Image>, Failure> {
    let mut reader = Reader::default();
    reader.read(database).map_err(storage)?;
    reader.share_out(shards)
}

/// What was read, before it is shared out.
#[derive(Default)]
struct Reader {
    rooms: HashMap<RoomId, RoomImage>,
    sent: Vec<(Sent, Receipt, Timestamp)>,
    seen: Vec<(UserId, Timestamp)>,
}

impl Reader {
    fn read(&mut self, database: &Database) -> Result<(), redb::Error> {
        let transaction = database.begin_read()?;
        for row in transaction.open_table(ROOMS)?.iter()? {
            let (name, row) = row?;
            let room = id(RoomId::parse(name.value()))?;
            let RoomRow { epoch, first, head, bytes, oldest_at, memberships } = parse(row.value())?;
            let state = RoomState { room: room.clone(), epoch, first, head, bytes, oldest_at, memberships };
            self.rooms.insert(room, RoomImage { state, members: Vec::new(), cursors: Vec::new() });
        }
        for row in transaction.open_table(MEMBERS)?.iter()? {
            let (key, row) = row?;
            let (room, user) = key.value();
            let MemberRow { membership, joined_at } = parse(row.value())?;
            if let Some(image) = self.rooms.get_mut(room) {
                image.members.push((id(UserId::parse(user))?, Member { membership, joined_at, live: 0 }));
            }
        }
        for row in transaction.open_table(CURSORS)?.iter()? {
            let (key, row) = row?;
            let (room, user) = key.value();
            if let Some(image) = self.rooms.get_mut(room) {
                image.cursors.push((id(UserId::parse(user))?, parse(row.value())?));
            }
        }
        for row in transaction.open_table(SEEN)?.iter()? {
            let (user, at) = row?;
            self.seen.push((id(UserId::parse(user.value()))?, at.value()));
        }
        for row in transaction.open_table(SENT)?.iter()? {
            let (key, row) = row?;
            let (room, user, temp_id) = key.value();
            let sent = Sent { room: id(RoomId::parse(room))?, user: id(UserId::parse(user))?, temp_id: temp_id.into() };
            let SentRow { message_id, log, sent_at, expiry } = parse(row.value())?;
            self.sent.push((sent, Receipt { message_id, log, sent_at, duplicate: false }, expiry));
        }
        Ok(())
    }

    fn share_out(mut self, shards: u16) -> Result<Vec<Image>, Failure> {
        let mut images: Vec<Image> = (0..shards.max(1)).map(|_| Image::default()).collect();
        let mut users: HashMap<UserId, Vec<(Timestamp, RoomId)>> = HashMap::new();
        for (room, image) in self.rooms {
            for (user, member) in &image.members {
                users.entry(user.clone()).or_default().push((member.joined_at, room.clone()));
            }
            if let Some(owner) = images.get_mut(usize::from(owner_of(room.as_str(), shards).0)) {
                owner.rooms.push(image);
            }
        }
        for (user, mut rooms) in users {
            rooms.sort();
            if let Some(owner) = images.get_mut(usize::from(owner_of(user.as_str(), shards).0)) {
                owner.users.push((user, rooms.into_iter().map(|(_, room)| room).collect()));
            }
        }
        self.seen.sort_by_key(|(_, at)| *at);
        for (user, at) in self.seen {
            if let Some(owner) = images.get_mut(usize::from(owner_of(user.as_str(), shards).0)) {
                owner.seen.push((user, at));
            }
        }
        self.sent.sort_by_key(|(_, _, expiry)| *expiry);
        for sent in self.sent {
            if let Some(owner) = images.get_mut(usize::from(owner_of(sent.0.room.as_str(), shards).0)) {
                owner.sent.push(sent);
            }
        }
        Ok(images)
    }
}
