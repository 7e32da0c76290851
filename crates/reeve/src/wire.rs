//! From configuration to ports: the one place that knows which implementation stands behind which port.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use backends::sources::{Account, Machines};
use domain::context::{Audit, MOST_CALLS, Ports};
use domain::fleet::Fleet;
use domain::ports::{Clock, Sources, Store};
use domain::readings::Readings;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::SystemClock;
use crate::config::Loaded;
use crate::data_dir::{DataDir, uid};
use crate::declared;

/// What the configuration is taken to say of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declares {
    /// All that are declared: others are retired.
    All,
    /// All where there is a file; without one nothing, so that a command retires nothing of the server's.
    AllOfFile,
}

/// The ports, made as the configuration says.
pub async fn ports(
    loaded: &Loaded,
    data: &DataDir,
    declares: Declares,
    stop: CancellationToken,
) -> anyhow::Result<(Arc<Ports>, Arc<Machines>)> {
    let names: Vec<&str> = collectors::ALL.iter().map(|def| def.name).collect();
    loaded.check_collectors(&names)?;
    let store: Arc<dyn Store> = backends::store::open(&data.path().to_string_lossy()).map_err(with_help)?;
    if declares == Declares::All || loaded.file.is_some() {
        declared::settle(loaded, &*store).await?;
    }
    declared::watch_this_machine(&*store).await?;

    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let machines = Arc::new(Machines::new(account(loaded)?, store.host_keys().await?));
    let sources: Arc<dyn Sources> = Arc::clone(&machines) as _;
    let fleet = Arc::new(Fleet::load(Arc::clone(&store), Arc::clone(&clock)).await?);
    // there is no change without a restart yet, so nobody holds the sender
    let (_, settings) = watch::channel(loaded.settings());
    let readings = Readings::new(
        collectors::ALL,
        Arc::clone(&fleet),
        Arc::clone(&sources),
        Arc::clone(&store),
        Arc::clone(&clock),
        settings.clone(),
        stop,
    );
    readings.restore().await?;
    let ports = Ports {
        fleet,
        readings,
        audit: Audit::new(Arc::clone(&store), Arc::clone(&clock)),
        store,
        sources,
        clock,
        settings,
        tasks: TaskTracker::new(),
        calls: Semaphore::new(MOST_CALLS),
    };
    Ok((Arc::new(ports), machines))
}

/// The account that Reeve signs in from: that of the user it runs as.
pub fn account(loaded: &Loaded) -> anyhow::Result<Account> {
    let uid = uid().context("/proc is not mounted")?;
    let (user, home) = passwd_entry(uid).unwrap_or_else(|| (uid.to_string(), PathBuf::from("/")));
    let home = std::env::var_os("HOME").map_or(home, PathBuf::from);
    let ssh_config = loaded.config.ssh.config.as_ref().map(|path| match path.strip_prefix("~") {
        Ok(below) => home.join(below),
        Err(_) => path.clone(),
    });
    let agent_socket = std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
    Ok(Account { home, user, ssh_config, known_hosts: Vec::new(), agent_socket })
}

/// Name and home of a user of this machine.
fn passwd_entry(uid: u32) -> Option<(String, PathBuf)> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let is_it = fields.get(2)?.parse() == Ok(uid);
        is_it.then(|| (fields[0].to_owned(), PathBuf::from(fields.get(5).copied().unwrap_or("/"))))
    })
}

/// An error of ours with its advice, for a person at a terminal.
pub fn with_help(error: domain::Error) -> anyhow::Error {
    let text = format!("{error}: {}", error.help());
    anyhow::Error::from(error).context(text)
}
