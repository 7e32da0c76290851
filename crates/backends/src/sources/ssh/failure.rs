//! What went wrong on the way to a machine, in words that say what to do.

use std::io;

use domain::ports::{KeyVerdict, ShownHostKey};
use domain::{Error, ErrorKind};

use super::config::Destination;
use super::wire::FirstWords;

/// The name does not resolve.
pub(super) fn unresolved(destination: &Destination, error: io::Error) -> Error {
    let Destination { alias, host_name, .. } = destination;
    let known =
        if destination.is_known { "" } else { ", and ~/.ssh/config of the server's user has no such host" };
    Error::unreachable(
        "ssh_resolve",
        format!("the name “{host_name}” does not resolve{known}"),
        format!("check it with: getent hosts {host_name}; or give “{alias}” a HostName in ~/.ssh/config"),
    )
    .caused_by(error)
}

/// TCP did not connect.
pub(super) fn unconnected(destination: &Destination, error: io::Error) -> Error {
    let Destination { host_name, port, .. } = destination;
    let failure = match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::unreachable(
            "ssh_refused",
            format!("{host_name} refuses connections on port {port}"),
            format!("start its SSH server there: sudo systemctl start ssh; or correct the port {port}"),
        ),
        io::ErrorKind::TimedOut => silent(destination, "to a connection attempt"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::NetworkDown => {
            Error::unreachable(
                "ssh_no_route",
                format!("there is no way to {host_name}: {}", plain(&error)),
                format!("see whether it is on and on this network: ping -c 3 {host_name}"),
            )
        }
        _ => Error::unreachable(
            "ssh_closed",
            format!("no connection to {host_name} port {port}: {}", plain(&error)),
            format!("try it with: ssh -v -p {port} {host_name} true"),
        ),
    };
    failure.caused_by(error)
}

/// Nothing came back in time, and when that was.
pub(super) fn silent(destination: &Destination, when: &str) -> Error {
    let Destination { host_name, port, .. } = destination;
    Error::unreachable(
        "ssh_timeout",
        format!("{host_name} port {port} did not answer {when}"),
        format!("see whether it is on and whether a firewall drops port {port}: nc -vz {host_name} {port}"),
    )
}

/// The exchange of keys failed.
pub(super) fn handshake(destination: &Destination, first_words: &FirstWords, error: russh::Error) -> Error {
    let Destination { host_name, port, .. } = destination;
    let said = first_words.text();
    if !said.is_empty() && !first_words.is_ssh() || matches!(error, russh::Error::Version) {
        return Error::unreachable(
            "ssh_banner",
            format!("what answers at {host_name} port {port} is no SSH server that we understand; it said “{said}”"),
            format!("see which port its SSH server has: ss -ltnp | grep sshd (on {host_name})"),
        )
        .caused_by(error);
    }
    if let russh::Error::NoCommonAlgo { kind, theirs, .. } = &error {
        let theirs = domain::untrusted::clean(&theirs.join(", "));
        return Error::unreachable(
            "ssh_no_common_algorithm",
            format!("{host_name} offers no {kind:?} algorithm that is still safe, only {theirs}"),
            format!("update the SSH server on {host_name}"),
        )
        .caused_by(error);
    }
    let when = if said.is_empty() { "before it introduced itself" } else { "while keys were exchanged" };
    Error::unreachable(
        "ssh_closed",
        format!("{host_name} port {port} closed the connection {when}"),
        "see why in its log (journalctl -u ssh): MaxStartups, fail2ban and hosts.deny do this",
    )
    .caused_by(error)
}

/// The host key is not trusted.
pub(super) fn host_key(destination: &Destination, key: &ShownHostKey, flaw: Option<&'static str>) -> Error {
    let ShownHostKey { host, algorithm, fingerprint, .. } = key;
    let certificate = flaw.map(|why| format!("; its certificate does not count: {why}")).unwrap_or_default();
    let look = format!("ssh-keygen -lf /etc/ssh/{} on the machine itself", key_file(algorithm));
    match key.verdict {
        KeyVerdict::Revoked => Error::unreachable(
            "host_key_revoked",
            format!(
                "{host} shows a host key that is marked @revoked in known_hosts: {algorithm} {fingerprint}"
            ),
            format!(
                "do not connect; find out who answers there, and give {} a new host key",
                destination.alias
            ),
        ),
        KeyVerdict::Changed => Error::unreachable(
            "host_key_changed",
            format!(
                "the host key of {host} has changed: it shows {algorithm} {fingerprint}. Somebody may be in between, or the machine was installed anew{certificate}"
            ),
            format!(
                "compare with: {look}. Only where they are equal: ssh-keygen -R '{host}', and approve the new key"
            ),
        ),
        KeyVerdict::Unknown | KeyVerdict::Trusted => Error::unreachable(
            "host_key_unknown",
            format!("the host key of {host} is not known yet: {algorithm} {fingerprint}{certificate}"),
            format!("compare with: {look}; then approve it"),
        ),
    }
}

fn key_file(algorithm: &str) -> &'static str {
    match algorithm {
        "ssh-ed25519" => "ssh_host_ed25519_key.pub",
        "ssh-rsa" => "ssh_host_rsa_key.pub",
        _ => "ssh_host_ecdsa_key.pub",
    }
}

/// The connection to a host on the way failed. A host key to approve keeps its own code.
pub(super) fn jump(host: &str, error: Error) -> Error {
    let message = format!("on the way through {host}: {}", error.message());
    let help = error.help().to_owned();
    match error.code() {
        "host_key_unknown" | "host_key_changed" | "host_key_revoked" => {
            Error::new(ErrorKind::Unreachable, error.code(), message, help)
        }
        _ => Error::unreachable("ssh_jump_failed", message, help).caused_by(error),
    }
}

/// The host on the way does not connect us onwards.
pub(super) fn not_forwarded(via: &Destination, destination: &Destination, error: russh::Error) -> Error {
    let Destination { host_name, port, .. } = destination;
    let (message, help) = match &error {
        russh::Error::ChannelOpenFailure(russh::ChannelOpenFailure::AdministrativelyProhibited) => (
            format!("{} does not let us connect onwards to {host_name} port {port}", via.host_name),
            format!("set AllowTcpForwarding yes in /etc/ssh/sshd_config on {}", via.host_name),
        ),
        _ => (
            format!("{} cannot connect to {host_name} port {port}", via.host_name),
            format!("try on {}: nc -vz {host_name} {port}", via.host_name),
        ),
    };
    Error::unreachable("ssh_jump_failed", message, help).caused_by(error)
}

/// The connection ended.
pub(super) fn closed(destination: &Destination) -> Error {
    Error::unreachable(
        "ssh_closed",
        format!("{} closed the connection", destination.host_name),
        "it is tried again by itself; where this repeats, see the log of its SSH server: journalctl -u ssh",
    )
}

/// The shell there was ended before it had answered.
pub(super) fn shell_ended(destination: &Destination) -> Error {
    Error::unreachable(
        "ssh_shell_ended",
        format!("the shell on {} ended before it had answered", destination.host_name),
        "see whether something ends it there, such as a lack of memory: dmesg | tail",
    )
}

/// The server gives no session more.
pub(super) fn sessions_full(destination: &Destination) -> Error {
    Error::unreachable(
        "ssh_sessions_full",
        format!("the SSH server of {} gives this connection no session more", destination.host_name),
        "set MaxSessions 10 (the default) in its /etc/ssh/sshd_config, then: sudo systemctl reload ssh",
    )
}

/// The account does not run our shell; `said` is what it said instead.
pub(super) fn command_refused(destination: &Destination, said: &str) -> Error {
    const QUOTED_CHARACTERS: usize = 200;
    let said: String = domain::untrusted::clean(said.trim()).chars().take(QUOTED_CHARACTERS).collect();
    let said = if said.is_empty() { "it says nothing".to_owned() } else { format!("it said “{said}”") };
    let Destination { user, host_name, .. } = destination;
    Error::unreachable(
        "ssh_command_refused",
        format!("{user} may sign in on {host_name} and not run /bin/sh: {said}"),
        format!(
            "look for a login shell like nologin (getent passwd {user}) or a command=\"…\" in its ~/.ssh/authorized_keys"
        ),
    )
}

/// The error's own words without its number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
