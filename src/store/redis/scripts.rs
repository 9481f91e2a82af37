//! The scripts. Each is a file of its own, with its contract above it; what several share stands before them.

use super::link::Script;

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident: $($file:literal)+;)+) => {
        $(
            $(#[$doc])*
            pub(super) static $name: Script =
                Script::new(stringify!($name), concat!($(include_str!(concat!("scripts/", $file, ".lua")), "\n"),+));
        )+

        /// All of them, so that they can be loaded before they are needed.
        pub static SCRIPTS: &[&Script] = &[$(&$name),+];
    };
}

scripts! {
    JOIN: "common" "enter" "join";
    ATTACH: "common" "enter" "attach";
    APPEND: "common" "append";
    RECALL: "common" "recall";
    EDIT: "common" "change" "edit";
    DELETE: "common" "change" "delete";
    LEAVE: "common" "leave";
    DETACH: "common" "detach";
    REAP_ROOM: "common" "reap_room";
    HISTORY: "common" "history";
    QUEUE_PAGE: "common" "queue_page";
    CATCH_UP: "common" "catch_up";
    ACK: "common" "ack";
    STATUS: "common" "status";
    ONLINE: "common" "online";
    TYPING: "common" "typing";
    TYPISTS: "common" "typists";
    RESERVE: "reserve";
    INDEX: "index";
    ARRIVE: "arrive";
    PRESENCE: "presence";
    LEASE: "lease";
    LIVE: "common" "live";
}
