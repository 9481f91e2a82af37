//! What the guests that misbehave for the tests of the plugin host have in common: ways to fail, whatever the hook.
#![cfg(target_arch = "wasm32")]

use std::hint::black_box;

use serde_json::Value;

/// How often a flood calls the host.
pub const FLOOD_CALLS: u32 = 1_000_000;

/// Lines of a flood of the log.
pub const FLOOD_LINES: u32 = 10_000;

/// Bytes of a huge text: more than anything in the server may have.
pub const HUGE_BYTES: usize = 4 << 20;

/// Where text is asked for, this is none.
#[must_use]
pub fn not_utf8() -> String {
    let bytes = black_box(b"not\xff\xfeutf8".to_vec());
    // SAFETY: the generated bindings take the string apart into pointer, length and capacity and hand those to the host;
    // nothing looks at it as text before. There is no other way for a guest to say what the test wants said.
    unsafe { String::from_utf8_unchecked(bytes) }
}

/// Never ends, so a deadline must end it.
pub fn spin() -> ! {
    let mut turn = 0_u64;
    loop {
        turn = black_box(turn.wrapping_add(1));
    }
}

/// Is busy for that many turns, and then done.
pub fn turn(turns: u64) {
    for turn in 0..turns {
        black_box(turn);
    }
}

/// Takes memory until it gets no more; then the allocator aborts, which is a trap.
pub fn grow() -> ! {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(black_box(vec![1; 1 << 20]));
    }
}

/// Uses up the stack.
pub fn overflow() {
    /// Keeps next to nothing in memory, so that it is the engine's stack that runs out and not the guest's own.
    #[expect(unconditional_recursion, reason = "it is what the test asks for")]
    fn recurse(depth: u64) -> u64 {
        recurse(black_box(depth.wrapping_add(1))).wrapping_add(depth)
    }
    black_box(recurse(1));
}

/// Ends at once, without a word.
pub fn trap() -> ! {
    core::arch::wasm32::unreachable()
}

/// Ends as Rust does when something is wrong in the program.
pub fn fall() -> ! {
    #[expect(clippy::panic, reason = "it is what the test asks for")]
    {
        panic!("as it was told to")
    }
}

/// An interest to declare, from `{"events": […], "rooms": […], "max_payload_bytes": n}`.
pub struct Interest {
    /// Names of events.
    pub events: Vec<String>,
    /// Patterns of rooms.
    pub rooms: Vec<String>,
    /// Cap of the body.
    pub max_payload_bytes: u32,
}

impl Interest {
    /// Reads one. What is missing or makes no sense is left empty.
    #[must_use]
    pub fn read(value: &Value) -> Self {
        let strings = |key: &str| -> Vec<String> {
            let list = value.get(key).and_then(Value::as_array);
            list.into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        };
        Self {
            events: strings("events"),
            rooms: strings("rooms"),
            max_payload_bytes: value
                .get("max_payload_bytes")
                .and_then(Value::as_u64)
                .and_then(|bytes| u32::try_from(bytes).ok())
                .unwrap_or(0),
        }
    }
}
