//! The one error that crosses crate boundaries, and the constructors that name its situations.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Shorthand for a result with Reeve's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an error. Each surface has one `match` on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The question is malformed; asking again unchanged cannot help.
    Invalid,
    /// Nobody we know is asking.
    Unauthenticated,
    /// Known, but not allowed.
    Forbidden,
    /// No such thing, or not for this caller.
    NotFound,
    /// It contradicts what is there.
    Conflict,
    /// More than we accept or may answer.
    TooLarge,
    /// Too often; try again later.
    RateLimited,
    /// Somebody else is at it, or a queue is full; try again.
    Busy,
    /// The machine does not answer, or does not let us in.
    Unreachable,
    /// It took longer than the caller allowed.
    DeadlineExceeded,
    /// This machine or this version cannot do it.
    Unsupported,
    /// A person must approve first.
    NeedsApproval,
    /// Our fault.
    Internal,
}

/// What went wrong, for whoever must handle it and for whoever must read it.
///
/// `Display` is the message alone: the boundary that handles an error logs its `source` chain, once.
pub struct Error {
    kind: ErrorKind,
    code: &'static str,
    message: String,
    help: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of any kind. Prefer a constructor that names the situation.
    pub fn new(
        kind: ErrorKind,
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { kind, code, message: message.into(), help: help.into(), source: None }
    }

    /// The question is malformed: what was wrong, and how to write it.
    pub fn invalid(
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(ErrorKind::Invalid, code, message, help)
    }

    /// It contradicts what is there.
    pub fn conflict(
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(ErrorKind::Conflict, code, message, help)
    }

    /// The machine does not answer, or does not let us in.
    pub fn unreachable(
        code: &'static str,
        message: impl Into<String>,
        help: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(ErrorKind::Unreachable, code, message, help)
    }

    /// No `what` (such as “device”) has this name; the nearest known names are offered.
    pub fn not_found<'a>(
        code: &'static str,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let help = match nearest(name, known).as_slice() {
            [] => Cow::Borrowed("there is none yet"),
            names => Cow::Owned(format!("nearest: {}", names.join(", "))),
        };
        Self::new(ErrorKind::NotFound, code, format!("no {what} is called “{name}”"), help)
    }

    /// No device has this name or id.
    pub fn no_device<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        Self::not_found("device_unknown", "device", name, known)
    }

    /// Our fault: the text says which promise was broken.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(
            ErrorKind::Internal,
            "internal",
            message,
            "this is a defect in Reeve; its log has the details",
        )
    }

    /// It took longer than the caller allowed.
    pub fn deadline(what: impl fmt::Display) -> Self {
        Self::new(
            ErrorKind::DeadlineExceeded,
            "deadline_exceeded",
            format!("{what} took too long"),
            "ask again with a longer deadline",
        )
    }

    /// The caller left, or the program is stopping.
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Busy, "cancelled", "the question was cancelled", "ask again")
    }

    /// Attaches what lies beneath. It is logged, never shown.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Stable name of the situation, such as `device_unknown`.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// What went wrong, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it, for people.
    pub fn help(&self) -> &str {
        &self.help
    }

    /// The same situation for a second listener (an error is told to everyone who waited for the answer).
    #[must_use]
    pub fn retold(&self) -> Self {
        Self {
            kind: self.kind,
            code: self.code,
            message: self.message.clone(),
            help: self.help.clone(),
            source: None,
        }
    }

    /// The chain of causes, outermost first, for the log.
    pub fn chain(&self) -> String {
        let mut text = String::new();
        let mut next = self.source();
        while let Some(cause) = next {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}: {} ({})", self.kind, self.code, self.message, self.help)?;
        match &self.source {
            Some(source) => write!(f, ": {source:?}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// At most three of `known` that look like `name`, nearest first; all of them where there are at most three.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut ranked: Vec<(f64, &str)> = known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&name.to_lowercase(), &candidate.to_lowercase()), candidate))
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    ranked.truncate(3);
    ranked.into_iter().map(|(_, candidate)| candidate).collect()
}
