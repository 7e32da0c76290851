//! Which addresses a machine has, by `ip` or by the kernel's own tables.

use std::net::{Ipv4Addr, Ipv6Addr};

use domain::ask::{Answer, Answers, Ask};

const LOCAL_ADDRESSES: &str = "/proc/net/fib_trie";
const ROUTES: &str = "/proc/net/route";
const ADDRESSES_6: &str = "/proc/net/if_inet6";

/// Asks `ip`, whose one-line form busybox has too.
pub(super) fn ip() -> Ask {
    Ask::run(["ip", "-o", "addr", "show"])
}

/// Where `ip` is missing or fails: the kernel's tables.
pub(super) fn more_asks(answers: &Answers) -> Vec<Ask> {
    if output(answers).is_some() {
        return Vec::new();
    }
    [LOCAL_ADDRESSES, ROUTES, ADDRESSES_6].map(Ask::file).into()
}

/// The addresses as `address/prefix`, without loopback and networks that the machine made for its guests.
pub(super) fn found(answers: &Answers) -> Vec<String> {
    let mut found: Vec<String> = if let Some(text) = output(answers) {
        text.lines().filter_map(ip_line).collect()
    } else {
        let file = |path| answers.file_text(path).unwrap_or_default();
        let found = addresses_4(&file(LOCAL_ADDRESSES), &file(ROUTES));
        found.into_iter().chain(file(ADDRESSES_6).lines().filter_map(address_6)).collect()
    };
    found.sort();
    found.dedup();
    found
}

/// Whether an interface is made by this machine for its guests: its addresses are the same on many machines and say
/// nothing about which machine this is.
pub(super) fn is_made_here(name: &str) -> bool {
    let prefixes =
        ["veth", "docker", "virbr", "vnet", "ifb", "cni", "podman", "lxdbr", "lxcbr", "fwbr", "fwpr", "fwln"];
    let is_network_id = |id: &str| id.len() == 12 && id.chars().all(|c| c.is_ascii_hexdigit());
    name.strip_prefix("br-").is_some_and(is_network_id)
        || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

fn output(answers: &Answers) -> Option<std::borrow::Cow<'_, str>> {
    answers.get(&ip().question).and_then(Answer::ok)
}

/// `2: eth0    inet 10.0.0.5/24 brd 10.0.0.255 scope global eth0`.
fn ip_line(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let name = words.nth(1)?.trim_end_matches(':');
    let family = words.next()?;
    let address = words.next()?;
    let (number, _) = address.split_once('/').unwrap_or((address, ""));
    let is_address = match family {
        "inet" => number.parse::<Ipv4Addr>().is_ok(),
        "inet6" => number.parse::<Ipv6Addr>().is_ok(),
        _ => false,
    };
    // a point-to-point address is written without its prefix
    let with_prefix = if address.contains('/') { address.to_owned() } else { format!("{address}/32") };
    (is_address && name != "lo" && !is_made_here(name)).then_some(with_prefix)
}

/// Local addresses of the routing table (`|-- 10.0.0.5` above `/32 host LOCAL`), each with the prefix of the network that
/// it is directly connected to.
fn addresses_4(fib_trie: &str, routes: &str) -> Vec<String> {
    let networks: Vec<(u32, u32)> = routes.lines().skip(1).filter_map(connected_network).collect();
    let mut last = None;
    let mut found = Vec::new();
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line.contains("host LOCAL")
            && let Some(address) = last.filter(|address| !address.is_loopback())
        {
            let mask = networks
                .iter()
                .filter(|(network, mask)| address.to_bits() & mask == *network)
                .map(|(_, mask)| *mask)
                .max();
            found.push(format!("{address}/{}", mask.map_or(32, u32::count_ones)));
        }
    }
    found
}

/// `eth0 0000000A 00000000 0001 0 0 0 00FFFFFF …`, numbers in the machine's byte order: little-endian everywhere that matters.
fn connected_network(line: &str) -> Option<(u32, u32)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |at: usize| u32::from_str_radix(words.get(at)?, 16).ok().map(u32::swap_bytes);
    let (network, gateway, mask) = (number(1)?, number(2)?, number(7)?);
    (gateway == 0 && mask != 0).then_some((network, mask))
}

/// `fe80000000000000024220fffe801234 02 40 20 80 eth0`.
fn address_6(line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let address = Ipv6Addr::from_bits(u128::from_str_radix(words.first()?, 16).ok()?);
    let prefix = u8::from_str_radix(words.get(2)?, 16).ok()?;
    let name = *words.get(5)?;
    (name != "lo" && !is_made_here(name)).then(|| format!("{address}/{prefix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_without_ip_too() {
        let fib_trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.2.0\n        /24 link UNICAST\nLocal:\n\
            |-- 10.0.2.15\n   /32 host LOCAL\n|-- 10.0.2.255\n   /32 link BROADCAST\n|-- 127.0.0.1\n   /32 host LOCAL\n";
        let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
            eth0\t00000000\t0202000A\t0003\t0\t0\t0\t00000000\neth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\n";
        assert_eq!(addresses_4(fib_trie, routes), ["10.0.2.15/24"]);
        assert_eq!(
            address_6("fe80000000000000024220fffe801234 02 40 20 80     eth0").as_deref(),
            Some("fe80::242:20ff:fe80:1234/64")
        );
    }

    #[test]
    fn ip_lines_of_both_makers_are_read() {
        assert_eq!(
            ip_line("2: eth0    inet 10.0.0.5/24 brd 10.0.0.255 scope global eth0\\ valid_lft forever")
                .as_deref(),
            Some("10.0.0.5/24")
        );
        assert_eq!(
            ip_line("9: ppp0    inet 10.9.0.2 peer 10.9.0.1/32 scope global ppp0").as_deref(),
            Some("10.9.0.2/32")
        );
        assert_eq!(ip_line("1: lo    inet 127.0.0.1/8 scope host lo"), None);
        assert_eq!(ip_line("2: eth0: <UP> mtu 1500"), None);
    }
}
