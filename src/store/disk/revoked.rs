//! Revocations that outlive the process.
//!
//! They are rows by the time at which they end, so that each one that is added takes some that have ended out, and there
//! are never many more than hold. Knows nothing of tokens.

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use super::error::{Failure, storage};
use crate::ids::UserId;
use crate::message::Timestamp;
use crate::store::{Revocation, RevokedTokens};

/// By the end, the kind and the name; when it was revoked.
const REVOKED: TableDefinition<'_, (u64, &str, &str), u64> = TableDefinition::new("revoked");

const USER: &str = "user";
const TOKEN: &str = "token";

/// Rows that have ended and go with each that comes.
const ENDED_MAX: usize = 4;

/// Writes one, and takes out some that have ended.
pub(super) fn write(database: &Database, revocation: &Revocation) -> Result<(), Failure> {
    let write = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        {
            let mut table = transaction.open_table(REVOKED)?;
            let mut ended = Vec::new();
            for row in table.range(..(revocation.at, "", ""))?.take(ENDED_MAX) {
                let (key, _) = row?;
                let (until, kind, name) = key.value();
                ended.push((until, kind.to_owned(), name.to_owned()));
            }
            for (until, kind, name) in &ended {
                table.remove((*until, kind.as_str(), name.as_str()))?;
            }
            let (kind, name) = match &revocation.of {
                RevokedTokens::User(user) => (USER, user.as_str()),
                RevokedTokens::Token(id) => (TOKEN, &**id),
            };
            if let Some(before) = revocation.before {
                table.remove((before, kind, name))?;
            }
            table.insert((revocation.until, kind, name), revocation.at)?;
        }
        transaction.commit()?;
        Ok(())
    };
    Ok(write().map_err(storage)?)
}

/// Those that still hold.
pub(super) fn read(database: &Database, now: Timestamp) -> Result<Vec<Revocation>, Failure> {
    let read = || -> Result<Vec<Revocation>, redb::Error> {
        let table = match database.begin_read()?.open_table(REVOKED) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            table => table?,
        };
        let mut revocations = Vec::new();
        for row in table.range((now, "", "")..)? {
            let (key, at) = row?;
            let (until, kind, name) = key.value();
            let of = match kind {
                USER => UserId::parse(name).ok().map(RevokedTokens::User),
                _ => Some(RevokedTokens::Token(name.into())),
            };
            revocations.extend(of.map(|of| Revocation { of, at: at.value(), until, before: None }));
        }
        Ok(revocations)
    };
    Ok(read().map_err(storage)?)
}
