//! Keys that an issuer publishes: which tokens are good, when the issuer is asked, and what it can do wrong.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm as Alg, EncodingKey};
use serde_json::{Value, json};
use stentor::config::{Algorithm, Config};

use crate::common::{Answer, Certified, Issuer, Pair, RSA, TestServer, Token, config, ec, until};

/// A configuration with no key but an issuer's, which is asked by nobody's clock, and because of tokens once.
fn config_for(url: &str) -> Config {
    let mut config = config();
    config.shards = 1;
    config.auth.keys.clear();
    url.clone_into(&mut config.auth.jwks_url);
    config.auth.jwks_refresh_seconds = 86_400;
    config.auth.jwks_refetch_seconds_min = 3_600;
    config
}

/// A server that has an issuer's keys. `change` may say more of it.
fn server_of(issuer: &Issuer, change: impl FnOnce(&mut Config)) -> TestServer {
    let mut config = config_for(&issuer.url());
    change(&mut config);
    let server = TestServer::start(config);
    until("the server has keys", || (server.admin("/readyz").status == 200).then_some(()));
    server
}

/// Any token may have the keys fetched again.
fn without_floor(config: &mut Config) {
    config.auth.jwks_refetch_seconds_min = 0;
}

fn name(algorithm: Alg) -> String {
    format!("{algorithm:?}")
}

/// Ann's token, signed with a pair under the name of a key.
fn token(pair: &Pair, kid: &str, algorithm: Alg) -> String {
    Token::of("ann").header("kid", kid).header("alg", name(algorithm)).sign_with(&pair.signing(algorithm), algorithm)
}

fn ed_token(pair: &Pair, kid: &str) -> String {
    token(pair, kid, Alg::EdDSA)
}

fn ed_jwk(pair: &Pair, kid: &str) -> Value {
    pair.jwk(kid, Alg::EdDSA)
}

/// Whether a server lets a token in at the upgrade.
fn lets_in(server: &TestServer, token: &str) -> bool {
    let handshake = server.handshake().bearer(token);
    let (client, response) = handshake.attempt();
    match client {
        Some(mut client) => {
            assert_eq!(client.push("auth-success")["userId"], "ann");
            true
        }
        None => {
            assert_eq!(response.status, 401, "{}", response.head);
            false
        }
    }
}

fn fetches(server: &TestServer, result: &str) -> f64 {
    server.metric(&format!("stentor_jwks_fetches_total{{result=\"{result}\"}}"))
}

// Which tokens are good

#[test]
fn tokens_of_all_kinds_of_keys_are_good() {
    let rsa = Pair::make(&RSA);
    let curve = |name: &str| Pair::make(&ec(name).iter().map(String::as_str).collect::<Vec<_>>());
    let (p256, p384, ed) = (curve("P-256"), curve("P-384"), Pair::ed25519());
    let all = [
        (&rsa, "r1", Alg::RS256),
        (&rsa, "r2", Alg::PS512),
        (&p256, "e1", Alg::ES256),
        (&p384, "e2", Alg::ES384),
        (&ed, "o1", Alg::EdDSA),
    ];
    let issuer = Issuer::new(Answer::keys(all.map(|(pair, kid, algorithm)| pair.jwk(kid, algorithm))));
    let server = server_of(&issuer, |_| {});
    assert_eq!(server.metric("stentor_jwks_keys"), 5.0);
    let other = Pair::ed25519();
    for (pair, kid, algorithm) in all {
        assert!(lets_in(&server, &token(pair, kid, algorithm)), "{kid}");
        // In `auth` as at the upgrade.
        server.connect().reply_named("auth-success", "auth", json!(token(pair, kid, algorithm)));
    }
    assert!(!lets_in(&server, &ed_token(&other, "o1")), "somebody else's signature");
    assert!(!lets_in(&server, &ed_token(&ed, "r1")), "another key's name");
    let nameless = Token::of("ann").header("alg", "EdDSA").sign_with(&ed.signing(Alg::EdDSA), Alg::EdDSA);
    assert!(!lets_in(&server, &nameless), "no name, and every key has one");
    // None of that was a reason to ask again.
    assert_eq!(issuer.asked(), 1);
    let request = issuer.last_request();
    assert!(request.starts_with("GET /keys?format=jwks HTTP/1.1\r\n"), "{request}");
    assert!(!request.to_lowercase().contains("authorization"), "{request}");
}

#[test]
fn configured_keys_stand_beside_published_ones() {
    let (configured, published) = (Pair::ed25519(), Pair::ed25519());
    let issuer = Issuer::new(Answer::keys([ed_jwk(&published, "theirs")]));
    let server = server_of(&issuer, |config| {
        config.auth.keys = vec![configured.key(Some("ours"), Algorithm::EdDSA)];
    });
    until("the issuer's keys are there", || lets_in(&server, &ed_token(&published, "theirs")).then_some(()));
    assert!(lets_in(&server, &ed_token(&configured, "ours")));
    assert!(!lets_in(&server, &ed_token(&configured, "theirs")));
    assert!(!lets_in(&server, &ed_token(&published, "ours")));
}

#[test]
fn the_algorithm_is_never_the_tokens_choice() {
    let rsa = Pair::make(&RSA);
    let mut nameless = rsa.jwk("k", Alg::RS256);
    nameless.as_object_mut().unwrap().remove("alg");
    let issuer = Issuer::new(Answer::keys([nameless.clone(), rsa.jwk("p", Alg::PS256)]));
    let server = server_of(&issuer, |_| {});
    for (kid, algorithm, expected) in [
        ("k", Alg::RS256, true),
        ("k", Alg::RS512, false),
        ("k", Alg::PS256, false),
        ("p", Alg::PS256, true),
        ("p", Alg::RS256, false),
    ] {
        assert_eq!(lets_in(&server, &token(&rsa, kid, algorithm)), expected, "{kid} {algorithm:?}");
    }
    // What everyone can read is nobody's secret, in whatever shape.
    let modulus = nameless["n"].as_str().unwrap();
    let shapes = [
        std::fs::read(rsa.public()).unwrap(),
        String::from_utf8(std::fs::read(rsa.public()).unwrap()).unwrap().trim().as_bytes().to_vec(),
        modulus.as_bytes().to_vec(),
        URL_SAFE_NO_PAD.decode(modulus).unwrap(),
        nameless.to_string().into_bytes(),
        Vec::new(),
    ];
    for secret in shapes {
        for algorithm in [Alg::HS256, Alg::HS384, Alg::HS512] {
            let forged = Token::of("ann").header("kid", "k").header("alg", name(algorithm));
            let key = EncodingKey::from_secret(&secret);
            assert!(!lets_in(&server, &forged.sign_with(&key, algorithm)));
            assert!(!lets_in(&server, &forged.header("alg", "RS256").sign_with(&key, algorithm)), "the header lies");
        }
    }
    let none = Token::of("ann").header("kid", "k").header("alg", "none");
    assert!(!lets_in(&server, &none.unsigned()));
    // The operator may say what else a key is for that does not say so itself.
    let server = server_of(&issuer, |config| config.auth.jwks_algorithms = vec![Algorithm::RS512, Algorithm::ES256]);
    assert!(lets_in(&server, &token(&rsa, "k", Alg::RS512)));
    assert!(!lets_in(&server, &token(&rsa, "k", Alg::RS256)));
}

#[test]
fn a_published_secret_is_no_key() {
    let secret = b"a secret that somebody published, long enough for anything";
    let oct = |alg: &str| json!({"kty": "oct", "kid": "s", "alg": alg, "k": URL_SAFE_NO_PAD.encode(secret)});
    let ed = Pair::ed25519();
    let issuer = Issuer::new(Answer::keys([oct("HS256"), oct("RS256"), ed_jwk(&ed, "k")]));
    let server = server_of(&issuer, |config| config.auth.jwks_algorithms = vec![Algorithm::HS256, Algorithm::EdDSA]);
    let forged = Token::of("ann").header("kid", "s");
    assert!(!lets_in(&server, &forged.sign_with(&EncodingKey::from_secret(secret), Alg::HS256)));
    assert!(lets_in(&server, &ed_token(&ed, "k")));
    assert_eq!(server.metric("stentor_jwks_keys"), 1.0);
    // Alone it does not make a set.
    let issuer = Issuer::new(Answer::keys([oct("HS256")]));
    let server = TestServer::start(config_for(&issuer.url()));
    until("it was refused", || (fetches(&server, "unusable") > 0.0).then_some(()));
    assert!(!lets_in(&server, &forged.sign_with(&EncodingKey::from_secret(secret), Alg::HS256)));
}

// When the issuer is asked

#[test]
fn a_token_with_an_unknown_kid_has_the_keys_fetched() {
    let (old, new) = (Pair::ed25519(), Pair::ed25519());
    let issuer = Issuer::new(Answer::keys([ed_jwk(&old, "old")]));
    let server = server_of(&issuer, |_| {});
    issuer.says(Answer::keys([ed_jwk(&old, "old"), ed_jwk(&new, "new")]));
    assert!(lets_in(&server, &ed_token(&new, "new")));
    assert!(lets_in(&server, &ed_token(&old, "old")));
    assert_eq!(issuer.asked(), 2);
    assert_eq!(server.metric("stentor_jwks_keys"), 2.0);
    assert_eq!(fetches(&server, "ok"), 2.0);
    assert_eq!(server.metric("stentor_authentications_total{result=\"unknown_key\"}"), 0.0);
}

#[test]
fn a_token_in_auth_has_the_keys_fetched_too() {
    let (old, new) = (Pair::ed25519(), Pair::ed25519());
    let issuer = Issuer::new(Answer::keys([ed_jwk(&old, "old")]));
    let server = server_of(&issuer, |_| {});
    let mut client = server.connect();
    issuer.says(Answer::keys([ed_jwk(&old, "old"), ed_jwk(&new, "new")]));
    // What the client sends while it waits is answered when it is somebody.
    client.send(&json!({"event": "auth", "id": 1, "data": ed_token(&new, "new")}));
    client.send(&json!({"event": "join-room", "id": 2, "data": "lobby"}));
    assert_eq!(client.answer_by(&json!(1))["event"], "auth-success");
    assert_eq!(client.answer_by(&json!(2))["event"], "room-joined");
    assert_eq!(issuer.asked(), 2);
    // And so with a renewal, which below the floor is refused at once.
    client.refused("AUTH_FAILED", "auth", json!(ed_token(&new, "newer")));
    assert_eq!(issuer.asked(), 2);
}

#[test]
fn strangers_cannot_make_the_server_ask_often() {
    let (known, stranger) = (Pair::ed25519(), Pair::ed25519());
    let issuer = Issuer::new(Answer::keys([ed_jwk(&known, "known")]));
    let server = server_of(&issuer, |_| {});
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let (server, stranger) = (&server, &stranger);
            scope.spawn(move || {
                for number in 0..10 {
                    assert!(!lets_in(server, &ed_token(stranger, &format!("made-up-{worker}-{number}"))));
                }
            });
        }
    });
    assert_eq!(issuer.asked(), 2, "one at the start, and one because of all of them");
    assert_eq!(server.metric("stentor_authentications_total{result=\"unknown_key\"}"), 80.0);
    // Below the floor even a good key stays unknown.
    let new = Pair::ed25519();
    issuer.says(Answer::keys([ed_jwk(&new, "new")]));
    assert!(!lets_in(&server, &ed_token(&new, "new")));
    assert_eq!(issuer.asked(), 2);
}

#[test]
fn only_an_unknown_kid_is_a_reason_to_ask() {
    let (pair, other) = (Pair::ed25519(), Pair::ed25519());
    let issuer = Issuer::new(Answer::keys([ed_jwk(&pair, "k")]));
    let server = server_of(&issuer, without_floor);
    let sign = |token: Token| token.header("alg", "EdDSA").sign_with(&pair.signing(Alg::EdDSA), Alg::EdDSA);
    for refused in [
        ed_token(&other, "k"),
        sign(Token::of("ann").header("kid", "k").claim("exp", 5)),
        sign(Token::of("ann").header("kid", "k").without("sub")),
        sign(Token::of("ann")),
        sign(Token::of("ann").header("kid", 7)),
        "nonsense".to_owned(),
        "x".repeat(9_000),
    ] {
        assert!(!lets_in(&server, &refused), "{refused:.80}");
    }
    assert_eq!(issuer.asked(), 1);
    assert!(!lets_in(&server, &ed_token(&other, "unknown")));
    assert_eq!(issuer.asked(), 2);
}

#[test]
fn all_who_wait_share_a_fetch_and_the_others_do_not_wait() {
    let (old, new) = (Pair::ed25519(), Pair::ed25519());
    let issuer = Issuer::new(Answer::keys([ed_jwk(&old, "old")]));
    let server = server_of(&issuer, |_| {});
    issuer.says(Answer::keys([ed_jwk(&old, "old"), ed_jwk(&new, "new")]));
    issuer.hold();
    let (server, issuer, new) = (&server, &issuer, &new);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..5).map(|_| scope.spawn(move || lets_in(server, &ed_token(new, "new")))).collect();
        issuer.wait_until_asked(2);
        assert!(lets_in(server, &ed_token(&old, "old")), "who has a known key waits for nothing");
        issuer.go_on();
        assert!(waiting.into_iter().all(|waiting| waiting.join().unwrap()));
    });
    // Those of the five who were slower than the answer found the key there, below the floor.
    assert_eq!(issuer.asked(), 2);
}

#[test]
fn keys_come_and_go_with_the_issuers_set() {
    let (first, second) = (Pair::ed25519(), Pair::ed25519());
    let issuer = Issuer::new(Answer::keys([ed_jwk(&first, "first")]));
    let server = server_of(&issuer, without_floor);
    assert!(lets_in(&server, &ed_token(&first, "first")));
    issuer.says(Answer::keys([ed_jwk(&second, "second")]));
    // What was withdrawn is good until the next fetch, which a token with the new key causes.
    assert!(lets_in(&server, &ed_token(&first, "first")));
    assert!(lets_in(&server, &ed_token(&second, "second")));
    assert!(!lets_in(&server, &ed_token(&first, "first")));
    assert_eq!(server.metric("stentor_jwks_keys"), 1.0);
    // A name may come back with another key behind it.
    issuer.says(Answer::keys([ed_jwk(&second, "first")]));
    assert!(!lets_in(&server, &ed_token(&first, "first")));
    assert!(lets_in(&server, &ed_token(&second, "first")));
}

#[test]
fn keys_are_fetched_by_time() {
    let pair = Pair::ed25519();
    let answer = || Answer::keys([ed_jwk(&pair, "k")]);
    let issuer = Issuer::new(answer());
    let server = server_of(&issuer, |config| config.auth.jwks_refresh_seconds = 1);
    issuer.wait_until_asked(3);
    let fetched = server.metric("stentor_jwks_fetched_timestamp_seconds");
    until("the time goes on", || (server.metric("stentor_jwks_fetched_timestamp_seconds") > fetched).then_some(()));
    // Sooner than is configured, where the issuer says that its answer is not good for as long.
    let issuer = Issuer::new(answer().header("Cache-Control", "public, max-age=1"));
    let _server = server_of(&issuer, without_floor);
    issuer.wait_until_asked(3);
}

// Another configuration

#[test]
fn keys_outlive_a_reload_and_are_fetched_anew() {
    let (old, new) = (Pair::ed25519(), Pair::ed25519());
    let issuer = Issuer::new(Answer::keys([ed_jwk(&old, "old")]));
    let server = server_of(&issuer, |_| {});
    // The issuer may be away meanwhile.
    issuer.leave();
    server.reload(config_for(&issuer.url()));
    assert!(lets_in(&server, &ed_token(&old, "old")));
    assert_eq!(server.admin("/readyz").status, 200);
    issuer.come_back(Answer::keys([ed_jwk(&new, "new")]));
    let asked = issuer.asked();
    server.reload(config_for(&issuer.url()));
    issuer.wait_until_asked(asked + 1);
    assert!(lets_in(&server, &ed_token(&new, "new")));
    // Keys of another address are not taken over.
    let other = Issuer::new(Answer::keys([ed_jwk(&old, "old")]));
    server.reload(config_for(&other.url()));
    assert!(!lets_in(&server, &ed_token(&new, "new")));
    assert!(lets_in(&server, &ed_token(&old, "old")));
    // And without an issuer there are none.
    let asked = other.asked();
    server.reload(config());
    assert!(!lets_in(&server, &ed_token(&old, "old")));
    assert!(lets_in(&server, &Token::of("ann").sign()));
    assert_eq!(other.asked(), asked);
}

// What an issuer can do wrong

#[test]
fn an_issuer_that_is_away_takes_nothing_away() {
    let (old, new) = (Pair::ed25519(), Pair::ed25519());
    let issuer = Issuer::new(Answer::keys([ed_jwk(&old, "old")]));
    let server = server_of(&issuer, without_floor);
    issuer.leave();
    for _ in 0..3 {
        assert!(!lets_in(&server, &ed_token(&new, "new")));
        assert!(lets_in(&server, &ed_token(&old, "old")));
    }
    assert!(fetches(&server, "unreachable") >= 3.0);
    assert_eq!((server.metric("stentor_jwks_keys"), server.admin("/readyz").status), (1.0, 200));
    issuer.come_back(Answer::keys([ed_jwk(&new, "new")]));
    assert!(lets_in(&server, &ed_token(&new, "new")));
}

#[test]
fn a_server_starts_without_its_issuer_and_has_it_later() {
    let pair = Pair::ed25519();
    let issuer = Issuer::new(Answer::body(""));
    issuer.leave();
    let server = TestServer::start(config_for(&issuer.url()));
    until("it was tried", || (fetches(&server, "unreachable") > 0.0).then_some(()));
    let unready = server.admin("/readyz");
    assert_eq!((unready.status, unready.body.contains("\"keys\"")), (503, true), "{}", unready.body);
    assert_eq!(server.admin("/healthz").status, 200);
    assert!(!lets_in(&server, &ed_token(&pair, "k")));
    // Nobody has to do anything.
    issuer.come_back(Answer::keys([ed_jwk(&pair, "k")]));
    until("it has the keys", || (server.admin("/readyz").status == 200).then_some(()));
    assert!(lets_in(&server, &ed_token(&pair, "k")));
}

#[test]
fn who_comes_before_the_first_fetch_is_done_waits_for_it() {
    let pair = Pair::ed25519();
    let issuer = Issuer::new(Answer::keys([ed_jwk(&pair, "k")]));
    issuer.hold();
    let server = TestServer::start(config_for(&issuer.url()));
    std::thread::scope(|scope| {
        let early = scope.spawn(|| lets_in(&server, &ed_token(&pair, "k")));
        issuer.wait_until_asked(1);
        issuer.go_on();
        assert!(early.join().unwrap());
    });
    assert_eq!(issuer.asked(), 1);
}

#[test]
fn an_answer_that_is_no_set_replaces_nothing() {
    let (old, new) = (Pair::ed25519(), Pair::ed25519());
    let good = || Answer::keys([ed_jwk(&old, "old")]);
    let issuer = Issuer::new(good());
    let server = server_of(&issuer, without_floor);
    let with_new = Answer::keys([ed_jwk(&new, "new")]);
    let long = json!({"keys": [ed_jwk(&new, "new")], "more": "x".repeat(300 << 10)}).to_string();
    let elsewhere = Issuer::new(with_new.clone());
    for (number, bad) in [
        Answer::body(""),
        Answer::body("<html>please sign in</html>"),
        Answer::body("{}"),
        Answer::body("[]"),
        Answer::keys([]),
        Answer::keys([json!({"kty": "RSA"})]),
        Answer::body(long),
        Answer::body(json!({"keys": vec![ed_jwk(&new, "new"); 101]}).to_string()),
        with_new.clone().status("500 Internal Server Error"),
        with_new.clone().status("404 Not Found"),
        with_new.clone().status("302 Found").header("Location", &elsewhere.url()),
    ]
    .into_iter()
    .enumerate()
    {
        issuer.says(bad.clone());
        assert!(!lets_in(&server, &ed_token(&new, "new")), "{number}");
        assert!(lets_in(&server, &ed_token(&old, "old")), "{number}");
        assert!(fetches(&server, "unusable") > number as f64, "{number}");
    }
    assert_eq!(elsewhere.asked(), 0, "redirects are not followed");
    issuer.says(with_new);
    assert!(lets_in(&server, &ed_token(&new, "new")));
}

// TLS

#[test]
fn an_issuer_must_be_certified() {
    let pair = Pair::ed25519();
    let certified = Certified::new("IP:127.0.0.1");
    let answer = || Answer::keys([ed_jwk(&pair, "k")]);
    let issuer = Issuer::with_tls(answer(), &certified);
    let server = server_of(&issuer, |config| config.auth.jwks_ca_file = certified.root());
    assert!(lets_in(&server, &ed_token(&pair, "k")));
    // A root of somebody else's, and a certificate for another name.
    let (stranger, misnamed) = (Certified::new("IP:127.0.0.1"), Certified::new("DNS:id.example.com"));
    let misnamed_issuer = Issuer::with_tls(answer(), &misnamed);
    for (issuer, root) in [(&issuer, stranger.root()), (&misnamed_issuer, misnamed.root())] {
        let asked = issuer.asked();
        let mut config = config_for(&issuer.url());
        config.auth.jwks_ca_file = root;
        let server = TestServer::start(config);
        until("it was tried", || (fetches(&server, "unreachable") > 0.0).then_some(()));
        assert!(!lets_in(&server, &ed_token(&pair, "k")));
        assert_eq!(issuer.asked(), asked, "nothing was asked of who is not trusted");
    }
}

#[test]
fn an_issuer_that_cannot_be_asked_keeps_the_server_from_starting() {
    for bad in ["ftp://localhost/keys", "localhost/keys", "https://", "https://exa mple/"] {
        assert!(TestServer::try_start(config_for(bad)).is_err(), "{bad}");
    }
    let mut config = config_for("https://localhost/keys");
    config.auth.jwks_ca_file = "no/such/root.pem".into();
    assert!(TestServer::try_start(config).is_err());
}

// The file

/// A file with keys, which goes with the guard.
struct KeyFile(std::path::PathBuf);

impl KeyFile {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("stentor-jwks-{name}-{}.json", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }

    fn write(&self, keys: &[Value]) {
        std::fs::write(&self.0, json!({"keys": keys}).to_string()).unwrap();
    }

    fn config(&self) -> Config {
        let mut config = config_for("");
        self.0.clone_into(&mut config.auth.jwks_file);
        config
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_file(&self.0);
    }
}

#[test]
fn keys_may_be_in_a_file() {
    let (old, new) = (Pair::ed25519(), Pair::ed25519());
    let file = KeyFile::new("rotation", "");
    file.write(&[ed_jwk(&old, "old")]);
    let mut config = file.config();
    without_floor(&mut config);
    let server = TestServer::start(config);
    assert!(lets_in(&server, &ed_token(&old, "old")), "it is read before the server starts");
    assert_eq!(server.admin("/readyz").status, 200);
    file.write(&[ed_jwk(&new, "new")]);
    assert!(lets_in(&server, &ed_token(&new, "new")));
    assert!(!lets_in(&server, &ed_token(&old, "old")));
    // As with an address: what is no set replaces nothing.
    std::fs::write(&file.0, "{\"keys\": [").unwrap();
    assert!(!lets_in(&server, &ed_token(&old, "old")));
    assert!(lets_in(&server, &ed_token(&new, "new")));
    assert!(fetches(&server, "unusable") >= 1.0);
    std::fs::remove_file(&file.0).unwrap();
    assert!(!lets_in(&server, &ed_token(&old, "old")));
    assert!(lets_in(&server, &ed_token(&new, "new")));
    assert!(fetches(&server, "unreachable") >= 1.0);
}

#[test]
fn a_file_and_an_address_go_together() {
    let (from_file, from_url) = (Pair::ed25519(), Pair::ed25519());
    let file = KeyFile::new("both", "");
    file.write(&[ed_jwk(&from_file, "f")]);
    let issuer = Issuer::new(Answer::keys([ed_jwk(&from_url, "u")]));
    let server = server_of(&issuer, |config| file.0.clone_into(&mut config.auth.jwks_file));
    assert!(lets_in(&server, &ed_token(&from_file, "f")) && lets_in(&server, &ed_token(&from_url, "u")));
    until("both are counted", || (server.metric("stentor_jwks_keys") == 2.0).then_some(()));
}

#[test]
fn a_file_without_keys_keeps_the_server_from_starting() {
    let private = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "d": "x"});
    for (number, bad) in
        ["", "{}", "{\"keys\": []}", &json!({"keys": [private]}).to_string(), &" ".repeat(300 << 10)].iter().enumerate()
    {
        let file = KeyFile::new(&format!("bad-{number}"), bad);
        assert!(TestServer::try_start(file.config()).is_err(), "{bad:.80}");
    }
    let mut config = config_for("");
    config.auth.jwks_file = "no/such/keys.json".into();
    assert!(TestServer::try_start(config).is_err());
}
