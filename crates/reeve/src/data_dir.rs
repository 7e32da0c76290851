//! The data directory: where it is, and that one process at a time has it.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Where everything is kept that outlives the process.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// As given, or `/var/lib/reeve` for root, or `$XDG_DATA_HOME/reeve`, or `~/.local/share/reeve`.
    pub fn resolve(given: Option<PathBuf>) -> anyhow::Result<Self> {
        if let Some(given) = given {
            return Ok(Self(std::path::absolute(given)?));
        }
        let home = std::env::var_os("HOME").map(PathBuf::from);
        if is_root() {
            return Ok(Self("/var/lib/reeve".into()));
        }
        let base = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        match base.or_else(|| home.map(|home| home.join(".local/share"))) {
            Some(base) => Ok(Self(base.join("reeve"))),
            None => bail!("there is no HOME to keep data in; give --data-dir DIR"),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where the command line and local assistants speak to the server.
    pub fn socket(&self) -> PathBuf {
        self.0.join("reeve.sock")
    }

    /// Takes the directory for this process, making it where it is not there. Says who holds it where another does.
    pub fn lock(&self) -> anyhow::Result<Locked> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .with_context(|| format!("the data directory {} cannot be made", self.0.display()))?;
        let path = self.0.join("reeve.lock");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("{} cannot be opened", path.display()))?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0)?;
                file.rewind()?;
                writeln!(file, "{}", std::process::id())?;
                Ok(Locked { _file: file })
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder)?;
                Err(InUse { directory: self.0.clone(), holder: holder.trim().to_owned() }.into())
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{} cannot be locked", path.display()))
            }
        }
    }
}

/// Another process has the data directory.
#[derive(Debug)]
pub struct InUse {
    directory: PathBuf,
    holder: String,
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is in use by the process {}", self.directory.display(), self.holder)
    }
}

impl std::error::Error for InUse {}

/// A data directory that is ours until this is dropped.
pub struct Locked {
    _file: File,
}

/// Whether this process is root's.
pub fn is_root() -> bool {
    uid() == Some(0)
}

/// The uid that this process runs as.
pub fn uid() -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").ok().map(|metadata| metadata.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_has_one_holder() {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::resolve(Some(dir.path().join("data"))).unwrap();
        let held = data.lock().unwrap();
        let refusal = data.lock().err().unwrap().to_string();
        assert!(refusal.contains(&std::process::id().to_string()), "{refusal}");
        drop(held);
        assert!(data.lock().is_ok());
    }
}
