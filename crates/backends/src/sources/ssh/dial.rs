//! The way to a Unix socket on the machine: forwarded by its SSH server, or else by Docker's own command.

use std::sync::Arc;

use domain::ask::{Ask, Outcome};
use domain::{BoxFuture, Result};
use tokio::time::Instant;

use super::conversation::Ended;
use super::script;
use super::session::Connection;
use super::shell::{ALIVE_DEADLINE, SshShell};
use crate::sources::docker::{Dial, Dialled};
use crate::sources::stream::Held;

impl Dial for SshShell {
    fn dial<'a>(&'a self, socket: &'a str) -> BoxFuture<'a, Result<Dialled>> {
        Box::pin(self.on_connection(move |connection| self.dial_on(connection, socket)))
    }
}

impl SshShell {
    async fn dial_on(&self, connection: Arc<Connection>, socket: &str) -> Result<Dialled> {
        if let Some(stream) = connection.forward(socket).await? {
            return Ok(Dialled::Open(Box::new(stream)));
        }
        // the server does not say why: absent, forbidden, nobody there, or no forwarding at all
        let probe = Ask::probe([socket]);
        let found = self.batch_on(Arc::clone(&connection), std::slice::from_ref(&probe)).await?;
        let flags =
            found.first().map(|answer| answer.text().split(' ').next().unwrap_or_default().to_owned());
        let flags = flags.unwrap_or_default();
        let user = &connection.line.destination.user;
        if flags.is_empty() {
            return Ok(Dialled::Not(Outcome::Missing, format!("there is no socket {socket}")));
        }
        if !flags.starts_with('s') {
            return Ok(Dialled::Not(Outcome::Refused, format!("{socket} is no socket")));
        }
        if !flags.contains('w') {
            return Ok(Dialled::Not(Outcome::Denied, format!("{user} may not use the socket {socket}")));
        }
        self.dial_by_command(&connection, socket).await
    }

    /// By `docker system dial-stdio`, for servers that forward no sockets.
    async fn dial_by_command(&self, connection: &Arc<Connection>, socket: &str) -> Result<Dialled> {
        let word = uuid::Uuid::new_v4().simple().to_string();
        let until = Instant::now() + ALIVE_DEADLINE;
        let script = script::dial(socket, &word);
        let mut conversation = self.begin(connection, script, &word, vec![usize::MAX], until).await?;
        let ended = conversation.run(until, |conversation| conversation.output.is_framed).await;
        let refused = |words: &str| {
            let forwarding = "and the SSH server does not forward to it (AllowStreamLocalForwarding)";
            Ok(Dialled::Not(Outcome::Refused, format!("{words}, {forwarding}")))
        };
        if ended != Ended::Stopped {
            return refused("there is no docker command that would connect to it");
        }
        let (session, before) = conversation.into_session();
        match session.into_stream() {
            Some(stream) => Ok(Dialled::Open(Box::new(Held::after(before, stream, ())))),
            None => refused("the connection to it ended"),
        }
    }
}
