//! Network interfaces: what they received and sent, errors, state and speed.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use domain::ask::{Answers, Ask};
use domain::capability::Capability;
use domain::collector::{Collector, Parsed};
use domain::facts::Facts;
use domain::observed::Observed;
use domain::sample::Samples;
use domain::{Error, Result, Untrusted};

use crate::linux::{between, lines_by_path, needs_two_polls, per_second};

/// Network interfaces, loopback left out.
///
/// `/proc/net/dev` has the counters since an interface came up; `/sys/class/net/*` its state, speed and largest
/// packet. The host's ends of container networks (`veth…`) come and go with each container: they are counted, not
/// listed.
pub struct Network;

/// Network interfaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkReading {
    /// The interfaces, by name; loopback and the host's ends of container networks are left out.
    pub interfaces: Vec<Interface>,
    /// How many of the host's ends of container networks (`veth…`) there are.
    pub veth_count: u32,
}

/// One interface. What is “per second” is over the time since the reading before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interface {
    /// Its name, such as `eth0`.
    pub name: String,
    /// Whether its name says that software made it (a bridge, a tunnel, a guest's port).
    pub is_virtual: bool,
    /// `up`, `down`, `unknown` (as tunnels say), `dormant`, `lowerlayerdown`, `notpresent`, `testing`.
    pub state: Option<String>,
    /// Speed of its link, in bits per second; absent where it has none or is down.
    pub speed_bits_per_second: Option<u64>,
    /// Largest packet, in bytes.
    pub mtu_bytes: Option<u32>,
    /// Bytes received per second.
    pub receive_bytes_per_second: Option<f64>,
    /// Bytes sent per second.
    pub transmit_bytes_per_second: Option<f64>,
    /// Packets received per second.
    pub receive_packets_per_second: Option<f64>,
    /// Packets sent per second.
    pub transmit_packets_per_second: Option<f64>,
    /// Packets per second that were damaged or could not be sent, both ways.
    pub errors_per_second: Option<f64>,
    /// Packets per second that were dropped, both ways.
    pub drops_per_second: Option<f64>,
    /// What it did since it came up.
    pub totals: InterfaceTotals,
}

/// What an interface did since it came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceTotals {
    /// Bytes received.
    pub receive_bytes: u64,
    /// Packets received.
    pub receive_packets: u64,
    /// Packets received damaged.
    pub receive_errors: u64,
    /// Packets received and dropped.
    pub receive_drops: u64,
    /// Bytes sent.
    pub transmit_bytes: u64,
    /// Packets sent.
    pub transmit_packets: u64,
    /// Packets that could not be sent.
    pub transmit_errors: u64,
    /// Packets dropped before they were sent.
    pub transmit_drops: u64,
}

const DEV: &str = "/proc/net/dev";
const STATES: &str = "/sys/class/net/*/operstate";
const SPEEDS: &str = "/sys/class/net/*/speed";
const MTUS: &str = "/sys/class/net/*/mtu";
/// How names of interfaces begin that software made.
const VIRTUAL: [&str; 22] = [
    "docker",
    "br",
    "virbr",
    "vmbr",
    "vnet",
    "tap",
    "tun",
    "ifb",
    "wg",
    "tailscale",
    "zt",
    "dummy",
    "cni",
    "flannel",
    "cali",
    "vxlan",
    "podman",
    "lxc",
    "lxdbr",
    "fwbr",
    "fwpr",
    "fwln",
];

impl Collector for Network {
    const NAME: &'static str = "network";
    const WHY: &'static str =
        "what interfaces receive and send: /proc/net/dev; /sys/class/net for state, speed and largest packet";
    const EVERY: Duration = Duration::from_secs(30);
    const NEEDS: &'static [Capability] = &[Capability::Procfs];
    const LIVE: bool = true;
    type Reading = NetworkReading;

    fn asks(_: &Facts) -> Vec<Ask> {
        vec![Ask::file(DEV), Ask::files(STATES), Ask::files(SPEEDS), Ask::files(MTUS)]
    }

    fn parse(
        _: &Facts,
        answers: &Answers,
        before: Option<&Observed<NetworkReading>>,
    ) -> Result<Parsed<NetworkReading>> {
        let Some(dev) = answers.file_text(DEV) else {
            return Err(Error::unreachable(
                "net_dev_unreadable",
                "/proc/net/dev could not be read",
                "check that /proc is mounted",
            ));
        };
        let states = of_each_interface(answers, STATES, "/operstate");
        let speeds = of_each_interface(answers, SPEEDS, "/speed");
        let mtus = of_each_interface(answers, MTUS, "/mtu");
        let mut reading = NetworkReading::default();
        for mut interface in dev.lines().filter_map(line) {
            if interface.name == "lo" {
                continue;
            }
            if interface.name.starts_with("veth") {
                reading.veth_count += 1;
                continue;
            }
            interface.state = states.get(&interface.name).map(|state| Untrusted::new(state).to_string());
            // -1 where the link is down, which older kernels write without its sign
            let megabits = speeds.get(&interface.name).and_then(|speed| speed.parse::<u64>().ok());
            interface.speed_bits_per_second = megabits
                .filter(|speed| (1..u64::from(u32::MAX)).contains(speed))
                .and_then(|speed| speed.checked_mul(1_000_000));
            interface.mtu_bytes = mtus.get(&interface.name).and_then(|mtu| mtu.parse().ok());
            let earlier = before.and_then(|before| {
                let all = &before.value.interfaces;
                let earlier = all.iter().find(|earlier| earlier.name == interface.name)?;
                Some((earlier.totals, answers.at.since(before.as_of)))
            });
            if let Some((earlier, elapsed)) = earlier {
                interface.compare(&earlier, elapsed);
            }
            reading.interfaces.push(interface);
        }
        reading.interfaces.sort_by(|a, b| a.name.cmp(&b.name));
        let problems = if before.is_none() && !reading.interfaces.is_empty() {
            vec![needs_two_polls("rates of interfaces")]
        } else {
            Vec::new()
        };
        Ok(Parsed::Reading(reading, problems))
    }

    fn samples(reading: &NetworkReading, samples: &mut Samples) {
        for interface in reading.interfaces.iter().filter(|interface| is_lasting(&interface.name)) {
            let labels = &[("device", interface.name.as_str())];
            let totals = &interface.totals;
            samples.counter("node_network_receive_bytes_total", labels, totals.receive_bytes as f64);
            samples.counter("node_network_receive_packets_total", labels, totals.receive_packets as f64);
            samples.counter("node_network_receive_errs_total", labels, totals.receive_errors as f64);
            samples.counter("node_network_receive_drop_total", labels, totals.receive_drops as f64);
            samples.counter("node_network_transmit_bytes_total", labels, totals.transmit_bytes as f64);
            samples.counter("node_network_transmit_packets_total", labels, totals.transmit_packets as f64);
            samples.counter("node_network_transmit_errs_total", labels, totals.transmit_errors as f64);
            samples.counter("node_network_transmit_drop_total", labels, totals.transmit_drops as f64);
            let is_up = interface.state.as_ref().map(|state| f64::from(state == "up"));
            samples.gauge("node_network_up", labels, is_up);
            let speed_bytes = interface.speed_bits_per_second.map(|bits| bits as f64 / 8.0);
            samples.gauge("node_network_speed_bytes", labels, speed_bytes);
        }
    }
}

impl Interface {
    fn compare(&mut self, earlier: &InterfaceTotals, elapsed: Duration) {
        let now = &self.totals;
        let rate = |before, now| per_second(before, now, elapsed);
        let both = |one: Option<f64>, other: Option<f64>| one.zip(other).map(|(one, other)| one + other);
        self.receive_bytes_per_second = rate(earlier.receive_bytes, now.receive_bytes);
        self.transmit_bytes_per_second = rate(earlier.transmit_bytes, now.transmit_bytes);
        self.receive_packets_per_second = rate(earlier.receive_packets, now.receive_packets);
        self.transmit_packets_per_second = rate(earlier.transmit_packets, now.transmit_packets);
        self.errors_per_second = both(
            rate(earlier.receive_errors, now.receive_errors),
            rate(earlier.transmit_errors, now.transmit_errors),
        );
        self.drops_per_second = both(
            rate(earlier.receive_drops, now.receive_drops),
            rate(earlier.transmit_drops, now.transmit_drops),
        );
    }
}

fn of_each_interface(answers: &Answers, pattern: &str, suffix: &str) -> BTreeMap<String, String> {
    lines_by_path(answers.files(pattern))
        .into_iter()
        .filter_map(|(path, value)| {
            Some((between(&path, "/sys/class/net/", suffix)?.to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// A line of `/proc/net/dev`: a name, a colon (without a space after it in old kernels), sixteen numbers.
fn line(line: &str) -> Option<Interface> {
    let (name, numbers) = line.rsplit_once(':')?;
    let numbers: Vec<u64> =
        numbers.split_whitespace().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let number = |place: usize| numbers.get(place).copied();
    let totals = InterfaceTotals {
        receive_bytes: number(0)?,
        receive_packets: number(1)?,
        receive_errors: number(2)?,
        receive_drops: number(3)?,
        transmit_bytes: number(8)?,
        transmit_packets: number(9)?,
        transmit_errors: number(10)?,
        transmit_drops: number(11)?,
    };
    let name = Untrusted::new(name.trim()).to_string();
    Some(Interface { is_virtual: is_virtual(&name), name, totals, ..Interface::default() })
}

/// Whether software made it, by its name: `br0`, `br-1f2e…`, `docker0`, `wg0`, `eth0.20`.
fn is_virtual(name: &str) -> bool {
    let numbered = |rest: &str| rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    name.contains('.')
        || VIRTUAL
            .iter()
            .any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| prefix.len() > 2 || numbered(rest)))
}

/// Whether the name means the same interface next month: bridges named after a container network's id and ports of
/// virtual machines get new names with each start.
fn is_lasting(name: &str) -> bool {
    let is_network_id = |id: &str| id.len() == 12 && id.chars().all(|c| c.is_ascii_hexdigit());
    !name.strip_prefix("br-").is_some_and(is_network_id) && !name.starts_with("vnet")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_made_by_software_are_told_by_their_names() {
        let made = ["br-0123456789ab", "br0", "docker0", "wg0", "eth0.20", "vmbr1", "virbr0", "zt5u4v"];
        assert!(made.iter().all(|name| is_virtual(name)));
        assert!(!["eth0", "enp3s0", "bond0", "wlan0", "broadcom1"].iter().any(|name| is_virtual(name)));
    }

    #[test]
    fn names_that_change_with_each_start_are_no_history() {
        assert!(!is_lasting("br-0123456789ab"));
        assert!(!is_lasting("vnet12"));
        assert!(is_lasting("br-lan") && is_lasting("br0"));
    }
}
