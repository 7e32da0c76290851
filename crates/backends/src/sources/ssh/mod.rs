//! SSH: `config` says where, `known_hosts` whom to trust, `connect` gets there, `shell` asks.

mod answers;
pub mod config;
mod config_text;
pub(crate) mod connect;
mod conversation;
mod destination;
mod dial;
mod failure;
mod framing;
mod gatekeeper;
mod keys;
mod known_hosts;
mod pattern;
mod script;
mod session;
pub(crate) mod shell;
mod sign_in;
mod signer;
mod wire;

pub(crate) use script::SAFE_PATH;
