//! Which host keys are known: `known_hosts` files, read and never written, beside the approvals of people.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use domain::ports::{ApprovedHostKey, KeyVerdict};
use hmac::{Hmac, KeyInit, Mac};
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Certificate, PublicKey};
use sha1::Sha1;

use super::config::Destination;
use super::pattern::list_matches;

/// No file of known hosts is longer.
const LONGEST_FILE_BYTES: u64 = 16 << 20;

/// All that is known of the keys of one host.
#[derive(Clone, Debug, Default)]
pub struct KnownKeys {
    /// The host as `known_hosts` writes it.
    host: String,
    /// Its plain name, where the port is not 22: keys known under it are taken too, as OpenSSH does.
    plain: Option<String>,
    /// Its name as certificates write it.
    principal: String,
    written: Vec<Entry>,
    approved: Vec<PublicKey>,
}

#[derive(Clone, Debug)]
struct Entry {
    mark: Mark,
    /// Matched by its plain name only.
    is_plain: bool,
    key: PublicKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    None,
    Authority,
    Revoked,
}

impl KnownKeys {
    /// Reads the destination's files; `approved` are the approvals of all hosts.
    pub fn read(destination: &Destination, approved: &[ApprovedHostKey]) -> Self {
        let texts: Vec<String> = destination.known_hosts.iter().filter_map(read_text).collect();
        Self::from_texts(destination, texts.iter().map(String::as_str), approved)
    }

    fn from_texts<'a>(
        destination: &Destination,
        texts: impl IntoIterator<Item = &'a str>,
        approved: &[ApprovedHostKey],
    ) -> Self {
        let host = destination.known_as();
        let has_plain = destination.host_key_alias.is_none() && destination.port != 22;
        let principal = destination.host_key_alias.as_ref().unwrap_or(&destination.host_name).to_lowercase();
        let plain = has_plain.then(|| destination.host_name.to_lowercase());
        let mut known = Self { host, plain, principal, ..Self::default() };
        for line in texts.into_iter().flat_map(str::lines) {
            known.written.extend(known.entry(line));
        }
        known.approved = approved
            .iter()
            .filter(|approval| approval.host == known.host)
            .filter_map(|approval| parse_key(&approval.algorithm, &approval.public_key))
            .collect();
        known
    }

    fn entry(&self, line: &str) -> Option<Entry> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        let mut words = line.split_whitespace();
        let mut hosts = words.next()?;
        let mark = match hosts {
            "@cert-authority" => Mark::Authority,
            "@revoked" => Mark::Revoked,
            _ => Mark::None,
        };
        if mark != Mark::None {
            hosts = words.next()?;
        }
        let is_exact = name_matches(hosts, &self.host);
        let is_plain = !is_exact && self.plain.as_ref().is_some_and(|plain| name_matches(hosts, plain));
        if !is_exact && !is_plain {
            return None;
        }
        Some(Entry { mark, is_plain, key: parse_key(words.next()?, words.next()?)? })
    }

    /// The key types that are known, best known first: they are asked for before others, as OpenSSH does, so that a
    /// host that has several keys shows one that we know.
    pub fn algorithms(&self) -> Vec<russh::keys::Algorithm> {
        let written = self.written.iter().filter(|entry| entry.mark == Mark::None).map(|entry| &entry.key);
        written.chain(&self.approved).map(PublicKey::algorithm).collect()
    }

    /// Whether an authority may vouch for this host: then its certificate is asked for.
    pub fn has_authority(&self) -> bool {
        self.written.iter().any(|entry| entry.mark == Mark::Authority)
    }

    /// What we know of this key.
    pub fn verdict(&self, key: &PublicKey) -> KeyVerdict {
        let is_same = |known: &PublicKey| known.key_data() == key.key_data();
        if self.written.iter().any(|entry| entry.mark == Mark::Revoked && is_same(&entry.key)) {
            return KeyVerdict::Revoked;
        }
        let plainly_written = || self.written.iter().filter(|entry| entry.mark == Mark::None);
        let written: Vec<&PublicKey> =
            plainly_written().filter(|entry| !entry.is_plain).map(|entry| &entry.key).collect();
        let approved: Vec<&PublicKey> = self.approved.iter().collect();
        // a changed key in either outweighs that the other knows it
        let origins = [written, approved];
        let is_type = |known: &&&PublicKey| known.algorithm().as_str() == key.algorithm().as_str();
        let is_changed = |keys: &Vec<&PublicKey>| {
            !keys.iter().any(|known| is_same(known)) && keys.iter().any(|known| is_type(&known))
        };
        if origins.iter().any(is_changed) {
            return KeyVerdict::Changed;
        }
        if origins.iter().flatten().any(|known| is_same(known))
            || plainly_written().any(|entry| entry.is_plain && is_same(&entry.key))
        {
            return KeyVerdict::Trusted;
        }
        // known by keys of other types only: an impostor would show just that
        if origins.iter().all(Vec::is_empty) { KeyVerdict::Unknown } else { KeyVerdict::Changed }
    }

    /// Whether an authority that we trust for this host vouches for it by this certificate, now; or why not.
    pub fn vouched(&self, certificate: &Certificate) -> Result<(), CertificateFlaw> {
        let is = |entry: &Entry, mark: Mark, key: &_| entry.mark == mark && entry.key.key_data() == key;
        let authority = certificate.signature_key();
        let is_revoked = |entry: &Entry| {
            is(entry, Mark::Revoked, authority) || is(entry, Mark::Revoked, certificate.public_key())
        };
        if self.written.iter().any(is_revoked) {
            return Err(CertificateFlaw::Revoked);
        }
        if !self.written.iter().any(|entry| is(entry, Mark::Authority, authority)) {
            return Err(CertificateFlaw::Distrusted("its authority is not trusted for this host"));
        }
        if certificate.cert_type() != CertType::Host || !certificate.critical_options().is_empty() {
            return Err(CertificateFlaw::Distrusted("it is no plain host certificate"));
        }
        if certificate.verify_signature().is_err() {
            return Err(CertificateFlaw::Distrusted("its signature is wrong"));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if now < certificate.valid_after() {
            return Err(CertificateFlaw::Distrusted("it is not valid yet"));
        }
        if now >= certificate.valid_before() {
            return Err(CertificateFlaw::Distrusted("it has expired"));
        }
        let principals = certificate.valid_principals();
        let names = principals.iter().map(String::as_str).filter(|name| !name.starts_with('!'));
        if !principals.is_empty() && !list_matches(names, &self.principal) {
            return Err(CertificateFlaw::Distrusted("it is for other names"));
        }
        Ok(())
    }
}

/// Why a host certificate does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFlaw {
    /// Its authority or its key is revoked.
    Revoked,
    /// It is not trusted, for this reason; the key in it may still be known by itself.
    Distrusted(&'static str),
}

fn read_text(path: &PathBuf) -> Option<String> {
    let metadata = std::fs::metadata(path).ok()?;
    if metadata.len() > LONGEST_FILE_BYTES || !metadata.is_file() {
        return None;
    }
    std::fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// A line with a key type that is not understood is passed over.
fn parse_key(algorithm: &str, base64: &str) -> Option<PublicKey> {
    PublicKey::from_openssh(&format!("{algorithm} {base64}")).ok()
}

fn name_matches(hosts: &str, name: &str) -> bool {
    if let Some(hashed) = hosts.strip_prefix("|1|") {
        return hash_matches(hashed, name);
    }
    let hosts = hosts.to_lowercase();
    list_matches(hosts.split(','), name)
}

fn hash_matches(hashed: &str, name: &str) -> bool {
    let Some((salt, hash)) = hashed.split_once('|') else { return false };
    let (Ok(salt), Ok(hash)) = (STANDARD.decode(salt), STANDARD.decode(hash)) else { return false };
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(&salt) else { return false };
    mac.update(name.as_bytes());
    mac.verify_slice(&hash).is_ok()
}

#[cfg(test)]
#[path = "known_hosts_tests.rs"]
mod tests;
