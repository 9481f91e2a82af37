//! The files of the demo page: they are in the program, so nothing is built for them and nothing is read while it runs.

/// A file, and what it is served as.
pub(super) struct File {
    pub(super) kind: &'static str,
    pub(super) text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The file that has a path.
pub(super) fn find(path: &str) -> Option<File> {
    let (kind, text) = match path {
        "/demo" => (HTML, include_str!("page.html")),
        "/demo/style.css" => (STYLE, include_str!("style.css")),
        "/demo/stentor-client.js" => (SCRIPT, include_str!("stentor-client.js")),
        "/demo/main.js" => (SCRIPT, include_str!("main.js")),
        "/demo/session.js" => (SCRIPT, include_str!("session.js")),
        "/demo/room.js" => (SCRIPT, include_str!("room.js")),
        "/demo/people.js" => (SCRIPT, include_str!("people.js")),
        "/demo/token.js" => (SCRIPT, include_str!("token.js")),
        "/demo/network.js" => (SCRIPT, include_str!("network.js")),
        "/demo/latency.js" => (SCRIPT, include_str!("latency.js")),
        "/demo/dom.js" => (SCRIPT, include_str!("dom.js")),
        "/demo/follow.js" => (SCRIPT, include_str!("follow.js")),
        "/demo/head.js" => (SCRIPT, include_str!("head.js")),
        "/demo/sidebar.js" => (SCRIPT, include_str!("sidebar.js")),
        "/demo/timeline.js" => (SCRIPT, include_str!("timeline.js")),
        "/demo/composer.js" => (SCRIPT, include_str!("composer.js")),
        "/demo/frames.js" => (SCRIPT, include_str!("frames.js")),
        _ => return None,
    };
    Some(File { kind, text })
}
