//! What SQLite's errors mean to whoever asked.

use std::path::Path;

use domain::{Error, ErrorKind};
use rusqlite::ErrorCode;

/// An error of SQLite while the store was in use.
pub(super) fn failed(error: rusqlite::Error) -> Error {
    let (kind, code, message, help) = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => (
            ErrorKind::TooLarge,
            "disk_full",
            "the store has no room left",
            "make room on the disk of the data directory, or keep less history; Reeve goes on by itself",
        ),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            ErrorKind::Busy,
            "store_busy",
            "another program has the store's file locked",
            "close what else has reeve.db open, and try again",
        ),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => (
            ErrorKind::Internal,
            "store_corrupt",
            "the store's file is damaged",
            "stop Reeve and restore the newest backup: `reeve restore FILE`",
        ),
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::ReadOnly) => (
            ErrorKind::Internal,
            "store_unreadable",
            "the store's file cannot be read or written",
            "look at the disk and at the rights of the data directory",
        ),
        _ => return Error::internal("the store could not do what was asked").caused_by(error),
    };
    Error::new(kind, code, message, help).caused_by(error)
}

/// An error of SQLite while opening `file`: it names the file.
pub(super) fn not_opened(file: &Path, error: rusqlite::Error) -> Error {
    let name = file.display();
    if let Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) = error.sqlite_error_code() {
        return Error::new(
            ErrorKind::Conflict,
            "store_corrupt",
            format!("{name} is damaged, or is no database of Reeve"),
            format!(
                "move {name} away, then restore the newest backup with `reeve restore FILE`, or start empty"
            ),
        )
        .caused_by(error);
    }
    let beneath = failed(error);
    let message = format!("{name}: {}", beneath.message());
    Error::new(beneath.kind(), beneath.code(), message, beneath.help().to_owned()).caused_by(beneath)
}

/// An error of the file system about `path`.
pub(super) fn no_file(what: &str, path: &Path, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull => ErrorKind::TooLarge,
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Conflict,
    };
    let message = format!("{} could not be {what}: {error}", path.display());
    Error::new(kind, "store_file", message, "look at the path, its rights and the room on its disk")
        .caused_by(error)
}

/// The answer of a store that was closed.
pub(super) fn closed() -> Error {
    Error::new(
        ErrorKind::Busy,
        "store_closed",
        "the store is closed",
        "Reeve is stopping: ask again when it has started",
    )
}
