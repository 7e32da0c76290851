//! A part of an answer that is missing, and why: data, not an error.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;

/// A part that is missing from an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Stable name of the situation, such as `needs_two_polls` or `not_allowed`.
    pub code: String,
    /// What is missing and why, for people.
    pub message: String,
    /// What would mend it, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The device or part it concerns, where the answer is about several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

impl Problem {
    /// A problem with its stable code and its text.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), help: None, about: None }
    }

    /// Says what would mend it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says which device or part it concerns.
    #[must_use]
    pub fn about(mut self, about: impl Into<String>) -> Self {
        self.about = Some(about.into());
        self
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        Self::new(error.code(), error.message()).help(error.help())
    }
}
