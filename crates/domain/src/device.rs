//! A machine that a person cares about, the ways of reaching it, and how it is doing.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::problem::Problem;
use crate::{Error, Result, Timestamp};

/// A device's identity: it outlives names, addresses and sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct DeviceId(pub Uuid);

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A source's identity: immutable, given out once, never again. History and readings are kept by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct SourceId(pub u32);

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A machine that a person cares about.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Its identity.
    pub id: DeviceId,
    /// Its name here: unique, see [`check_name`].
    pub name: String,
    /// Labels given by people.
    pub tags: BTreeSet<String>,
    /// Where it stands, in a person's words.
    pub location: Option<String>,
    /// What it is for, in a person's words.
    pub description: Option<String>,
    /// Whether it is polled.
    pub monitored: bool,
    /// The ways of reaching it; at least one.
    pub sources: Vec<Source>,
    /// Where it stands in the configuration, if it does: then it is changed only there.
    pub declared: Option<Declared>,
}

/// Where a device is declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    /// The configuration file.
    pub file: String,
    /// The line in it.
    pub line: usize,
}

/// One way of reaching one machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Its identity.
    pub id: SourceId,
    /// How it is reached.
    pub reach: Reach,
}

/// How a machine is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Reach {
    /// It is the machine that Reeve runs on.
    Local,
    /// Over SSH.
    Ssh(SshTarget),
}

impl Reach {
    /// The kind's name: `local` or `ssh`. Also the order in which sources are preferred (`ssh` before `local`).
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Ssh(_) => "ssh",
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("this machine"),
            Self::Ssh(target) => target.fmt(f),
        }
    }
}

/// An SSH destination. Only `host` is needed: it is looked up in the server's `~/.ssh/config` at each connect, and
/// what is set here goes before what that says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SshTarget {
    /// Alias in the server's `ssh_config`, or a host name or address.
    pub host: String,
    /// Host name or address to connect to, where it is not to be looked up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// TCP port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// User to sign in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Files with private keys to try, on the server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identity_files: Vec<String>,
    /// File with the passphrase of those keys, on the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase_file: Option<String>,
    /// Hosts to jump through, as in `ProxyJump`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_jump: Option<String>,
}

impl fmt::Display for SshTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        f.write_str(self.host_name.as_deref().unwrap_or(&self.host))?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// How a source is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It answered within three intervals.
    Online,
    /// A host key waits to be approved, or it was never asked, or it is not polled.
    Pending,
    /// Something answers at its address, but we may not ask: sign-in failed, changed host key, refused session.
    Unreachable,
    /// Nothing answered at its address and port, three times running.
    Offline,
}

impl Status {
    /// All of them, best first.
    pub const ALL: [Self; 4] = [Self::Online, Self::Pending, Self::Unreachable, Self::Offline];

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Pending => "pending",
            Self::Unreachable => "unreachable",
            Self::Offline => "offline",
        }
    }
}

/// How a source is doing, since when, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// How it is doing.
    pub status: Status,
    /// Why it is not online, where it is not.
    pub why: Option<Problem>,
    /// When it last answered.
    pub last_seen: Option<Timestamp>,
    /// Since when it has this status.
    pub since: Timestamp,
    /// Failures of one kind in a row: that nothing answered, or that something refused us.
    pub failures: u32,
}

impl Health {
    /// Of a source that was never asked.
    pub fn never_asked(now: Timestamp) -> Self {
        Self {
            status: Status::Pending,
            why: Some(Problem::new("never_asked", "it has not been asked yet")),
            last_seen: None,
            since: now,
            failures: 0,
        }
    }
}

/// Checks a device's name: 1 to 64 letters, digits, `.`, `_` and `-`, not starting with `-` or `.`.
pub fn check_name(name: &str) -> Result<()> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=64).contains(&name.len()) && name.chars().all(is_allowed) && !name.starts_with(['-', '.']) {
        return Ok(());
    }
    Err(Error::invalid(
        "device_name_malformed",
        format!("“{}” cannot be a device's name", crate::untrusted::clean(name)),
        Cow::Borrowed("use 1 to 64 letters, digits, dots, underscores and hyphens, such as nas-1"),
    ))
}
