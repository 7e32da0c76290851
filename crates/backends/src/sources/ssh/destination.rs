//! Where an alias leads, and how `ssh_config` writes it: tokens, tildes, jumps.

use std::path::PathBuf;

use domain::device::SshTarget;
use domain::{Error, Result};

use crate::sources::Account;

/// Where an alias leads, by `ssh_config` and by what the target itself says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The alias that was asked for.
    pub alias: String,
    /// Host name or address to connect to.
    pub host_name: String,
    /// TCP port.
    pub port: u16,
    /// User to sign in as.
    pub user: String,
    /// Private key files to try, in order.
    pub identity_files: Vec<PathBuf>,
    /// Whether those were named by somebody, rather than the usual ones.
    pub are_identities_named: bool,
    /// Whether only those are tried, and of an agent's keys only theirs.
    pub identities_only: bool,
    /// The agent's socket.
    pub agent_socket: Option<PathBuf>,
    /// User certificates to try beside those that lie next to a key.
    pub certificate_files: Vec<PathBuf>,
    /// Hosts to go through, nearest first, as in `ProxyJump`.
    pub jumps: Vec<SshTarget>,
    /// Files of known hosts, the user's first.
    pub known_hosts: Vec<PathBuf>,
    /// Name to look up in them instead of the host name.
    pub host_key_alias: Option<String>,
    /// Longest wait for a connection, in seconds, where the configuration says so.
    pub connect_timeout_seconds: Option<u64>,
    /// File with the passphrase of the keys.
    pub passphrase_file: Option<PathBuf>,
    /// Whether a `Host` block other than `*` matched.
    pub is_known: bool,
    /// What in the configuration was passed over.
    pub warnings: Vec<String>,
}

impl Destination {
    /// The host as `known_hosts` writes it: `[host]:port` where the port is not 22.
    pub fn known_as(&self) -> String {
        match &self.host_key_alias {
            Some(alias) => alias.to_lowercase(),
            None => known_name(&self.host_name, self.port),
        }
    }
}

/// `host` as `known_hosts` writes it.
pub(crate) fn known_name(host: &str, port: u16) -> String {
    let host = host.to_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

/// `[user@]host[:port]` several times, separated by commas; `none` is no jump.
pub(super) fn parse_jumps(text: Option<&str>) -> Result<Vec<SshTarget>> {
    let Some(text) = text.filter(|text| !text.eq_ignore_ascii_case("none")) else { return Ok(Vec::new()) };
    text.split(',').map(|jump| parse_jump(jump.trim())).collect()
}

fn parse_jump(text: &str) -> Result<SshTarget> {
    let malformed = || {
        Error::invalid(
            "proxy_jump_malformed",
            format!("“{}” is no host to jump through", domain::untrusted::clean(text)),
            "write it as user@host:port; user and port may be left out",
        )
    };
    let text = text.strip_prefix("ssh://").unwrap_or(text).trim_end_matches('/');
    let (user, rest) = match text.rsplit_once('@') {
        Some((user, rest)) => (Some(user.to_owned()), rest),
        None => (None, text),
    };
    let (host, port) = if let Some(bracketed) = rest.strip_prefix('[') {
        let (host, tail) = bracketed.split_once(']').ok_or_else(malformed)?;
        (host, tail.strip_prefix(':'))
    } else {
        match rest.split_once(':') {
            // a bare IPv6 address has more than one colon
            Some((_, tail)) if tail.contains(':') => (rest, None),
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        }
    };
    if host.is_empty() || host.starts_with('-') {
        return Err(malformed());
    }
    let port = port.map(|port| port.parse().map_err(|_| malformed())).transpose()?;
    Ok(SshTarget { host: host.to_owned(), user, port, ..SshTarget::default() })
}

/// What `%` and `~` stand for.
pub(super) struct Tokens<'a> {
    pub account: &'a Account,
    pub alias: &'a str,
    pub host_name: &'a str,
    pub user: &'a str,
    pub port: u16,
}

impl Tokens<'_> {
    /// `text` with its tokens filled in.
    pub fn fill(&self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            if character != '%' {
                filled.push(character);
                continue;
            }
            match rest.next() {
                Some('%') | None => filled.push('%'),
                Some('h') => filled.push_str(self.host_name),
                Some('n' | 'k') => filled.push_str(self.alias),
                Some('r') => filled.push_str(self.user),
                Some('u') => filled.push_str(&self.account.user),
                Some('d') => filled.push_str(&self.account.home.to_string_lossy()),
                Some('p') => filled.push_str(&self.port.to_string()),
                Some(other) => filled.extend(['%', other]),
            }
        }
        filled
    }

    /// The path that `text` means.
    pub fn path(&self, text: &str) -> PathBuf {
        let filled = self.fill(text);
        match filled.strip_prefix("~/") {
            Some(rest) => self.account.home.join(rest),
            // relative to the home directory: a server's working directory means nothing
            None => self.account.home.join(filled),
        }
    }

    /// The paths; `none` is none, and what names an environment variable is passed over.
    pub fn paths(&self, texts: &[String], warnings: &mut Vec<String>) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for text in texts.iter().filter(|text| !text.eq_ignore_ascii_case("none")) {
            if text.contains('$') {
                warnings
                    .push(format!("ssh_config: “{text}” names an environment variable, which is not read"));
            } else {
                paths.push(self.path(text));
            }
        }
        paths
    }
}
