//! What is known of a container.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use domain::sample::Samples;
use domain::{Timestamp, Untrusted};

/// Containers of all engines that answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContainersReading {
    /// The containers, by name.
    pub containers: Vec<Container>,
}

/// One container. Secrets in its command and labels are hidden; environment variables are never read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Container {
    /// Its name.
    pub name: Untrusted<String>,
    /// Its id.
    pub id: String,
    /// The engine that runs it: `docker` or `podman`.
    pub engine: String,
    /// The socket of that engine.
    pub socket: String,
    /// What it does.
    pub state: ContainerState,
    /// What its health check says; absent where it has none.
    pub health: Option<Health>,
    /// How often the engine restarted it.
    pub restart_count: Option<u64>,
    /// The exit status of its last run; absent while it runs and where it never ran.
    pub exit_code: Option<i64>,
    /// Whether its last run was ended for want of memory.
    pub oom_killed: Option<bool>,
    /// Why it could not be started.
    pub error: Option<Untrusted<String>>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it was last started.
    pub started_at: Option<Timestamp>,
    /// When its last run ended.
    pub finished_at: Option<Timestamp>,
    /// The image, as it was named when the container was made.
    pub image: Untrusted<String>,
    /// The image's id: what the image is, whatever its name means today.
    pub image_id: Option<String>,
    /// The digest that the image was pulled by; absent where it was built on the machine.
    pub image_digest: Option<String>,
    /// Its command line.
    pub command: Option<Untrusted<String>>,
    /// `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:5`.
    pub restart_policy: Option<String>,
    /// How its network is made: the name of a network, `host`, `none`, `container:ID`.
    pub network_mode: Option<Untrusted<String>>,
    /// Its addresses, those of all its networks.
    pub addresses: Vec<String>,
    /// Its networks.
    pub networks: Vec<ContainerNetwork>,
    /// Its ports, published or not.
    pub ports: Vec<Port>,
    /// What is mounted in it.
    pub mounts: Vec<MountedPath>,
    /// Its labels.
    pub labels: BTreeMap<String, Untrusted<String>>,
    /// Its place in a Compose project.
    pub compose: Option<Compose>,
    /// What it uses; absent where it does not run.
    pub usage: Option<Usage>,
}

/// What a container does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContainerState {
    /// Made and never started.
    Created,
    /// It runs.
    Running,
    /// It is frozen.
    Paused,
    /// It ended and is about to be started again.
    Restarting,
    /// It is being removed.
    Removing,
    /// It ended.
    Exited,
    /// It could not be removed whole.
    Dead,
    /// The engine has a word for it that we do not know.
    #[default]
    Unknown,
}

/// What a health check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Not known yet.
    Starting,
    /// It is well.
    Healthy,
    /// It is not.
    Unhealthy,
}

/// A network that a container is in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerNetwork {
    /// Its name.
    pub name: Untrusted<String>,
    /// The container's address there, as `address/prefix`.
    pub address: Option<String>,
    /// The container's IPv6 address there, as `address/prefix`.
    pub ipv6_address: Option<String>,
    /// The way out.
    pub gateway: Option<String>,
    /// The container's hardware address there.
    pub hardware_address: Option<String>,
    /// Names by which other containers find it there.
    pub aliases: Vec<Untrusted<String>>,
}

/// A port of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Port {
    /// The port inside.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The address of the machine that it is published at; absent where it is not published.
    pub host_address: Option<String>,
    /// The port of the machine that it is published at; absent where it is not published.
    pub host_port: Option<u16>,
}

/// Something mounted in a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MountedPath {
    /// `bind`, `volume`, `tmpfs` …
    pub kind: String,
    /// The path on the machine, or the name of the volume.
    pub source: Option<Untrusted<String>>,
    /// The path inside.
    pub destination: Untrusted<String>,
    /// Whether the container may not write there.
    pub is_read_only: bool,
}

/// A container's place in a Compose project, from its labels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Compose {
    /// The project.
    pub project: Untrusted<String>,
    /// The service.
    pub service: Option<Untrusted<String>>,
    /// Which of the service's containers it is.
    pub number: Option<u32>,
    /// Services that must be there first. Compose version 1 does not tell.
    pub depends_on: Vec<DependsOn>,
    /// The project's directory on the machine.
    pub working_dir: Option<Untrusted<String>>,
    /// The project's files; Compose version 1 tells them relative to its directory.
    pub config_files: Vec<Untrusted<String>>,
}

/// A service that must be there first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DependsOn {
    /// The service.
    pub service: Untrusted<String>,
    /// `service_started`, `service_healthy` or `service_completed_successfully`.
    pub condition: Option<String>,
    /// Whether a restart of that service restarts this one.
    pub restart: Option<bool>,
}

/// What a container uses, as `docker stats` counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Processors' worth of time that it took since the reading before: 1 is one core all the time (`docker stats` shows 100 %).
    pub cpu_ratio: Option<f64>,
    /// Processor time since it started, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Memory without the page cache that can be taken back at once, in bytes.
    pub memory_bytes: Option<u64>,
    /// Most memory that it may have, in bytes; the machine's own where it has no limit.
    pub memory_limit_bytes: Option<u64>,
    /// Memory as a share of the limit, 0 to 1.
    pub memory_ratio: Option<f64>,
    /// Bytes received on all its networks since it started; absent where it has no network of its own.
    pub network_receive_bytes: Option<u64>,
    /// Bytes sent on all its networks since it started.
    pub network_transmit_bytes: Option<u64>,
    /// Bytes read from disks since it started; absent where the kernel does not count them.
    pub block_read_bytes: Option<u64>,
    /// Bytes written to disks since it started.
    pub block_write_bytes: Option<u64>,
    /// Processes and threads in it.
    pub process_count: Option<u64>,
    /// When the engine counted, by the machine's clock.
    pub counted_at: Option<Timestamp>,
}

impl ContainersReading {
    /// Whether a digest was asked for this image before.
    pub(super) fn knows_image(&self, id: &str) -> bool {
        self.containers.iter().any(|container| container.image_id.as_deref() == Some(id))
    }

    /// The digest that is known of an image: as this container told it, or else another one that was made from it.
    pub(super) fn digest_of(&self, image_id: &str, container_id: &str) -> Option<&str> {
        let told = |container: &&Container| {
            container.image_id.as_deref() == Some(image_id) && container.image_digest.is_some()
        };
        let mut of_image = self.containers.iter().filter(told);
        let own = of_image.clone().find(|container| container.id == container_id);
        own.or_else(|| of_image.next())?.image_digest.as_deref()
    }
}

impl ContainerState {
    /// Whether the engine counts what it uses.
    pub(super) fn has_usage(self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

impl Container {
    /// What of it is history. Engines are told apart where there are several.
    pub(super) fn samples(&self, has_several_engines: bool, samples: &mut Samples) {
        let mut labels = vec![("name", self.name.as_str())];
        if let Some(compose) = &self.compose {
            labels.push(("container_label_com_docker_compose_project", compose.project.as_str()));
            let service = compose.service.as_ref().map(Untrusted::as_str);
            labels.extend(service.map(|service| ("container_label_com_docker_compose_service", service)));
        }
        if has_several_engines {
            labels.push(("engine", &self.engine));
        }
        let number = |value: Option<u64>| value.map(|value| value as f64);
        let usage = self.usage.unwrap_or_default();
        samples.counter("container_cpu_usage_seconds_total", &labels, usage.cpu_seconds);
        samples.gauge("container_memory_working_set_bytes", &labels, number(usage.memory_bytes));
        samples.gauge("container_spec_memory_limit_bytes", &labels, number(usage.memory_limit_bytes));
        samples.counter(
            "container_network_receive_bytes_total",
            &labels,
            number(usage.network_receive_bytes),
        );
        samples.counter(
            "container_network_transmit_bytes_total",
            &labels,
            number(usage.network_transmit_bytes),
        );
        samples.counter("container_fs_reads_bytes_total", &labels, number(usage.block_read_bytes));
        samples.counter("container_fs_writes_bytes_total", &labels, number(usage.block_write_bytes));
        samples.gauge("container_processes", &labels, number(usage.process_count));
        let start_seconds = self.started_at.map(|start| start.millis() as f64 / 1000.0);
        samples.gauge("container_start_time_seconds", &labels, start_seconds);
        samples.gauge("container_restart_count", &labels, number(self.restart_count));
    }
}
