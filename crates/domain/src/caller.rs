//! Who is asking, and what they may.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::operation::Effect;

/// Who is asking, through which surface, and what they may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who.
    pub principal: Principal,
    /// Through which surface.
    pub surface: Surface,
    /// The strongest effect they may have.
    pub ceiling: Effect,
    /// Which devices exist for them.
    pub sight: Sight,
}

/// Who somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// A user of this machine, known by the uid at the other end of the data directory's socket.
    User(u32),
    /// Somebody on this machine who came by TCP.
    Loopback,
    /// Reeve itself.
    Reeve,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(uid) => write!(f, "uid:{uid}"),
            Self::Loopback => f.write_str("loopback"),
            Self::Reeve => f.write_str("reeve"),
        }
    }
}

/// How somebody speaks to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// REST over HTTP.
    Rest,
    /// The Model Context Protocol.
    Mcp,
    /// The command line.
    Cli,
    /// Reeve itself: the scheduler, the configuration.
    Inside,
}

impl Surface {
    /// Its name in the audit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Mcp => "mcp",
            Self::Cli => "cli",
            Self::Inside => "inside",
        }
    }
}

/// Which devices exist for somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// All.
    All,
    /// Those of these names.
    Only(BTreeSet<String>),
}

impl Sight {
    /// Whether this device exists for them.
    pub fn sees(&self, device: &Device) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(&device.name),
        }
    }
}

impl Caller {
    /// A user of this machine at the data directory's socket: may do everything.
    pub fn local(uid: u32, surface: Surface) -> Self {
        Self { principal: Principal::User(uid), surface, ceiling: Effect::Destroy, sight: Sight::All }
    }

    /// Somebody who came by TCP to the loopback address: may read.
    pub fn loopback(surface: Surface) -> Self {
        Self { principal: Principal::Loopback, surface, ceiling: Effect::Read, sight: Sight::All }
    }
}
