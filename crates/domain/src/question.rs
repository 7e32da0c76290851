//! Each collector as an operation: `get_<collector>`, found at `/devices/{device}/<collector>`.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Result;
use crate::collector::{AnyReading, CollectorDef};
use crate::context::Context;
use crate::latest::Seen;
use crate::observed::Observed;
use crate::operation::{Answer, Effect, OperationDef, Route, Toolset, inline_schema, malformed};
use crate::problem::Problem;
use crate::readings::Freshness;

/// What is asked of a collector.
#[derive(Deserialize, JsonSchema)]
struct Question {
    /// The device's name or id.
    device: String,
    /// A reading no older than this many seconds is good; 0 asks the machine now. 30 unless said.
    max_age_seconds: Option<f64>,
    /// How many seconds to wait for the machine before what is known is answered as stale. 2 unless said.
    deadline_seconds: Option<f64>,
}

/// A reading and what is missing from it.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    observed: Observed<Arc<dyn AnyReading>>,
    problems: Arc<[Problem]>,
}

impl From<Seen> for Told {
    fn from(seen: Seen) -> Self {
        Self { observed: seen.observed, problems: seen.problems }
    }
}

/// The operation that asks this collector.
pub fn operation(def: &'static CollectorDef) -> OperationDef {
    OperationDef::made(
        format!("get_{}", def.name),
        format!("Reads {} of one device.\n\n{}", def.name, def.why),
        Effect::Read,
        Route {
            method: crate::operation::Method::Get,
            path: format!("/devices/{{device}}/{}", def.name).into(),
        },
        Toolset::Readings,
        inline_schema(Question::json_schema),
        Arc::new(move |generator| {
            let mut schema = Observed::<Value>::json_schema(generator);
            let reading = (def.schema)(generator);
            let problems = generator.subschema_for::<Vec<Problem>>();
            if let Some(Value::Object(properties)) = schema.get_mut("properties") {
                properties.insert("value".into(), reading.into());
                properties.insert("problems".into(), problems.into());
            }
            schema
        }),
        Arc::new(move |input, ctx| Box::pin(async move { ask(def, input, &ctx).await.map(Answer::new) })),
    )
}

async fn ask(def: &'static CollectorDef, input: Value, ctx: &Context) -> Result<Told> {
    let question: Question = serde_json::from_value(input).map_err(|source| malformed(&source))?;
    let device = ctx.fleet().device(&question.device)?;
    let freshness = Freshness::from_seconds(question.max_age_seconds, question.deadline_seconds)?;
    ctx.ports.readings.latest(&device, def.name, freshness).await.map(Told::from)
}

impl Freshness {
    /// From what a caller said, in seconds. The deadline is at most 60 s.
    pub fn from_seconds(max_age: Option<f64>, deadline: Option<f64>) -> Result<Self> {
        let span = |name: &'static str, seconds: Option<f64>, most: f64| match seconds {
            None => Ok(None),
            Some(seconds) if (0.0..=most).contains(&seconds) => Ok(Some(Duration::from_secs_f64(seconds))),
            Some(seconds) => Err(crate::Error::invalid(
                "span_range",
                format!("{name} cannot be {seconds}"),
                format!("give 0 to {most} seconds"),
            )),
        };
        Ok(Self {
            max_age: span("max_age_seconds", max_age, 31_536_000.0)?,
            deadline: span("deadline_seconds", deadline, 60.0)?,
        })
    }
}

/// The operations of a whole catalogue, an operation of the same name or route in `others` taking the place of one.
pub fn operations(catalogue: &'static [CollectorDef], others: &[OperationDef]) -> Vec<OperationDef> {
    let is_taken = |made: &OperationDef| others.iter().any(|o| o.name == made.name || o.route == made.route);
    catalogue.iter().map(operation).filter(|made| !is_taken(made)).collect()
}
