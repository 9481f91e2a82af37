//! Power failures: whatever was written and not synced may be lost, in any order and in part, and nothing that was
//! acknowledged is.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::{Database, StorageBackend};

use super::*;
use crate::ids::{IdSource, RoomId, ShardId, UserId};
use crate::message::{Event, EventKind, Message, Seq};
use crate::store::embedded::Partition;
use crate::store::{Answer, Classes, Draft, Limits, Op, Revision, RoomState, Usage};

/// A disk that loses power. Its unit of writing is a sector.
const SECTOR_BYTES: usize = 512;

/// Crash points that are tried.
const CRASHES: u64 = 2_000;

/// Commits before the power fails at the latest.
const COMMITS_MAX: u64 = 12;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(usize, Vec<u8>),
    Resize(usize),
}

#[derive(Debug)]
struct Platter {
    /// What survives.
    synced: Vec<u8>,
    /// What whoever reads sees.
    present: Vec<u8>,
    /// What was done since the last sync.
    steps: Vec<Step>,
    /// Operations until the power fails.
    operations_left: u64,
    syncs: bool,
}

impl Platter {
    fn new(image: Vec<u8>, operations_left: u64, syncs: bool) -> Self {
        Self { synced: image.clone(), present: image, steps: Vec::new(), operations_left, syncs }
    }

    fn spend(&mut self) -> std::io::Result<()> {
        self.operations_left = self.operations_left.checked_sub(1).ok_or(std::io::ErrorKind::BrokenPipe)?;
        Ok(())
    }

    /// What is found when the power is back: of what was not synced some steps, in any order, each whole or torn.
    fn after_crash(&self, random: &mut Random) -> Vec<u8> {
        let mut image = self.synced.clone();
        let mut steps = self.steps.clone();
        while !steps.is_empty() {
            let at = random.below(steps.len() as u64) as usize;
            match steps.swap_remove(at) {
                _ if random.below(3) == 0 => {}
                Step::Resize(len) => image.resize(len.max(image.len()), 0),
                Step::Write(offset, data) => {
                    for (index, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                        let start = offset + index * SECTOR_BYTES;
                        if random.below(4) != 0 {
                            image.resize(image.len().max(start + sector.len()), 0);
                            image[start..start + sector.len()].copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        image
    }
}

#[derive(Clone, Debug)]
struct Sim(Arc<Mutex<Platter>>);

impl StorageBackend for Sim {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.0.lock().present.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let platter = self.0.lock();
        let from = platter.present.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(from.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        let mut platter = self.0.lock();
        platter.spend()?;
        platter.present.resize(len as usize, 0);
        platter.steps.push(Step::Resize(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> std::io::Result<()> {
        let mut platter = self.0.lock();
        platter.spend()?;
        if platter.syncs {
            platter.synced = platter.present.clone();
            platter.steps.clear();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        let mut platter = self.0.lock();
        platter.spend()?;
        let offset = offset as usize;
        platter.present[offset..offset + data.len()].copy_from_slice(data);
        platter.steps.push(Step::Write(offset, data.to_vec()));
        Ok(())
    }
}

fn open(sim: &Sim) -> Result<Database, DatabaseError> {
    builder(true).create_with_backend(sim.clone())
}

fn disk(database: Database) -> Disk {
    let reopen = Arc::new(|| Err(DatabaseError::RepairAborted));
    Disk { database: Arc::new(RwLock::new(Some(database))), reopen, path: PathBuf::from("the disk") }
}

fn room(name: &str) -> RoomId {
    RoomId::parse(name).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

/// The changes of one message of some bytes in a room.
fn message(ids: &mut IdSource, room: &RoomId, seq: Seq, bytes: u64) -> Vec<Change> {
    let content = serde_json::value::to_raw_value(&"x".repeat(bytes as usize)).unwrap();
    let message = Message {
        message_id: ids.message(),
        user: user("ann"),
        device: None,
        temp_id: None,
        message_type: "text".into(),
        content: Some(content.into()),
        reply_to: None,
        version: 1,
        sent_at: seq,
        edited_at: None,
        deleted_at: None,
    };
    let event = Arc::new(Event { seq: Some(seq), kind: EventKind::MessageNew(Box::new(message)) });
    let state = RoomState {
        room: room.clone(),
        epoch: Some("e".into()),
        first: 1,
        head: seq,
        bytes: 0,
        oldest_at: 1,
        memberships: 0,
    };
    vec![Change::Event { room: room.clone(), event }, Change::Room(state)]
}

/// An empty file, with its tables.
fn empty() -> Vec<u8> {
    let sim = Sim(Arc::new(Mutex::new(Platter::new(Vec::new(), u64::MAX, true))));
    let database = open(&sim).unwrap();
    tables::create(&database).unwrap();
    database.close().unwrap();
    sim.0.lock().present.clone()
}

/// Writes until the power fails. Says whether all that was acknowledged is there when it is back, and nothing else but
/// perhaps what was being written.
fn survives(seed: u64, empty: &[u8], syncs: bool) -> bool {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let operations = 1 + random.below(120);
    let sim = Sim(Arc::new(Mutex::new(Platter::new(empty.to_vec(), operations, syncs))));
    let mut heads: BTreeMap<RoomId, Seq> = BTreeMap::new();
    let mut under_way = BTreeMap::new();
    if let Ok(database) = open(&sim) {
        let (mut disk, mut ids) = (disk(database), IdSource::default());
        for _ in 0..COMMITS_MAX {
            let mut next = heads.clone();
            let mut changes = Vec::new();
            for _ in 0..=random.below(4) {
                let room = room(&format!("room-{}", random.below(3)));
                let head = next.entry(room.clone()).or_default();
                *head += 1;
                changes.extend(message(&mut ids, &room, *head, random.below(3_000)));
            }
            under_way = next.clone();
            if disk.store(changes.iter()).is_err() {
                break;
            }
            heads = next;
        }
    }
    let image = sim.0.lock().after_crash(&mut random);
    let sim = Sim(Arc::new(Mutex::new(Platter::new(image, u64::MAX, true))));
    let Ok(database) = open(&sim) else { return false };
    let disk = disk(database);
    let Ok(images) = disk.images(1) else { return false };
    let states: Vec<RoomState> = images.into_iter().flat_map(|image| image.rooms).map(|room| room.state).collect();
    let log = |state: &RoomState| ColdLog { room: state.room.clone(), first: state.first, head: state.head };
    if states.iter().any(|state| disk.events(&log(state)).is_err()) {
        return false;
    }
    let found: BTreeMap<RoomId, Seq> = states.into_iter().map(|state| (state.room, state.head)).collect();
    found == heads || found == under_way
}

#[test]
fn what_was_acknowledged_survives_a_power_failure() {
    let empty = empty();
    for seed in 1..=CRASHES {
        assert!(survives(seed, &empty, true), "after the crash of seed {seed}");
    }
}

#[test]
fn without_fsync_it_would_not() {
    let empty = empty();
    let lost = (1..=CRASHES / 10).filter(|seed| !survives(*seed, &empty, false)).count();
    assert!(lost > 0, "the test cannot tell a disk that keeps what it promised from one that does not");
}

fn partition() -> Partition {
    let limits = Limits {
        presence_members_max: 0,
        last_seen_users_max: 0,
        rooms_max: 0,
        total_bytes_max: 0,
        dedup_ms: 1_000_000,
        dedup_entries_max: 0,
        connections_per_user_max: 0,
        rooms_per_user_max: 0,
        members_per_room_max: 0,
        member_events_max: usize::MAX,
        online_users_max: 100,
        devices_per_user_max: 3,
        receipt_members_max: 200,
        cold_after_ms: 1,
        recover_events_max: 0,
        recover_bytes_max: 0,
    };
    let config = crate::config::Config::default();
    Partition::new(Arc::new(Classes::new(&config.store, &config.rooms)), limits)
}

fn warm_all(partition: &mut Partition, disk: &Disk, now: u64) {
    for number in 0..4 {
        let (room, user) = (room(&format!("room-{number}")), user("anybody"));
        let page = crate::wire::request::Page { from: crate::wire::request::PageFrom::Newest, limit: 1 };
        let op = Op::OfServer(Box::new(Op::History { room, user, page }));
        if let Some(log) = partition.lacks(&op) {
            partition.warm(&log.room, disk.events(&log).unwrap(), now);
        }
    }
}

/// Somebody does something in a room, or does something with one of the messages that were sent.
fn some_op(random: &mut Random, (room, user): (RoomId, UserId), now: u64, sent: &[SentMessage]) -> Option<Op> {
    let some_message = |random: &mut Random| sent.get(random.below(sent.len() as u64) as usize).cloned();
    let content = Arc::from(serde_json::value::to_raw_value(&now).unwrap());
    Some(match random.below(10) {
        8 | 9 => Op::Ack {
            room,
            user,
            device: None,
            up_to: crate::wire::request::UpTo::Seq(random.below(200)),
            kind: crate::store::CursorKind::Seen,
            proven: false,
        },
        // Where somebody is live, nothing is left to the disk.
        0 => Op::OfServer(Box::new(Op::Join { room, user, device: None, since: None })),
        1 => Op::Leave { room, user },
        2 => {
            let (room, user, message_id) = some_message(random)?;
            Op::Delete { room, user, message_id, any_author: true }
        }
        3 => {
            let (room, user, message_id) = some_message(random)?;
            let revision = Revision { message_id, content, if_version: None };
            Op::Edit { room, user, revision, any_author: true }
        }
        _ => {
            let temp_id = Some(format!("t{}", random.below(500)).into());
            let draft = Draft { device: None, temp_id, message_type: "text".into(), content, reply_to: None };
            Op::Append { room, user, draft }
        }
    })
}

type SentMessage = (RoomId, UserId, crate::ids::MessageId);

#[test]
fn what_is_read_is_what_was_written_and_what_is_undone_was_never_there() {
    let sim = Sim(Arc::new(Mutex::new(Platter::new(empty(), u64::MAX, true))));
    let mut disk = disk(open(&sim).unwrap());
    let mut random = Random(7);
    let mut partition = partition().restored(Image::default());
    let shard = ShardId(0);
    let (mut sent, mut warmed) = (Vec::new(), 0);
    for now in 1..3_000_u64 {
        let now = now * 100;
        let (room, user) = (room(&format!("room-{}", random.below(4))), user(&format!("user-{}", random.below(4))));
        let Some(op) = some_op(&mut random, (room, user), now, &sent) else { continue };
        if let Some(log) = partition.lacks(&op) {
            partition.warm(&log.room, disk.events(&log).unwrap(), now);
            warmed += 1;
        }
        let before = partition.contents();
        let (room, user) = match &op {
            Op::Append { room, user, .. } => (Some(room.clone()), Some(user.clone())),
            _ => (None, None),
        };
        let outcome = partition.apply(op, shard, now);
        let changes = partition.take_changes();
        if random.below(5) == 0 {
            // The disk fails: nothing of it ever happened.
            partition.undo(&changes);
            partition.take_changes();
            assert_eq!(partition.contents(), before, "{changes:?}");
            continue;
        }
        if let (Some(Answer::Appended(receipt)), Some(room), Some(user)) = (outcome.answer, room, user) {
            sent.push((room, user, receipt.message_id));
        }
        disk.store(changes.iter()).unwrap();
        if now % 20_000 == 0 {
            let image = disk.images(1).unwrap().pop().unwrap();
            let mut again = self::partition().restored(image);
            assert_eq!(again.usage(), Usage { cold_rooms: again.usage().cold_rooms, ..partition.usage() });
            warm_all(&mut again, &disk, now);
            warm_all(&mut partition, &disk, now);
            assert_eq!(again.contents(), partition.contents());
            assert_eq!(again.usage(), partition.usage());
        }
        if random.below(7) == 0 {
            // All that is changed is stored, so that any room may be left to the disk.
            partition.sweep(now);
            disk.store(partition.take_changes().iter()).unwrap();
            partition.touch(&self::room("room-0"), now);
            partition.cool(now + 1, now);
        }
    }
    assert!(sent.len() > 300 && warmed > 300, "{} {warmed}", sent.len());
}

#[test]
fn after_a_failure_it_is_read_again_though_nobody_writes() {
    let sim = Sim(Arc::new(Mutex::new(Platter::new(empty(), u64::MAX, true))));
    let again = sim.clone();
    let reopen = Arc::new(move || open(&again));
    let mut disk = Disk { reopen, ..disk(open(&sim).unwrap()) };
    let (mut ids, room) = (IdSource::default(), room("room-0"));
    disk.store(message(&mut ids, &room, 1, 100).iter()).unwrap();
    sim.0.lock().operations_left = 0;
    assert!(disk.store(message(&mut ids, &room, 2, 100).iter()).is_err());
    let log = ColdLog { room, first: 1, head: 1 };
    assert!(disk.events(&log).is_err(), "it cannot be opened");
    sim.0.lock().operations_left = u64::MAX;
    assert_eq!(disk.events(&log).unwrap().len(), 1);
    let hole = ColdLog { head: 2, ..log };
    assert!(matches!(disk.events(&hole), Err(StoreError::Damaged { .. })));
}

#[test]
fn what_retention_freed_is_given_back() {
    const COMMITS: u64 = 40;
    const EVENTS: u64 = 20;
    let directory = std::env::temp_dir().join(format!("stentor-compact-{}", std::process::id()));
    fs::remove_dir_all(&directory).ok();
    let mut disk = Disk::open(&directory).unwrap();
    let (mut ids, log, other) = (IdSource::default(), room("room-0"), room("room-1"));
    disk.store(message(&mut ids, &other, 1, 100).iter()).unwrap();
    for commit in 0..COMMITS {
        let seqs = commit * EVENTS + 1..=(commit + 1) * EVENTS;
        let changes: Vec<Change> = seqs.flat_map(|seq| message(&mut ids, &log, seq, 50_000)).collect();
        disk.store(changes.iter()).unwrap();
    }
    let full = disk.file_bytes();
    assert!(full > COMMITS * EVENTS * 50_000 && !disk.compact().unwrap(), "it needs all of it");
    let head = COMMITS * EVENTS;
    let [_, Change::Room(state)] = &message(&mut ids, &log, head, 0)[..] else { panic!("a message is two changes") };
    disk.store([Change::Room(RoomState { first: head - 1, ..state.clone() })].iter()).unwrap();
    assert_eq!(disk.file_bytes(), full, "what is free is kept, to be used again");
    assert!(disk.compact().unwrap());
    let small = disk.file_bytes();
    assert!(small < full / 10, "{small} of {full} bytes");
    // What was kept is there, and it is written on.
    let events = |disk: &Disk, room: &RoomId, first, head| {
        disk.events(&ColdLog { room: room.clone(), first, head }).unwrap().len()
    };
    assert_eq!((events(&disk, &log, head - 1, head), events(&disk, &other, 1, 1)), (2, 1));
    disk.store(message(&mut ids, &other, 2, 100).iter()).unwrap();
    disk.seal();
    let disk = Disk::open(&directory).unwrap();
    assert_eq!((events(&disk, &log, head - 1, head), events(&disk, &other, 1, 2)), (2, 2));
    fs::remove_dir_all(&directory).unwrap();
}
