//! Signing in: by certificate, by key, by agent; and saying what was tried when nothing was taken.

use std::sync::Arc;
use std::time::Duration;

use domain::untrusted::clean;
use domain::{Error, Result};
use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Certificate, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use russh::{MethodKind, MethodSet};
use tokio::net::UnixStream;

use super::config::Destination;
use super::gatekeeper::Gatekeeper;
use super::keys::{Identities, Identity};
use super::signer::{AgentSigner, FileSigner};

/// An agent that does not answer so soon is taken as absent.
const AGENT_DEADLINE: Duration = Duration::from_secs(3);

type Agent = AgentClient<UnixStream>;

/// Signs in to `destination` over `handle`, with what `identities` and the agent have.
pub(super) async fn sign_in(
    handle: &mut Handle<Gatekeeper>,
    destination: &Destination,
    identities: &Identities,
) -> Result<()> {
    // asks which methods there are; a server that trusts the network itself (Tailscale's) lets us in by it
    let allowed =
        match handle.authenticate_none(&destination.user).await.map_err(|error| lost(destination, error))? {
            AuthResult::Success => return Ok(()),
            AuthResult::Failure { remaining_methods, .. } => remaining_methods,
        };
    let mut attempt =
        Attempt { handle, destination, allowed, tried: Vec::new(), rsa_hash: None, is_partial: false };
    let mut agent = open_agent(attempt.handle, destination).await;
    if attempt.allowed.contains(&MethodKind::PublicKey) && attempt.run(identities, agent.as_mut()).await? {
        return Ok(());
    }
    Err(attempt.failure(identities))
}

struct OpenAgent {
    client: Agent,
    held: Vec<AgentIdentity>,
}

async fn open_agent(handle: &Handle<Gatekeeper>, destination: &Destination) -> Option<OpenAgent> {
    let path = destination.agent_socket.as_ref()?;
    let opened = tokio::time::timeout(AGENT_DEADLINE, async {
        let mut client = Agent::connect_uds(path).await.ok()?;
        if let Some(binding) = handle.agent_session_binding() {
            // an agent that does not know this needs it not
            let _ = client.bind_session(binding, false).await;
        }
        let held = client.request_identities().await.ok()?;
        Some(OpenAgent { client, held })
    });
    opened.await.ok().flatten()
}

struct Attempt<'a> {
    handle: &'a mut Handle<Gatekeeper>,
    destination: &'a Destination,
    allowed: MethodSet,
    /// What was offered, in words.
    tried: Vec<String>,
    /// The hash for RSA signatures, once it was asked for; an inner `None` where the server knows SHA-1 only.
    #[expect(clippy::option_option, reason = "not asked yet and none are two things")]
    rsa_hash: Option<Option<HashAlg>>,
    is_partial: bool,
}

impl Attempt<'_> {
    /// Whether something was taken. In OpenSSH's order: keys that were named, the agent's, the usual files.
    async fn run(&mut self, identities: &Identities, mut agent: Option<&mut OpenAgent>) -> Result<bool> {
        if self.destination.are_identities_named && self.files(identities, agent.as_deref_mut()).await? {
            return Ok(true);
        }
        if let Some(agent) = agent.as_deref_mut()
            && !self.destination.identities_only
            && self.held(identities, agent).await?
        {
            return Ok(true);
        }
        if !self.destination.are_identities_named && self.files(identities, agent).await? {
            return Ok(true);
        }
        Ok(false)
    }

    async fn files(&mut self, identities: &Identities, mut agent: Option<&mut OpenAgent>) -> Result<bool> {
        for identity in &identities.found {
            if self.file(identity, agent.as_deref_mut()).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn file(&mut self, identity: &Identity, agent: Option<&mut OpenAgent>) -> Result<bool> {
        let name = identity.path.display().to_string();
        if let Some(key) = &identity.private {
            for certificate in &identity.certificates {
                let mut signer = FileSigner(Arc::clone(key));
                if self.certificate(certificate, &mut signer, format!("certificate of {name}")).await? {
                    return Ok(true);
                }
            }
            return self.key(key, name).await;
        }
        let Some(agent) = agent else { return Ok(false) };
        let is_held =
            agent.held.iter().any(|held| held.public_key().key_data() == identity.public.key_data());
        if !is_held {
            return Ok(false);
        }
        for certificate in &identity.certificates {
            let mut signer = AgentSigner { client: &mut agent.client, key: identity.public.clone() };
            if self.certificate(certificate, &mut signer, format!("certificate of {name}")).await? {
                return Ok(true);
            }
        }
        self.agent_key(agent, &identity.public, format!("{name} by the agent")).await
    }

    /// The agent's keys, except those that files name as well.
    async fn held(&mut self, identities: &Identities, agent: &mut OpenAgent) -> Result<bool> {
        let is_named = |key: &PublicKey| {
            self.destination.are_identities_named
                && identities.found.iter().any(|identity| identity.public.key_data() == key.key_data())
        };
        let held: Vec<AgentIdentity> =
            agent.held.iter().filter(|held| !is_named(&held.public_key())).cloned().collect();
        for identity in held {
            let taken = match identity {
                AgentIdentity::PublicKey { key, comment } => {
                    self.agent_key(agent, &key, format!("“{}” of the agent", clean(&comment))).await?
                }
                AgentIdentity::Certificate { certificate, comment } => {
                    let name = format!("certificate “{}” of the agent", clean(&comment));
                    self.certificate(&certificate, &mut agent.client, name).await?
                }
            };
            if taken {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn key(&mut self, key: &Arc<PrivateKey>, name: String) -> Result<bool> {
        let Some(hash) = self.hash_for(key.public_key().algorithm().is_rsa(), &name).await? else {
            return Ok(false);
        };
        self.tried.push(name);
        let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
        let result = self.handle.authenticate_publickey(&self.destination.user, key).await;
        self.took(result.map_err(|error| lost(self.destination, error))?)
    }

    async fn agent_key(&mut self, agent: &mut OpenAgent, key: &PublicKey, name: String) -> Result<bool> {
        let Some(hash) = self.hash_for(key.algorithm().is_rsa(), &name).await? else { return Ok(false) };
        self.tried.push(name);
        let user = &self.destination.user;
        let signing = self.handle.authenticate_publickey_with(user, key.clone(), hash, &mut agent.client);
        match signing.await {
            Ok(result) => self.took(result),
            // an agent that will not sign with one key may still sign with another
            Err(_) => Ok(false),
        }
    }

    async fn certificate<S: russh::Signer>(
        &mut self,
        certificate: &Certificate,
        signer: &mut S,
        name: String,
    ) -> Result<bool> {
        let Some(hash) = self.hash_for(certificate.algorithm().is_rsa(), &name).await? else {
            return Ok(false);
        };
        self.tried.push(name);
        let user = &self.destination.user;
        match self.handle.authenticate_certificate_with(user, certificate.clone(), hash, signer).await {
            Ok(result) => self.took(result),
            Err(_) => Ok(false),
        }
    }

    /// The hash to sign with; `None` where this server would take SHA-1 only, which is never used.
    async fn hash_for(&mut self, is_rsa: bool, name: &str) -> Result<Option<Option<HashAlg>>> {
        if !is_rsa {
            return Ok(Some(None));
        }
        let hash = match self.rsa_hash {
            Some(hash) => hash,
            None => match self.handle.best_supported_rsa_hash().await {
                Ok(Some(hash)) => hash,
                Ok(None) => Some(HashAlg::Sha512),
                Err(error) => return Err(lost(self.destination, error)),
            },
        };
        self.rsa_hash = Some(hash);
        if hash.is_none() {
            self.tried.push(format!("not {name}: the server takes RSA with SHA-1 only"));
        }
        Ok(hash.map(Some))
    }

    fn took(&mut self, result: AuthResult) -> Result<bool> {
        match result {
            AuthResult::Success => Ok(true),
            AuthResult::Failure { remaining_methods, partial_success } => {
                self.is_partial |= partial_success;
                if self.handle.is_closed() {
                    return Err(self.failure(&Identities::default()));
                }
                self.allowed = remaining_methods;
                Ok(false)
            }
        }
    }

    fn failure(&self, identities: &Identities) -> Error {
        // a key that was named and cannot be used is the likelier cause than those that were refused
        let flaw = identities
            .flaws
            .first()
            .filter(|_| self.destination.are_identities_named || self.tried.is_empty());
        if let Some(flaw) = flaw {
            return flaw.error(self.destination);
        }
        let Destination { user, host_name, port, .. } = self.destination;
        let allowed: Vec<&str> = self.allowed.iter().map(<&str>::from).collect();
        let allowed = if allowed.is_empty() { "nothing more".to_owned() } else { allowed.join(", ") };
        let tried = match self.tried.as_slice() {
            [] => "there was no key to offer".to_owned(),
            tried => format!("it refused {}", tried.join(", ")),
        };
        let closed = if self.handle.is_closed() { ", then closed the connection" } else { "" };
        let message = if self.is_partial {
            format!(
                "{host_name} takes the key of {user} and wants a second factor ({allowed}), which Reeve cannot give"
            )
        } else {
            format!("{host_name} does not let {user} in: {tried}{closed}; it allows {allowed}")
        };
        Error::unreachable(
            "ssh_auth_failed",
            message,
            format!(
                "let our key in with: ssh-copy-id -p {port} {user}@{host_name} (with -i KEY.pub for a certain key)"
            ),
        )
    }
}

fn lost(destination: &Destination, error: russh::Error) -> Error {
    Error::unreachable(
        "ssh_closed",
        format!("{} closed the connection while we signed in", destination.host_name),
        format!("see why in its log: journalctl -u ssh (or /var/log/auth.log) on {}", destination.host_name),
    )
    .caused_by(error)
}
