//! What a caller may ask of Reeve: the trait, its entry in the list, and the one path that every call takes.

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
use crate::error::nearest;
use crate::{BoxFuture, Error, ErrorKind, Result, redact};

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

fn malformed(source: &serde_json::Error) -> Error {
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

/// Checks the form of an input against its schema, with errors that teach. Nulls count as absent.
fn check_input(schema: &Map<String, Value>, input: Value) -> Result<Value> {
    let empty = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let mut input = match input {
        Value::Object(input) => input,
        Value::Null => Map::new(),
        _ => {
            return Err(Error::invalid(
                "input_malformed",
                "the input is not an object",
                "send a JSON object",
            ));
        }
    };
    input.retain(|_, value| !value.is_null());
    if let Some(unknown) = input.keys().find(|name| !properties.contains_key(*name)) {
        let known = nearest(unknown, properties.keys().map(String::as_str));
        let help = match unknown.as_str() {
            "page" | "offset" => "use cursor: the answer's next_cursor goes on where it ended".to_owned(),
            _ if known.is_empty() => "it takes no input".to_owned(),
            _ => format!("nearest: {}", known.join(", ")),
        };
        let unknown = crate::untrusted::clean(unknown);
        return Err(Error::invalid("field_unknown", format!("there is no input “{unknown}”"), help));
    }
    check_fields("", schema, &input)?;
    Ok(Value::Object(input))
}

/// Checks the fields of an object, and of the objects in them; `path` leads to it (`candidates[2].`).
fn check_fields(path: &str, schema: &Map<String, Value>, input: &Map<String, Value>) -> Result<()> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Ok(()) };
    let describe = |name: &str| {
        let text = properties.get(name).and_then(|p| p.get("description")).and_then(Value::as_str);
        text.unwrap_or("it is needed").to_owned()
    };
    for name in
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    {
        if !input.contains_key(name) {
            let message = format!("“{path}{name}” is missing");
            return Err(Error::invalid("field_missing", message, describe(name)));
        }
    }
    for (name, value) in input.iter().filter(|(_, value)| !value.is_null()) {
        let Some(property) = properties.get(name) else {
            let known = nearest(name, properties.keys().map(String::as_str)).join(", ");
            let message = format!("there is no input “{path}{}”", crate::untrusted::clean(name));
            return Err(Error::invalid("field_unknown", message, format!("nearest: {known}")));
        };
        if let Some(wanted) = wrong_type(property, value) {
            let message = format!("“{path}{name}” is not {wanted}");
            return Err(Error::invalid("field_type", message, describe(name)));
        }
        if let (Some(Value::Object(item)), Value::Array(values)) = (property.get("items"), value) {
            check_items(&format!("{path}{name}"), item, values, &describe(name))?;
        }
    }
    Ok(())
}

fn check_items(path: &str, schema: &Map<String, Value>, values: &[Value], help: &str) -> Result<()> {
    let whole = Value::Object(schema.clone());
    for (place, value) in values.iter().enumerate() {
        if let Some(wanted) = wrong_type(&whole, value) {
            let message = format!("“{path}[{place}]” is not {wanted}");
            return Err(Error::invalid("field_type", message, help.to_owned()));
        }
        if let Value::Object(fields) = value {
            check_fields(&format!("{path}[{place}]."), schema, fields)?;
        }
    }
    Ok(())
}

/// What the schema wants, in words, where the value is not of its type or not one of its values.
fn wrong_type(schema: &Value, value: &Value) -> Option<String> {
    if let Some(allowed) = enum_values(schema)
        && !allowed.contains(&value)
    {
        let names: Vec<String> = allowed.iter().filter(|v| !v.is_null()).map(ToString::to_string).collect();
        return Some(format!("one of {}", names.join(", ")));
    }
    let wanted: Vec<&str> = match schema.get("type")? {
        Value::String(wanted) => vec![wanted],
        Value::Array(wanted) => wanted.iter().filter_map(Value::as_str).filter(|t| *t != "null").collect(),
        _ => return None,
    };
    let fits = wanted.iter().any(|wanted| match *wanted {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    });
    let article = |wanted: &str| if wanted.starts_with(['i', 'a', 'o']) { "an" } else { "a" };
    if !fits {
        let wanted: Vec<String> =
            wanted.iter().map(|wanted| format!("{} {wanted}", article(wanted))).collect();
        return Some(wanted.join(" or "));
    }
    // what the field's type can hold; narrower ranges are the operation's own to explain
    let most = match schema.get("format")?.as_str()? {
        "uint8" => u64::from(u8::MAX),
        "uint16" => u64::from(u16::MAX),
        "uint32" => u64::from(u32::MAX),
        "uint64" => u64::MAX,
        _ => return None,
    };
    value.as_u64().is_none_or(|number| number > most).then(|| format!("a whole number from 0 to {most}"))
}

/// The values that an enumeration's schema allows (unit enums with documented variants are a `oneOf` of constants).
pub fn enum_values(schema: &Value) -> Option<Vec<&Value>> {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return Some(values.iter().collect());
    }
    let alternatives = schema.get("oneOf").or_else(|| schema.get("anyOf"))?.as_array()?;
    let mut values = Vec::new();
    for alternative in alternatives {
        if let Some(constant) = alternative.get("const") {
            values.push(constant);
        } else if alternative.get("type").and_then(Value::as_str) != Some("null") {
            values.extend(enum_values(alternative)?);
        }
    }
    Some(values)
}

fn redacted(input: &Value) -> Value {
    match input {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| match value {
                Value::String(text) => (name.clone(), Value::String(redact::value(name, text))),
                Value::Array(_) | Value::Object(_) | Value::Number(_) if redact::is_secret_name(name) => {
                    (name.clone(), redact::HIDDEN.into())
                }
                other => (name.clone(), redacted(other)),
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(redacted).collect::<Vec<_>>().into(),
        Value::String(text) => Value::String(redact::text(text)),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A form with all that inputs are made of.
    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Form {
        /// Its port.
        port: Option<u16>,
        /// Its effect.
        effect: Option<Effect>,
        /// Its parts.
        parts: Option<Vec<Part>>,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Part {
        /// Its host.
        host: String,
        /// Its names.
        names: Option<Vec<String>>,
    }

    #[test]
    fn what_is_wrong_is_named_wherever_it_is() {
        let schema = inline_schema(Form::json_schema);
        let check = |input: Value| {
            check_input(&schema, input).map_err(|error| (error.code(), error.message().to_owned()))
        };
        let refused = |input: Value| check(input).unwrap_err();
        assert!(
            check(json!({"port": 22, "effect": "read", "parts": [{"host": "a", "names": null}]})).is_ok()
        );
        assert!(check(json!({"port": null, "effect": null})).is_ok());
        for port in [json!(70_000), json!(-1)] {
            let expected = ("field_type", "“port” is not a whole number from 0 to 65535".to_owned());
            assert_eq!(refused(json!({ "port": port })), expected);
        }
        assert_eq!(refused(json!({"port": 2.5})).1, "“port” is not an integer");
        assert!(refused(json!({"effect": "reed"})).1.starts_with("“effect” is not one of \"read\""));
        let parts = |part: Value| refused(json!({"parts": [{"host": "a"}, part]}));
        assert_eq!(parts(json!({})), ("field_missing", "“parts[1].host” is missing".to_owned()));
        assert_eq!(
            parts(json!({"host": "a", "hots": 1})),
            ("field_unknown", "there is no input “parts[1].hots”".to_owned())
        );
        assert_eq!(parts(json!("a")).1, "“parts[1]” is not an object");
        assert_eq!(parts(json!({"host": "a", "names": [1]})).1, "“parts[1].names[0]” is not a string");
    }

    #[test]
    fn secrets_in_arguments_are_hidden_in_lists_too() {
        let input = json!({"tokens": ["abc"], "names": ["abc"], "parts": [{"password": 7}]});
        assert_eq!(
            redacted(&input),
            json!({"tokens": redact::HIDDEN, "names": ["abc"], "parts": [{"password": redact::HIDDEN}]})
        );
    }

    #[test]
    fn the_first_sentence_survives_a_line_break() {
        assert_eq!(first_sentence("Lists what\nthere is. More.\n\nMuch more."), "Lists what there is");
    }
}
