//! What is kept: one port, a folder for each implementation, one suite that they all pass.

#[cfg(test)]
mod contract;
pub mod sqlite;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::ports::Store;
use domain::{Error, ErrorKind, Result};

use sqlite::{SqliteOptions, SqliteStore};

/// Opens the store at `location`: the path of a data directory, or `sqlite:` and that path. The only place that knows
/// which stores there are.
pub fn open(location: &str) -> Result<Arc<dyn Store>> {
    match directory(location) {
        Some(directory) => Ok(Arc::new(SqliteStore::open(&directory, SqliteOptions::default())?)),
        None => Err(unknown(location)),
    }
}

/// Puts the backup `from` into the data directory `directory`; the store that was there is kept beside it under another
/// name. The caller holds the directory's lock: no server may run on it.
pub fn restore(from: &Path, directory: &Path) -> Result<()> {
    sqlite::restore(from, directory)
}

/// The data directory that a location names.
fn directory(location: &str) -> Option<PathBuf> {
    match location.split_once(':') {
        Some(("sqlite", path)) => Some(PathBuf::from(path.strip_prefix("//").unwrap_or(path))),
        Some((scheme, _))
            if scheme.chars().all(|letter| letter.is_ascii_alphanumeric()) && scheme.len() > 1 =>
        {
            None
        }
        _ => Some(PathBuf::from(location)),
    }
}

fn unknown(location: &str) -> Error {
    let scheme = location.split(':').next().unwrap_or_default();
    Error::new(
        ErrorKind::Unsupported,
        "store_unknown",
        format!("there is no store of the kind “{scheme}”"),
        "give the path of a data directory, such as /var/lib/reeve",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_path_or_names_its_kind() {
        assert_eq!(directory("/var/lib/reeve"), Some(PathBuf::from("/var/lib/reeve")));
        assert_eq!(directory("sqlite:///var/lib/reeve"), Some(PathBuf::from("/var/lib/reeve")));
        assert_eq!(directory("./data"), Some(PathBuf::from("./data")));
        assert_eq!(directory("postgres://db/reeve"), None);
    }
}
