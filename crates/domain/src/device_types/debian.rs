//! Debian.

use super::DeviceType;

pub(super) const DEBIAN: DeviceType =
    DeviceType { name: "debian", recognises: |facts| facts.os.id.as_deref() == Some("debian") };
