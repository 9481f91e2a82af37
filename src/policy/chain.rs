//! A shard's chain of message filters: each sees what the one before left, and the first no ends it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::bindings::exports::stentor::plugin::lifecycle::Interest;
use super::bindings::exports::stentor::plugin::message_filter::Verdict;
use super::bindings::stentor::plugin::types::{PayloadResult, Rejection};
use super::engine::Plugin;
use super::instance::{Failure, Instance, trap_name};
use crate::config::OnFailure;
use crate::ids::{ConnectionId, ShardId};
use crate::metrics::{GuestHook, Metrics, PluginMetrics, PluginOutcome};
use crate::wire::JSON_DEPTH_MAX;
use crate::wire::decode::deeper_than;

/// Longest code and message of a rejection that are passed on, in bytes; the rest is cut.
const REJECTION_CODE_BYTES_MAX: usize = 64;
const REJECTION_MESSAGE_BYTES_MAX: usize = 500;

/// How long a plugin that cannot be instantiated is left alone, at first and at most: each attempt holds up its shard.
const REVIVAL_WAIT_MIN: Duration = Duration::from_millis(100);
const REVIVAL_WAIT_MAX: Duration = Duration::from_secs(30);

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
    /// Dropped after any failure and made again for the next call.
    instance: Option<Instance>,
    /// After a failure to make one: when to try again, and how long to wait after the next failure.
    retry: Option<(Instant, Duration)>,
    metrics: PluginMetrics,
}

/// The filters of one shard.
pub struct Chain {
    links: Vec<Link>,
    shard: u32,
    shards: u32,
    /// Where bodies are written, kept from call to call.
    scratch: Vec<u8>,
}

impl Chain {
    pub(super) fn new(plugins: &[Arc<Plugin>], shard: ShardId, shards: u32, metrics: &Metrics) -> Self {
        let link = |plugin: &Arc<Plugin>| Link {
            plugin: Arc::clone(plugin),
            instance: None,
            retry: None,
            metrics: metrics.plugin(&plugin.name, &[GuestHook::Filter]),
        };
        let mut chain =
            Self { links: plugins.iter().map(link).collect(), shard: u32::from(shard.0), shards, scratch: Vec::new() };
        for link in &mut chain.links {
            link.revive(chain.shard, chain.shards);
        }
        chain
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
            if !link.wants(question, text.len()) {
                continue;
            }
            match link.ask(question, text, (self.shard, self.shards)) {
                Ok(Verdict::Accept) => {}
                Ok(Verdict::Discard) => return Filtered::Discarded,
                Ok(Verdict::Reject(rejection)) => return link.rejected(rejection),
                Ok(Verdict::Replace(payload)) => match Replacement::parse(&payload, body.message_type.is_some()) {
                    Some(replacement) => {
                        replaced = true;
                        body.message_type = replacement.message_type.map(Cow::Owned);
                        body.content = Cow::Owned(replacement.content);
                    }
                    None => {
                        link.fail("bad_replacement", PluginOutcome::Error);
                        if link.plugin.on_failure == OnFailure::Closed {
                            return Filtered::Unavailable { plugin: Arc::clone(&link.plugin.name) };
                        }
                    }
                },
                Err(()) if link.plugin.on_failure == OnFailure::Closed => {
                    return Filtered::Unavailable { plugin: Arc::clone(&link.plugin.name) };
                }
                Err(()) => {}
            }
        }
        if !replaced {
            return Filtered::Accepted;
        }
        Filtered::Replaced { message_type: body.message_type.map(Cow::into_owned), content: body.content.into_owned() }
    }

    /// Lets all instances end in good order.
    pub fn retire(&mut self) {
        for link in &mut self.links {
            if let Some(instance) = link.instance.take() {
                instance.retire();
            }
        }
    }
}

impl Link {
    /// Whether the plugin asked to be asked.
    fn wants(&self, question: &Question<'_>, body_bytes: usize) -> bool {
        let interests = &self.plugin.manifest.interests;
        let matches = |interest: &Interest| {
            (interest.events.is_empty() || interest.events.iter().any(|event| event == question.event))
                && (interest.rooms.is_empty()
                    || interest.rooms.iter().any(|pattern| crate::ids::pattern_matches(pattern, question.room)))
                && (interest.max_payload_bytes == 0 || body_bytes <= interest.max_payload_bytes as usize)
        };
        interests.is_empty() || interests.iter().any(matches)
    }

    fn revive(&mut self, shard: u32, shards: u32) {
        let now = Instant::now();
        let wait = match self.retry {
            Some((at, _)) if now < at => return,
            Some((_, wait)) => wait,
            None => REVIVAL_WAIT_MIN,
        };
        self.retry = Some((now + wait, (wait * 2).min(REVIVAL_WAIT_MAX)));
        match Instance::new(&self.plugin, shard, shards) {
            Ok(instance) => {
                self.instance = Some(instance);
                self.retry = None;
            }
            Err(Failure::Call(error)) => {
                tracing::error!(plugin = %self.plugin.name, kind = trap_name(&error), "plugin cannot be instantiated");
            }
            Err(Failure::Configuration(error)) => {
                tracing::error!(plugin = %self.plugin.name, path = ?error.path, "plugin refuses the configuration that it had accepted");
            }
        }
    }

    /// One call. A failed one is counted and logged here; its instance is gone.
    fn ask(&mut self, question: &Question<'_>, body: &str, (shard, shards): (u32, u32)) -> Result<Verdict, ()> {
        if self.instance.is_none() {
            self.revive(shard, shards);
        }
        let Some(instance) = &mut self.instance else {
            self.metrics.count(GuestHook::Filter, PluginOutcome::Error);
            return Err(());
        };
        let began = Instant::now();
        let answer = instance.filter(question, body, self.plugin.call_ticks_max);
        self.metrics.record_duration(GuestHook::Filter, began.elapsed());
        match answer {
            Ok(verdict) => {
                self.metrics.count(
                    GuestHook::Filter,
                    match &verdict {
                        Verdict::Reject(_) => PluginOutcome::Deny,
                        Verdict::Accept | Verdict::Replace(_) | Verdict::Discard => PluginOutcome::Allow,
                    },
                );
                Ok(verdict)
            }
            Err(error) => {
                let kind = trap_name(&error);
                self.fail(kind, if kind == "deadline" { PluginOutcome::CpuTimeout } else { PluginOutcome::Trap });
                Err(())
            }
        }
    }

    fn fail(&mut self, kind: &'static str, outcome: PluginOutcome) {
        self.metrics.count(GuestHook::Filter, outcome);
        self.instance = None;
        tracing::warn!(plugin = %self.plugin.name, hook = "filter", kind, "plugin failed; its instance is dropped");
    }

    fn rejected(&self, rejection: Rejection) -> Filtered {
        let cut = |text: String, bytes_max: usize| {
            let printable: String = text.chars().filter(|character| !character.is_control()).collect();
            printable.get(..printable.floor_char_boundary(bytes_max)).unwrap_or_default().to_owned()
        };
        Filtered::Rejected {
            plugin: Arc::clone(&self.plugin.name),
            code: cut(rejection.code, REJECTION_CODE_BYTES_MAX),
            message: cut(rejection.message, REJECTION_MESSAGE_BYTES_MAX),
        }
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
