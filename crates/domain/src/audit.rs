//! The record of what was done and refused: written before the act, completed after it, chained by hash.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// What is known when an act begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditStart {
    /// When.
    pub at: Timestamp,
    /// Who, as `Principal` writes it.
    pub principal: String,
    /// Through which surface.
    pub surface: &'static str,
    /// Which operation.
    pub operation: String,
    /// Its arguments as JSON, secrets redacted.
    pub arguments: String,
}

/// A row of the audit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditRow {
    /// Its number; the first is 1.
    pub id: u64,
    /// When it was written.
    pub at: Timestamp,
    /// Who did it: `uid:1000`, `loopback`, `reeve`.
    pub principal: String,
    /// Through which surface: `rest`, `mcp`, `cli`, `inside`.
    pub surface: String,
    /// Which operation.
    pub operation: String,
    /// Its arguments as JSON, secrets redacted.
    pub arguments: String,
    /// `started`, `done`, or an error's code. A row that says `started` and has no later row that completes it was cut short.
    pub outcome: String,
    /// The row that this one completes.
    pub completes: Option<u64>,
    /// SHA-256 over the hash of the row before and this row, in hexadecimal.
    pub hash: String,
}
