//! The server API's description: what it says is there, and what is there it says.
//!
//! Each verb is asked with the example that the description gives, and the answer held against the description's schema;
//! each error that it knows is brought about.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use stentor::metrics::API_VERBS;

use crate::common::{API_KEY, Client, Response, TestServer, plugin, with_api};

fn document(server: &TestServer) -> Value {
    let response = server.admin("/api/openapi.json");
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
    serde_json::from_str(&response.body).unwrap()
}

/// A part of the description, with its reference followed.
fn follow<'a>(document: &'a Value, part: &'a Value) -> &'a Value {
    part["$ref"].as_str().map_or(part, |reference| document.pointer(&reference[1..]).unwrap())
}

/// Notes what is in a value that the schema does not have, or the other way round.
fn compare(document: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let schema = follow(document, schema);
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    if schema["type"].as_str().is_some_and(|wanted| wanted != kind) {
        faults.push(format!("{at}: a {kind}, not as {}", schema["type"]));
    }
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        faults.push(format!("{at}: {value} is not listed"));
    }
    if let (Value::Array(items), Some(inner)) = (value, schema.get("items")) {
        items.iter().for_each(|item| compare(document, inner, item, &format!("{at}[]"), faults));
    }
    if let (Value::Object(fields), Some(properties)) = (value, schema["properties"].as_object()) {
        for (name, field) in fields {
            match properties.get(name) {
                Some(inner) => compare(document, inner, field, &format!("{at}.{name}"), faults),
                None => faults.push(format!("{at}.{name} is not described")),
            }
        }
        let required = schema["required"].as_array().into_iter().flatten();
        let missing = required.filter(|name| !fields.contains_key(name.as_str().unwrap()));
        faults.extend(missing.map(|name| format!("{at}.{name} is missing")));
    }
}

/// All names of fields in schemas that are answers.
fn described(document: &Value, schema: &Value, at: &str, found: &mut BTreeSet<String>) {
    let schema = follow(document, schema);
    if let Some(inner) = schema.get("items") {
        described(document, inner, at, found);
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let at = format!("{at}.{name}");
        found.insert(at.clone());
        described(document, inner, &at, found);
    }
}

/// All names of fields in an answer.
fn told(value: &Value, at: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| told(item, at, found)),
        Value::Object(fields) => {
            for (name, field) in fields {
                let at = format!("{at}.{name}");
                found.insert(at.clone());
                told(field, &at, found);
            }
        }
        _ => {}
    }
}

fn server() -> TestServer {
    let mut config = with_api();
    config.plugins = vec![plugin("api-words", "message-policy.wasm", json!({"words": ["heck"]}))];
    config.limits.members_per_room_max = 3;
    config.limits.message_bytes_max = 4096;
    config.api.batch_commands_max = 2;
    config.api.broadcast_rooms_max = 2;
    config.shards = 1;
    TestServer::start(config)
}

/// Somebody is there, and has said something.
fn inhabited(server: &TestServer) -> (Client, Value) {
    let mut ann = server.device("alice", json!({"deviceId": "phone"}));
    ann.join("lobby");
    let message = json!({"conversationId": "lobby", "content": "x", "tempId": "t", "replyTo": "r"});
    let said = ann.post(message);
    (ann, said["messageId"].clone())
}

#[test]
fn every_verb_is_described_and_every_path_is_there() {
    let server = server();
    let document = document(&server);
    let paths: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let verbs: BTreeSet<String> = API_VERBS
        .into_iter()
        .filter(|verb| !["openapi", "unknown"].contains(verb))
        .map(|verb| format!("/api/v1/{verb}"))
        .collect();
    assert_eq!(paths, verbs.iter().map(String::as_str).collect());
    for path in paths {
        // An empty object is refused or carried out, but never unknown.
        let response = Response::post(server.admin_address(), path, API_KEY, "{}");
        assert_ne!(response.status, 404, "{path}");
    }
    assert_eq!(Response::post(server.admin_address(), "/api/openapi.json", API_KEY, "{}").status, 405);
}

#[test]
fn s2_54_the_examples_are_answered_as_described() {
    let server = server();
    let document = document(&server);
    let (_ann, message) = inhabited(&server);
    let mut faults = Vec::new();
    for verb in [
        "publish",
        "broadcast",
        "edit",
        "history",
        "delete",
        "join",
        "leave",
        "notify",
        "disconnect",
        "revoke",
        "connections",
        "rooms",
        "batch",
    ] {
        let operation = &document["paths"][format!("/api/v1/{verb}")]["post"];
        let body = &operation["requestBody"]["content"]["application/json"];
        let mut example = body["example"].clone();
        compare(&document, &body["schema"], &example, verb, &mut faults);
        if example["messageId"] == "MESSAGE" {
            example["messageId"] = message.clone();
        }
        let answer = server.api(verb, example);
        let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
        compare(&document, schema, &answer, verb, &mut faults);
        assert_eq!(operation["operationId"], verb);
    }
    assert_eq!(faults, [""; 0]);
}

#[test]
fn every_field_that_is_described_is_produced() {
    let server = server();
    let document = document(&server);
    let (_ann, message) = inhabited(&server);
    let edit = json!({"userId": "m", "conversationId": "lobby", "messageId": message, "content": "y"});
    let publish = json!({"userId": "m", "conversationId": "lobby", "content": "z", "tempId": "u"});
    let target = json!({"userId": "m", "conversationId": "lobby"});
    let long = server.api("publish", publish.clone())["messageId"].clone();
    let delete = json!({"userId": "m", "conversationId": "lobby", "messageId": long});
    let refused = json!({"verb": "leave", "data": target});
    let requests = [
        ("publish", publish.clone()),
        ("edit", edit),
        ("delete", delete),
        ("history", json!({"conversationId": "lobby"})),
        ("join", target.clone()),
        ("leave", target),
        ("notify", json!({"userId": "alice", "event": "a:b", "data": 1})),
        ("disconnect", json!({"userId": "nobody"})),
        ("revoke", json!({"userId": "nobody", "expiresAt": 1})),
        ("connections", json!({})),
        ("rooms", json!({})),
        ("broadcast", json!({"userId": "m", "conversationIds": ["lobby", "other"], "content": "heck", "tempId": "v"})),
        ("broadcast", json!({"userId": "m", "conversationIds": ["lobby", "other"], "content": "fine", "tempId": "w"})),
        ("batch", json!({"commands": [{"verb": "publish", "data": publish}, refused]})),
        ("rooms", json!({"limit": 1})),
    ];
    let (mut wanted, mut found) = (BTreeSet::new(), BTreeSet::new());
    for (verb, body) in requests {
        let responses = &document["paths"][format!("/api/v1/{verb}")]["post"]["responses"];
        described(&document, &responses["200"]["content"]["application/json"]["schema"], verb, &mut wanted);
        told(&server.api(verb, body), verb, &mut found);
    }
    // Nobody has a second connection here to make a second page of. What errors may have is in the next test.
    let elsewhere = |field: &&String| field.contains(".error.") || *field == "connections.cursor";
    let missing: Vec<&String> = wanted.difference(&found).filter(|field| !elsewhere(field)).collect();
    // An edit and a deletion are told in one form; a message comes from a device or it does not.
    assert_eq!(missing, ["delete.version"]);
}

#[test]
fn errors_are_as_described() {
    let server = server();
    let document = document(&server);
    let (_ann, message) = inhabited(&server);
    let in_lobby = |content: &str| json!({"userId": "m", "conversationId": "lobby", "content": content});
    let change =
        |room: &str, id: &Value| json!({"userId": "m", "conversationId": room, "messageId": id, "content": "x"});
    let mut stale = change("lobby", &message);
    stale["ifVersion"] = 7.into();
    server.api("join", json!({"userId": "b", "conversationId": "lobby"}));
    server.api("join", json!({"userId": "c", "conversationId": "lobby"}));
    let command = json!({"verb": "rooms", "data": {}});
    let mut seen: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (verb, status, body) in [
        ("publish", 400, json!({})),
        ("publish", 413, in_lobby(&"x".repeat(5000))),
        ("publish", 422, in_lobby("heck")),
        ("edit", 403, change("nowhere", &message)),
        ("edit", 404, change("lobby", &json!("nothing"))),
        ("edit", 409, stale),
        ("delete", 403, change("nowhere", &message)),
        ("delete", 404, change("lobby", &json!("nothing"))),
        ("history", 403, json!({"conversationId": "nowhere"})),
        ("join", 403, json!({"userId": "d", "conversationId": "lobby"})),
        ("leave", 403, json!({"userId": "d", "conversationId": "lobby"})),
        ("broadcast", 409, json!({"userId": "m", "conversationIds": ["a", "b", "c"], "content": 1})),
        ("batch", 409, json!({"commands": [command, command, command]})),
        ("notify", 400, json!({"userId": "a"})),
        ("disconnect", 400, json!({})),
        ("connections", 400, json!({"limit": 0})),
        ("rooms", 400, json!({"cursor": "?"})),
    ] {
        let response = server.api_response(verb, &body);
        assert_eq!(response.status, status, "{verb} {body}: {}", response.body);
        let described = &document["paths"][format!("/api/v1/{verb}")]["post"]["responses"][status.to_string()];
        let answer: Value = serde_json::from_str(&response.body).unwrap();
        let mut faults = Vec::new();
        compare(&document, &described["content"]["application/json"]["schema"], &answer, verb, &mut faults);
        assert_eq!(faults, [""; 0]);
        let code = answer["error"]["code"].as_str().unwrap();
        let text = described["description"].as_str().unwrap();
        assert!(text.contains(&format!("`{code}`")), "{verb}: {code} is not in {text:?}");
        seen.entry("codes").or_default().insert(code.to_owned());
        told(&answer, "", seen.entry("fields").or_default());
    }
    for field in ["code", "message", "retryable", "reason", "plugin", "details"] {
        assert!(seen["fields"].contains(&format!(".error.{field}")), "{field}");
    }
    // The others are brought about at the door, and by what is out of order.
    let listed = document["components"]["schemas"]["ErrorData"]["properties"]["code"]["enum"].as_array().unwrap();
    let elsewhere = [
        "NOT_AUTHENTICATED",
        "AUTH_FAILED",
        "FORBIDDEN",
        "INVALID_FRAME",
        "UNKNOWN_EVENT",
        "RATE_LIMITED",
        "AUTH_TIMEOUT",
        "POLICY_UNAVAILABLE",
        "STORE_UNAVAILABLE",
    ];
    let rest: Vec<&str> =
        listed.iter().filter_map(Value::as_str).filter(|code| !seen["codes"].contains(*code)).collect();
    assert!(rest.iter().all(|code| elsewhere.contains(code)), "{rest:?}");
}
