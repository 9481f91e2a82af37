//! Configurations, by number: files that differ in all that a reload can change, and what each makes of a message.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::common::{SECRET, plugin};

/// After so many, a component that the server has never seen. It is compiled; all others are in the cache.
const NEW_COMPONENT_EVERY: usize = 20;
/// Words of every message. Each configuration minds one of them.
pub(crate) const WORDS: [&str; 10] = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay"];

/// What a configuration makes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The word is masked, and no other.
    Masked(&'static str),
    /// The whole content is another.
    Replaced,
    /// Refused.
    Refused,
}

/// A configuration, by its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Generation(pub(crate) usize);

impl Generation {
    pub(crate) fn decision(self) -> Decision {
        match self.0 % 5 {
            3 => Decision::Replaced,
            4 => Decision::Refused,
            _ => Decision::Masked(self.word()),
        }
    }

    fn word(self) -> &'static str {
        WORDS[self.0 % WORDS.len()]
    }

    /// The component, and the configuration of it as TOML.
    fn plugin(self, directory: &Path) -> (PathBuf, String) {
        let built = |file: &str| PathBuf::from(plugin("any", file, json!({})).component);
        let action = match self.decision() {
            Decision::Replaced => return (built("misbehaving.wasm"), "{ behaviour = \"replace\" }".to_owned()),
            Decision::Refused => "reject",
            Decision::Masked(_) => "mask",
        };
        let path = if self.0 % NEW_COMPONENT_EVERY == NEW_COMPONENT_EVERY / 2 {
            // Another component, though it does the same: a section that nobody reads makes the difference.
            let name = format!("generation {}", self.0);
            let mut bytes = std::fs::read(built("message-policy.wasm")).unwrap();
            let length = u8::try_from(name.len()).unwrap();
            assert!(length < 0x7f, "lengths are of one byte");
            bytes.extend_from_slice(&[0, length + 1, length]);
            bytes.extend_from_slice(name.as_bytes());
            let path = directory.join("changed.wasm");
            std::fs::write(&path, bytes).unwrap();
            path
        } else {
            built("message-policy.wasm")
        };
        (path, format!("{{ words = [\"{}\"], words_action = \"{action}\" }}", self.word()))
    }

    /// The whole file. Whatever a reload can change is sometimes different, and none of it may be felt.
    pub(crate) fn toml(self, directory: &Path) -> String {
        let (component, rules) = self.plugin(directory);
        self.toml_with(directory, &component, &format!("config = {rules}"))
    }

    /// The same with another plugin.
    pub(crate) fn toml_with(self, directory: &Path, component: &Path, keys: &str) -> String {
        let odd = self.0 % 2;
        let mut text = format!(
            "listen = \"127.0.0.1:0\"\nshards = 2\ndata_directory = {:?}\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [log]\nformat = \"json\"\n[[auth.keys]]\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\n",
            directory.join("data"),
        );
        // So little is kept of a room that the store is full, and grows no more, long before memory is looked at.
        text.push_str("[store]\nroom_events_max = 50\ndedup_entries_max = 4000\n");
        write!(
            text,
            "[delivery]\nroom_flush_ms = {}\n[timing]\nping_ms = {}\n[limits]\nrequests_per_second_max = {}\n\
             request_burst_max = {}\noutbox_frames_max = {}\nrooms_per_connection_max = {}\n",
            odd * 5,
            25_000 + odd * 1_000,
            odd * 100_000,
            100_000 + self.0,
            4_096 + self.0,
            1_000 + self.0,
        )
        .unwrap();
        // Far more than a call takes, so that no call is ended, however busy the machine is.
        write!(
            text,
            "[[plugins]]\nname = \"decider\"\ncomponent = {component:?}\ncall_ms_max = {}\n{keys}\n",
            800 + self.0 % 3 * 100,
        )
        .unwrap();
        text
    }

    /// The same file with a mistake in it.
    pub(crate) fn broken_toml(self, directory: &Path) -> String {
        let good = self.toml(directory);
        match self.0 / crate::REFUSED_EVERY % 3 {
            0 => format!("{good}this is no TOML"),
            1 => {
                let (start, _) = good.rsplit_once("config = ").unwrap();
                format!("{start}config = {{ wrods = [\"misspelt\"], behaviour = \"no such\" }}\n")
            }
            _ => {
                let (start, rest) = good.split_once("component = ").unwrap();
                let (_, end) = rest.split_once('\n').unwrap();
                format!("{start}component = {:?}\n{end}", directory.join("missing.wasm"))
            }
        }
    }
}
