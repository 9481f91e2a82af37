//! Events as records, the form in which Redis keeps them: fields between unit separators, which no id, label or JSON can
//! contain. What the fields are is written above the scripts (`common.lua`), which read some of them.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::ids::{DeviceId, MessageId, UserId};
use crate::message::{Event, EventKind, Message, Seq, Timestamp};

/// What stands between fields, here and on the channels.
pub(super) const SEPARATOR: char = '\u{1f}';

/// A text of fields.
pub(super) fn fields(first: &str, rest: &[&str]) -> String {
    let mut text = String::with_capacity(first.len() + rest.iter().map(|field| field.len() + 1).sum::<usize>());
    text.push_str(first);
    for field in rest {
        text.push(SEPARATOR);
        text.push_str(field);
    }
    text
}

/// An event as a record.
pub(super) fn encode(kind: &EventKind) -> String {
    match kind {
        EventKind::MessageNew(message) => message_record('N', message, message.sent_at),
        EventKind::MessageEdited(message) => message_record('E', message, message.edited_at.unwrap_or(message.sent_at)),
        EventKind::MessageDeleted { message_id, user, deleted_at } => {
            fields("D", &[&deleted_at.to_string(), user.as_str(), message_id.as_str()])
        }
        EventKind::MemberJoined { user, at } => fields("J", &[&at.to_string(), user.as_str()]),
        EventKind::MemberLeft { user, at } => fields("L", &[&at.to_string(), user.as_str()]),
    }
}

fn message_record(kind: char, message: &Message, at: Timestamp) -> String {
    let content = message.content.as_ref().map_or("", |content| content.get());
    let mut text = String::with_capacity(160 + content.len());
    if message.content.is_some() {
        text.push(kind);
    } else {
        text.extend(kind.to_lowercase());
    }
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let device = message.device.as_ref().map_or("", DeviceId::as_str);
    let (temp_id, reply_to) = (message.temp_id.as_deref().unwrap_or(""), message.reply_to.as_deref().unwrap_or(""));
    let _infallible = write!(
        text,
        "{SEPARATOR}{at}{SEPARATOR}{}{SEPARATOR}{}{SEPARATOR}{device}{SEPARATOR}{temp_id}{SEPARATOR}{}{SEPARATOR}{reply_to}\
         {SEPARATOR}{}{SEPARATOR}{}{SEPARATOR}{}{SEPARATOR}{}{SEPARATOR}{content}",
        message.user,
        message.message_id,
        message.message_type,
        message.version,
        message.sent_at,
        number(message.edited_at),
        number(message.deleted_at),
    );
    text
}

/// A record as an event. `None` if it is none.
pub(super) fn decode(seq: Option<Seq>, record: &str) -> Option<Event> {
    let mut fields = record.split(SEPARATOR);
    let mut next = || fields.next();
    let kind = next()?;
    let at: Timestamp = next()?.parse().ok()?;
    let user = UserId::parse(next()?).ok()?;
    let kind = match kind {
        "J" => EventKind::MemberJoined { user, at },
        "L" => EventKind::MemberLeft { user, at },
        "D" => EventKind::MessageDeleted { message_id: MessageId::parse(next()?).ok()?, user, deleted_at: at },
        "N" | "n" | "E" | "e" => {
            let text = |field: &str| (!field.is_empty()).then(|| Box::from(field));
            let number = |field: &str| -> Option<Option<u64>> {
                if field.is_empty() { Some(None) } else { field.parse().ok().map(Some) }
            };
            let message_id = MessageId::parse(next()?).ok()?;
            let device = next()?;
            let device = if device.is_empty() { None } else { Some(DeviceId::parse(device).ok()?) };
            let message = Message {
                message_id,
                user,
                device,
                temp_id: text(next()?),
                message_type: Arc::from(next()?),
                reply_to: text(next()?),
                version: next()?.parse().ok()?,
                sent_at: next()?.parse().ok()?,
                edited_at: number(next()?)?,
                deleted_at: number(next()?)?,
                content: match (kind, next()?) {
                    ("N" | "E", content) => Some(Arc::from(RawValue::from_string(content.to_owned()).ok()?)),
                    _ => None,
                },
            };
            let message = Box::new(message);
            if kind.eq_ignore_ascii_case("N") {
                EventKind::MessageNew(message)
            } else {
                EventKind::MessageEdited(message)
            }
        }
        _ => return None,
    };
    Some(Event { seq, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_the_same_after_a_record() {
        let user = || UserId::parse("ann: of 7").unwrap();
        let message_id = || MessageId::parse("m1").unwrap();
        let message = Message {
            message_id: message_id(),
            user: user(),
            device: Some(DeviceId::parse("phone").unwrap()),
            temp_id: Some("t {1}*".into()),
            message_type: "text".into(),
            content: Some(Arc::from(RawValue::from_string("{\"a\": [1e400, \"\\u001f\"]}".to_owned()).unwrap())),
            reply_to: None,
            version: 3,
            sent_at: 1_790_000_000_000,
            edited_at: Some(1_790_000_000_001),
            deleted_at: None,
        };
        let redacted = Message { content: None, deleted_at: Some(9), device: None, ..message.clone() };
        for kind in [
            EventKind::MessageNew(Box::new(message.clone())),
            EventKind::MessageEdited(Box::new(message)),
            EventKind::MessageNew(Box::new(redacted.clone())),
            EventKind::MessageEdited(Box::new(redacted)),
            EventKind::MessageDeleted { message_id: message_id(), user: user(), deleted_at: 7 },
            EventKind::MemberJoined { user: user(), at: 5 },
            EventKind::MemberLeft { user: user(), at: 6 },
        ] {
            let record = encode(&kind);
            let event = decode(Some(4), &record).unwrap();
            assert_eq!(event.seq, Some(4));
            assert_eq!(format!("{:?}", event.kind), format!("{kind:?}"));
            assert_eq!(encode(&event.kind), record);
        }
    }

    #[test]
    fn what_is_no_record_is_no_event() {
        for bad in
            ["", "X\u{1f}1\u{1f}u", "J\u{1f}x\u{1f}u", "J\u{1f}1\u{1f}", "D\u{1f}1\u{1f}u", "N\u{1f}1\u{1f}u\u{1f}m"]
        {
            assert!(decode(Some(1), bad).is_none(), "{bad:?}");
        }
    }
}
