//! Ubuntu, on metal and as a guest.

use super::DeviceType;
use crate::facts::Facts;

pub(super) const VIRTUAL: DeviceType =
    DeviceType { name: "ubuntu_vm", recognises: |facts| is_ubuntu(facts) && is_guest(facts) };

pub(super) const PHYSICAL: DeviceType = DeviceType { name: "ubuntu_physical", recognises: is_ubuntu };

fn is_ubuntu(facts: &Facts) -> bool {
    facts.os.id.as_deref() == Some("ubuntu")
}

fn is_guest(facts: &Facts) -> bool {
    facts.virtualization.as_deref().is_some_and(|kind| kind != "none")
}
