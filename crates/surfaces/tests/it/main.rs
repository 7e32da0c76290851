//! The surfaces, with toy operations: what each surface promises about any list.

mod cli;
mod guard;
mod mcp;
mod openapi;
mod rest;
mod server;
mod toys;
