//! Any other Linux.

use super::DeviceType;

pub(super) const LINUX: DeviceType = DeviceType { name: "linux", recognises: |facts| facts.kernel.is_some() };
