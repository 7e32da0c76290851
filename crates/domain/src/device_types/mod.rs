//! What kinds of machine there are: names, each recognised from facts. Nothing may branch on them.

mod debian;
mod linux;
mod proxmox;
mod ubuntu;
mod unraid;

use crate::facts::Facts;

/// A kind of machine, told by its facts.
pub struct DeviceType {
    /// Its name.
    pub name: &'static str,
    /// Whether a machine of these facts is one.
    pub recognises: fn(&Facts) -> bool,
}

/// All of them; the first that recognises a machine names it.
pub const ALL: &[DeviceType] =
    &[unraid::UNRAID, proxmox::PROXMOX, ubuntu::VIRTUAL, ubuntu::PHYSICAL, debian::DEBIAN, linux::LINUX];

/// The name of the kind of machine that these facts are of; `unknown` where they say too little.
pub fn recognise(facts: &Facts) -> &'static str {
    ALL.iter().find(|kind| (kind.recognises)(facts)).map_or("unknown", |kind| kind.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::Capability;

    fn facts(os: &str, virtualization: Option<&str>) -> Facts {
        let mut facts = Facts { virtualization: virtualization.map(Into::into), ..Facts::default() };
        facts.os.id = Some(os.into());
        facts.kernel = Some("6.1.0".into());
        facts
    }

    #[test]
    fn machines_are_told_by_their_facts() {
        assert_eq!(recognise(&facts("ubuntu", Some("kvm"))), "ubuntu_vm");
        assert_eq!(recognise(&facts("ubuntu", Some("none"))), "ubuntu_physical");
        assert_eq!(recognise(&facts("debian", None)), "debian");
        assert_eq!(recognise(&facts("unraid-os", Some("none"))), "unraid");
        assert_eq!(recognise(&facts("arch", None)), "linux");
        assert_eq!(recognise(&Facts::default()), "unknown");
        let mut node = facts("debian", Some("none"));
        node.capabilities.insert(Capability::ProxmoxNode);
        assert_eq!(recognise(&node), "proxmox");
    }
}
