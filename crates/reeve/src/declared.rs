//! Devices that stand in the configuration: brought in line with the store at each start.

use std::collections::BTreeSet;

use anyhow::bail;
use domain::device::{Declared, Device, DeviceId, Reach, Source, SshTarget, check_name};
use domain::ports::Store;
use uuid::Uuid;

use crate::config::{DeviceConfig, Loaded};

/// Makes the store hold what the configuration declares. A declared device keeps its identity and history by its name; one
/// that is no longer declared is retired, its history kept.
pub async fn settle(loaded: &Loaded, store: &dyn Store) -> anyhow::Result<()> {
    let file = loaded.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
    let known = store.devices().await?;
    let mut names = BTreeSet::new();
    for (config, line) in loaded.devices() {
        check_name(&config.name).map_err(|e| anyhow::anyhow!("{file}:{line}: {e}: {}", e.help()))?;
        if !names.insert(config.name.clone()) {
            bail!("{file}:{line}: “{}” is declared twice", config.name);
        }
        let before = known.iter().find(|device| device.name == config.name);
        if before.is_some_and(|device| device.declared.is_none()) {
            bail!(
                "{file}:{line}: “{}” was added by hand already; remove it (reeve remove-device {}) or its declaration",
                config.name,
                config.name
            );
        }
        let declared = Some(Declared { file: file.clone(), line });
        let device = device(config, before, declared, store).await?;
        if before != Some(&device) {
            store.save_device(&device).await?;
        }
    }
    for device in known.iter().filter(|device| device.declared.is_some() && !names.contains(&device.name)) {
        tracing::info!(device = device.name, "no longer declared: retired, its history is kept");
        store.remove_device(device.id).await?;
    }
    Ok(())
}

async fn device(
    config: &DeviceConfig,
    before: Option<&Device>,
    declared: Option<Declared>,
    store: &dyn Store,
) -> anyhow::Result<Device> {
    let reach = match &config.host {
        None => Reach::Local,
        Some(host) => Reach::Ssh(SshTarget {
            host: host.clone(),
            host_name: None,
            port: config.port,
            user: config.user.clone(),
            identity_files: config.identity_files.clone(),
            passphrase_file: config.passphrase_file.clone(),
            proxy_jump: config.proxy_jump.clone(),
        }),
    };
    let id = match before.and_then(|device| device.sources.first()) {
        Some(source) => source.id,
        None => store.next_source_id().await?,
    };
    Ok(Device {
        id: before.map_or_else(|| DeviceId(Uuid::new_v4()), |device| device.id),
        name: config.name.clone(),
        tags: config.tags.iter().cloned().collect(),
        location: config.location.clone(),
        description: config.description.clone(),
        monitored: true,
        sources: vec![Source { id, reach }],
        declared,
    })
}

/// The machine that Reeve runs on, watched where nothing else is known: the first start needs no configuration.
pub async fn watch_this_machine(store: &dyn Store) -> anyhow::Result<()> {
    if !store.devices().await?.is_empty() {
        return Ok(());
    }
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = hostname
        .trim()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        .collect();
    let name = if check_name(&name).is_ok() { name } else { "this-machine".to_owned() };
    let device = Device {
        id: DeviceId(Uuid::new_v4()),
        name,
        tags: BTreeSet::new(),
        location: None,
        description: None,
        monitored: true,
        sources: vec![Source { id: store.next_source_id().await?, reach: Reach::Local }],
        declared: None,
    };
    store.save_device(&device).await?;
    Ok(())
}
