//! Whether two sources are the same machine: the evidence, for people to judge by.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::facts::Facts;

/// A reason to believe that two devices are one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// What they share.
    pub shared: Shared,
    /// The value that they share.
    pub value: String,
}

/// What two devices share, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shared {
    /// `/etc/machine-id` and kernel start: one running system.
    MachineId,
    /// A network card.
    HardwareAddress,
    /// An address.
    Address,
    /// Their own name for themselves.
    Hostname,
}

/// What these two machines share; empty where nothing says that they are one.
///
/// A cloned disk has the same machine id, so a machine id counts only where the kernels also started within two
/// minutes of each other, as told by each.
pub fn evidence(a: &Facts, b: &Facts) -> Vec<Evidence> {
    let mut found = Vec::new();
    let mut add = |shared, value: &str| found.push(Evidence { shared, value: value.to_owned() });
    if let (Some(id), Some(other)) = (&a.machine_id, &b.machine_id)
        && id == other
        && booted_together(a, b)
    {
        add(Shared::MachineId, id);
    }
    for address in common(&a.hardware_addresses, &b.hardware_addresses) {
        add(Shared::HardwareAddress, address);
    }
    for address in common(&a.addresses, &b.addresses).filter(|address| !is_everywhere(address)) {
        add(Shared::Address, address);
    }
    if let (Some(name), Some(other)) = (&a.hostname, &b.hostname)
        && name == other
        && name.as_str() != "localhost"
    {
        add(Shared::Hostname, name.as_str());
    }
    found
}

fn booted_together(a: &Facts, b: &Facts) -> bool {
    match (a.boot_time, b.boot_time) {
        (Some(a), Some(b)) => (a.millis() - b.millis()).abs() < 120_000,
        _ => false,
    }
}

fn common<'a>(a: &'a [String], b: &'a [String]) -> impl Iterator<Item = &'a str> {
    a.iter().filter(|value| b.contains(value)).map(String::as_str)
}

/// Addresses that many machines have: link-local ones, and those of the bridges that Docker, Podman, LXC and libvirt
/// make unasked.
fn is_everywhere(address: &str) -> bool {
    const PREFIXES: [&str; 5] = ["fe80:", "169.254.", "10.88.0.1/", "10.0.3.1/", "192.168.122.1/"];
    // Docker numbers its networks from 172.17.0.0/16 upwards
    let dockers = address.strip_prefix("172.").and_then(|rest| rest.strip_suffix(".0.1/16"));
    let is_dockers =
        dockers.and_then(|number| number.parse().ok()).is_some_and(|n: u8| (17..=31).contains(&n));
    is_dockers || PREFIXES.iter().any(|prefix| address.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    fn machine(id: &str, boot_ms: i64, address: &str) -> Facts {
        Facts {
            machine_id: Some(id.into()),
            boot_time: Some(Timestamp::from_millis(boot_ms)),
            addresses: vec![address.into(), "fe80::1/64".into()],
            ..Facts::default()
        }
    }

    #[test]
    fn one_machine_seen_twice_is_told_by_id_and_address() {
        let shared: Vec<Shared> =
            evidence(&machine("m", 0, "10.0.0.2/24"), &machine("m", 900, "10.0.0.2/24"))
                .into_iter()
                .map(|evidence| evidence.shared)
                .collect();
        assert_eq!(shared, [Shared::MachineId, Shared::Address]);
    }

    #[test]
    fn a_cloned_disk_is_another_machine() {
        assert!(evidence(&machine("m", 0, "10.0.0.2/24"), &machine("m", 900_000, "10.0.0.3/24")).is_empty());
    }

    #[test]
    fn two_docker_hosts_are_two_machines() {
        let bridged = |id| machine(id, 0, "172.18.0.1/16");
        assert!(evidence(&bridged("m"), &bridged("n")).is_empty());
    }
}
