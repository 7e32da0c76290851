//! What a machine can do for us, as probed; the only thing that code may ask about a machine's nature.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// Something that a machine can do for us, found by trying it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Linux `/proc` is there.
    Procfs,
    /// systemd is process 1.
    Systemd,
    /// `journalctl` is there and systemd runs.
    Journald,
    /// A container engine (Docker or Podman) answers us at its socket.
    ContainerEngine,
    /// ZFS is loaded (`/proc/spl/kstat/zfs`).
    Zfs,
    /// `smartctl` is installed.
    Smart,
    /// libvirt's `virsh` is installed.
    Libvirt,
    /// Linux software RAID (`/proc/mdstat` of the kernel's own md driver).
    Mdraid,
    /// Unraid's array (`/var/local/emhttp`).
    UnraidArray,
    /// Proxmox VE (`pvesh`).
    ProxmoxNode,
    /// We sign in as root.
    Root,
    /// `sudo -n` lets us run the commands that want root.
    Sudo,
    /// apt manages this machine's packages.
    Apt,
    /// `df` knows `--output` and `-B1` (GNU coreutils).
    GnuDf,
}

/// A capability that this machine lacks although it could have it, and what would mend that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// What we may not do.
    pub capability: Capability,
    /// Why, and the command that would mend it.
    pub problem: Problem,
}
