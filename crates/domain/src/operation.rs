//! What a caller may ask of Reeve: the trait, its entry in the list, and the one path that every call takes.

mod input;

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::Instrument as _;

use crate::caller::Surface;
use crate::context::Context;
use crate::{BoxFuture, Error, ErrorKind, Result};

pub use input::enum_values;
use input::{check_input, redacted};

/// A question or a command: its fields are the input, `run` is the answer. Its doc comment is its manual on every
/// surface: the first line says what it does.
pub trait Operation: DeserializeOwned + JsonSchema + Send + 'static {
    /// Its name: that of its file, verb and noun.
    const NAME: &'static str;
    /// What it does to the world.
    const EFFECT: Effect;
    /// Where it is found over REST.
    const ROUTE: Route;
    /// Which MCP toolset lists it.
    const TOOLSET: Toolset;
    /// Whether only a person may do it: never an MCP tool.
    const PERSON: bool = false;
    /// Its name on the command line, where it is not NAME without `get_` or `list_`.
    const SHORT: Option<&'static str> = None;
    /// Longest time it may take.
    const DEADLINE: Duration = Duration::from_secs(30);
    /// The answer.
    type Output: Serialize + JsonSchema + Send + Sync + 'static;

    /// Answers.
    fn run(self, ctx: &Context) -> impl Future<Output = Result<Self::Output>> + Send;
}

/// What an operation does to the world, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing changes.
    Read,
    /// Reeve's own records change.
    Configure,
    /// The fleet changes.
    Change,
    /// Something is destroyed that does not come back.
    Destroy,
}

impl Effect {
    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Configure => "configure",
            Self::Change => "change",
            Self::Destroy => "destroy",
        }
    }
}

/// A method of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Adds, or does.
    Post,
    /// Changes parts.
    Patch,
    /// Removes.
    Delete,
}

impl Method {
    /// As HTTP writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// Where an operation is found over REST, without `/api`. Segments in braces are input fields.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, such as `/devices/{device}`.
    pub path: Cow<'static, str>,
}

impl Route {
    /// `GET path`.
    pub const fn get(path: &'static str) -> Self {
        Self { method: Method::Get, path: Cow::Borrowed(path) }
    }

    /// `POST path`.
    pub const fn post(path: &'static str) -> Self {
        Self { method: Method::Post, path: Cow::Borrowed(path) }
    }

    /// `PATCH path`.
    pub const fn patch(path: &'static str) -> Self {
        Self { method: Method::Patch, path: Cow::Borrowed(path) }
    }

    /// `DELETE path`.
    pub const fn delete(path: &'static str) -> Self {
        Self { method: Method::Delete, path: Cow::Borrowed(path) }
    }

    /// The names of the input fields in the path, in order.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }
}

/// A group of operations that an MCP client takes or leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Toolset {
    /// Devices and the whole fleet.
    Fleet,
    /// Containers.
    Containers,
    /// Figures and their history.
    Metrics,
    /// Reeve's own records.
    Admin,
    /// One question for each collector: not listed unless asked for.
    Readings,
}

impl Toolset {
    /// Whether an MCP client is shown it without asking.
    pub fn is_default(self) -> bool {
        self != Self::Readings
    }

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::Containers => "containers",
            Self::Metrics => "metrics",
            Self::Admin => "admin",
            Self::Readings => "readings",
        }
    }
}

/// What a call gave: something that can be written, once, by whichever surface asked.
pub struct Answer(Box<dyn erased_serde::Serialize + Send + Sync>);

impl Answer {
    /// An answer that is written as `value` is.
    pub fn new(value: impl Serialize + Send + Sync + 'static) -> Self {
        Self(Box::new(value))
    }

    /// The answer as compact JSON.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(&self.0).map_err(|e| Error::internal("an answer cannot be written").caused_by(e))
    }

    /// The answer as a JSON value.
    pub fn to_value(&self) -> Result<Value> {
        serde_json::to_value(&self.0).map_err(|e| Error::internal("an answer cannot be written").caused_by(e))
    }
}

type RunFn = Arc<dyn Fn(Value, Arc<Context>) -> BoxFuture<'static, Result<Answer>> + Send + Sync>;
type SchemaFn = Arc<dyn Fn(&mut SchemaGenerator) -> Schema + Send + Sync>;

/// An operation as an entry in the list.
#[derive(Clone)]
pub struct OperationDef {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its name on the command line.
    pub short: Cow<'static, str>,
    /// What it does, in a line.
    pub summary: String,
    /// Its manual: what it does, in full.
    pub description: String,
    /// What it does to the world.
    pub effect: Effect,
    /// Where it is found over REST.
    pub route: Route,
    /// Which MCP toolset lists it.
    pub toolset: Toolset,
    /// Whether only a person may do it.
    pub person: bool,
    /// Longest time it may take.
    pub deadline: Duration,
    /// The schema of its input: an object, everything in place (no `$ref`).
    pub input: Arc<Map<String, Value>>,
    output: SchemaFn,
    run: RunFn,
}

impl OperationDef {
    /// The entry for `O`.
    pub fn of<O: Operation>() -> Self {
        let input = inline_schema(|generator| O::json_schema(generator));
        let description = input.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
        Self {
            name: Cow::Borrowed(O::NAME),
            short: Cow::Borrowed(O::SHORT.unwrap_or_else(|| short_name(O::NAME))),
            summary: first_sentence(&description),
            description,
            effect: O::EFFECT,
            route: O::ROUTE,
            toolset: O::TOOLSET,
            person: O::PERSON,
            deadline: O::DEADLINE,
            input: Arc::new(input),
            output: Arc::new(SchemaGenerator::subschema_for::<O::Output>),
            run: Arc::new(|input, ctx| {
                Box::pin(async move {
                    let operation: O = serde_json::from_value(input).map_err(|source| malformed(&source))?;
                    operation.run(&ctx).await.map(Answer::new)
                })
            }),
        }
    }

    /// An entry whose input, output and code are given: for operations made from other lists.
    #[expect(clippy::too_many_arguments, reason = "each is one part of an operation; there is one caller")]
    pub fn made(
        name: String,
        description: String,
        effect: Effect,
        route: Route,
        toolset: Toolset,
        input: Map<String, Value>,
        output: SchemaFn,
        run: RunFn,
    ) -> Self {
        let short = Cow::Owned(short_name(&name).to_owned());
        let summary = first_sentence(&description);
        Self {
            name: Cow::Owned(name),
            short,
            summary,
            description,
            effect,
            route,
            toolset,
            person: false,
            deadline: Duration::from_secs(30),
            input: Arc::new(input),
            output,
            run,
        }
    }

    /// The schema of its output, definitions shared in `generator`.
    pub fn output(&self, generator: &mut SchemaGenerator) -> Schema {
        (self.output)(generator)
    }

    /// The schema of its output with everything in place (no `$ref`).
    pub fn output_inline(&self) -> Map<String, Value> {
        inline_schema(|generator| (self.output)(generator))
    }

    /// The one path of every call: permission, the input's form, audit, deadline, panic fence, run.
    ///
    /// A Read ends when its future is dropped. Anything else runs on: a caller who leaves never stops it half way.
    pub async fn call(&self, input: Value, ctx: Context) -> Result<Answer> {
        let ctx = Arc::new(ctx);
        let span = tracing::info_span!("call", operation = %self.name, caller = %ctx.caller.principal,
            surface = ctx.caller.surface.name(), trace = %ctx.trace_id);
        let started = ctx.ports.clock.monotonic();
        let result = self.admit_and_run(input, Arc::clone(&ctx)).instrument(span.clone()).await;
        let took_ms = u64::try_from(ctx.ports.clock.monotonic().saturating_sub(started).as_millis())
            .unwrap_or(u64::MAX);
        span.in_scope(|| match &result {
            Ok(_) => tracing::debug!(took_ms, "answered"),
            Err(error) if error.kind() == ErrorKind::Internal => {
                tracing::error!(took_ms, code = error.code(), cause = %error.chain(), "{error}");
            }
            Err(error) => tracing::debug!(took_ms, code = error.code(), cause = %error.chain(), "{error}"),
        });
        result
    }

    async fn admit_and_run(&self, input: Value, ctx: Arc<Context>) -> Result<Answer> {
        if let Err(refusal) = self.admit(&ctx) {
            let (told, name, tasks) = (refusal.retold(), self.name.clone(), ctx.ports.tasks.clone());
            // a caller who leaves at once is written down all the same
            let writing = async move { ctx.ports.audit.refused(&ctx, &name, &told).await };
            let _ = tasks.spawn(writing.in_current_span()).await;
            return Err(refusal);
        }
        let input = check_input(&self.input, input)?;
        if self.effect == Effect::Read {
            let ports = Arc::clone(&ctx.ports);
            let _place = ports.calls.try_acquire().map_err(|_| too_many())?;
            return self.fenced(input, ctx).await;
        }
        let arguments = redacted(&input).to_string();
        let started = ctx.ports.audit.started(&ctx, &self.name, arguments).await?;
        let (tell, told) = tokio::sync::oneshot::channel();
        let (this, tasks) = (self.clone(), ctx.ports.tasks.clone());
        let command = async move {
            let result = this.fenced(input, Arc::clone(&ctx)).await;
            let outcome = result.as_ref().map_or_else(Error::code, |_| "done");
            if let Err(error) = ctx.ports.audit.ended(started, outcome).await {
                tracing::error!(cause = %error.chain(), "the audit could not be completed: {error}");
            }
            let _ = tell.send(result);
        };
        tasks.spawn(command.in_current_span());
        told.await.unwrap_or_else(|_| Err(Error::internal("a command ended without an answer")))
    }

    fn admit(&self, ctx: &Context) -> Result<()> {
        if self.person && ctx.caller.surface == Surface::Mcp {
            return Err(Error::new(
                ErrorKind::Forbidden,
                "person_needed",
                format!("{} is for people, not for assistants", self.name),
                format!("ask the operator to run: reeve {}", self.short),
            ));
        }
        if self.effect > ctx.caller.ceiling {
            return Err(Error::new(
                ErrorKind::Forbidden,
                "read_only",
                format!("{} is not allowed over this connection: it may only read", self.name),
                format!("run it on the server through the data directory's socket: reeve {}", self.short),
            ));
        }
        Ok(())
    }

    async fn fenced(&self, input: Value, ctx: Arc<Context>) -> Result<Answer> {
        let deadline = self.deadline;
        let run = AssertUnwindSafe((self.run)(input, ctx)).catch_unwind();
        match tokio::time::timeout(deadline, run).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => {
                let text = panic.downcast_ref::<&str>().map(ToString::to_string);
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                Err(Error::internal(format!("{} failed", self.name)).caused_by(text))
            }
            Err(_) => Err(Error::deadline(&self.name)),
        }
    }
}

/// The first sentence of a text, its lines joined, without its full stop.
pub fn first_sentence(text: &str) -> String {
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let line = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let end = line.find(". ").unwrap_or(line.len());
    line[..end].trim_end_matches('.').to_owned()
}

fn short_name(name: &str) -> &str {
    name.strip_prefix("get_").or_else(|| name.strip_prefix("list_")).unwrap_or(name)
}

fn too_many() -> Error {
    Error::new(ErrorKind::Busy, "too_many_calls", "too many questions at once", "ask again in a second")
}

pub(crate) fn malformed(source: &serde_json::Error) -> Error {
    Error::invalid("input_malformed", source.to_string(), "see the operation's schema")
}

/// A schema with every definition in its place.
pub fn inline_schema(make: impl FnOnce(&mut SchemaGenerator) -> Schema) -> Map<String, Value> {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    match make(&mut generator).to_value() {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sentence_survives_a_line_break() {
        assert_eq!(first_sentence("Lists what\nthere is. More.\n\nMuch more."), "Lists what there is");
    }
}
