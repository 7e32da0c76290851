//! A container's place in a Compose project, from the labels of Compose 1, Compose 2 and podman-compose.

use std::collections::BTreeMap;

use domain::Untrusted;

use super::reading::{Compose, DependsOn};
use crate::linux::untrusted;

/// The place that these labels tell.
pub(super) fn from_labels(labels: &BTreeMap<String, String>) -> Option<Compose> {
    let label = |name: &str| {
        let of = |prefix: &str| labels.get(&format!("{prefix}.{name}")).map(String::as_str);
        of("com.docker.compose").or_else(|| of("io.podman.compose"))
    };
    Some(Compose {
        project: untrusted(label("project")?)?,
        service: label("service").and_then(untrusted),
        number: label("container-number").and_then(|number| number.parse().ok()),
        depends_on: label("depends_on").map(depends_on).unwrap_or_default(),
        working_dir: label("project.working_dir").and_then(untrusted),
        config_files: label("project.config_files").map(list).unwrap_or_default(),
    })
}

fn list(text: &str) -> Vec<Untrusted<String>> {
    text.split(',').filter_map(untrusted).collect()
}

/// `db:service_healthy:true,cache:service_started:false`; early versions of Compose 2 write the services alone.
fn depends_on(text: &str) -> Vec<DependsOn> {
    text.split(',')
        .filter_map(|entry| {
            let mut parts = entry.split(':');
            Some(DependsOn {
                service: untrusted(parts.next()?)?,
                condition: parts.next().and_then(untrusted).map(|condition| condition.to_string()),
                restart: parts.next().and_then(|word| word.trim().parse().ok()),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_told_by_compose_2() {
        let found = depends_on("db:service_healthy:true,cache:service_started:false");
        assert_eq!(found[0].condition.as_deref(), Some("service_healthy"));
        assert_eq!((found[0].restart, found[1].restart), (Some(true), Some(false)));
        assert_eq!(depends_on(""), []);
        assert_eq!(depends_on("db")[0].condition, None);
    }

    #[test]
    fn a_container_without_a_project_has_no_place_in_one() {
        assert_eq!(from_labels(&BTreeMap::new()), None);
    }
}
