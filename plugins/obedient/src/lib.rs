//! An auth plugin that does what its configuration says, for the tests of the plugin host.
//!
//! | key | value |
//! |---|---|
//! | `authenticate`, `refresh`, `authorize` | a behaviour each; absent: `abstain`. The names are listed in `settings` and described in `deeds` and `people` |
//! | `lifecycle` | `configure-error`, `configure-loop`, `configure-trap`, `retire-loop`, `retire-trap` or `retire-log` |
//! | `trigger` | true: the behaviours are set off only by a token, or for `authorize` a room, with the text `trigger` in it |
//! | `otherwise` | what is done where nothing set them off: a table with the three keys; absent: `abstain`. So a test can see the host recover |
//! | `cache_ms` | how long every answer of `authorize` holds; absent: 0 |
//! | `interest` | `{"events": […], "rooms": […], "max_payload_bytes": n}`, declared in the manifest |
//! | `subject`, `expires_at`, `attributes` | what `allow` and its kin say of people: `attributes` is `{"name": "value"}` |
//! | `turns` | how long `slow` is busy |
//! | `deny` | for `deny-actions`: a list of `action:pattern of rooms` |
//! | `forget` | for `forget`: whose verdicts, in place of those of whoever asks |
//! | `tell` | for `tell`: names of attributes; absent: all. What a client is told is cut by the server after some hundred bytes |
#![cfg(target_arch = "wasm32")]

mod bindings {
    //! The generated side of the world; what it does inside is not ours to lint.
    #![allow(
        clippy::all,
        missing_docs,
        unreachable_pub,
        rust_2018_idioms,
        reason = "generated code"
    )]

    wit_bindgen::generate!({
        path: "../../wit",
        world: "auth-plugin",
    });
}

mod deeds;
mod guest;
mod people;
mod settings;
