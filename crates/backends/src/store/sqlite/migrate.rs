//! Brings a database to this version's schema: numbered steps, forward only, the file backed up before.

use std::path::Path;

use domain::{Error, ErrorKind, Result};
use rusqlite::Connection;

use super::copy;
use super::failure::not_opened;

/// The steps: the first makes an empty file schema 1, the next makes that schema 2, and so on. A released step is
/// never changed.
pub(super) const STEPS: &[&str] = &[include_str!("migrations/0001.sql")];

/// Marks a file as Reeve's: “Reev”.
pub(super) const APPLICATION_ID: i64 = 0x5265_6576;

/// Brings the database in `file` to the schema that `steps` end in.
pub(super) fn migrate(connection: &mut Connection, file: &Path, steps: &[&str]) -> Result<()> {
    let version = check_version(connection, file, steps.len())?;
    if version == steps.len() {
        return Ok(());
    }
    if version > 0 {
        let backup = file.with_extension(format!("db.before-v{}", steps.len()));
        if !backup.exists() {
            copy::write(connection, &backup)?;
        }
        tracing::info!(from = version, to = steps.len(), backup = %backup.display(), "the store is brought to a newer schema");
    }
    let apply = |connection: &mut Connection| {
        let transaction = connection.transaction()?;
        for step in &steps[version..] {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", i64::try_from(steps.len()).unwrap_or(i64::MAX))?;
        transaction.commit()
    };
    apply(connection).map_err(|error| not_opened(file, error))
}

/// The schema of the database in `file`, 0 where it is empty. An error where it is newer than `known`, or not Reeve's.
pub(super) fn check_version(connection: &Connection, file: &Path, known: usize) -> Result<usize> {
    let ask = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let version = ask("user_version").map_err(|error| not_opened(file, error))?;
    let application = ask("application_id").map_err(|error| not_opened(file, error))?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|error| not_opened(file, error))?;
    let name = file.display();
    if tables > 0 && application != APPLICATION_ID {
        return Err(Error::conflict(
            "store_foreign",
            format!("{name} is a database of another program"),
            "give Reeve a data directory of its own",
        ));
    }
    match usize::try_from(version) {
        Ok(version) if version <= known => Ok(version),
        _ => Err(Error::new(
            ErrorKind::Conflict,
            "store_newer",
            format!("{name} has schema {version}, and this version of Reeve knows schemas up to {known}"),
            "run the newer Reeve that wrote it, or restore a backup from before with `reeve restore FILE`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Schema 1 as it was released. Never to be changed: files like this one are out there.
    const RELEASED_1: &str = include_str!("migrations/0001.sql");

    fn schema_one(file: &Path) {
        let connection = Connection::open(file).unwrap();
        connection.execute_batch(RELEASED_1).unwrap();
        connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        connection.execute("INSERT INTO counter VALUES ('kept', 7)", []).unwrap();
    }

    fn kept(file: &Path) -> i64 {
        let connection = Connection::open(file).unwrap();
        connection.query_row("SELECT value FROM counter WHERE name = 'kept'", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn each_released_schema_becomes_the_newest() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("reeve.db");
        schema_one(&file);
        let mut connection = Connection::open(&file).unwrap();
        migrate(&mut connection, &file, STEPS).unwrap();
        assert_eq!(check_version(&connection, &file, STEPS.len()).unwrap(), STEPS.len());
        assert_eq!(kept(&file), 7);
    }

    #[test]
    fn a_migration_backs_the_file_up_first() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("reeve.db");
        schema_one(&file);
        let steps = [RELEASED_1, "UPDATE counter SET value = 8 WHERE name = 'kept'"];
        migrate(&mut Connection::open(&file).unwrap(), &file, &steps).unwrap();
        assert_eq!(kept(&file), 8);
        assert_eq!(kept(&directory.path().join("reeve.db.before-v2")), 7);
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("reeve.db");
        schema_one(&file);
        let steps = [RELEASED_1, "UPDATE counter SET value = 8 WHERE name = 'kept'; SELECT broken"];
        assert!(migrate(&mut Connection::open(&file).unwrap(), &file, &steps).is_err());
        assert_eq!(kept(&file), 7);
        assert_eq!(check_version(&Connection::open(&file).unwrap(), &file, 1).unwrap(), 1);
    }

    #[test]
    fn a_newer_database_is_refused_naming_both_versions() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("reeve.db");
        schema_one(&file);
        let connection = Connection::open(&file).unwrap();
        connection.pragma_update(None, "user_version", 9).unwrap();
        let error = check_version(&connection, &file, 1).unwrap_err();
        assert!(error.message().contains("schema 9") && error.message().contains("up to 1"), "{error}");
    }
}
