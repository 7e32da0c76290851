//! What the engine's API says, as far as it is wanted: Docker 20 to 29 and Podman. Nothing here has environment variables.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// An absent field and `null` are the same to us.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// An entry of `/containers/json`.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Listed {
    #[serde(deserialize_with = "or_default")]
    pub id: String,
    #[serde(deserialize_with = "or_default")]
    pub names: Vec<String>,
    pub image: Option<String>,
    #[serde(rename = "ImageID")]
    pub image_id: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub state: String,
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
}

/// `/containers/ID/json`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Inspected {
    pub created: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub path: String,
    #[serde(deserialize_with = "or_default")]
    pub args: Vec<String>,
    pub restart_count: Option<u64>,
    #[serde(deserialize_with = "or_default")]
    pub state: State,
    #[serde(deserialize_with = "or_default")]
    pub host_config: HostConfig,
    #[serde(deserialize_with = "or_default")]
    pub mounts: Vec<Mount>,
    #[serde(deserialize_with = "or_default")]
    pub config: Config,
    #[serde(deserialize_with = "or_default")]
    pub network_settings: NetworkSettings,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct State {
    pub status: Option<String>,
    #[serde(rename = "OOMKilled")]
    pub oom_killed: Option<bool>,
    pub exit_code: Option<i64>,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
    pub error: Option<String>,
    #[serde(alias = "Healthcheck")]
    pub health: Option<HealthState>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct HealthState {
    pub status: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct HostConfig {
    pub network_mode: Option<String>,
    pub restart_policy: Option<RestartPolicy>,
    #[serde(deserialize_with = "or_default")]
    pub port_bindings: BTreeMap<String, Option<Vec<PortBinding>>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RestartPolicy {
    pub name: Option<String>,
    pub maximum_retry_count: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct PortBinding {
    pub host_ip: Option<String>,
    pub host_port: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Mount {
    #[serde(rename = "Type")]
    pub kind: Option<String>,
    pub name: Option<String>,
    pub source: Option<String>,
    pub destination: Option<String>,
    #[serde(rename = "RW")]
    pub is_writable: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Config {
    pub image: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct NetworkSettings {
    #[serde(deserialize_with = "or_default")]
    pub ports: BTreeMap<String, Option<Vec<PortBinding>>>,
    #[serde(deserialize_with = "or_default")]
    pub networks: BTreeMap<String, Option<Network>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Network {
    #[serde(rename = "IPAddress")]
    pub address: Option<String>,
    #[serde(rename = "IPPrefixLen")]
    pub prefix: Option<u32>,
    #[serde(rename = "GlobalIPv6Address")]
    pub address_6: Option<String>,
    #[serde(rename = "GlobalIPv6PrefixLen")]
    pub prefix_6: Option<u32>,
    pub gateway: Option<String>,
    pub mac_address: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub aliases: Vec<String>,
}

/// `/images/ID/json`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Image {
    pub repo_digests: Option<Vec<String>>,
}

/// `/containers/ID/stats`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Stats {
    pub read: Option<String>,
    #[serde(deserialize_with = "or_default", rename = "cpu_stats")]
    pub cpu: CpuStats,
    #[serde(deserialize_with = "or_default", rename = "memory_stats")]
    pub memory: MemoryStats,
    #[serde(deserialize_with = "or_default", rename = "blkio_stats")]
    pub blkio: BlkioStats,
    #[serde(deserialize_with = "or_default", rename = "pids_stats")]
    pub pids: PidsStats,
    /// Absent where the container has no network of its own.
    pub networks: Option<BTreeMap<String, NetworkStats>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct CpuStats {
    #[serde(deserialize_with = "or_default")]
    pub cpu_usage: CpuUsage,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct CpuUsage {
    /// Nanoseconds.
    pub total_usage: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct MemoryStats {
    pub usage: Option<u64>,
    pub limit: Option<u64>,
    #[serde(deserialize_with = "or_default")]
    pub stats: MemoryDetail,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct MemoryDetail {
    /// Control groups version 1.
    pub total_inactive_file: Option<u64>,
    /// Control groups version 2.
    pub inactive_file: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct BlkioStats {
    pub io_service_bytes_recursive: Option<Vec<BlkioEntry>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct BlkioEntry {
    #[serde(deserialize_with = "or_default")]
    pub op: String,
    #[serde(deserialize_with = "or_default")]
    pub value: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PidsStats {
    pub current: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct NetworkStats {
    #[serde(deserialize_with = "or_default")]
    pub rx_bytes: u64,
    #[serde(deserialize_with = "or_default")]
    pub tx_bytes: u64,
}
