//! Unraid: an array of drives with parity, the system in memory, no systemd and no package manager.

use super::DeviceType;
use crate::capability::Capability;

pub(super) const UNRAID: DeviceType = DeviceType {
    name: "unraid",
    recognises: |facts| facts.can(Capability::UnraidArray) || facts.os.id.as_deref() == Some("unraid-os"),
};
