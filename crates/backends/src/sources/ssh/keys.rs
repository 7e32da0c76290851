//! The private keys and certificates that a destination's configuration names, and what is wrong with them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::Error;
use domain::secret::Secret;
use russh::keys::{Certificate, PrivateKey, PublicKey, decode_secret_key, load_openssh_certificate};

use super::config::Destination;

/// No key file is longer.
const LONGEST_FILE_BYTES: u64 = 1 << 20;

/// What may be tried to sign in, in order.
#[derive(Debug, Default)]
pub struct Identities {
    /// The usable ones.
    pub found: Vec<Identity>,
    /// What is wrong with the others.
    pub flaws: Vec<Flaw>,
}

/// A key of a file.
#[derive(Debug)]
pub struct Identity {
    /// The file.
    pub path: PathBuf,
    /// The key's public half.
    pub public: PublicKey,
    /// The key itself; without it an agent may still hold it.
    pub private: Option<Arc<PrivateKey>>,
    /// Certificates for this key.
    pub certificates: Vec<Certificate>,
}

/// Why a key file cannot be used.
#[derive(Debug)]
pub struct Flaw {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub kind: FlawKind,
}

/// What is wrong with a key file.
#[derive(Debug, PartialEq, Eq)]
pub enum FlawKind {
    /// It is not there.
    Missing,
    /// It may not be read.
    Unreadable,
    /// It is encrypted and there is no passphrase.
    NeedsPassphrase,
    /// It is encrypted by another passphrase.
    WrongPassphrase,
    /// It holds no passphrase that can be read.
    NoPassphrase,
    /// It is no key, or of a kind that is not understood.
    Malformed,
}

impl Identities {
    /// Reads the destination's key files. Decrypting takes a while: not for a thread that serves others.
    pub fn read(destination: &Destination) -> Self {
        let mut identities = Self::default();
        let passphrase = match destination.passphrase_file.as_deref().map(read_passphrase) {
            None => None,
            Some(Ok(passphrase)) => Some(passphrase),
            Some(Err(flaw)) => {
                identities.flaws.push(flaw);
                None
            }
        };
        for path in &destination.identity_files {
            match read_identity(path, passphrase.as_ref()) {
                Ok(identity) => identities.found.push(identity),
                Err(Locked { public, flaw }) => {
                    identities.found.extend(public.map(|public| Identity::public_only(path, *public)));
                    if destination.are_identities_named || flaw.kind != FlawKind::Missing {
                        identities.flaws.push(flaw);
                    }
                }
            }
        }
        for identity in &mut identities.found {
            identity.certificates = certificates(identity, destination);
        }
        identities
    }
}

impl Identity {
    fn public_only(path: &Path, public: PublicKey) -> Self {
        Self { path: path.to_owned(), public, private: None, certificates: Vec::new() }
    }
}

impl Flaw {
    fn new(path: &Path, kind: FlawKind) -> Self {
        Self { path: path.to_owned(), kind }
    }

    /// The error for a sign-in that failed because of it.
    pub fn error(&self, destination: &Destination) -> Error {
        let path = self.path.display();
        match self.kind {
            FlawKind::Missing => Error::unreachable(
                "ssh_key_missing",
                format!("the key file {path} for {} is not there", destination.alias),
                format!("make it with: ssh-keygen -t ed25519 -f {path} (or correct the path)"),
            ),
            FlawKind::Unreadable => Error::unreachable(
                "ssh_key_unreadable",
                format!(
                    "the key file {path} for {} may not be read by the user Reeve runs as",
                    destination.alias
                ),
                format!("let that user read it: sudo chown REEVE_USER {path} && sudo chmod 600 {path}"),
            ),
            FlawKind::NeedsPassphrase => Error::unreachable(
                "ssh_key_passphrase",
                format!("the key {path} for {} needs its passphrase", destination.alias),
                format!(
                    "load it into the agent with: ssh-add {path}; or name a file with the passphrase as passphrase_file"
                ),
            ),
            FlawKind::WrongPassphrase => Error::unreachable(
                "ssh_key_passphrase",
                format!("the key {path} for {} does not open with the passphrase given", destination.alias),
                format!("try the passphrase with: ssh-keygen -y -f {path}; then correct the passphrase file"),
            ),
            FlawKind::NoPassphrase => Error::unreachable(
                "ssh_key_passphrase",
                format!("the passphrase file {path} for {} cannot be read", destination.alias),
                format!("let the user Reeve runs as read it: ls -l {path}"),
            ),
            FlawKind::Malformed => Error::unreachable(
                "ssh_key_unreadable",
                format!("{path} is no private key that Reeve understands"),
                format!("see what it is with: ssh-keygen -l -f {path}"),
            ),
        }
    }
}

fn read_text(path: &Path) -> Result<String, Flaw> {
    let flaw = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Flaw::new(path, FlawKind::Missing),
        _ => Flaw::new(path, FlawKind::Unreadable),
    };
    let metadata = std::fs::metadata(path).map_err(flaw)?;
    if metadata.len() > LONGEST_FILE_BYTES || !metadata.is_file() {
        return Err(Flaw::new(path, FlawKind::Malformed));
    }
    let bytes = std::fs::read(path).map_err(flaw)?;
    String::from_utf8(bytes).map_err(|_| Flaw::new(path, FlawKind::Malformed))
}

fn read_passphrase(path: &Path) -> Result<Secret<String>, Flaw> {
    let text = read_text(path).map_err(|_| Flaw::new(path, FlawKind::NoPassphrase))?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// A key that cannot be opened.
struct Locked {
    /// Its public half, if that is known.
    public: Option<Box<PublicKey>>,
    flaw: Flaw,
}

fn read_identity(path: &Path, passphrase: Option<&Secret<String>>) -> Result<Identity, Locked> {
    let text = match read_text(path) {
        Ok(text) => text,
        // the agent may hold a key whose file is elsewhere
        Err(flaw) => return Err(Locked { public: public_beside(path).map(Box::new), flaw }),
    };
    if let Ok(public) = PublicKey::from_openssh(&text) {
        return Ok(Identity::public_only(path, public));
    }
    let is_encrypted = match decode_secret_key(&text, None) {
        Ok(key) => return Ok(Identity::private(path, key)),
        Err(russh::keys::Error::KeyIsEncrypted) => true,
        Err(_) => text.contains("ENCRYPTED"),
    };
    let public = PrivateKey::from_openssh(&text).ok().map(|key| key.public_key().clone());
    let public = public.or_else(|| public_beside(path));
    let kind = match passphrase {
        Some(passphrase) if is_encrypted => match decode_secret_key(&text, Some(passphrase.expose())) {
            Ok(key) => return Ok(Identity::private(path, key)),
            Err(_) => FlawKind::WrongPassphrase,
        },
        None if is_encrypted => FlawKind::NeedsPassphrase,
        _ => FlawKind::Malformed,
    };
    Err(Locked { public: public.map(Box::new), flaw: Flaw::new(path, kind) })
}

impl Identity {
    fn private(path: &Path, key: PrivateKey) -> Self {
        Self {
            path: path.to_owned(),
            public: key.public_key().clone(),
            private: Some(Arc::new(key)),
            certificates: Vec::new(),
        }
    }
}

fn public_beside(path: &Path) -> Option<PublicKey> {
    let text = read_text(&with_suffix(path, ".pub")).ok()?;
    PublicKey::from_openssh(text.trim()).ok()
}

fn certificates(identity: &Identity, destination: &Destination) -> Vec<Certificate> {
    let beside = [
        with_suffix(&identity.path, "-cert.pub"),
        PathBuf::from(identity.path.to_string_lossy().trim_end_matches(".pub").to_owned() + "-cert.pub"),
    ];
    let mut found: Vec<Certificate> = Vec::new();
    for path in destination.certificate_files.iter().chain(&beside) {
        let Ok(certificate) = load_openssh_certificate(path) else { continue };
        if certificate.public_key() == identity.public.key_data() && !found.contains(&certificate) {
            found.push(certificate);
        }
    }
    found
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
