//! Ways of reaching machines.
