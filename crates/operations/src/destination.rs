//! Where a device is found, as people and importers say it.

use domain::device::{Device, Reach, SshTarget};
use domain::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a device is found over SSH, and what people say of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// The device's name in Reeve: 1 to 64 letters, digits, dots, underscores and hyphens. `host` unless said.
    pub name: Option<String>,
    /// Alias in the server's `~/.ssh/config`, or a host name or address.
    pub host: String,
    /// Host name or address to connect to, where the server's `ssh_config` does not know `host`.
    pub host_name: Option<String>,
    /// TCP port; 22 unless said here or in the `ssh_config`.
    pub port: Option<u16>,
    /// User to sign in as.
    pub user: Option<String>,
    /// Files with private keys to try, on the server.
    pub identity_files: Option<Vec<String>>,
    /// File with the passphrase of those keys, on the server.
    pub passphrase_file: Option<String>,
    /// Hosts to jump through, as `ProxyJump` has them: `user@host:port`, separated by commas.
    pub proxy_jump: Option<String>,
    /// Labels to give it.
    pub tags: Option<Vec<String>>,
    /// Where it stands, in your words.
    pub location: Option<String>,
    /// What it is for, in your words.
    pub description: Option<String>,
}

impl Candidate {
    /// The device's name: as said, or the host.
    pub fn device_name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.host)
    }

    /// How it is reached.
    pub fn reach(&self) -> Result<Reach> {
        check_host(&self.host)?;
        if let Some(host_name) = &self.host_name {
            check_host(host_name)?;
        }
        if self.port == Some(0) {
            return Err(Error::invalid("port_range", "port 0 is no port", "give 1 to 65535"));
        }
        Ok(Reach::Ssh(SshTarget {
            host: self.host.clone(),
            host_name: self.host_name.clone(),
            port: self.port,
            user: self.user.clone(),
            identity_files: self.identity_files.clone().unwrap_or_default(),
            passphrase_file: self.passphrase_file.clone(),
            proxy_jump: self.proxy_jump.clone(),
        }))
    }
}

/// A host that could be taken for an option, or hold a command, is refused before anything looks at it.
fn check_host(host: &str) -> Result<()> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '%');
    if !host.is_empty() && host.len() <= 255 && host.chars().all(is_allowed) && !host.starts_with('-') {
        return Ok(());
    }
    Err(Error::invalid(
        "host_malformed",
        format!("“{}” is not a host", domain::untrusted::clean(host)),
        "give an alias, a host name or an address, such as nas, nas.lan, 100.64.0.7 or fd7a::1",
    ))
}

/// The device that is reached this way already.
pub fn reached_by<'a>(devices: impl IntoIterator<Item = &'a Device>, reach: &Reach) -> Option<&'a Device> {
    devices.into_iter().find(|device| device.sources.iter().any(|source| source.reach == *reach))
}
