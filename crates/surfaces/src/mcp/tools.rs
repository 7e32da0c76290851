//! Each operation as a tool: its schemas, its hints, and which clients are shown it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::{HeaderMap, Uri};
use domain::operation::{Effect, OperationDef, Toolset};
use rmcp::model::{Tool, ToolAnnotations};

use super::shape::Shape;
use domain::operation::first_sentence;

use crate::schemas::{folded, portable_input};

/// Longest description, in bytes: clients cut at 2 KB, and every session pays for it.
const LONGEST_DESCRIPTION: usize = 600;

/// Which toolsets a client is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Toolsets(Option<Vec<String>>);

impl Toolsets {
    /// Those that are named, separated by commas; the default ones where none is.
    pub fn named(names: &str) -> Self {
        let names: Vec<String> = names
            .split(',')
            .map(|name| name.trim().to_ascii_lowercase())
            .filter(|name| !name.is_empty())
            .collect();
        Self((!names.is_empty()).then_some(names))
    }

    /// Those that a request names: `?toolsets=fleet,readings`, or the header `X-MCP-Toolsets`.
    pub fn of_request(uri: &Uri, headers: &HeaderMap) -> Self {
        let in_query =
            uri.query().and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("toolsets=")));
        let in_header = headers.get("x-mcp-toolsets").and_then(|names| names.to_str().ok());
        Self::named(&in_query.or(in_header).unwrap_or_default().replace("%2C", ",").replace("%2c", ","))
    }

    /// Their names as [`Self::named`] reads them; empty for the default ones.
    pub fn names(&self) -> String {
        self.0.as_ref().map(|names| names.join(",")).unwrap_or_default()
    }

    fn hold(&self, toolset: Toolset) -> bool {
        match &self.0 {
            None => toolset.is_default(),
            Some(names) => names.iter().any(|name| {
                name == toolset.name() || name == "all" || (name == "default" && toolset.is_default())
            }),
        }
    }
}

/// All tools by name. What only a person may do is not among them.
pub(super) struct Shelf(BTreeMap<String, Entry>);

/// A tool, its operation, and how its answers look.
pub(super) struct Entry {
    pub(super) def: OperationDef,
    pub(super) tool: Tool,
    pub(super) shape: Shape,
}

impl Shelf {
    pub(super) fn new(operations: &[OperationDef]) -> Self {
        let entries = operations.iter().map(|def| (def.name.to_string(), Entry::new(def)));
        Self(entries.collect())
    }

    /// A tool by name. What only a person may do is found, so that the refusal can say who may, and is audited.
    pub(super) fn find(&self, name: &str) -> Option<&Entry> {
        self.0.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.values().filter(|entry| !entry.def.person).map(|entry| entry.def.name.as_ref())
    }

    /// The tools of these toolsets that may be called up to `ceiling`, ordered by name.
    pub(super) fn listed(&self, toolsets: &Toolsets, ceiling: Effect) -> Vec<Tool> {
        let entries = self.0.values().filter(|entry| {
            let def = &entry.def;
            !def.person && def.effect <= ceiling && toolsets.hold(def.toolset)
        });
        entries.map(|entry| entry.tool.clone()).collect()
    }
}

impl Entry {
    fn new(def: &OperationDef) -> Self {
        let shape = Shape::of(&def.output_inline());
        let mut tool = Tool::new(def.name.clone(), description(def), portable_input(&def.input))
            .with_annotations(annotations(def));
        tool.output_schema = shape.schema().map(Arc::new);
        Self { def: def.clone(), tool, shape }
    }
}

/// The tools that a client of these toolsets is shown who may do everything: for tests of their size and for the golden
/// file.
pub fn list(operations: &[OperationDef], toolsets: &Toolsets) -> Vec<Tool> {
    Shelf::new(operations).listed(toolsets, Effect::Destroy)
}

fn description(def: &OperationDef) -> String {
    let text = folded(&def.description);
    if text.len() <= LONGEST_DESCRIPTION { text } else { format!("{}.", first_sentence(&def.description)) }
}

fn annotations(def: &OperationDef) -> ToolAnnotations {
    let is_read = def.effect == Effect::Read;
    ToolAnnotations::new()
        .read_only(is_read)
        .destructive(def.effect == Effect::Destroy)
        .idempotent(is_read)
        .open_world(false)
}
