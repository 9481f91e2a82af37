//! Section E, numbers: what holds where nothing is configured, and which memory is told of.

use stentor::config::Config;

use crate::common::{TestServer, until};

#[test]
fn s1_7_s1_18_s1_19_s1_69_s1_70_s2_52_what_is_not_configured_is_as_specified() {
    let Config { listen, timing, .. } = Config::default();
    assert_eq!(listen.port(), 3001);
    assert_eq!(timing.auth_ms_max, 10_000);
    assert_eq!(timing.typing_stop_ms, 5_000);
    assert_eq!(timing.ping_ms, 25_000);
    assert_eq!(timing.presence_grace_ms, 3_000);
}

#[test]
fn s1_81_memory_is_told_of_the_process_and_the_store() {
    let server = TestServer::with_shards(2);
    let mut ann = server.member("ann", "lobby");
    let before = server.metric("stentor_store_bytes");
    ann.say("lobby", "x".repeat(10_000));
    until("the message is among what is kept", || {
        (server.metric("stentor_store_bytes") >= before + 10_000.0).then_some(())
    });
    let (process, store) = (server.metric("process_resident_memory_bytes"), server.metric("stentor_store_bytes"));
    assert!(process > store, "{process} bytes in all, {store} of them the store's");
}
