//! From configuration to ports: the one place that knows which implementation stands behind which port.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use backends::sources::Machines;
use domain::context::{Audit, MOST_CALLS, Ports};
use domain::fleet::Fleet;
use domain::ports::{Clock, Sources, Store};
use domain::readings::Readings;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::SystemClock;
use crate::config::Loaded;
use crate::data_dir::DataDir;
use crate::declared;

/// The ports, made as the configuration says.
pub async fn ports(
    loaded: &Loaded,
    data: &DataDir,
    stop: CancellationToken,
) -> anyhow::Result<(Arc<Ports>, Arc<Machines>)> {
    let names: Vec<&str> = collectors::ALL.iter().map(|def| def.name).collect();
    loaded.check_collectors(&names)?;
    let store: Arc<dyn Store> = backends::store::open(&data.database()).await.map_err(with_help)?;
    declared::settle(loaded, &*store).await?;
    declared::watch_this_machine(&*store).await?;

    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let machines = Arc::new(Machines::new(here(loaded)?, store.host_keys().await?));
    let sources: Arc<dyn Sources> = Arc::clone(&machines) as _;
    let fleet = Arc::new(Fleet::load(Arc::clone(&store), Arc::clone(&clock)).await?);
    let (set_settings, settings) = watch::channel(loaded.settings());
    // held for as long as anybody watches: there is no change without a restart yet
    drop(set_settings);
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

/// An error of ours with its advice, for a person at a terminal.
pub fn with_help(error: domain::Error) -> anyhow::Error {
    let text = format!("{error}: {}", error.help());
    anyhow::Error::from(error).context(text)
}
