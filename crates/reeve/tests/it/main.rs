//! The whole program, started as users start it, against real machines.

mod bad_input;
mod faults;
mod figures;
mod fleet;
mod golden;
mod injection;
mod lab;
mod lifecycle;
mod mcp;
mod parity;
mod questions;
mod record;
mod server;
