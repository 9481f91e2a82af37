//! Error and close codes of the protocol (section 9).

use std::borrow::Cow;
use std::sync::Arc;

/// Codes of `error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// No authentication in time.
    AuthTimeout,
    /// The token is not acceptable.
    AuthFailed,
    /// The request needs an authenticated connection.
    NotAuthenticated,
    /// The token has expired.
    TokenExpired,
    /// The room cannot be joined; `reason` says why.
    JoinRoomFailed,
    /// Not this user's to do.
    Forbidden,
    /// The user is not a member of the room.
    NotAMember,
    /// The frame is not a request.
    InvalidFrame,
    /// The request's data are not what the event takes.
    InvalidPayload,
    /// The request is larger than is taken.
    PayloadTooLarge,
    /// No event of that name.
    UnknownEvent,
    /// No such message in the log.
    MessageNotFound,
    /// The message has another version by now.
    EditConflict,
    /// Too many requests.
    RateLimited,
    /// A configured bound was reached.
    LimitExceeded,
    /// A plugin refused; `reason` is its own code.
    Rejected,
    /// A plugin failed and its failure policy is closed.
    PolicyUnavailable,
    /// Could not be stored. Not acknowledged; try again.
    StoreUnavailable,
}

impl ErrorCode {
    /// Every code, in the protocol's order.
    pub const ALL: [Self; 18] = [
        Self::AuthTimeout,
        Self::AuthFailed,
        Self::NotAuthenticated,
        Self::TokenExpired,
        Self::JoinRoomFailed,
        Self::Forbidden,
        Self::NotAMember,
        Self::InvalidFrame,
        Self::InvalidPayload,
        Self::PayloadTooLarge,
        Self::UnknownEvent,
        Self::MessageNotFound,
        Self::EditConflict,
        Self::RateLimited,
        Self::LimitExceeded,
        Self::Rejected,
        Self::PolicyUnavailable,
        Self::StoreUnavailable,
    ];

    /// The code's name on the wire, in logs and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::AuthTimeout => "AUTH_TIMEOUT",
            Self::AuthFailed => "AUTH_FAILED",
            Self::NotAuthenticated => "NOT_AUTHENTICATED",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::JoinRoomFailed => "JOIN_ROOM_FAILED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotAMember => "NOT_A_MEMBER",
            Self::InvalidFrame => "INVALID_FRAME",
            Self::InvalidPayload => "INVALID_PAYLOAD",
            Self::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Self::UnknownEvent => "UNKNOWN_EVENT",
            Self::MessageNotFound => "MESSAGE_NOT_FOUND",
            Self::EditConflict => "EDIT_CONFLICT",
            Self::RateLimited => "RATE_LIMITED",
            Self::LimitExceeded => "LIMIT_EXCEEDED",
            Self::Rejected => "REJECTED",
            Self::PolicyUnavailable => "POLICY_UNAVAILABLE",
            Self::StoreUnavailable => "STORE_UNAVAILABLE",
        }
    }

    /// Whether the same request may succeed later.
    pub fn retryable(self) -> bool {
        matches!(self, Self::RateLimited | Self::PolicyUnavailable | Self::StoreUnavailable | Self::AuthTimeout)
    }
}

/// Why a request is refused, as its sender is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The protocol's code.
    pub code: ErrorCode,
    /// For people.
    pub message: Cow<'static, str>,
    /// A finer code: a plugin's own, or why a room cannot be joined.
    pub reason: Option<Cow<'static, str>>,
    /// Which plugin refused or failed.
    pub plugin: Option<Arc<str>>,
    /// When to try again, in milliseconds.
    pub retry_after_ms: Option<u64>,
    /// The version that a message has, of which the client knows another.
    pub version: Option<u64>,
}

impl Refusal {
    /// Reason of a failed join that may succeed later.
    pub const UNAVAILABLE: &'static str = "unavailable";

    /// A refusal with nothing but a code and a message.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), reason: None, plugin: None, retry_after_ms: None, version: None }
    }

    /// `INVALID_PAYLOAD`.
    pub fn payload(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::InvalidPayload, message)
    }

    /// `NOT_A_MEMBER`.
    pub fn not_a_member() -> Self {
        Self::new(ErrorCode::NotAMember, "you are not a member of this conversation")
    }

    /// `POLICY_UNAVAILABLE`, for the plugin that had to answer and did not.
    pub fn policy_unavailable(plugin: Arc<str>) -> Self {
        let message = "a plugin that must decide this has failed";
        Self { plugin: Some(plugin), ..Self::new(ErrorCode::PolicyUnavailable, message) }
    }

    /// `JOIN_ROOM_FAILED` with its reason.
    pub fn join(reason: &'static str, message: &'static str) -> Self {
        Self { reason: Some(reason.into()), ..Self::new(ErrorCode::JoinRoomFailed, message) }
    }
}

/// Codes with which the server closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// The client closed; its own normal close is answered.
    Normal,
    /// The client broke RFC 6455.
    ProtocolError,
    /// Text that is not UTF-8.
    InvalidText,
    /// A message above the limit.
    TooBig,
    /// The token is not acceptable.
    AuthFailed,
    /// The token has expired.
    TokenExpired,
    /// An operator, or the application, has ended it.
    Forbidden,
    /// Too many frames that are no requests.
    Abuse,
    /// No authentication in time.
    AuthTimeout,
    /// The client does not read fast enough.
    SlowConsumer,
    /// Too many requests over the rate.
    RateLimited,
    /// No room for another connection.
    OverCapacity,
    /// The server is stopping.
    GoingAway,
    /// Nothing arrived, not even a pong.
    NoPong,
}

impl CloseCode {
    /// Every code the server closes with.
    pub const ALL: [Self; 14] = [
        Self::Normal,
        Self::ProtocolError,
        Self::InvalidText,
        Self::TooBig,
        Self::AuthFailed,
        Self::TokenExpired,
        Self::Forbidden,
        Self::Abuse,
        Self::AuthTimeout,
        Self::SlowConsumer,
        Self::RateLimited,
        Self::OverCapacity,
        Self::GoingAway,
        Self::NoPong,
    ];

    /// The number on the wire.
    pub fn number(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::ProtocolError => 1002,
            Self::InvalidText => 1007,
            Self::TooBig => 1009,
            Self::AuthFailed => 4001,
            Self::TokenExpired => 4002,
            Self::Forbidden => 4003,
            Self::Abuse => 4005,
            Self::AuthTimeout => 4101,
            Self::SlowConsumer => 4103,
            Self::RateLimited => 4104,
            Self::OverCapacity => 4105,
            Self::GoingAway => 4200,
            Self::NoPong => 4201,
        }
    }

    /// The reason sent with it; also its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::ProtocolError => "protocol_error",
            Self::InvalidText => "invalid_text",
            Self::TooBig => "too_big",
            Self::AuthFailed => "auth_failed",
            Self::TokenExpired => "token_expired",
            Self::Forbidden => "forbidden",
            Self::Abuse => "protocol_abuse",
            Self::AuthTimeout => "auth_timeout",
            Self::SlowConsumer => "slow_consumer",
            Self::RateLimited => "rate_limited",
            Self::OverCapacity => "over_capacity",
            Self::GoingAway => "going_away",
            Self::NoPong => "no_pong",
        }
    }
}
