//! Proxmox VE: Debian with `pvesh`, a host of virtual machines and containers.

use super::DeviceType;
use crate::capability::Capability;

pub(super) const PROXMOX: DeviceType =
    DeviceType { name: "proxmox", recognises: |facts| facts.can(Capability::ProxmoxNode) };
