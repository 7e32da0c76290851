//! The audit: rows that are only ever added, each with a hash over itself and the hash of the row before.
//!
//! Changing, removing or reordering rows breaks the chain. The number of rows is kept beside it, so that rows missing
//! at the end are found too.

use std::fmt::Write as _;

use domain::audit::{AuditRow, AuditStart};
use domain::{Error, ErrorKind, Result, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};
use sha2::{Digest as _, Sha256};

use super::failure::failed;

/// What the first row's hash is made over, in place of the hash of a row before.
const GENESIS: [u8; 32] = *b"Reeve's audit begins with this.\n";

const COLUMNS: &str = "id, at, principal, surface, operation, arguments, outcome, completes, hash";

/// Adds the row of an act that begins; gives its number.
pub(super) fn start(transaction: &Transaction<'_>, start: &AuditStart) -> Result<u64> {
    let AuditStart { at, principal, surface, operation, arguments } = start;
    let row = AuditRow {
        id: 0,
        at: *at,
        principal: principal.clone(),
        surface: (*surface).to_owned(),
        operation: operation.clone(),
        arguments: arguments.clone(),
        outcome: "started".to_owned(),
        completes: None,
        hash: String::new(),
    };
    add(transaction, row)
}

/// Adds the row that says how the act `id` ended.
pub(super) fn end(transaction: &Transaction<'_>, id: u64, at: Timestamp, outcome: &str) -> Result<()> {
    let select = format!("SELECT {COLUMNS} FROM audit WHERE id = ?1");
    let started = transaction.query_row(&select, [id.cast_signed()], read).optional().map_err(failed)?;
    let Some((started, _)) = started else {
        return Err(Error::internal(format!("the audit has no row {id} to complete")));
    };
    add(transaction, AuditRow { at, outcome: outcome.to_owned(), completes: Some(id), ..started }).map(drop)
}

/// At most `limit` rows before the row `before`, newest first.
pub(super) fn list(connection: &Connection, before: Option<u64>, limit: usize) -> Result<Vec<AuditRow>> {
    let select = format!("SELECT {COLUMNS} FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2");
    let mut select = connection.prepare_cached(&select).map_err(failed)?;
    let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = select.query_map((before, limit), |row| read(row).map(|(row, _)| row));
    rows.and_then(Iterator::collect).map_err(failed)
}

/// Checks every row; gives their number.
pub(super) fn verify(connection: &Connection) -> Result<u64> {
    let select = format!("SELECT {COLUMNS} FROM audit ORDER BY id");
    let mut select = connection.prepare(&select).map_err(failed)?;
    let mut rows = select.query([]).map_err(failed)?;
    let mut before = GENESIS;
    let mut count = 0;
    while let Some(row) = rows.next().map_err(failed)? {
        let (row, hash) = read(row).map_err(failed)?;
        count += 1;
        if row.id != count {
            return Err(broken(format!("row {count} of the audit is missing")));
        }
        let right = hash_of(&before, &row);
        if right != hash {
            return Err(broken(format!(
                "row {count} of the audit was changed, or is not where it was written"
            )));
        }
        before = right;
    }
    let written = written(connection)?;
    if written == count {
        return Ok(count);
    }
    Err(broken(format!("row {} of the audit is missing: {written} were written", count + 1)))
}

fn add(transaction: &Transaction<'_>, mut row: AuditRow) -> Result<u64> {
    let last = transaction
        .query_row("SELECT hash FROM audit ORDER BY id DESC LIMIT 1", [], |row| row.get::<_, [u8; 32]>(0))
        .optional()
        .map_err(failed)?;
    row.id = written(transaction)? + 1;
    let hash = hash_of(&last.unwrap_or(GENESIS), &row);
    let insert = format!("INSERT INTO audit ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
    let AuditRow { id, at, principal, surface, operation, arguments, outcome, completes, .. } = row;
    let numbers = (id.cast_signed(), completes.map(u64::cast_signed));
    transaction
        .execute(
            &insert,
            (numbers.0, at.millis(), principal, surface, operation, arguments, outcome, numbers.1, hash),
        )
        .map_err(failed)?;
    let update = "UPDATE counter SET value = ?1 WHERE name = 'audit'";
    transaction.execute(update, [id.cast_signed()]).map_err(failed)?;
    Ok(id)
}

/// How many rows were ever written.
fn written(connection: &Connection) -> Result<u64> {
    let select = "SELECT value FROM counter WHERE name = 'audit'";
    connection.query_row(select, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned).map_err(failed)
}

/// SHA-256 over the hash before and the row: each text with its length before it, so that no two rows read the same.
fn hash_of(before: &[u8; 32], row: &AuditRow) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(before);
    hasher.update(row.id.to_le_bytes());
    hasher.update(row.at.millis().to_le_bytes());
    for text in [&row.principal, &row.surface, &row.operation, &row.arguments, &row.outcome] {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
    hasher.update(row.completes.unwrap_or(0).to_le_bytes());
    hasher.finalize().into()
}

fn read(row: &Row<'_>) -> rusqlite::Result<(AuditRow, [u8; 32])> {
    let hash: [u8; 32] = row.get(8)?;
    let mut hexadecimal = String::with_capacity(64);
    for byte in hash {
        write!(hexadecimal, "{byte:02x}").map_err(|_| rusqlite::Error::InvalidQuery)?;
    }
    let read = AuditRow {
        id: row.get::<_, i64>(0)?.cast_unsigned(),
        at: Timestamp::from_millis(row.get(1)?),
        principal: row.get(2)?,
        surface: row.get(3)?,
        operation: row.get(4)?,
        arguments: row.get(5)?,
        outcome: row.get(6)?,
        completes: row.get::<_, Option<i64>>(7)?.map(i64::cast_unsigned),
        hash: hexadecimal,
    };
    Ok((read, hash))
}

fn broken(message: String) -> Error {
    Error::new(
        ErrorKind::Internal,
        "audit_broken",
        message,
        "somebody changed the store's file by hand, or it is damaged: compare it with a backup",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::migrate;

    fn audit_of(rows: usize) -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate::migrate(&mut connection, std::path::Path::new("memory"), migrate::STEPS).unwrap();
        let transaction = connection.transaction().unwrap();
        for row in 0..rows {
            let begun = AuditStart {
                at: Timestamp::from_millis(1_000),
                principal: "uid:0".into(),
                surface: "cli",
                operation: format!("operation_{row}"),
                arguments: "{}".into(),
            };
            let id = start(&transaction, &begun).unwrap();
            end(&transaction, id, Timestamp::from_millis(2_000), "done").unwrap();
        }
        transaction.commit().unwrap();
        connection
    }

    fn verdict_after(tampering: &str) -> String {
        let connection = audit_of(3);
        connection
            .execute_batch("DROP TRIGGER audit_is_never_changed; DROP TRIGGER audit_is_never_deleted")
            .unwrap();
        connection.execute_batch(tampering).unwrap();
        verify(&connection).unwrap_err().message().to_owned()
    }

    #[test]
    fn an_untouched_chain_is_whole() {
        assert_eq!(verify(&audit_of(3)).unwrap(), 6);
        assert_eq!(verify(&audit_of(0)).unwrap(), 0);
    }

    #[test]
    fn the_first_row_that_was_touched_is_named() {
        let changed = verdict_after("UPDATE audit SET principal = 'uid:1' WHERE id = 3");
        assert!(changed.starts_with("row 3 of the audit was changed"), "{changed}");
        let missing = verdict_after("DELETE FROM audit WHERE id = 2");
        assert!(missing.starts_with("row 2 of the audit is missing"), "{missing}");
        let cut = verdict_after("DELETE FROM audit WHERE id = 6");
        assert!(cut.starts_with("row 6 of the audit is missing"), "{cut}");
        let swapped = "UPDATE audit SET id = 99 WHERE id = 1; UPDATE audit SET id = 1 WHERE id = 2; UPDATE audit SET id = 2 WHERE id = 99";
        assert!(verdict_after(swapped).starts_with("row 1 of the audit was changed"));
    }

    #[test]
    fn rows_can_be_neither_changed_nor_deleted() {
        let connection = audit_of(1);
        assert!(connection.execute("UPDATE audit SET outcome = 'x'", []).is_err());
        assert!(connection.execute("DELETE FROM audit", []).is_err());
    }
}
