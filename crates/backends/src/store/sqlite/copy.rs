//! Copies of the whole store: a backup while it is in use, and its way back.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use domain::{Error, Result};
use rusqlite::{Connection, OpenFlags};

use super::failure::{failed, no_file, not_opened};
use super::{FILE, file, migrate};

/// Writes a copy of the database to `target`, which must not be there yet. It appears whole or not at all.
pub(super) fn write(connection: &Connection, target: &Path) -> Result<()> {
    refuse_existing(target)?;
    let partial = beside(target, "partial");
    remove_if_there(&partial)?;
    let written = write_partial(connection, &partial).and_then(|()| appear(&partial, target));
    if written.is_err() {
        // nothing more can be done about a leftover than to leave it; the next copy removes it
        let _ = fs::remove_file(&partial);
    }
    written
}

/// Puts the backup `from` into the data directory `directory`, in place of the store there, which is kept beside it
/// under another name. No program may have that data directory in use: its lock is the caller's affair.
pub fn restore(from: &Path, directory: &Path) -> Result<()> {
    let backup = check(from)?;
    file::make_directory(directory)?;
    let target = directory.join(FILE);
    let partial = beside(&target, "partial");
    remove_if_there(&partial)?;
    // read through the connection that checked it: a write-ahead log beside it belongs to it
    write_partial(&backup, &partial)?;
    let aside = (1..10_000)
        .map(|number| beside(&target, &format!("before-restore-{number}")))
        .find(|path| !path.exists());
    if let Some(aside) = aside {
        // the write-ahead log belongs to its database: the pair moves together, the log first, so that a crash in
        // between leaves a database without some of its last writes rather than a log without a database
        for suffix in ["-wal", "-shm", ""] {
            let old = with_suffix(&target, suffix);
            if old.exists() {
                fs::rename(&old, with_suffix(&aside, suffix))
                    .map_err(|error| no_file("moved", &old, error))?;
            }
        }
    }
    fs::rename(&partial, &target).map_err(|error| no_file("moved", &partial, error))?;
    sync(directory)
}

/// Opens `backup`, if it is a whole store that this version can open.
fn check(backup: &Path) -> Result<Connection> {
    if !backup.is_file() {
        let error = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(no_file("read", backup, error));
    }
    let connection = Connection::open_with_flags(backup, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(|error| not_opened(backup, error))?;
    let version = migrate::check_version(&connection, backup, migrate::STEPS.len())?;
    let verdict: String = connection
        .pragma_query_value(None, "integrity_check", |row| row.get(0))
        .map_err(|error| not_opened(backup, error))?;
    if version > 0 && verdict == "ok" {
        return Ok(connection);
    }
    Err(Error::conflict(
        "backup_damaged",
        format!("{} is no whole backup: {verdict}", backup.display()),
        "restore an older backup; nothing was changed",
    ))
}

fn write_partial(connection: &Connection, partial: &Path) -> Result<()> {
    // made here, so that nobody else may ever read it
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(partial)
        .map_err(|error| no_file("written", partial, error))?;
    let name = partial.to_str().ok_or_else(|| {
        Error::invalid("path_malformed", "the path of the copy is not UTF-8", "choose another path")
    })?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(failed)?;
    sync(partial)
}

/// Gives the finished file its name, unless that is taken meanwhile.
fn appear(partial: &Path, target: &Path) -> Result<()> {
    match fs::hard_link(partial, target) {
        Ok(()) => remove_if_there(partial)?,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return refuse_existing(target),
        // some file systems have no hard links
        Err(_) => {
            refuse_existing(target)?;
            fs::rename(partial, target).map_err(|error| no_file("written", target, error))?;
        }
    }
    match target.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => sync(directory),
        _ => sync(Path::new(".")),
    }
}

fn refuse_existing(target: &Path) -> Result<()> {
    if target.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(Error::conflict(
        "backup_exists",
        format!("{} is there already", target.display()),
        "choose another name: a backup never replaces a file",
    ))
}

fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(no_file("removed", path, error)),
        _ => Ok(()),
    }
}

fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| no_file("written", path, error))
}

fn beside(target: &Path, what: &str) -> PathBuf {
    with_suffix(target, &format!(".{what}"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
