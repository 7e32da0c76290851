//! What does not change from minute to minute: who a machine is and what it can do.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::capability::{Capability, Refusal};
use crate::{Timestamp, Untrusted};

/// Who a machine is, and what it can do. Everything is absent that the machine did not tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// Its own name for itself.
    pub hostname: Option<Untrusted<String>>,
    /// `/etc/machine-id`: the same for every source of one machine.
    pub machine_id: Option<String>,
    /// Its addresses as `address/prefix`, loopback left out.
    pub addresses: Vec<String>,
    /// Hardware (MAC) addresses of its interfaces, loopback left out.
    pub hardware_addresses: Vec<String>,
    /// Operating system.
    pub os: Os,
    /// Kernel release, such as `6.1.0-28-amd64`.
    pub kernel: Option<String>,
    /// Machine architecture, such as `x86_64`.
    pub architecture: Option<String>,
    /// Hypervisor or container technology it runs in, such as `kvm`, `docker`, `lxc`; `none` on bare metal.
    pub virtualization: Option<String>,
    /// Hardware.
    pub hardware: Hardware,
    /// When the kernel started.
    pub boot_time: Option<Timestamp>,
    /// How far the machine's clock is ahead of Reeve's, in seconds; negative where it is behind.
    pub clock_offset_seconds: Option<f64>,
    /// The user we sign in as.
    pub user: Option<String>,
    /// What kind of machine this is: `unraid`, `proxmox`, `ubuntu_vm`, `ubuntu_physical`, `debian`, `linux` …
    pub device_type: String,
    /// Container engines found, reachable or not.
    pub engines: Vec<Engine>,
    /// What it can do for us.
    pub capabilities: BTreeSet<Capability>,
    /// What it could do for us and does not let us, and what would mend that.
    pub refusals: Vec<Refusal>,
    /// Full paths of the programs that we know how to use and that are installed.
    pub programs: Vec<String>,
}

/// An operating system, from `/etc/os-release`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Os {
    /// `ID`, such as `debian`.
    pub id: Option<String>,
    /// `PRETTY_NAME`, such as `Debian GNU/Linux 12 (bookworm)`.
    pub name: Option<Untrusted<String>>,
    /// `VERSION_ID`, such as `12`.
    pub version: Option<String>,
}

/// A machine's hardware, from the firmware's tables in `/sys` and from `/proc`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hardware {
    /// Maker of the machine.
    pub vendor: Option<Untrusted<String>>,
    /// Model of the machine.
    pub model: Option<Untrusted<String>>,
    /// Model of the processor.
    pub cpu_model: Option<Untrusted<String>>,
    /// Logical processors that are online.
    pub cpu_count: Option<u32>,
    /// Memory that the kernel manages, in bytes (`MemTotal`).
    pub memory_bytes: Option<u64>,
}

/// A container engine found on a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Engine {
    /// `docker` or `podman`.
    pub product: String,
    /// Path of its socket.
    pub socket: String,
    /// Its version, where it answers.
    pub version: Option<String>,
    /// Whether it answers us.
    pub state: EngineState,
}

/// Whether a container engine answers us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EngineState {
    /// It answers.
    Answering,
    /// Its socket is there, and we may not use it.
    NotAllowed,
    /// Its socket is there, and nobody serves it.
    NotRunning,
}

impl Facts {
    /// Name of the collector whose reading these are.
    pub const COLLECTOR: &'static str = "facts";

    /// Whether the machine can do this for us.
    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
    }

    /// The engines that answer us.
    pub fn answering_engines(&self) -> impl Iterator<Item = &Engine> {
        self.engines.iter().filter(|engine| engine.state == EngineState::Answering)
    }
}
