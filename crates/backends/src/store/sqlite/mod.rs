//! The store in one SQLite file: `reeve.db` in the data directory, beside its write-ahead log.
//!
//! One thread writes, a few read. History is kept by groups (one collector of one source): the newest polls as small
//! rows in a tail, sealed at about 120 into a chunk of compressed columns, joined later into chunks of 1,440 and more,
//! which is when the rollups of five minutes and of an hour are made.
//!
//! What is acknowledged survives the end of the program at any moment. Configuration, host keys and audit also survive
//! a power cut; samples and latest readings of the last five minutes may be lost by one.

mod audit;
mod bytes;
mod cache;
mod chunk;
mod column;
mod compact;
mod copy;
mod failure;
mod file;
mod fold;
mod index;
mod ingest;
mod migrate;
mod port;
mod range;
mod reader;
mod records;
mod retire;
mod rollup;
mod seal;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use domain::{Error, Result};
use tokio::sync::{Semaphore, oneshot};

pub use copy::restore;

use cache::Cache;
use index::Index;
use reader::{Question, Reader};
use writer::{Command, Writer};

/// The file's name in the data directory.
pub const FILE: &str = "reeve.db";

/// How the store works. The default is for a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// How long polls wait for others, to be written together.
    pub commit_after: Duration,
    /// Samples that are written at once without waiting any longer.
    pub batch_samples: usize,
    /// Most samples that wait in memory to be written; what comes on top is dropped.
    pub queue_samples: u32,
    /// Most samples of the tail in memory, about; what is more is sealed early.
    pub tail_samples: usize,
    /// Most bytes of columns kept ready to be asked again.
    pub cache_bytes: usize,
    /// Threads that read.
    pub readers: usize,
    /// Most pages of 4 KiB in the file, where it is bounded.
    pub most_pages: Option<u32>,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            commit_after: Duration::from_millis(900),
            batch_samples: 20_000,
            queue_samples: 200_000,
            tail_samples: 4_000_000,
            cache_bytes: 8 << 20,
            readers: 2,
            most_pages: None,
        }
    }
}

/// The store in one SQLite file.
pub struct SqliteStore {
    shared: Arc<Shared>,
    queue: Arc<Semaphore>,
    lines: Mutex<Option<Lines>>,
}

/// The ways to the threads, and the threads.
struct Lines {
    writer: Sender<Command>,
    readers: Sender<Question>,
    threads: Vec<JoinHandle<()>>,
}

/// What all threads see.
struct Shared {
    options: SqliteOptions,
    file: PathBuf,
    index: RwLock<Index>,
    cache: Mutex<Cache>,
    figures: Figures,
}

#[derive(Default)]
struct Figures {
    samples_accepted: AtomicU64,
    polls_dropped: AtomicU64,
}

impl SqliteStore {
    /// Opens the store in `directory`, and makes it where it is missing. Blocks while it reads the index and the tail.
    pub fn open(directory: &Path, options: SqliteOptions) -> Result<Self> {
        file::make_directory(directory)?;
        let path = directory.join(FILE);
        let connection = file::open_writer(&path)?;
        if let Some(pages) = options.most_pages {
            connection.pragma_update(None, "max_page_count", pages).map_err(failure::failed)?;
        }
        let loaded = index::load(&connection)?;
        let shared = Arc::new(Shared {
            options,
            file: path,
            index: RwLock::new(loaded.index),
            cache: Mutex::new(Cache::new(options.cache_bytes)),
            figures: Figures::default(),
        });
        let mut threads = Vec::with_capacity(options.readers + 1);
        let (readers, questions) = channel();
        let questions = Arc::new(Mutex::new(questions));
        for number in 0..options.readers.max(1) {
            let reader = Reader::open(Arc::clone(&shared))?;
            let questions: Arc<Mutex<Receiver<Question>>> = Arc::clone(&questions);
            threads.push(start(&format!("store-read-{number}"), move || reader.run(&questions))?);
        }
        let (writer, commands) = channel();
        let work = Writer::new(connection, Arc::clone(&shared), loaded.layouts, loaded.last_row);
        threads.push(start("store-write", move || work.run(&commands))?);
        Ok(Self {
            shared,
            queue: Arc::new(Semaphore::new(options.queue_samples as usize)),
            lines: Mutex::new(Some(Lines { writer, readers, threads })),
        })
    }

    fn lines(&self) -> MutexGuard<'_, Option<Lines>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, command: Command) -> Result<()> {
        let lines = self.lines();
        lines.as_ref().and_then(|lines| lines.writer.send(command).ok()).ok_or_else(failure::closed)
    }

    /// Has the writer do this, and waits for what it gives.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (tell, told) = oneshot::channel();
        self.tell(Command::Do(Box::new(move |writer| {
            // who asked may have gone
            let _ = tell.send(work(writer));
        })))?;
        told.await.unwrap_or_else(|_| Err(failure::closed()))
    }

    /// Has a reader do this, and waits for what it gives.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (tell, told) = oneshot::channel();
        let question: Question = Box::new(move |reader| {
            // who asked may have gone
            let _ = tell.send(work(reader));
        });
        {
            let lines = self.lines();
            let sent = lines.as_ref().and_then(|lines| lines.readers.send(question).ok());
            sent.ok_or_else(failure::closed)?;
        }
        told.await.unwrap_or_else(|_| Err(failure::closed()))
    }
}

impl Drop for SqliteStore {
    /// A store that was not closed writes what waits all the same.
    fn drop(&mut self) {
        if let Some(Lines { writer, readers, threads }) = self.lines().take() {
            drop((writer, readers));
            for thread in threads {
                // a panic was told by its own thread
                let _ = thread.join();
            }
        }
    }
}

impl Shared {
    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The size of the database with its log, in bytes.
    fn size(&self) -> u64 {
        let mut log = self.file.as_os_str().to_owned();
        log.push("-wal");
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        size(&self.file) + size(Path::new(&log))
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| Error::internal("a thread of the store could not be started").caused_by(error))
}
