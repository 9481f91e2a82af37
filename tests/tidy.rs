//! Tidiness: what no compiler checks. Which part may know which, who names which crate, and how files look.
//!
//! The tables are the rules. Whoever has a reason to break one changes the table, where the change is seen. `features`
//! is about a table that is a document of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "tidy/features.rs"]
mod features;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which part of the crate names which others: exactly these, so that an arrow that is no longer there goes too.
const ARROWS: [(&str, &[&str]); 14] = [
    ("main", &["cli"]),
    ("lib", &["app"]),
    // The composition root knows every part, and nobody knows it but the subcommands.
    ("app", &["config", "hub", "ids", "metrics", "net", "policy", "relay", "session", "store", "wire"]),
    ("cli", &["app", "config", "policy", "relay", "store"]),
    // The way of a message: each knows what is below it.
    ("net", &["hub", "ids", "metrics", "policy", "relay", "session", "wire"]),
    ("session", &["ids", "message", "metrics", "policy", "relay", "wire"]),
    ("relay", &["hub", "ids", "message", "metrics", "policy", "store", "wire"]),
    // These three know nothing of each other.
    ("hub", &["ids", "message", "wire"]),
    ("store", &["config", "ids", "message", "wire"]),
    ("policy", &["config", "ids", "message", "metrics", "wire"]),
    // And these know next to nothing.
    ("wire", &["ids", "message"]),
    ("metrics", &["wire"]),
    ("message", &["ids"]),
    ("config", &[]),
];

/// Parts that know no other, besides those with an empty row above.
const LEAVES: [&str; 1] = ["ids"];

/// Which crate is named where, besides in comments.
const CRATES: [(&str, &[&str]); 11] = [
    ("wasmtime", &["src/policy/"]),
    ("redb", &["src/store/disk/"]),
    ("deadpool_redis", &["src/store/redis/"]),
    ("aws_lc_rs", &["src/policy/precompiled/", "src/net/fetch.rs", "src/net/api/keys.rs"]),
    // The exception reads the PEM texts of keys, because a bad key is a fault of the configuration. It judges no token.
    ("jsonwebtoken", &["src/policy/", "src/config/keys.rs"]),
    ("hyper", &["src/net/"]),
    ("hyper_util", &["src/net/"]),
    ("fastwebsockets", &["src/net/"]),
    ("rustls", &["src/net/fetch.rs"]),
    ("tokio_rustls", &["src/net/fetch.rs"]),
    ("rustls_native_certs", &["src/net/fetch.rs"]),
];

/// Where there is `unsafe`, and why. The lint denies it everywhere else, and could be quieted there unseen.
const UNSAFE: [(&str, usize, &str); 1] =
    [("src/policy/precompiled/mod.rs", 1, "loading code that is compiled already")];

/// Where nothing waits: what is there is called by a shard's tasks, one at a time.
const WITHOUT_ASYNC: [&str; 6] =
    ["src/wire/", "src/store/", "src/hub/", "src/relay/", "src/session/state.rs", "src/message.rs"];

/// And where something does all the same: on a thread of its own.
const WITH_ASYNC: &str = "src/store/redis/link/";

/// Lines of a file above which it is worth asking whether it is one thing.
const LINES_MAX: usize = 450;

/// Files that may be longer, and why.
const LONG: [(&str, usize, &str); 1] =
    [("src/wire/request.rs", 600, "every request with its checks: a table in prose, read from top to bottom")];

/// What is visible at the top of the repository. `dashboards`, `clients` and `packaging` may come.
const TOP: [&str; 12] = [
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
    "src",
    "plugins",
    "wit",
    "tests",
    "dashboards",
    "clients",
    "packaging",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a directory with an ending, as paths from the repository's top with their text.
fn files(directory: &str, ending: &str) -> Vec<(String, String)> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        let mut entries: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                let name = path.file_name().unwrap().to_str().unwrap();
                // What tools put there is not ours.
                if !name.starts_with('.')
                    && !["target", "node_modules", "dist", "python-env", "__pycache__"].contains(&name)
                {
                    walk(&path, found);
                }
            } else {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(directory), &mut found);
    found
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == ending))
        .map(|path| {
            (path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap())
        })
        .collect()
}

fn sources() -> Vec<(String, String)> {
    let sources = files("src", "rs");
    assert!(sources.len() > 30, "the sources are found");
    sources
}

/// A text without its comments, its strings and its characters, line by line as it was.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let taken = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("r\"")
            || rest.starts_with("r#") && rest[1..].trim_start_matches('#').starts_with('"')
        {
            let hashes = rest[1..].len() - rest[1..].trim_start_matches('#').len();
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = 2 + hashes;
            begin + rest[begin..].find(&end).unwrap() + end.len()
        } else if next == '"' {
            let mut escaped = false;
            let end = rest[1..].char_indices().find(|(_, character)| {
                let ends = *character == '"' && !escaped;
                escaped = *character == '\\' && !escaped;
                ends
            });
            end.unwrap().0 + 2
        } else if rest.starts_with("'\"'") {
            3
        } else if let Some(escape) = rest.strip_prefix("'\\") {
            2 + escape.find('\'').map_or(0, |end| end + 1)
        } else {
            code.push(next);
            rest = &rest[next.len_utf8()..];
            continue;
        };
        code.extend(rest[..taken].chars().filter(|character| *character == '\n'));
        rest = &rest[taken..];
    }
    code
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Where a word stands in code, as a whole word.
fn places<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = code[..*at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The first names behind a path like `crate::`: one, or all of a group.
fn names_behind(code: &str) -> Vec<String> {
    let word = |text: &str| text.trim_start().chars().take_while(|character| is_word(*character)).collect::<String>();
    let Some(group) = code.trim_start().strip_prefix('{') else { return vec![word(code)] };
    let (mut depth, mut names, mut begin) = (0_usize, Vec::new(), 0);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                names.push(word(&group[begin..at]));
                begin = at + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names
}

/// The part of the crate that a file belongs to.
fn part_of(path: &str) -> &str {
    path.strip_prefix("src/").unwrap().split(['/', '.']).next().unwrap()
}

/// How many modules deep a file is: 1 for the root of a part.
fn depth_of(path: &str) -> usize {
    let inner = path.strip_prefix("src/").unwrap();
    inner.matches('/').count() + usize::from(!inner.ends_with("/mod.rs"))
}

fn parts() -> BTreeSet<&'static str> {
    ARROWS.iter().map(|(part, _)| *part).chain(LEAVES).collect()
}

/// The parts that a file names, with the lines.
fn named_in(path: &str, text: &str) -> Vec<(String, usize)> {
    let code = code_of(text);
    let parts = parts();
    let mut named = Vec::new();
    // `main` is a crate of its own, and names the library.
    let crates: &[&str] = if path == "src/main.rs" { &["stentor"] } else { &["crate"] };
    for at in crates.iter().flat_map(|name| places(&code, name).map(|at| at + name.len())) {
        if let Some(behind) = code[at..].trim_start().strip_prefix("::") {
            named.extend(names_behind(behind).into_iter().map(|name| (name, line_of(&code, at))));
        }
    }
    if path == "src/lib.rs" {
        let uses = places(&code, "use").filter(|at| code[..*at].trim_end().ends_with("pub"));
        named.extend(uses.flat_map(|at| names_behind(&code[at + 3..]).into_iter().map(move |name| (name, at))));
    }
    // The long way round: `super::` as often as it takes.
    for at in places(&code, "super") {
        let mut behind = &code[at..];
        let mut steps = 0;
        while let Some(rest) =
            behind.trim_start().strip_prefix("super").and_then(|rest| rest.trim_start().strip_prefix("::"))
        {
            behind = rest;
            steps += 1;
        }
        if steps >= depth_of(path) {
            named.extend(names_behind(behind).into_iter().map(|name| (name, line_of(&code, at))));
        }
    }
    named.retain(|(name, _)| parts.contains(name.as_str()) && name != part_of(path));
    named
}

#[test]
fn parts_know_what_they_may_know_and_nothing_else() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        ARROWS.iter().map(|(part, others)| (*part, others.iter().copied().collect())).collect();
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let part = part_of(&path);
        assert!(parts().contains(part), "{path}: a part that is in no table");
        for (name, line) in named_in(&path, &text) {
            if !allowed.get(part).is_some_and(|others| others.contains(name.as_str())) {
                faults.push(format!("{path}:{line}: {part} must not know {name}"));
            }
            seen.entry(part.to_owned()).or_default().insert(name);
        }
    }
    assert_eq!(faults, [""; 0]);
    for (part, others) in &allowed {
        let unused: Vec<_> =
            others.iter().filter(|other| !seen.get(*part).is_some_and(|seen| seen.contains(**other))).collect();
        assert!(unused.is_empty(), "{part} no longer knows {unused:?}: take it out of the table");
    }
}

#[test]
fn arrows_go_in_one_direction() {
    // Taking away parts that know nothing that is left must take away all of them.
    let mut left: BTreeMap<&str, Vec<&str>> = ARROWS.iter().map(|(part, others)| (*part, others.to_vec())).collect();
    let mut gone: BTreeSet<&str> = LEAVES.into();
    while !left.is_empty() {
        let free: Vec<&str> = left
            .iter()
            .filter(|(_, others)| others.iter().all(|other| gone.contains(other)))
            .map(|(part, _)| *part)
            .collect();
        assert!(!free.is_empty(), "in a circle: {left:?}");
        free.into_iter().for_each(|part| {
            left.remove(part);
            gone.insert(part);
        });
    }
}

#[test]
fn hub_store_and_policy_know_nothing_of_each_other() {
    const THREE: [&str; 3] = ["hub", "store", "policy"];
    for (part, others) in ARROWS.iter().filter(|(part, _)| THREE.contains(part)) {
        assert!(others.iter().all(|other| !THREE.contains(other)), "{part}");
    }
}

#[test]
fn crates_are_named_where_they_belong() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let code = code_of(&text);
        for (name, homes) in CRATES {
            if !homes.iter().any(|home| path.starts_with(home)) {
                faults.extend(places(&code, name).map(|at| format!("{path}:{}: {name} is named", line_of(&code, at))));
            }
        }
    }
    assert_eq!(faults, [""; 0]);
}

#[test]
fn what_is_unsafe_is_in_the_table() {
    let mut found = BTreeMap::new();
    for (path, text) in sources() {
        let blocks = places(&code_of(&text), "unsafe").count();
        if blocks > 0 {
            found.insert(path, blocks);
        }
    }
    let table = UNSAFE.iter().map(|(path, blocks, _)| ((*path).to_owned(), *blocks)).collect();
    assert_eq!(found, table);
}

#[test]
fn nothing_waits_where_nothing_may_wait() {
    let mut faults = Vec::new();
    for (path, text) in sources()
        .into_iter()
        .filter(|(path, _)| WITHOUT_ASYNC.iter().any(|home| path.starts_with(home)) && !path.starts_with(WITH_ASYNC))
    {
        let code = code_of(&text);
        for word in ["async", "await"] {
            faults.extend(places(&code, word).map(|at| format!("{path}:{}: {word}", line_of(&code, at))));
        }
    }
    assert_eq!(faults, [""; 0]);
}

#[test]
fn every_module_says_what_it_is() {
    let tests = files("tests", "rs").into_iter().filter(|(path, _)| !path.contains("/echo/"));
    for (path, text) in sources().into_iter().chain(tests) {
        assert!(text.starts_with("//! "), "{path} begins with what it is for");
    }
}

#[test]
fn nothing_is_left_to_be_done_in_secret() {
    let mut faults = Vec::new();
    for (path, text) in sources().into_iter().chain(files("plugins", "rs")) {
        let code = code_of(&text);
        for name in ["todo", "unimplemented"] {
            let calls = places(&code, name).filter(|at| code[at + name.len()..].starts_with('!'));
            faults.extend(calls.map(|at| format!("{path}:{}: {name}!", line_of(&code, at))));
        }
        // Marks are put in comments.
        for mark in ["FIXME", "XXX", "TODO", "HACK"] {
            faults.extend(places(&text, mark).map(|at| format!("{path}:{}: {mark}", line_of(&text, at))));
        }
    }
    assert_eq!(faults, [""; 0]);
}

#[test]
fn no_line_ends_in_white_space() {
    let mut faults = Vec::new();
    let all = ["rs", "md", "toml", "wit", "html", "json", "ts", "mts", "mjs"].into_iter().flat_map(|ending| {
        ["src", "tests", "plugins", "wit", "clients"].into_iter().flat_map(move |directory| files(directory, ending))
    });
    for (path, text) in all {
        for (line, _) in text.lines().enumerate().filter(|(_, line)| line.ends_with([' ', '\t', '\r'])) {
            faults.push(format!("{path}:{}", line + 1));
        }
        if !text.is_empty() && !text.ends_with('\n') {
            faults.push(format!("{path}: no new line at its end"));
        }
    }
    assert_eq!(faults, [""; 0]);
}

#[test]
fn files_are_no_longer_than_one_can_read() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        let lines_max = LONG.iter().find(|(long, ..)| *long == path).map_or(LINES_MAX, |(_, lines_max, _)| *lines_max);
        assert!(lines <= lines_max, "{path} has {lines} lines; {lines_max} are allowed");
    }
    for (path, _, reason) in LONG {
        let lines = fs::read_to_string(root().join(path)).unwrap().lines().count();
        assert!(lines > LINES_MAX, "{path} needs no exception any more: {reason}");
    }
}

#[test]
fn the_top_of_the_repository_is_what_it_says() {
    // What tools leave there is hidden, or ignored by name.
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap_or_default();
    let ignored: Vec<&str> =
        ignored.lines().filter_map(|line| line.strip_prefix('/')).map(|line| line.trim_end_matches('/')).collect();
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name.starts_with('.') || TOP.contains(&name.as_str()) || ignored.contains(&name.as_str()),
            "{name} is not to be there"
        );
    }
}

// The checks themselves

#[test]
fn code_is_told_from_comments_and_texts() {
    let text = "use a; // crate::hub\n\"crate::store\"; r#\"crate::\"net\"#; '\"'; '\\''; b\"x\"; crate::ids::X;\n/// async\nfn f<'a>() {}\n";
    let code = code_of(text);
    assert_eq!(code.matches('\n').count(), text.matches('\n').count());
    assert!(code.contains("crate::ids::X") && code.contains("fn f<'a>()"), "{code}");
    for gone in ["hub", "store", "net", "async"] {
        assert!(!code.contains(gone), "{gone} in {code}");
    }
}

#[test]
fn paths_are_found_however_they_are_written() {
    for (path, text, expected) in [
        ("src/hub/mod.rs", "use crate::store::X;", vec!["store"]),
        ("src/hub/mod.rs", "fn f() { crate :: policy::g() }", vec!["policy"]),
        ("src/hub/room.rs", "use crate::{ids::A, net::{B, c::D},\n  wire};", vec!["ids", "net", "wire"]),
        ("src/hub/room.rs", "use super::super::relay::X;", vec!["relay"]),
        ("src/hub/mod.rs", "use super::session::X;", vec!["session"]),
        ("src/hub/room.rs", "use super::batch::X; use crate::hub::Y;", vec![]),
        ("src/hub/room.rs", "my_crate::store(); // crate::store", vec![]),
        ("src/main.rs", "stentor::cli::main()", vec!["cli"]),
        ("src/lib.rs", "pub use app::{Server, X};", vec!["app"]),
    ] {
        let named: Vec<String> = named_in(path, text).into_iter().map(|(name, _)| name).collect();
        assert_eq!(named, expected, "{path}: {text}");
    }
}
