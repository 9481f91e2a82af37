//! Tests of a partition: operations in, outcomes out.

use super::*;
use crate::config;
use crate::ids::MessageId;
use crate::message::Seq;
use crate::store::{Answer, CursorKind, Draft, Entry, Receipt, Revision};
use crate::wire::request::{Page, PageFrom, UpTo};

const SHARD: ShardId = ShardId(0);

fn limits() -> Limits {
    Limits {
        presence_members_max: 0,
        last_seen_users_max: 0,
        rooms_max: 3,
        total_bytes_max: 0,
        dedup_ms: 1000,
        dedup_entries_max: 3,
        connections_per_user_max: 2,
        rooms_per_user_max: 2,
        members_per_room_max: 2,
        member_events_max: 200,
        online_users_max: 10,
        devices_per_user_max: 3,
        receipt_members_max: 200,
        cold_after_ms: 0,
        recover_events_max: 5,
        recover_bytes_max: 0,
    }
}

fn partition_with(store: config::Store, limits: Limits) -> Partition {
    let live = config::RoomClass {
        pattern: "live-*".to_owned(),
        history: Some(0),
        history_age_seconds_max: None,
        history_bytes_max: None,
        join: config::JoinPolicy::Open,
    };
    let closed = config::RoomClass {
        pattern: "closed".to_owned(),
        history: None,
        join: config::JoinPolicy::Members,
        ..live.clone()
    };
    Partition::new(Arc::new(Classes::new(&store, &[live, closed])), limits)
}

pub(super) fn partition() -> Partition {
    partition_with(config::Store::default(), limits())
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn room(name: &str) -> RoomId {
    RoomId::parse(name).unwrap()
}

fn join(store: &mut Partition, id: &str, name: &str, since: Option<Since>) -> Outcome {
    store.apply(Op::Join { room: room(id), user: user(name), device: None, since }, SHARD, 0)
}

fn entered(outcome: Outcome) -> Entry {
    match outcome.answer {
        Some(Answer::Entered(entry)) => *entry,
        other => panic!("{other:?}"),
    }
}

fn send_at(store: &mut Partition, id: &str, name: &str, temp_id: Option<&str>, now: Timestamp) -> Outcome {
    let content = serde_json::value::to_raw_value("hi").unwrap();
    let draft = Draft {
        device: None,
        temp_id: temp_id.map(Into::into),
        message_type: "text".into(),
        content: content.into(),
        reply_to: None,
    };
    store.apply(Op::Append { room: room(id), user: user(name), draft }, SHARD, now)
}

fn send(store: &mut Partition, id: &str, name: &str) -> Receipt {
    receipt(send_at(store, id, name, None, 0))
}

fn receipt(outcome: Outcome) -> Receipt {
    match outcome.answer {
        Some(Answer::Appended(receipt)) => receipt,
        other => panic!("{other:?}"),
    }
}

fn since(entry: &Entry, seq: Seq, message_id: Option<&str>) -> Option<Since> {
    Some(Since { epoch: entry.head.epoch().unwrap().to_string(), seq, message_id: message_id.map(str::to_owned) })
}

fn missed(outcome: Outcome) -> Option<Vec<Seq>> {
    entered(outcome).missed.map(|events| events.iter().filter_map(|event| event.seq).collect())
}

#[test]
fn s1_83_joining_is_logged_once_and_its_own_event_is_not_missed() {
    let mut store = partition();
    let first = join(&mut store, "r", "a", None);
    assert!(first.feed.is_some() && matches!(first.forward, Some(Op::Index(ref change)) if change.joined));
    let entry = entered(first);
    assert_eq!((entry.head.seq(), entry.members), (Some(1), 1));
    let again = join(&mut store, "r", "a", None);
    assert!(again.feed.is_none() && again.forward.is_none());
}

#[test]
fn a_refused_join_takes_its_reservation_back_quietly() {
    let mut store = partition();
    for (id, name) in [("closed", "a"), ("full", "c")] {
        join(&mut store, "full", "a", None);
        join(&mut store, "full", "b", None);
        let outcome = join(&mut store, id, name, None);
        assert!(matches!(outcome.answer, Some(Answer::JoinRefused(_))));
        let Some(Op::Index(change)) = outcome.forward else { panic!("nothing is taken back") };
        assert!(!change.joined && change.quiet);
        assert!(store.apply(Op::Index(change), SHARD, 0).change.is_none());
    }
}

#[test]
fn rooms_are_bounded_too() {
    let mut store = partition();
    for id in ["1", "2", "3"] {
        entered(join(&mut store, id, "a", None));
    }
    assert!(matches!(join(&mut store, "4", "a", None).answer, Some(Answer::JoinRefused(JoinRefusal::Limit))));
    entered(join(&mut store, "3", "b", None));
}

#[test]
fn a_reservation_that_nobody_needs_is_taken_back() {
    let mut store = partition();
    let unreserve =
        |store: &mut Partition| store.apply(Op::Unreserve { room: room("r"), user: user("a") }, SHARD, 0).forward;
    assert!(matches!(unreserve(&mut store), Some(Op::Index(change)) if change.quiet && !change.joined));
    join(&mut store, "r", "a", None);
    assert!(unreserve(&mut store).is_none());
}

#[test]
fn an_edit_outlives_its_message_in_the_log_and_can_still_be_deleted() {
    let mut store = partition_with(config::Store { room_events_max: 2, ..config::Store::default() }, limits());
    join(&mut store, "r", "a", None);
    let id = send(&mut store, "r", "a").message_id;
    let content: Arc<serde_json::value::RawValue> = serde_json::value::to_raw_value("new").unwrap().into();
    let revision = Revision { message_id: id.clone(), content, if_version: None };
    store.apply(Op::Edit { room: room("r"), user: user("a"), revision, any_author: false }, SHARD, 1);
    send(&mut store, "r", "a");
    let delete = Op::Delete { room: room("r"), user: user("a"), message_id: id, any_author: false };
    assert!(matches!(store.apply(delete, SHARD, 2).answer, Some(Answer::Deleted { .. })));
}

#[test]
fn a_users_rooms_and_connections_are_bounded() {
    let mut store = partition();
    let reserve =
        |store: &mut Partition, id: &str| store.apply(Op::Reserve { user: user("a"), room: room(id) }, SHARD, 0).answer;
    assert!(matches!(reserve(&mut store, "1"), Some(Answer::Reserved)));
    assert!(matches!(reserve(&mut store, "2"), Some(Answer::Reserved)));
    assert!(matches!(reserve(&mut store, "3"), Some(Answer::JoinRefused(JoinRefusal::Limit))));
    assert!(matches!(reserve(&mut store, "1"), Some(Answer::Reserved)), "one that is held already costs nothing");
    let connection = crate::ids::ConnectionKey { slot: 0, generation: 0 };
    let arrive = |store: &mut Partition| {
        let status = crate::wire::presence::Status::default();
        store.apply(Op::Arrive { user: user("a"), connection, status }, SHARD, 0).answer
    };
    assert!(matches!(arrive(&mut store), Some(Answer::Rooms(rooms)) if rooms.len() == 2));
    assert!(matches!(arrive(&mut store), Some(Answer::Rooms(_))));
    assert!(matches!(arrive(&mut store), Some(Answer::TooManyConnections)));
    store.apply(Op::Depart { user: user("a"), connection, grace_ms: 0 }, SHARD, 0);
    assert!(matches!(arrive(&mut store), Some(Answer::Rooms(_))));
}

#[test]
fn a_repeated_send_gets_the_first_answer_until_its_time_is_over() {
    let mut store = partition();
    join(&mut store, "r", "a", None);
    let first = receipt(send_at(&mut store, "r", "a", Some("t"), 0));
    let repeat = send_at(&mut store, "r", "a", Some("t"), 999);
    assert!(repeat.feed.is_none());
    let repeat = receipt(repeat);
    assert!(repeat.duplicate && repeat.message_id == first.message_id && repeat.log == first.log);
    assert!(!receipt(send_at(&mut store, "r", "a", Some("t"), 1000)).duplicate);
    for other in ["u", "v", "w"] {
        receipt(send_at(&mut store, "r", "a", Some(other), 1001));
    }
    assert_eq!(store.usage().dedup_entries, 3, "the oldest gave way");
    assert!(!receipt(send_at(&mut store, "r", "a", Some("t"), 1002)).duplicate);
}

#[test]
fn recovery_is_exact_or_refused() {
    let mut store = partition();
    let entry = entered(join(&mut store, "r", "a", None));
    let receipts: Vec<Receipt> = (0..4).map(|_| send(&mut store, "r", "a")).collect();
    let third = receipts[1].message_id.as_str();
    let mut ask = |since| missed(join(&mut store, "r", "a", since));
    assert_eq!(ask(since(&entry, 1, None)), Some(vec![2, 3, 4, 5]));
    assert_eq!(ask(since(&entry, 5, None)), Some(vec![]));
    assert_eq!(ask(since(&entry, 0, None)), Some(vec![1, 2, 3, 4, 5]));
    assert_eq!(ask(since(&entry, 6, None)), None, "from the future");
    assert_eq!(ask(since(&entry, 3, Some(third))), Some(vec![4, 5]));
    assert_eq!(ask(since(&entry, 4, Some(third))), None, "not the message that stands there");
    assert_eq!(ask(since(&entry, 1, Some(third))), None, "no message stands there");
    assert_eq!(ask(Some(Since { epoch: "other".to_owned(), seq: 1, message_id: None })), None);
    send(&mut store, "r", "a");
    assert_eq!(missed(join(&mut store, "r", "a", since(&entry, 0, None))), None, "six are more than five");
}

#[test]
fn history_shows_messages_as_they_are_now() {
    let mut store = partition();
    join(&mut store, "r", "a", None);
    let ids: Vec<MessageId> = (0..3).map(|_| send(&mut store, "r", "a").message_id).collect();
    let content: Arc<serde_json::value::RawValue> = serde_json::value::to_raw_value("new").unwrap().into();
    let edit = |id: &MessageId, version| Op::Edit {
        room: room("r"),
        user: user("a"),
        revision: Revision { message_id: id.clone(), content: Arc::clone(&content), if_version: version },
        any_author: false,
    };
    assert!(matches!(
        store.apply(edit(&ids[0], Some(1)), SHARD, 7).answer,
        Some(Answer::Edited { version: 2, seq: 5 })
    ));
    assert!(matches!(store.apply(edit(&ids[0], Some(1)), SHARD, 7).answer, Some(Answer::EditConflict { version: 2 })));
    let delete = |id: &MessageId, name: &str| Op::Delete {
        room: room("r"),
        user: user(name),
        message_id: id.clone(),
        any_author: false,
    };
    join(&mut store, "r", "b", None);
    assert!(matches!(store.apply(delete(&ids[1], "b"), SHARD, 8).answer, Some(Answer::Forbidden)));
    assert!(matches!(store.apply(delete(&ids[1], "a"), SHARD, 8).answer, Some(Answer::Deleted { seq: 7 })));
    assert!(matches!(store.apply(delete(&ids[1], "a"), SHARD, 8).answer, Some(Answer::MessageNotFound)));
    assert!(matches!(store.apply(edit(&ids[1], None), SHARD, 8).answer, Some(Answer::MessageNotFound)));
    let mut page = |from, limit| match store
        .apply(Op::History { room: room("r"), user: user("a"), page: Page { from, limit } }, SHARD, 9)
        .answer
    {
        Some(Answer::Messages { messages, has_more, .. }) => {
            let seen = messages
                .iter()
                .map(|(seq, message)| (*seq, message.version, message.deleted_at.is_some()))
                .collect::<Vec<_>>();
            (seen, has_more)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(page(PageFrom::Newest, 10), (vec![(2, 2, false), (3, 1, true), (4, 1, false)], false));
    assert_eq!(page(PageFrom::Newest, 2), (vec![(3, 1, true), (4, 1, false)], true));
    assert_eq!(page(PageFrom::Before(3), 2), (vec![(2, 2, false)], false));
    assert_eq!(page(PageFrom::After(2), 1), (vec![(3, 1, true)], true));
    assert_eq!(page(PageFrom::After(4), 5), (vec![], false));
}

#[test]
fn deleting_takes_the_content_out_of_every_event() {
    let mut store = partition();
    let entry = entered(join(&mut store, "r", "a", None));
    let id = send(&mut store, "r", "a").message_id;
    let before = store.usage().bytes;
    store.apply(Op::Delete { room: room("r"), user: user("a"), message_id: id, any_author: false }, SHARD, 8);
    let events = entered(join(&mut store, "r", "a", since(&entry, 1, None))).missed.unwrap();
    let redacted = |event: &Event| matches!(&event.kind, EventKind::MessageNew(message) if message.content.is_none() && message.deleted_at == Some(8));
    assert!(redacted(&events[0]));
    assert_eq!(store.usage().bytes, before - "\"hi\"".len() + Event::cost_bytes(&events[1]));
}

#[test]
fn a_room_without_a_log_keeps_nothing() {
    let mut store = partition();
    let entry = entered(join(&mut store, "live-x", "a", None));
    assert!(entry.head.log.is_none());
    let sent = send_at(&mut store, "live-x", "a", None, 0);
    assert!(sent.feed.as_ref().is_some_and(|feed| feed.event.seq.is_none()));
    assert!(receipt(sent).log.is_none());
    assert_eq!(store.usage().events, 0);
}

#[test]
fn each_bound_on_a_log_counts_by_itself() {
    let store_config = |room_events_max, room_bytes_max, room_age_seconds_max| config::Store {
        room_events_max,
        room_bytes_max,
        room_age_seconds_max,
        ..config::Store::default()
    };
    for (config, kept) in [(store_config(3, 0, 0), 3), (store_config(100, 600, 0), 2), (store_config(100, 0, 1), 1)] {
        let mut store = partition_with(config, limits());
        join(&mut store, "r", "a", None);
        for number in 0..10 {
            send_at(&mut store, "r", "a", None, number * 2000);
        }
        assert_eq!(store.usage().events, kept);
    }
}

#[test]
fn the_oldest_events_of_all_rooms_give_way_first() {
    let mut store =
        partition_with(config::Store::default(), Limits { total_bytes_max: 1200, member_events_max: 0, ..limits() });
    for id in ["old", "new"] {
        join(&mut store, id, "a", None);
        (0..4).for_each(|_| drop(send(&mut store, id, "a")));
    }
    let usage = store.usage();
    assert!(usage.bytes <= 1200 && usage.events == 4, "{usage:?}");
    assert!(store.by_id.contains_key(&room("old")));
    let head = entered(join(&mut store, "old", "a", None)).head;
    assert_eq!(head.seq(), Some(4), "the log is empty, and its numbers go on");
}

#[test]
fn a_room_that_nothing_is_left_of_is_forgotten() {
    let mut store = partition_with(config::Store { room_age_seconds_max: 1, ..config::Store::default() }, limits());
    let membership = entered(join(&mut store, "r", "a", None)).membership;
    store.apply(Op::Leave { room: room("r"), user: user("a") }, SHARD, 0);
    store.sweep(10_000);
    assert_eq!(store.usage().rooms, 1, "a connection is still live");
    store.apply(Op::Detach { room: room("r"), user: user("a"), membership }, SHARD, 0);
    store.sweep(10_000);
    assert_eq!(store.usage(), Usage::default());
}

/// The next of a row of numbers that look random, below a bound.
fn random(state: &mut u64, below: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state % below
}

/// What cursors are to say, kept in the plainest way.
#[derive(Default)]
struct Model {
    /// The author of each event that is a message.
    log: Vec<Option<&'static str>>,
    /// By user: delivered, seen.
    cursors: HashMap<&'static str, (usize, usize)>,
    /// By user and device.
    devices: HashMap<(&'static str, usize), usize>,
}

impl Model {
    fn of_others(&self, user: &str, after: usize, up_to: usize) -> Vec<&'static str> {
        let covered = self.log.iter().take(up_to).skip(after);
        covered.flatten().copied().filter(|author| *author != user).collect()
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one model, its operations and what must be equal, read in one go")]
fn cursors_do_what_a_plain_model_does() {
    const USERS: [&str; 3] = ["ann", "bob", "cid"];
    const DEVICES: [&str; 3] = ["phone", "laptop", "tablet"];
    let device = |index: usize| Some(crate::ids::DeviceId::parse(DEVICES[index]).unwrap());
    for seed in 1..=200 {
        let mut state = seed * 0x9e37_79b9_7f4a_7c15;
        let mut store = partition_with(config::Store::default(), Limits { members_per_room_max: 3, ..limits() });
        let mut model = Model::default();
        for name in USERS {
            join(&mut store, "r", name, None);
            model.log.push(None);
            model.cursors.insert(name, (model.log.len(), model.log.len()));
        }
        for _ in 0..60 {
            let who = USERS[random(&mut state, 3) as usize];
            let on = random(&mut state, 3) as usize;
            if random(&mut state, 2) == 0 {
                send_at(&mut store, "r", who, None, 0);
                let (delivered, seen) = model.cursors.get_mut(who).unwrap();
                for cursor in [delivered, seen] {
                    *cursor += usize::from(*cursor == model.log.len());
                }
                model.log.push(Some(who));
            } else {
                let kind = if random(&mut state, 2) == 0 { CursorKind::Delivered } else { CursorKind::Seen };
                let asked = random(&mut state, model.log.len() as u64 + 3) as usize;
                let up_to = asked.min(model.log.len());
                let ack = Op::Ack {
                    room: room("r"),
                    user: user(who),
                    device: device(on),
                    up_to: UpTo::Seq(asked as Seq),
                    kind,
                    proven: false,
                };
                let outcome = store.apply(ack, SHARD, 7);
                let before = model.cursors[who];
                let known = model.devices.entry((who, on)).or_insert(before.0);
                *known = up_to.max(*known);
                let after =
                    (before.0.max(up_to), if kind == CursorKind::Seen { before.1.max(up_to) } else { before.1 });
                model.cursors.insert(who, after);
                let mut told = Vec::new();
                for (kind, from, to) in
                    [(CursorKind::Delivered, before.0, after.0), (CursorKind::Seen, before.1, after.1)]
                {
                    let mut authors = model.of_others(who, from, to);
                    authors.sort_unstable();
                    authors.dedup();
                    let authors: Vec<String> = authors.into_iter().map(str::to_owned).collect();
                    told.extend((to > from).then_some((kind, to as Seq, authors)));
                }
                let moved: Vec<_> = outcome
                    .moved
                    .into_iter()
                    .map(|moved| {
                        let mut authors: Vec<String> = moved.authors.iter().map(|author| author.to_string()).collect();
                        authors.sort_unstable();
                        (moved.kind, moved.up_to, authors)
                    })
                    .collect();
                assert_eq!(moved, told, "seed {seed}");
            }
            for name in USERS {
                for index in 0..DEVICES.len() {
                    let device = device(index);
                    let attach = Op::Attach {
                        room: room("r"),
                        user: user(name),
                        device,
                        since: None,
                        resume: None,
                        live: false,
                    };
                    let progress = entered(store.apply(attach, SHARD, 0)).progress.unwrap();
                    let (user_s, seen) = model.cursors[name];
                    let delivered = model.devices.get(&(name, index)).copied().unwrap_or(user_s);
                    let unread = model.of_others(name, seen, model.log.len()).len();
                    let found = (progress.delivered as usize, progress.seen as usize, progress.unread);
                    assert_eq!(found, (delivered, seen, unread), "seed {seed}, {name}");
                }
            }
        }
    }
}
