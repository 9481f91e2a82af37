//! Rows of the specifications that no other test proves: one file a section of the checklist, `tests/features.md`.
//!
//! A test's name begins with the rows it proves: `s1_24_` is row 24 of the first specification. Most rows are proven where
//! the behaviour is tested; this is for those that would be nobody's otherwise.

mod components;
mod events;
mod log_lines;
mod numbers;
mod requirements;
