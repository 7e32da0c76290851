//! The server's `ssh_config`: which address, user, keys and known hosts an alias means.

use std::path::{Path, PathBuf};

use domain::device::SshTarget;
use domain::{Error, Result};

use super::config_text::{Item, Setting, parse};
use super::pattern::{list_matches, matches};
use crate::sources::Account;

const SYSTEM_CONFIG: &str = "/etc/ssh/ssh_config";
const SYSTEM_KNOWN_HOSTS: [&str; 2] = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"];
const DEFAULT_KEYS: [&str; 5] = ["id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk"];

/// The `ssh_config` of an account: its own file, then the system's.
#[derive(Clone, Debug)]
pub struct Config {
    items: Vec<Item>,
    account: Account,
    warnings: Vec<String>,
}

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

impl Config {
    /// Reads the account's own file and the system's. A file that is not there is empty.
    pub fn load(account: &Account) -> Result<Self> {
        let mut warnings = Vec::new();
        let own = account.ssh_config.clone().unwrap_or_else(|| account.home.join(".ssh/config"));
        let mut items = parse(&own, &account.home, &mut warnings)?;
        if account.ssh_config.is_none() {
            // each file starts outside of any block
            items.push(Item::Host(vec!["*".to_owned()]));
            items.extend(parse(Path::new(SYSTEM_CONFIG), &account.home, &mut warnings)?);
        }
        Ok(Self { items, account: account.clone(), warnings })
    }

    /// The aliases that stand in `Host` lines by themselves, without patterns: what `ssh ALIAS` would be typed for.
    pub fn aliases(&self) -> Vec<String> {
        let mut aliases: Vec<String> = Vec::new();
        collect_aliases(&self.items, &mut aliases);
        aliases
    }

    /// Where `target` leads. What the target sets itself goes before the configuration.
    pub fn resolve(&self, target: &SshTarget) -> Result<Destination> {
        let mut found = Found { is_active: true, warnings: self.warnings.clone(), ..Found::default() };
        found.user.clone_from(&target.user);
        found.host_name.clone_from(&target.host_name);
        found.port = target.port;
        if let Some(jump) = &target.proxy_jump {
            found.jump = Some(jump.clone());
        }
        found.walk(&self.items, &target.host, &self.account)?;
        self.destination(target, found)
    }

    fn destination(&self, target: &SshTarget, found: Found) -> Result<Destination> {
        if let Some(command) = found.proxy_command.filter(|command| command != "none") {
            return Err(Error::new(
                domain::ErrorKind::Unsupported,
                "ssh_proxy_command",
                format!(
                    "ssh_config reaches “{}” by ProxyCommand ({command}), which Reeve does not run",
                    target.host
                ),
                "use ProxyJump in ~/.ssh/config, or set proxy_jump on the device",
            ));
        }
        let user = found.user.unwrap_or_else(|| self.account.user.clone());
        let mut tokens = Tokens {
            account: &self.account,
            alias: &target.host,
            host_name: &target.host,
            user: &user,
            port: found.port.unwrap_or(22),
        };
        let host_name = match &target.host_name {
            Some(name) => name.clone(),
            None => found.host_name.map_or_else(|| target.host.clone(), |name| tokens.fill(&name)),
        };
        tokens.host_name = &host_name;
        let mut warnings = found.warnings;
        let named: Vec<PathBuf> = if target.identity_files.is_empty() {
            tokens.paths(&found.identity_files, &mut warnings)
        } else {
            tokens.paths(&target.identity_files, &mut warnings)
        };
        let are_identities_named = !found.identity_files.is_empty() || !target.identity_files.is_empty();
        let defaults = || DEFAULT_KEYS.iter().map(|name| self.account.home.join(".ssh").join(name)).collect();
        let agent_socket = match found.identity_agent.as_deref() {
            None | Some("SSH_AUTH_SOCK") => self.account.agent_socket.clone(),
            Some(other) => tokens.paths(&[other.to_owned()], &mut warnings).into_iter().next(),
        };
        let user_known_hosts = found
            .user_known_hosts
            .unwrap_or_else(|| vec!["~/.ssh/known_hosts".to_owned(), "~/.ssh/known_hosts2".to_owned()]);
        let known_hosts = if self.account.known_hosts.is_empty() {
            let system =
                found.global_known_hosts.unwrap_or_else(|| SYSTEM_KNOWN_HOSTS.map(String::from).to_vec());
            [tokens.paths(&user_known_hosts, &mut warnings), tokens.paths(&system, &mut warnings)].concat()
        } else {
            self.account.known_hosts.clone()
        };
        Ok(Destination {
            alias: target.host.clone(),
            identity_files: if are_identities_named { named } else { defaults() },
            are_identities_named,
            identities_only: found.identities_only.unwrap_or(false),
            agent_socket,
            certificate_files: tokens.paths(&found.certificate_files, &mut warnings),
            jumps: parse_jumps(found.jump.as_deref())?,
            known_hosts,
            host_key_alias: found.host_key_alias,
            connect_timeout_seconds: found.connect_timeout,
            passphrase_file: target.passphrase_file.as_deref().map(|path| tokens.path(path)),
            is_known: found.is_known,
            port: found.port.unwrap_or(22),
            host_name,
            user,
            warnings,
        })
    }
}

fn collect_aliases(items: &[Item], aliases: &mut Vec<String>) {
    for item in items {
        match item {
            Item::Host(patterns) => {
                for pattern in patterns.iter().filter(|pattern| !pattern.contains(['*', '?', '!'])) {
                    if !aliases.contains(pattern) {
                        aliases.push(pattern.clone());
                    }
                }
            }
            Item::Include(inner) => collect_aliases(inner, aliases),
            Item::Match(_) | Item::Set(_) => {}
        }
    }
}

/// What was found so far: the first value of each keyword wins.
#[derive(Default)]
struct Found {
    is_active: bool,
    is_known: bool,
    host_name: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    identity_files: Vec<String>,
    identities_only: Option<bool>,
    identity_agent: Option<String>,
    certificate_files: Vec<String>,
    jump: Option<String>,
    proxy_command: Option<String>,
    user_known_hosts: Option<Vec<String>>,
    global_known_hosts: Option<Vec<String>>,
    host_key_alias: Option<String>,
    connect_timeout: Option<u64>,
    warnings: Vec<String>,
}

impl Found {
    fn walk(&mut self, items: &[Item], alias: &str, account: &Account) -> Result<()> {
        for item in items {
            match item {
                Item::Host(patterns) => {
                    self.is_active = list_matches(patterns.iter().map(String::as_str), alias);
                    self.is_known |= self.is_active && patterns.iter().any(|p| p != "*" && matches(p, alias));
                }
                Item::Match(criteria) => self.is_active = self.meets(criteria, alias, account),
                Item::Include(inner) => {
                    let was_active = self.is_active;
                    if was_active {
                        self.walk(inner, alias, account)?;
                    }
                    self.is_active = was_active;
                }
                Item::Set(setting) if self.is_active => self.set(setting)?,
                Item::Set(_) => {}
            }
        }
        Ok(())
    }

    fn meets(&mut self, criteria: &[String], alias: &str, account: &Account) -> bool {
        let mut words = criteria.iter();
        while let Some(word) = words.next() {
            let (is_negated, name) = match word.strip_prefix('!') {
                Some(name) => (true, name.to_lowercase()),
                None => (false, word.to_lowercase()),
            };
            let is_met = match name.as_str() {
                "all" => true,
                // these ask for a second pass, which only name canonicalisation needs
                "canonical" | "final" => false,
                _ => {
                    let Some(patterns) = words.next() else { return false };
                    let host_name = self.host_name.clone().unwrap_or_else(|| alias.to_owned());
                    let user = self.user.clone().unwrap_or_else(|| account.user.clone());
                    let subject = match name.as_str() {
                        "host" => host_name.replace("%h", alias),
                        "originalhost" => alias.to_owned(),
                        "user" => user,
                        "localuser" => account.user.clone(),
                        other => {
                            self.warnings.push(format!("ssh_config: “Match {other}” is passed over"));
                            return false;
                        }
                    };
                    list_matches(patterns.split(','), &subject)
                }
            };
            if is_met == is_negated {
                return false;
            }
        }
        true
    }

    fn set(&mut self, setting: &Setting) -> Result<()> {
        let Some(value) = setting.values.first() else { return Ok(()) };
        let keep = |slot: &mut Option<String>| {
            slot.get_or_insert_with(|| value.clone());
        };
        match setting.keyword.as_str() {
            "hostname" => keep(&mut self.host_name),
            "user" => keep(&mut self.user),
            "identityagent" => keep(&mut self.identity_agent),
            "hostkeyalias" => keep(&mut self.host_key_alias),
            "proxyjump" if self.proxy_command.is_none() => keep(&mut self.jump),
            "proxycommand" if self.jump.is_none() => {
                self.proxy_command.get_or_insert_with(|| setting.values.join(" "));
            }
            "identityfile" => self.identity_files.push(value.clone()),
            "certificatefile" => self.certificate_files.push(value.clone()),
            "identitiesonly" => {
                self.identities_only.get_or_insert(matches!(value.to_lowercase().as_str(), "yes" | "true"));
            }
            "userknownhostsfile" => {
                self.user_known_hosts.get_or_insert_with(|| setting.values.clone());
            }
            "globalknownhostsfile" => {
                self.global_known_hosts.get_or_insert_with(|| setting.values.clone());
            }
            "port" if self.port.is_none() => {
                let port = value.parse().ok().filter(|&port| port > 0);
                self.port = Some(port.ok_or_else(|| setting.malformed("a port from 1 to 65535"))?);
            }
            "connecttimeout" if self.connect_timeout.is_none() && value != "none" => {
                self.connect_timeout =
                    Some(value.parse().map_err(|_| setting.malformed("a number of seconds"))?);
            }
            _ => {}
        }
        Ok(())
    }
}

/// `[user@]host[:port]` several times, separated by commas; `none` is no jump.
fn parse_jumps(text: Option<&str>) -> Result<Vec<SshTarget>> {
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
struct Tokens<'a> {
    account: &'a Account,
    alias: &'a str,
    host_name: &'a str,
    user: &'a str,
    port: u16,
}

impl Tokens<'_> {
    fn fill(&self, text: &str) -> String {
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

    fn path(&self, text: &str) -> PathBuf {
        let filled = self.fill(text);
        match filled.strip_prefix("~/") {
            Some(rest) => self.account.home.join(rest),
            // relative to the home directory: a server's working directory means nothing
            None => self.account.home.join(filled),
        }
    }

    /// The paths; `none` is none, and what names an environment variable is passed over.
    fn paths(&self, texts: &[String], warnings: &mut Vec<String>) -> Vec<PathBuf> {
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

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
