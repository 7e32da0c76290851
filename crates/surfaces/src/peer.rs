//! Who is at the other end of a connection.

use domain::caller::{Caller, Principal, Surface};

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Somebody on this machine who came by TCP: may read.
    Loopback,
    /// The user with this uid at the data directory's socket: may do everything.
    User(u32),
}

impl Peer {
    /// The caller that this peer is through a surface.
    pub fn caller(self, surface: Surface) -> Caller {
        match self {
            Self::Loopback => Caller::loopback(surface),
            Self::User(uid) => Caller::local(uid, surface),
        }
    }

    /// Its name in the audit.
    pub fn principal(self) -> Principal {
        self.caller(Surface::Rest).principal
    }
}
