//! Signatures for certificates: by a key of a file, or by one that the agent holds.

use std::sync::Arc;

use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{HashAlg, PrivateKey, PublicKey};
use tokio::net::UnixStream;

/// Signs for a certificate with the key of a file.
pub(super) struct FileSigner(pub Arc<PrivateKey>);

impl russh::Signer for FileSigner {
    type Error = russh::AgentAuthError;

    async fn auth_sign(
        &mut self,
        _identity: &AgentIdentity,
        hash: Option<HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, Self::Error> {
        let signature = match self.0.key_data() {
            KeypairData::Rsa(key) => (key, hash).try_sign(&to_sign),
            key => key.try_sign(&to_sign),
        };
        let signature = signature.map_err(|_| russh::keys::Error::InvalidSignature)?;
        let mut encoded = Vec::new();
        signature.encode(&mut encoded).map_err(russh::keys::Error::from)?;
        encoded.encode(&mut to_sign).map_err(russh::keys::Error::from)?;
        Ok(to_sign)
    }
}

/// Signs for a certificate of a file with a key that the agent holds.
pub(super) struct AgentSigner<'a> {
    pub client: &'a mut AgentClient<UnixStream>,
    pub key: PublicKey,
}

impl russh::Signer for AgentSigner<'_> {
    type Error = russh::AgentAuthError;

    async fn auth_sign(
        &mut self,
        _identity: &AgentIdentity,
        hash: Option<HashAlg>,
        to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, Self::Error> {
        let identity = AgentIdentity::PublicKey { key: self.key.clone(), comment: String::new() };
        Ok(self.client.sign_request(&identity, hash, to_sign).await?)
    }
}
