//! Making a connection: look up, connect (through other hosts where need be), check the host key, sign in.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::device::SshTarget;
use domain::ports::{ApprovedHostKey, KeyVerdict, ShownHostKey};
use domain::{BoxFuture, Error, Result};
use russh::client::{self, Handle};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::config::{Config, Destination};
use super::failure;
use super::gatekeeper::{Gatekeeper, Shown, client_config};
use super::keys::Identities;
use super::known_hosts::KnownKeys;
use super::sign_in::sign_in;
use super::wire::{FirstWords, Wire};
use crate::sources::Account;
use crate::sources::stream::Stream;

/// Longest wait for one connection to stand, unless `ConnectTimeout` says less or more.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// `ConnectTimeout` counts up to this.
const LONGEST_CONNECT_DEADLINE: Duration = Duration::from_secs(60);
/// Keys are decrypted and ssh-agents asked within this, beside the network.
const SIGN_IN_DEADLINE: Duration = Duration::from_secs(15);
/// More jumps than this are a circle.
const MOST_JUMPS: usize = 8;

/// What is needed to connect to anything.
#[derive(Clone)]
pub(crate) struct Connector {
    pub account: Arc<Account>,
    pub approved: Arc<Mutex<Vec<ApprovedHostKey>>>,
    pub tasks: TaskTracker,
    pub closing: CancellationToken,
    /// Handshakes at once: they cost time on the processor, and a fleet must not be tried all together.
    pub places: Arc<Semaphore>,
}

/// What was seen on the way, also when the way ended early.
#[derive(Default)]
pub(crate) struct Look {
    pub address: Option<String>,
    pub host_key: Option<ShownHostKey>,
    pub is_signed_in: bool,
}

/// A connection that stands and is signed in.
pub(crate) struct Line {
    pub handle: Handle<Gatekeeper>,
    pub destination: Destination,
    /// Cuts the wire.
    pub cut: CancellationToken,
    /// Cuts it when dropped.
    _cut: DropGuard,
    /// The connection that this one goes through.
    _via: Option<Box<Line>>,
}

impl Connector {
    /// Connects to `target` and signs in; what was seen is in `look`, whatever the result.
    pub async fn connect(&self, target: &SshTarget, look: &mut Look) -> Result<Line> {
        tokio::select! {
            () = self.closing.cancelled() => Err(Error::cancelled()),
            line = self.connect_via(target, look, 0) => line,
        }
    }

    fn connect_via<'a>(
        &'a self,
        target: &'a SshTarget,
        look: &'a mut Look,
        depth: usize,
    ) -> BoxFuture<'a, Result<Line>> {
        Box::pin(async move {
            let (destination, known) = self.look_up(target).await?;
            let (stream, via): (Box<dyn Stream>, _) = match destination.jumps.split_last() {
                None => (Box::new(self.tcp(&destination, look).await?), None),
                Some((last, before)) => {
                    let via = self.jump(last, before, look, depth).await?;
                    (through(&via, &destination).await?, Some(Box::new(via)))
                }
            };
            // not before: a machine that does not answer must hold up no other
            let _place = self.places.acquire().await.map_err(|_| Error::cancelled())?;
            let cut = self.closing.child_token();
            let guard = cut.clone().drop_guard();
            let mut handle = shake_hands(stream, cut.clone(), &destination, known, look).await?;
            let identities = self.identities(&destination).await?;
            match tokio::time::timeout(SIGN_IN_DEADLINE, sign_in(&mut handle, &destination, &identities))
                .await
            {
                Ok(signed_in) => signed_in?,
                Err(_) => return Err(failure::silent(&destination, "while we signed in")),
            }
            look.is_signed_in = true;
            Ok(Line { handle, destination, cut, _cut: guard, _via: via })
        })
    }

    /// Connects to the last jump host, by way of those before it.
    async fn jump(
        &self,
        last: &SshTarget,
        before: &[SshTarget],
        look: &mut Look,
        depth: usize,
    ) -> Result<Line> {
        if depth >= MOST_JUMPS {
            return Err(Error::unreachable(
                "ssh_jump_failed",
                format!("the way to {} goes through more than {MOST_JUMPS} hosts", last.host),
                "look for a circle of ProxyJump lines in ~/.ssh/config",
            ));
        }
        let mut target = last.clone();
        if !before.is_empty() {
            let hops: Vec<String> = before.iter().map(jump_text).collect();
            target.proxy_jump = Some(hops.join(","));
        }
        let mut seen = Look::default();
        self.connect_via(&target, &mut seen, depth + 1).await.map_err(|error| {
            // the key to approve is the jump host's, so that is the one to show
            look.host_key = seen.host_key.filter(|key| key.verdict != KeyVerdict::Trusted);
            failure::jump(&last.host, error)
        })
    }

    async fn look_up(&self, target: &SshTarget) -> Result<(Destination, KnownKeys)> {
        let connector = self.clone();
        let target = target.clone();
        let looking = self.tasks.spawn_blocking(move || {
            let destination = Config::load(&connector.account)?.resolve(&target)?;
            for warning in &destination.warnings {
                tracing::debug!(host = %destination.alias, "{warning}");
            }
            let approved = connector.approved.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let known = KnownKeys::read(&destination, &approved);
            Ok((destination, known))
        });
        looking.await.unwrap_or_else(|_| Err(Error::internal("reading the SSH configuration broke off")))
    }

    async fn identities(&self, destination: &Destination) -> Result<Identities> {
        let destination = destination.clone();
        let reading = self.tasks.spawn_blocking(move || Identities::read(&destination));
        reading.await.map_err(|_| Error::internal("reading the keys broke off"))
    }

    async fn tcp(&self, destination: &Destination, look: &mut Look) -> Result<TcpStream> {
        let connecting = async {
            let host = (destination.host_name.as_str(), destination.port);
            let addresses: Vec<_> = tokio::net::lookup_host(host)
                .await
                .map_err(|error| failure::unresolved(destination, error))?
                .collect();
            let share = deadline(destination) / u32::try_from(addresses.len().max(1)).unwrap_or(1);
            let mut last = None;
            for address in addresses {
                look.address = Some(address.ip().to_string());
                match tokio::time::timeout(share, TcpStream::connect(address)).await {
                    Ok(Ok(stream)) => return Ok(stream),
                    Ok(Err(error)) => last = Some(failure::unconnected(destination, error)),
                    Err(_) => last = Some(failure::silent(destination, "to a connection attempt")),
                }
            }
            Err(last.unwrap_or_else(|| failure::unresolved(destination, std::io::ErrorKind::NotFound.into())))
        };
        let stream = tokio::time::timeout(deadline(destination), connecting)
            .await
            .unwrap_or_else(|_| Err(failure::silent(destination, "to a connection attempt")))?;
        // small questions are not to wait for each other
        stream.set_nodelay(true).map_err(|error| failure::unconnected(destination, error))?;
        Ok(stream)
    }
}

fn deadline(destination: &Destination) -> Duration {
    let configured =
        destination.connect_timeout_seconds.filter(|&seconds| seconds > 0).map(Duration::from_secs);
    configured.unwrap_or(CONNECT_DEADLINE).min(LONGEST_CONNECT_DEADLINE)
}

/// `target` as `ProxyJump` writes it.
fn jump_text(target: &SshTarget) -> String {
    let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
    let user = target.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    let port = target.port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{user}{host}{port}")
}

/// A stream to `destination` through the connection `via`.
async fn through(via: &Line, destination: &Destination) -> Result<Box<dyn Stream>> {
    let Destination { host_name, port, .. } = destination;
    let opening = via.handle.channel_open_direct_tcpip(host_name.clone(), u32::from(*port), "127.0.0.1", 0);
    match tokio::time::timeout(deadline(destination), opening).await {
        Ok(Ok(channel)) => Ok(Box::new(channel.into_stream())),
        Ok(Err(error)) => Err(failure::not_forwarded(&via.destination, destination, error)),
        Err(_) => Err(failure::silent(&via.destination, "when we asked it to connect onwards")),
    }
}

/// Exchanges keys and checks the host's.
async fn shake_hands(
    stream: Box<dyn Stream>,
    cut: CancellationToken,
    destination: &Destination,
    known: KnownKeys,
    look: &mut Look,
) -> Result<Handle<Gatekeeper>> {
    let first_words = FirstWords::default();
    let wire = Wire::new(stream, cut, first_words.clone());
    let config = Arc::new(client_config(&known));
    let shown = Shown::default();
    let gatekeeper = Gatekeeper { host: destination.known_as(), known, shown: shown.clone() };
    let shaking = client::connect_stream(config, wire, gatekeeper);
    let result = tokio::time::timeout(deadline(destination), shaking).await;
    let seen = shown.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(seen) = &seen {
        look.host_key = Some(seen.key.clone());
    }
    match result {
        Ok(Ok(handle)) => Ok(handle),
        Ok(Err(russh::Error::UnknownKey)) if seen.is_some() => {
            Err(seen
                .map_or_else(Error::cancelled, |seen| failure::host_key(destination, &seen.key, seen.flaw)))
        }
        Ok(Err(error)) => Err(failure::handshake(destination, &first_words, error)),
        Err(_) if first_words.is_ssh() => Err(failure::silent(destination, "while keys were exchanged")),
        Err(_) => Err(failure::silent(destination, "after it accepted the connection")),
    }
}
