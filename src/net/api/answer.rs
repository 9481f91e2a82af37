//! Answers: outcomes as HTTP tells them.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;

use super::run::raw;
use crate::ids::RoomId;
use crate::metrics::ApiOutcome;
use crate::relay::CallReply;
use crate::wire::{ErrorCode, Refusal, encode};

/// The status that goes with a code.
fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::AuthFailed | ErrorCode::NotAuthenticated | ErrorCode::TokenExpired => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden | ErrorCode::NotAMember | ErrorCode::JoinRoomFailed => StatusCode::FORBIDDEN,
        ErrorCode::InvalidFrame | ErrorCode::InvalidPayload => StatusCode::BAD_REQUEST,
        ErrorCode::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::UnknownEvent | ErrorCode::MessageNotFound => StatusCode::NOT_FOUND,
        ErrorCode::EditConflict | ErrorCode::LimitExceeded => StatusCode::CONFLICT,
        ErrorCode::Rejected => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::AuthTimeout => StatusCode::REQUEST_TIMEOUT,
        ErrorCode::PolicyUnavailable | ErrorCode::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// How an outcome is counted.
pub(super) fn outcome(result: &CallReply) -> ApiOutcome {
    match result {
        Ok(_) => ApiOutcome::Ok,
        Err(refusal) if refusal.code.retryable() => ApiOutcome::Failed,
        Err(_) => ApiOutcome::Refused,
    }
}

/// An outcome as a response.
pub(super) fn response(result: CallReply) -> Response<Full<Bytes>> {
    match result {
        Ok(data) => json(StatusCode::OK, data),
        Err(refusal) => {
            let mut response = json(status(refusal.code), encode::error_body(&refusal));
            let headers = response.headers_mut();
            let seconds = refusal.retry_after_ms.map_or(1, |milliseconds| milliseconds.div_ceil(1000));
            match status(refusal.code) {
                StatusCode::UNAUTHORIZED => {
                    headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                }
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                    headers.insert(header::RETRY_AFTER, seconds.into());
                }
                _ => {}
            }
            response
        }
    }
}

/// A response behind which the connection ends.
pub(super) fn last(mut response: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// JSON, not to be kept by anybody on its way.
pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A method that the path does not have.
pub(super) fn wrong_method(allowed: &'static str) -> Response<Full<Bytes>> {
    let refusal = Refusal::new(ErrorCode::InvalidFrame, format!("method not allowed: use {allowed}"));
    let mut response = json(StatusCode::METHOD_NOT_ALLOWED, encode::error_body(&refusal));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// One of several results: `{data}` or `{error}`, with the conversation it is about where there are several.
pub(super) fn result(result: &CallReply, room: Option<&RoomId>) -> Option<Box<RawValue>> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct One<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        conversation_id: Option<&'a RoomId>,
        #[serde(flatten)]
        outcome: Outcome<'a>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    enum Outcome<'a> {
        Data(&'a RawValue),
        Error(encode::ErrorData<'a>),
    }
    let outcome = match result {
        Ok(data) => Outcome::Data(serde_json::from_slice(data).ok()?),
        Err(refusal) => Outcome::Error(encode::ErrorData::of(refusal, None)),
    };
    raw(&One { conversation_id: room, outcome })
}
