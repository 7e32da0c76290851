//! `list_audit`: what was done, by whom, and what was refused.

use domain::audit::AuditRow;
use domain::context::Context;
use domain::operation::{Effect, Operation, Route, Toolset};
use domain::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lists what was done and refused, newest first. Each act has a row when it starts and one that completes it.
#[derive(Deserialize, JsonSchema)]
pub struct ListAudit {
    /// Most rows to answer: 1 to 500, 50 unless said.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u32>,
    /// Where to go on: `next_cursor` of the answer before.
    cursor: Option<String>,
    /// Checks the hash chain of all rows too; an error names the first row that was changed, removed or reordered.
    verify: Option<bool>,
}

/// Rows of the audit.
#[derive(Serialize, JsonSchema)]
pub struct AuditRows {
    /// What these rows are.
    summary: String,
    /// The rows, newest first.
    items: Vec<AuditRow>,
    /// What is missing, and why.
    problems: Vec<domain::problem::Problem>,
    /// Where the list goes on; absent on its last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// How many rows there are in all.
    total: u64,
}

impl Operation for ListAudit {
    const NAME: &'static str = "list_audit";
    const EFFECT: Effect = Effect::Read;
    const ROUTE: Route = Route::get("/audit");
    const TOOLSET: Toolset = Toolset::Admin;
    type Output = AuditRows;

    async fn run(self, ctx: &Context) -> Result<Self::Output> {
        if !ctx.fleet().is_whole() {
            let help = "ask with rights to the whole fleet";
            return Err(Error::new(
                domain::ErrorKind::Forbidden,
                "whole_fleet_needed",
                "the audit is about all devices",
                help,
            ));
        }
        let limit = domain::listing::items_of(self.limit)?;
        let before = self.cursor.as_deref().map(str::parse).transpose().map_err(|source| {
            let help = "pass next_cursor of the answer before, unchanged";
            Error::invalid("cursor_malformed", "this cursor is not one of ours", help).caused_by(source)
        })?;
        let verified =
            if self.verify == Some(true) { Some(ctx.ports.store.verify_audit().await?) } else { None };
        let newest = ctx.ports.store.audit(None, 1).await?;
        let total = newest.first().map_or(0, |row| row.id);
        let mut items = ctx.ports.store.audit(before, limit + 1).await?;
        let has_more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = if has_more { items.last().map(|row| row.id.to_string()) } else { None };
        let summary = match verified {
            Some(rows) => format!("{total} rows; the chain of all {rows} holds"),
            None => format!("{total} rows"),
        };
        Ok(AuditRows { summary, items, problems: Vec::new(), next_cursor, total })
    }
}
