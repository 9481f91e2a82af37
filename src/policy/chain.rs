//! A shard's chain of message filters: each sees what the one before left, and the first no ends it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::bindings::filter::exports::stentor::plugin::message_filter::Verdict;
use super::bindings::filter::stentor::plugin::types::{PayloadResult, Rejection};
use super::builder::{Builder, Slot};
use super::instance::{CONFIGURE_MAX, Instance};
use super::plugin::{Fault, Manifest, Plugin, printable};
use super::quarantine::Admission;
use crate::config::OnFailure;
use crate::ids::{ConnectionId, ShardId};
use crate::metrics::{GuestHook, PluginOutcome, RecycleReason};
use crate::wire::JSON_DEPTH_MAX;
use crate::wire::decode::deeper_than;

/// Longest code and message of a rejection that are passed on, in bytes; the rest is cut.
const REJECTION_CODE_BYTES_MAX: usize = 64;
const REJECTION_MESSAGE_BYTES_MAX: usize = 500;

/// How many calls an instance's memory is told after: now and then, and not with each.
const CALLS_BETWEEN_REPORTS: u64 = 1024;

/// Longest body that a plugin may put in a message's place, in bytes.
const REPLACEMENT_BYTES_MAX: usize = 256 << 10;

/// What a filter is asked about, besides the body.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// On which connection it came.
    pub connection: ConnectionId,
    /// Who sends it.
    pub subject: &'a str,
    /// Where.
    pub room: &'a str,
    /// What it would become: `message-new` or `message-edited`.
    pub event: &'static str,
}

/// The body of a message, as filters see and may replace it.
#[derive(Clone, Debug)]
pub struct Body<'a> {
    /// The type; of a new message only.
    pub message_type: Option<Cow<'a, str>>,
    /// Which message; of an edit only.
    pub message_id: Option<&'a str>,
    /// Any JSON.
    pub content: Cow<'a, RawValue>,
    /// What it replies to; of a new message only.
    pub reply_to: Option<&'a str>,
}

/// What became of a message in the chain.
#[derive(Debug)]
pub enum Filtered {
    /// It goes on as it was.
    Accepted,
    /// It goes on with this type and content.
    Replaced {
        /// The type, if it was replaced.
        message_type: Option<String>,
        /// The content.
        content: Box<RawValue>,
    },
    /// It is refused.
    Rejected {
        /// By whom.
        plugin: Arc<str>,
        /// The plugin's own code.
        code: String,
        /// For people.
        message: String,
    },
    /// It is dropped, and its sender is not told.
    Discarded,
    /// A plugin failed whose failures refuse.
    Unavailable {
        /// Which.
        plugin: Arc<str>,
    },
}

struct Link {
    plugin: Arc<Plugin>,
    manifest: Arc<Manifest>,
    /// Dropped after any failure; the spare takes its place.
    instance: Option<Instance>,
    spare: Arc<Slot>,
    builder: Builder,
}

/// The filters of one shard.
pub struct Chain {
    links: Vec<Link>,
    /// Which of so many shards this is, as instances are told.
    shard: (u32, u32),
    /// Where bodies are written, kept from call to call.
    scratch: Vec<u8>,
}

impl Chain {
    /// A chain with an instance of each plugin, and a spare.
    pub(super) fn new(plugins: &[Arc<Plugin>], builder: &Builder, shard: ShardId, shards: u16) -> Self {
        let place = (u32::from(shard.0), u32::from(shards));
        let links = plugins.iter().map(|plugin| {
            let mut link = Link {
                plugin: Arc::clone(plugin),
                manifest: plugin.manifest(),
                instance: None,
                spare: Arc::default(),
                builder: builder.clone(),
            };
            match Instance::new(plugin, place, CONFIGURE_MAX) {
                Ok((instance, _)) => link.instance = Some(instance),
                Err(failure) => plugin.stillborn(failure.kind()),
            }
            link.order_spare(place);
            link
        });
        Self { links: links.collect(), shard: place, scratch: Vec::new() }
    }

    /// Whether there is nobody to ask.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// Asks every filter that declared an interest.
    pub fn filter(&mut self, question: &Question<'_>, mut body: Body<'_>) -> Filtered {
        let mut replaced = false;
        for link in &mut self.links {
            body.write(&mut self.scratch);
            let Ok(text) = std::str::from_utf8(&self.scratch) else { continue };
            if !link.manifest.wants(question.event, Some(question.room), text.len()) {
                continue;
            }
            match link.ask(question, text, body.message_type.is_some(), self.shard) {
                Some(Said::Accept) => {}
                Some(Said::Discard) => return Filtered::Discarded,
                Some(Said::Reject(rejection)) => return link.rejected(&rejection),
                Some(Said::Replace(replacement)) => {
                    replaced = true;
                    body.message_type = replacement.message_type.map(Cow::Owned);
                    body.content = Cow::Owned(replacement.content);
                }
                None if link.plugin.on_failure(GuestHook::Filter) == OnFailure::Closed => {
                    return Filtered::Unavailable { plugin: Arc::clone(&link.plugin.name) };
                }
                None => {}
            }
        }
        if !replaced {
            return Filtered::Accepted;
        }
        Filtered::Replaced { message_type: body.message_type.map(Cow::into_owned), content: body.content.into_owned() }
    }
}

impl Drop for Chain {
    /// Instances end in good order, but not on the thread that no longer needs them.
    fn drop(&mut self) {
        for link in &mut self.links {
            for instance in [link.instance.take(), link.spare.take()].into_iter().flatten() {
                link.builder.retire(instance);
            }
        }
    }
}

/// What a filter said, checked.
enum Said {
    Accept,
    Discard,
    Reject(Rejection),
    Replace(Replacement),
}

impl Link {
    fn order_spare(&self, (index, count): (u32, u32)) {
        self.spare.order(&self.builder, &self.plugin, index, count);
    }

    /// An instance made here and now, if that takes no longer than a call may. A guest that starts slowly is made elsewhere.
    fn make_quickly(&self, shard: (u32, u32)) -> Option<Instance> {
        if !self.plugin.starts_quickly() {
            return None;
        }
        match Instance::new(&self.plugin, shard, self.plugin.call_max) {
            Ok((instance, _)) => Some(instance),
            Err(failure) => {
                self.plugin.started_in(CONFIGURE_MAX);
                self.plugin.stillborn(failure.kind());
                None
            }
        }
    }

    /// One call. One that is not made, or fails, is counted and logged here; a broken instance is gone.
    fn ask(&mut self, question: &Question<'_>, body: &str, typed: bool, shard: (u32, u32)) -> Option<Said> {
        let admission = self.plugin.quarantine.admit();
        if admission == Admission::Refused {
            self.plugin.metrics.count(GuestHook::Filter, PluginOutcome::Quarantined);
            return None;
        }
        if self.instance.is_none() {
            self.instance = self.spare.take().or_else(|| self.make_quickly(shard));
            self.order_spare(shard);
        }
        let Some(instance) = &mut self.instance else {
            self.plugin.overloaded(GuestHook::Filter, admission);
            return None;
        };
        let began = Instant::now();
        let answer = instance.filter(question, body, began);
        self.plugin.metrics.record_duration(GuestHook::Filter, began.elapsed());
        let fault = match answer {
            Ok(verdict) => match Said::check(verdict, typed) {
                Some(said) => {
                    let outcome =
                        if matches!(said, Said::Reject(_)) { PluginOutcome::Deny } else { PluginOutcome::Allow };
                    self.plugin.answered(GuestHook::Filter, outcome, admission);
                    self.recycle(shard);
                    return Some(said);
                }
                None => Fault::Error,
            },
            Err(error) => Fault::of(&error),
        };
        self.plugin.failed(GuestHook::Filter, fault, admission);
        if let Some(broken) = self.instance.take() {
            self.builder.bury(broken);
        }
        self.instance = self.spare.take();
        self.order_spare(shard);
        None
    }

    /// Puts the spare in the place of an instance that has had its time. It serves on as long as there is no spare.
    fn recycle(&mut self, shard: (u32, u32)) {
        let Some(instance) = &self.instance else { return };
        let memory_bytes = instance.memory_bytes();
        if instance.calls % CALLS_BETWEEN_REPORTS == 1 {
            self.plugin.saw_memory(memory_bytes);
        }
        let reason = if instance.calls >= self.plugin.recycle_calls {
            RecycleReason::Calls
        } else if memory_bytes > self.plugin.recycle_bytes {
            RecycleReason::Memory
        } else {
            return;
        };
        self.plugin.saw_memory(memory_bytes);
        if let Some(spare) = self.spare.take()
            && let Some(old) = self.instance.replace(spare)
        {
            self.plugin.metrics.count_recycled(reason);
            self.builder.retire(old);
        }
        self.order_spare(shard);
    }

    fn rejected(&self, rejection: &Rejection) -> Filtered {
        Filtered::Rejected {
            plugin: Arc::clone(&self.plugin.name),
            code: printable(&rejection.code, REJECTION_CODE_BYTES_MAX),
            message: printable(&rejection.message, REJECTION_MESSAGE_BYTES_MAX),
        }
    }
}

impl Said {
    fn check(verdict: Verdict, typed: bool) -> Option<Self> {
        Some(match verdict {
            Verdict::Accept => Self::Accept,
            Verdict::Discard => Self::Discard,
            Verdict::Reject(rejection) => Self::Reject(rejection),
            Verdict::Replace(payload) => Self::Replace(Replacement::parse(&payload, typed)?),
        })
    }
}

impl Body<'_> {
    /// Writes the body as the WIT package describes it.
    fn write(&self, buffer: &mut Vec<u8>) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Json<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            message_id: Option<&'a str>,
            #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
            message_type: Option<&'a str>,
            content: &'a RawValue,
            #[serde(skip_serializing_if = "Option::is_none")]
            reply_to: Option<&'a str>,
        }
        let json = Json {
            message_id: self.message_id,
            message_type: self.message_type.as_deref(),
            content: &self.content,
            reply_to: self.reply_to,
        };
        buffer.clear();
        if serde_json::to_writer(&mut *buffer, &json).is_err() {
            buffer.clear();
        }
    }
}

/// What a plugin put in a body's place.
#[derive(Deserialize)]
struct Replacement {
    #[serde(rename = "type")]
    message_type: Option<String>,
    content: Box<RawValue>,
}

impl Replacement {
    /// A replacement, if it has the shape that a body has.
    fn parse(payload: &PayloadResult, typed: bool) -> Option<Self> {
        let PayloadResult::Text(text) = payload else { return None };
        // What a plugin says is checked like what a client says: it goes to the same receivers.
        if text.len() > REPLACEMENT_BYTES_MAX
            || deeper_than(text, JSON_DEPTH_MAX)
            || !text.trim_start().starts_with('{')
        {
            return None;
        }
        let replacement: Self = serde_json::from_str(text).ok()?;
        if !typed {
            return Some(Self { message_type: None, ..replacement });
        }
        let good = replacement
            .message_type
            .as_deref()
            .is_some_and(|message_type| crate::ids::check_label(message_type).is_ok());
        good.then_some(replacement)
    }
}
