//! What a client is told whose token is not accepted.

use crate::policy::{AuthError, TokenError};
use crate::wire::{CloseCode, ErrorCode, Refusal};

/// What a client is told that is not let in, and whether its connection ends.
pub(super) fn refusal_of(error: AuthError) -> (Refusal, Option<CloseCode>) {
    match error {
        AuthError::Token(error) => {
            let (refusal, code) = token_refusal(error);
            (refusal, Some(code))
        }
        AuthError::Denied(denial) => {
            let refusal = Refusal {
                reason: Some(denial.code.into()),
                plugin: denial.plugin,
                ..Refusal::new(ErrorCode::AuthFailed, denial.message)
            };
            (refusal, Some(CloseCode::AuthFailed))
        }
        // It may try again until its time is up.
        AuthError::Unavailable { plugin } => (Refusal::policy_unavailable(plugin), None),
        AuthError::Anonymous => {
            (Refusal::new(ErrorCode::AuthFailed, "the token is not acceptable"), Some(CloseCode::AuthFailed))
        }
    }
}

/// The same for what is wrong with the token itself.
pub(super) fn token_refusal(error: TokenError) -> (Refusal, CloseCode) {
    match error {
        TokenError::Expired => {
            (Refusal::new(ErrorCode::TokenExpired, "the token has expired"), CloseCode::TokenExpired)
        }
        // Which part of a token is wrong is nobody's business but the operator's, who has it in the log.
        _ => (Refusal::new(ErrorCode::AuthFailed, "the token is not acceptable"), CloseCode::AuthFailed),
    }
}
