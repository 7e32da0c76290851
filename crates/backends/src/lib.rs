//! What Reeve stands on: the machines' shells and the store. Each folder is one port, each file or folder in it one implementation.

pub mod sources;
pub mod store;
