//! The store's file: where it is, who may read it, how it is opened.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use domain::Result;
use rusqlite::{Connection, OpenFlags};

use super::failure::{no_file, not_opened};
use super::migrate;

/// How long to wait where another program has the file locked, such as one that looks into it.
const BUSY: Duration = Duration::from_secs(5);

/// Opens the database for writing, makes it where it is missing and brings it to the newest schema.
pub(super) fn open_writer(file: &Path) -> Result<Connection> {
    make_file(file)?;
    let mut connection = Connection::open(file).map_err(|error| not_opened(file, error))?;
    // before anything is written: it may be another program's, or newer
    migrate::check_version(&connection, file, migrate::STEPS.len())?;
    prepare(&connection).map_err(|error| not_opened(file, error))?;
    migrate::migrate(&mut connection, file, migrate::STEPS)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    // takes effect only on an empty file: freed pages can be given back
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // the writer does it itself, between transactions
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "cache_size", -2_048)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Opens the database for reading.
pub(super) fn open_reader(file: &Path) -> Result<Connection> {
    let open = || {
        let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "cache_size", -512)?;
        Ok(connection)
    };
    open().map_err(|error| not_opened(file, error))
}

/// Makes a directory that only its owner may enter, and what is above it; one that is there is left as it is.
pub(super) fn make_directory(directory: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| no_file("made", directory, error))
}

/// Makes an empty file that only its owner may read; SQLite gives its companions the same rights.
fn make_file(file: &Path) -> Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(file) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(no_file("made", file, error)),
        _ => Ok(()),
    }
}
