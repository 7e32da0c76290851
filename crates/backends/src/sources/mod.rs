//! The machines: a shell for each source, and what is known of host keys.

pub(crate) mod docker;
pub(crate) mod glob;
pub(crate) mod hanging;
pub(crate) mod local;
pub mod ssh;
pub(crate) mod stream;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::device::{Reach, SourceId};
use domain::ports::{ApprovedHostKey, Inspection, Settled, Shell, Sources};
use domain::problem::Problem;
use domain::{BoxFuture, Error, Result};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use local::LocalShell;
use ssh::config::Config;
use ssh::connect::{Connector, Look};
use ssh::shell::SshShell;

/// SSH handshakes at once.
const MOST_HANDSHAKES: usize = 8;
/// How long what is open may take to end.
const CLOSING_DEADLINE: Duration = Duration::from_secs(5);

/// The account on this machine that Reeve signs in from: whose `~/.ssh` counts.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its home directory.
    pub home: PathBuf,
    /// Its name.
    pub user: String,
    /// The one `ssh_config` to read, instead of its own and the system's.
    pub ssh_config: Option<PathBuf>,
    /// The files of known hosts, instead of those that `ssh_config` names or the usual ones; empty for those.
    pub known_hosts: Vec<PathBuf>,
    /// The ssh-agent's socket, where there is one: what `SSH_AUTH_SOCK` says.
    pub agent_socket: Option<PathBuf>,
}

/// Opens shells to machines. One for the whole program; [`Machines::close`] ends all that it began.
pub struct Machines {
    connector: Connector,
}

impl Machines {
    /// Machines as `account` reaches them; `approved` are the host keys that people approved so far.
    pub fn new(account: Account, approved: Vec<ApprovedHostKey>) -> Self {
        Self {
            connector: Connector {
                account: Arc::new(account),
                approved: Arc::new(Mutex::new(approved)),
                tasks: TaskTracker::new(),
                closing: CancellationToken::new(),
                places: Arc::new(Semaphore::new(MOST_HANDSHAKES)),
            },
        }
    }

    /// Ends all connections and tasks, and waits for their end a few seconds at most.
    pub async fn close(&self) {
        self.connector.closing.cancel();
        self.connector.tasks.close();
        if tokio::time::timeout(CLOSING_DEADLINE, self.connector.tasks.wait()).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
    }

    async fn look(&self, reach: &Reach) -> Inspection {
        let Reach::Ssh(target) = reach else {
            return Inspection { signed_in: true, ..Inspection::default() };
        };
        let began = Instant::now();
        let mut look = Look::default();
        let result = self.connector.connect(target, &mut look).await;
        Inspection {
            address: look.address,
            host_key: look.host_key,
            signed_in: look.is_signed_in,
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            error: result.err().map(|error| Problem::from(&error)),
        }
    }
}

impl Sources for Machines {
    fn open(&self, source: SourceId, reach: &Reach) -> Arc<dyn Shell> {
        tracing::debug!(%source, %reach, "a shell is opened");
        match reach {
            Reach::Local => {
                let account = Arc::clone(&self.connector.account);
                let (tasks, closing) = (self.connector.tasks.clone(), self.connector.closing.clone());
                Arc::new(LocalShell::new(account, tasks, closing))
            }
            Reach::Ssh(target) => Arc::new(SshShell::new(target.clone(), self.connector.clone())),
        }
    }

    fn trust(&self, key: &ApprovedHostKey) {
        let mut approved = self.connector.approved.lock().unwrap_or_else(PoisonError::into_inner);
        approved.retain(|known| (&known.host, &known.algorithm) != (&key.host, &key.algorithm));
        approved.push(key.clone());
    }

    fn inspect(&self, reach: &Reach) -> BoxFuture<'_, Inspection> {
        let reach = reach.clone();
        Box::pin(async move { self.look(&reach).await })
    }

    fn settle(&self, reach: &Reach) -> Result<Settled> {
        let account = &self.connector.account;
        let Reach::Ssh(target) = reach else {
            return Ok(Settled {
                known_here: true,
                host_name: String::new(),
                port: 0,
                user: account.user.clone(),
                unreadable_keys: Vec::new(),
            });
        };
        let destination = Config::load(account)?.resolve(target)?;
        // those that were named come first
        if let Some(missing) =
            destination.identity_files.iter().take(target.identity_files.len()).find(|key| !key.exists())
        {
            return Err(Error::invalid(
                "ssh_key_missing",
                format!("there is no key {}", missing.display()),
                "name a private key that exists on the server, or leave it out for the usual ones",
            ));
        }
        let is_unreadable = |path: &&PathBuf| match std::fs::File::open(path) {
            Ok(_) => false,
            Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
        };
        let unreadable = destination.identity_files.iter().filter(is_unreadable);
        Ok(Settled {
            known_here: destination.is_known,
            unreadable_keys: unreadable.map(|path| path.display().to_string()).collect(),
            host_name: destination.host_name,
            port: destination.port,
            user: destination.user,
        })
    }
}
