//! Channels: what is heard, what is said to be lost, and what is held.

use stentor::store::redis::{Heard, Sky};

use super::{Tested, settings};
use crate::servers::{Server, until};

#[test]
fn what_is_published_is_heard_in_order() {
    let server = Server::start();
    let tested = Tested::start(settings(&server.url()));
    tested.link.subscribe("a").unwrap();
    assert_eq!(tested.next_subscribed(), "a");
    for number in 0..1_000 {
        server.ask::<()>(&format!("PUBLISH a {number}"));
        if number == 500 {
            server.ask::<()>("PUBLISH b not-wanted");
        }
    }
    for number in 0..1_000 {
        let message = tested.next_message();
        assert_eq!((&*message.channel, &*message.payload), (&b"a"[..], number.to_string().as_bytes()));
    }
    // Again, although it is heard already: that is said again.
    tested.link.subscribe("a").unwrap();
    assert_eq!(tested.next_subscribed(), "a");
    tested.link.unsubscribe("a");
    until("it is left", || (server.ask::<usize>("PUBLISH a x") == 0).then_some(()));
    assert_eq!(tested.link.snapshot().losses, 0);
}

#[test]
fn the_last_wish_counts() {
    let server = Server::start();
    let tested = Tested::start(settings(&server.url()));
    for round in 0..200 {
        for _ in 0..round % 7 {
            tested.link.subscribe("flicker").unwrap();
            tested.link.unsubscribe("flicker");
        }
        tested.link.subscribe("flicker").unwrap();
        assert_eq!(tested.next_subscribed(), "flicker");
        // Somewhere in between it may have been said of an earlier wish; the last one is kept.
        until("it is listened to", || (server.ask::<usize>(&format!("PUBLISH flicker {round}")) == 1).then_some(()));
        tested.next(|heard| match heard {
            Heard::Message(message) => (message.payload == round.to_string()).then_some(()),
            _ => None,
        });
        tested.link.unsubscribe("flicker");
    }
    until("it is left", || (server.ask::<usize>("PUBLISH flicker x") == 0).then_some(()));
}

#[test]
fn many_channels_are_heard_again_after_a_loss() {
    const CHANNELS: usize = 5_000;
    let server = Server::start();
    let tested = Tested::start(settings(&server.url()));
    for number in 0..CHANNELS {
        tested.link.subscribe(&format!("channel-{number}")).unwrap();
    }
    let all = |tested: &Tested| {
        let mut heard: Vec<String> = (0..CHANNELS).map(|_| tested.next_subscribed()).collect();
        heard.sort();
        heard.dedup();
        assert_eq!(heard.len(), CHANNELS);
    };
    all(&tested);
    server.ask::<()>("CLIENT KILL TYPE pubsub");
    assert_eq!(tested.next_loss(), None);
    all(&tested);
    server.freeze();
    assert_eq!(tested.next_loss(), None);
    server.thaw();
    all(&tested);
    server.ask::<()>("PUBLISH channel-4999 x");
    assert_eq!(tested.next_message().channel, "channel-4999");
}

#[test]
fn there_is_a_bound_on_channels() {
    let server = Server::start();
    let mut settings = settings(&server.url());
    settings.channels_max = 2;
    let tested = Tested::start(settings);
    tested.link.subscribe("a").unwrap();
    tested.link.subscribe("b").unwrap();
    assert!(tested.link.subscribe("c").is_err());
    tested.link.subscribe("a").unwrap();
    tested.link.unsubscribe("a");
    until("there is room", || tested.link.subscribe("c").ok());
}

#[test]
fn what_nobody_takes_is_a_loss_and_not_memory() {
    let server = Server::start();
    let mut settings = settings(&server.url());
    settings.heard_messages_max = 50;
    let tested = Tested::start(settings);
    tested.link.subscribe("flood").unwrap();
    assert_eq!(tested.next_subscribed(), "flood");
    for number in 0..60 {
        server.ask::<()>(&format!("PUBLISH flood {number}"));
    }
    until("it is too much", || (tested.link.snapshot().overflows > 0).then_some(()));
    assert_eq!(tested.link.snapshot().heard_messages, 50);
    let held: Vec<_> = (0..50).map(|_| tested.next_message()).collect();
    assert_eq!(tested.next_loss(), None);
    // As long as all is held, nothing is heard.
    assert_eq!(server.ask::<usize>("PUBLISH flood nobody"), 0);
    drop(held);
    assert_eq!(tested.next_subscribed(), "flood");
    server.ask::<()>("PUBLISH flood again");
    assert_eq!(tested.next_message().payload, "again");
    let snapshot = tested.link.snapshot();
    assert_eq!((snapshot.losses, snapshot.overflows, snapshot.heard_bytes), (1, 1, 0));
}

#[test]
fn a_server_that_cuts_off_who_is_slow_is_survived() {
    let server = Server::start();
    deadpool_redis::redis::cmd("CONFIG")
        .arg(&["SET", "client-output-buffer-limit", "pubsub 1mb 0 0"])
        .exec(&mut server.connect())
        .unwrap();
    let tested = Tested::start(settings(&server.url()));
    tested.link.subscribe("big").unwrap();
    assert_eq!(tested.next_subscribed(), "big");
    let mut publisher = server.connect();
    let payload = vec![b'x'; 8 << 20];
    deadpool_redis::redis::cmd("PUBLISH").arg("big").arg(&payload).exec(&mut publisher).unwrap();
    assert_eq!(tested.next_loss(), None);
    assert_eq!(tested.next_subscribed(), "big");
    server.ask::<()>("PUBLISH big small");
    assert_eq!(tested.next_message().payload, "small");
}

#[test]
fn a_frozen_server_is_noticed_by_who_listens_and_the_weather_is_told() {
    let server = Server::start();
    let tested = Tested::start(settings(&server.url()));
    tested.link.subscribe("channel").unwrap();
    assert_eq!(tested.next_subscribed(), "channel");
    server.freeze();
    tested.next(|heard| matches!(heard, Heard::Weather(weather) if weather.sky == Sky::Away).then_some(()));
    until("the loss is counted", || (tested.link.snapshot().losses == 1).then_some(()));
    server.thaw();
    assert_eq!(tested.next_subscribed(), "channel");
    tested.until_sky(Sky::Up);
}
