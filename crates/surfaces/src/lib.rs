//! How Reeve speaks: REST, OpenAPI, MCP and the command line, each a function of one list of operations.
//!
//! - [`rest`] and [`openapi`] make the routes under `/api` and say what they are.
//! - [`mcp`] makes the tools at `/mcp` and over standard input and output.
//! - [`cli`] makes the subcommands, and [`client`] carries their calls to the server's socket.
//! - [`server`] holds the doors: the loopback address, which may read, and the data directory's socket, which may do
//!   everything. [`guard`] stands before both.
//!
//! No file here knows an operation by name.

pub mod cli;
pub mod client;
pub mod failure;
pub mod guard;
pub mod mcp;
pub mod openapi;
pub mod peer;
mod repeats;
pub mod rest;
pub mod schemas;
pub mod server;
pub mod words;
