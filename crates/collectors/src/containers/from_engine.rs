//! A container from what the engine says of it.

use std::collections::BTreeMap;

use domain::facts::Engine;
use domain::{Timestamp, Untrusted, redact};

use super::compose;
use super::engine_api::{self, Inspected, Listed, PortBinding};
use super::reading::{Container, ContainerNetwork, ContainerState, Health, MountedPath, Port};
use crate::linux::untrusted;

impl Container {
    /// A container from its entry in the list and its details.
    pub(super) fn new(engine: &Engine, listed: &Listed, details: Inspected) -> Self {
        let labels = if details.config.labels.is_empty() { &listed.labels } else { &details.config.labels };
        // the list shows an id once the name has moved on to another image
        let image = details.config.image.as_deref().or(listed.image.as_deref());
        let state = details.state.status.as_deref().unwrap_or(&listed.state);
        let state = ContainerState::from_engine(state);
        let has_ended =
            matches!(state, ContainerState::Exited | ContainerState::Restarting | ContainerState::Dead);
        let networks = networks(details.network_settings.networks);
        let addresses = networks
            .iter()
            .flat_map(|network| [&network.address, &network.ipv6_address])
            .flatten()
            .map(|address| address.split('/').next().unwrap_or(address).to_owned())
            .collect();
        let command = std::iter::once(details.path).chain(details.args).filter(|word| !word.is_empty());
        let ports = match details.network_settings.ports {
            ports if ports.is_empty() => details.host_config.port_bindings,
            ports => ports,
        };
        Self {
            name: Untrusted::new(own_name(&listed.names).unwrap_or(&listed.id)),
            id: listed.id.clone(),
            engine: engine.product.clone(),
            socket: engine.socket.clone(),
            state,
            health: details.state.health.and_then(|health| health_from_engine(&health.status?)),
            restart_count: details.restart_count,
            exit_code: details.state.exit_code.filter(|_| has_ended),
            oom_killed: details.state.oom_killed,
            error: details.state.error.as_deref().map(redact::text).as_deref().and_then(untrusted),
            created_at: moment(details.created.as_deref()),
            started_at: moment(details.state.started_at.as_deref()),
            finished_at: moment(details.state.finished_at.as_deref()),
            image: Untrusted::new(image.unwrap_or_default()),
            image_id: listed.image_id.as_deref().map(|id| Untrusted::new(id).to_string()),
            image_digest: None,
            command: untrusted(&redact::command(command).join(" ")),
            restart_policy: details.host_config.restart_policy.and_then(restart_policy),
            network_mode: details.host_config.network_mode.as_deref().and_then(untrusted),
            addresses,
            networks,
            ports: published(ports),
            mounts: details.mounts.into_iter().filter_map(mounted).collect(),
            labels: labels
                .iter()
                .map(|(name, value)| {
                    (domain::untrusted::clean(name), Untrusted::new(redact::value(name, value)))
                })
                .collect(),
            compose: compose::from_labels(labels),
            usage: None,
        }
    }
}

/// A container's own name: old links list it as `/other/alias` too, under the containers that are linked to it.
pub(crate) fn own_name(names: &[String]) -> Option<&str> {
    let mut bare = names.iter().map(|name| name.trim_start_matches('/'));
    let own = bare.clone().find(|name| !name.contains('/'));
    own.or_else(|| bare.next())
}

impl ContainerState {
    /// Docker's words, and Podman's own for the same.
    pub(super) fn from_engine(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "created" | "configured" | "initialized" => Self::Created,
            "running" | "stopping" => Self::Running,
            "paused" => Self::Paused,
            "restarting" => Self::Restarting,
            "removing" => Self::Removing,
            "exited" | "stopped" => Self::Exited,
            "dead" => Self::Dead,
            _ => Self::Unknown,
        }
    }
}

/// A moment of the engine's; it writes the year 1 where there is none.
pub(super) fn moment(text: Option<&str>) -> Option<Timestamp> {
    let text = text.filter(|text| text.contains('T') && !text.starts_with("0001-"))?;
    Timestamp::parse(text, Timestamp::default()).ok()
}

fn health_from_engine(word: &str) -> Option<Health> {
    match word {
        "starting" => Some(Health::Starting),
        "healthy" => Some(Health::Healthy),
        "unhealthy" => Some(Health::Unhealthy),
        _ => None,
    }
}

fn restart_policy(policy: engine_api::RestartPolicy) -> Option<String> {
    let name = policy.name?;
    match (name.as_str(), policy.maximum_retry_count) {
        ("", _) => Some("no".to_owned()),
        (_, Some(most)) if most > 0 => Some(format!("{}:{most}", Untrusted::new(name))),
        _ => Some(Untrusted::new(name).to_string()),
    }
}

fn networks(networks: BTreeMap<String, Option<engine_api::Network>>) -> Vec<ContainerNetwork> {
    let with_prefix = |address: Option<String>, prefix: Option<u32>| {
        let address = address.filter(|address| !address.is_empty())?;
        Some(
            Untrusted::new(prefix.map_or(address.clone(), |prefix| format!("{address}/{prefix}")))
                .to_string(),
        )
    };
    let word = |text: Option<String>| {
        text.filter(|text| !text.is_empty()).map(|text| Untrusted::new(text).to_string())
    };
    networks
        .into_iter()
        .map(|(name, network)| {
            let network = network.unwrap_or_default();
            ContainerNetwork {
                name: Untrusted::new(name),
                address: with_prefix(network.address, network.prefix),
                ipv6_address: with_prefix(network.address_6, network.prefix_6),
                gateway: word(network.gateway),
                hardware_address: word(network.mac_address),
                aliases: network.aliases.iter().map(Untrusted::new).collect(),
            }
        })
        .collect()
}

/// `{"8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "18080"}], "5353/udp": null}`.
fn published(ports: BTreeMap<String, Option<Vec<PortBinding>>>) -> Vec<Port> {
    let mut published = Vec::new();
    for (name, bindings) in ports {
        let (number, protocol) = name.split_once('/').unwrap_or((&name, "tcp"));
        let Ok(container_port) = number.parse() else { continue };
        let port = |host_address: Option<String>, host_port| Port {
            container_port,
            protocol: Untrusted::new(protocol).to_string(),
            host_address: host_address.map(|address| Untrusted::new(address).to_string()),
            host_port,
        };
        let bindings = bindings.unwrap_or_default();
        if bindings.is_empty() {
            published.push(port(None, None));
        }
        for binding in bindings {
            let address = binding.host_ip.filter(|address| !address.is_empty());
            published.push(port(address, binding.host_port.and_then(|port| port.parse().ok())));
        }
    }
    published.sort();
    published
}

fn mounted(mount: engine_api::Mount) -> Option<MountedPath> {
    let source = mount.name.filter(|name| !name.is_empty()).or(mount.source);
    Some(MountedPath {
        kind: Untrusted::new(mount.kind.unwrap_or_default()).to_string(),
        source: source.as_deref().and_then(untrusted),
        destination: Untrusted::new(mount.destination?),
        is_read_only: mount.is_writable == Some(false),
    })
}

#[cfg(test)]
mod tests {
    use domain::facts::EngineState;

    use super::*;

    fn container(details: &str) -> Container {
        let engine = Engine {
            product: "docker".into(),
            socket: "/var/run/docker.sock".into(),
            version: None,
            state: EngineState::Answering,
        };
        Container::new(&engine, &Listed::default(), serde_json::from_str(details).unwrap())
    }

    #[test]
    fn environment_variables_are_never_read() {
        let details = r#"{"Config":{"Env":["DB_PASSWORD=invented","PLAIN=invented"]},"Args":["serve"]}"#;
        let text = serde_json::to_string(&container(details)).unwrap();
        assert!(!text.contains("invented") && text.contains("serve"), "{text}");
    }

    #[test]
    fn secrets_in_labels_and_arguments_are_hidden() {
        let details = r#"{"Path":"app","Args":["--api-token","invented"],
            "Config":{"Labels":{"api.key.secret":"invented","url":"redis://u:invented@cache/0"}}}"#;
        let text = serde_json::to_string(&container(details)).unwrap();
        assert!(!text.contains("invented"), "{text}");
    }

    #[test]
    fn a_container_goes_by_its_own_name_and_not_by_that_of_a_link() {
        let names = ["/web/database".to_owned(), "/db".to_owned()];
        assert_eq!(own_name(&names), Some("db"));
        assert_eq!(own_name(&names[..1]), Some("web/database"));
        assert_eq!(own_name(&[]), None);
    }

    #[test]
    fn a_port_is_published_at_each_of_its_addresses() {
        let details = r#"{"NetworkSettings":{"Ports":{"53/udp":[{"HostIp":"0.0.0.0","HostPort":"5300"},
            {"HostIp":"::","HostPort":"5300"}],"80/tcp":null}}}"#;
        let ports = container(details).ports;
        assert_eq!(ports.len(), 3);
        assert_eq!((ports[0].protocol.as_str(), ports[0].host_port), ("udp", Some(5300)));
        assert_eq!((ports[2].container_port, ports[2].host_port), (80, None));
    }
}
