//! The server's `ssh_config`: which address, user, keys and known hosts an alias means.

use std::path::Path;

use domain::device::SshTarget;
use domain::{Error, ErrorKind, Result};

use super::config_text::{Item, Setting, parse};
use super::destination::{Tokens, parse_jumps};
use super::pattern::{list_matches, matches};
use crate::sources::Account;

pub use super::destination::Destination;

const SYSTEM_CONFIG: &str = "/etc/ssh/ssh_config";
const SYSTEM_KNOWN_HOSTS: [&str; 2] = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"];
const USER_KNOWN_HOSTS: [&str; 2] = ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"];
const DEFAULT_KEYS: [&str; 5] = ["id_ed25519", "id_ecdsa", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk"];

/// The `ssh_config` of an account: its own file, then the system's.
#[derive(Clone, Debug)]
pub struct Config {
    items: Vec<Item>,
    account: Account,
    warnings: Vec<String>,
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
        if let Some(command) = found.proxy_command.as_ref().filter(|command| *command != "none") {
            return Err(proxy_command_refused(&target.host, command));
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
        let named =
            if target.identity_files.is_empty() { &found.identity_files } else { &target.identity_files };
        let are_identities_named = !named.is_empty();
        let named = tokens.paths(named, &mut warnings);
        let defaults = || DEFAULT_KEYS.iter().map(|name| self.account.home.join(".ssh").join(name)).collect();
        let agent_socket = match found.identity_agent.as_deref() {
            None | Some("SSH_AUTH_SOCK") => self.account.agent_socket.clone(),
            Some(other) => tokens.paths(&[other.to_owned()], &mut warnings).into_iter().next(),
        };
        let known_hosts = if self.account.known_hosts.is_empty() {
            let owned = |paths: [&str; 2]| paths.map(String::from).to_vec();
            let user = found.user_known_hosts.unwrap_or_else(|| owned(USER_KNOWN_HOSTS));
            let system = found.global_known_hosts.unwrap_or_else(|| owned(SYSTEM_KNOWN_HOSTS));
            tokens.paths(&[user, system].concat(), &mut warnings)
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

fn proxy_command_refused(alias: &str, command: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "ssh_proxy_command",
        format!("ssh_config reaches “{alias}” by ProxyCommand ({command}), which Reeve does not run"),
        "use ProxyJump in ~/.ssh/config, or set proxy_jump on the device",
    )
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

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
