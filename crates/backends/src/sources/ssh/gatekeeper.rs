//! Who may answer for a host: asks for the keys that are known, and lets only trusted ones through.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::Result;
use domain::ports::{KeyVerdict, ShownHostKey};
use russh::client;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKey, PublicKeyBase64, PublicKeyOrCertificate};
use russh::{Preferred, SshId};

use super::known_hosts::{CertificateFlaw, KnownKeys};

const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KEEP_ALIVES_MISSED: usize = 3;

/// Asks for the kinds of host key that are known first, and for certificates where an authority is.
pub(super) fn client_config(known: &KnownKeys) -> client::Config {
    let usual = [
        Algorithm::Ed25519,
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
    ];
    let kinds = known.algorithms();
    let is_known = |algorithm: &Algorithm| {
        kinds.iter().any(|kind| kind == algorithm || is_rsa(kind) && is_rsa(algorithm))
    };
    let (mut ordered, others): (Vec<_>, Vec<_>) = usual.iter().cloned().partition(is_known);
    ordered.extend(others);
    client::Config {
        client_id: SshId::Standard(concat!("SSH-2.0-Reeve_", env!("CARGO_PKG_VERSION")).into()),
        keepalive_interval: Some(KEEP_ALIVE),
        keepalive_max: KEEP_ALIVES_MISSED,
        preferred: Preferred {
            key: ordered.into(),
            host_key_certificates: if known.has_authority() {
                usual.to_vec().into()
            } else {
                Vec::new().into()
            },
            ..Preferred::default()
        },
        ..client::Config::default()
    }
}

/// What a host showed, once it has.
#[derive(Clone, Default)]
pub(super) struct Shown(pub Arc<Mutex<Option<Seen>>>);

/// A key that was shown.
pub(super) struct Seen {
    pub key: ShownHostKey,
    /// Why its certificate did not count, where it had one.
    pub flaw: Option<&'static str>,
}

/// Lets only trusted host keys through, and remembers what was shown.
pub(crate) struct Gatekeeper {
    pub(super) host: String,
    pub(super) known: KnownKeys,
    pub(super) shown: Shown,
}

impl Gatekeeper {
    fn judge(&self, shown: &PublicKeyOrCertificate) -> (KeyVerdict, Option<&'static str>) {
        let Some(certificate) = shown.certificate() else {
            return (self.known.verdict(&shown.public_key()), None);
        };
        match self.known.vouched(certificate) {
            Ok(()) => (KeyVerdict::Trusted, None),
            Err(CertificateFlaw::Revoked) => (KeyVerdict::Revoked, None),
            // the key in it may be known by itself, as OpenSSH has it
            Err(CertificateFlaw::Distrusted(why)) => (self.known.verdict(&shown.public_key()), Some(why)),
        }
    }
}

impl client::Handler for Gatekeeper {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let (verdict, flaw) = self.judge(shown);
        let key: PublicKey = shown.public_key();
        let seen = Seen {
            key: ShownHostKey {
                host: self.host.clone(),
                algorithm: key_type(&key),
                fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
                public_key: key.public_key_base64(),
                verdict,
            },
            flaw,
        };
        *self.shown.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        Ok(verdict == KeyVerdict::Trusted)
    }
}

/// Whatever the hash.
fn is_rsa(algorithm: &Algorithm) -> bool {
    matches!(algorithm, Algorithm::Rsa { .. })
}

/// The key type as `known_hosts` writes it: RSA without its signature hash.
fn key_type(key: &PublicKey) -> String {
    if key.algorithm().is_rsa() { "ssh-rsa".to_owned() } else { key.algorithm().as_str().to_owned() }
}
