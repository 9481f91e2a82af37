//! TLS: only a server whose certificate is believed is spoken to.

use std::path::Path;
use std::process::Command;

use stentor::store::redis::Tls;

use super::{Tested, preflight, push, settings};
use crate::servers::{Server, free_port};

/// A certificate for this machine that vouches for itself.
fn certificate(directory: &Path, name: &str) {
    let made = Command::new("openssl")
        .current_dir(directory)
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"])
        .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[test]
fn a_server_is_believed_whose_certificate_is() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("redis-tls-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    certificate(&directory, "server");
    certificate(&directory, "other");
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let port = free_port();
    let server = Server::with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &path("server.pem"),
        "--tls-key-file",
        &path("server.key"),
        "--tls-ca-cert-file",
        &path("server.pem"),
        "--tls-auth-clients",
        "no",
    ]);
    let with = |roots: Option<&str>| {
        let mut settings = settings(&format!("rediss://localhost:{port}"));
        settings.tls = Some(Tls { roots: roots.map(|name| path(name).into()) });
        settings
    };
    let tested = Tested::start(with(Some("server.pem")));
    tested.link.subscribe("channel").unwrap();
    assert_eq!(tested.next_subscribed(), "channel");
    tested.call(push("key", 1)).unwrap();
    server.ask::<()>("PUBLISH channel x");
    assert_eq!(tested.next_message().payload, "x");
    for roots in [None, Some("other.pem")] {
        let Err(problem) = Tested::try_start(with(roots), preflight()) else { panic!("{roots:?} is enough") };
        assert!(problem.to_lowercase().contains("certificate"), "{problem}");
    }
    let Err(problem) = Tested::try_start(with(Some("missing.pem")), preflight()) else { panic!("it starts") };
    assert!(problem.contains("missing.pem"), "{problem}");
    std::fs::remove_dir_all(&directory).unwrap();
}
