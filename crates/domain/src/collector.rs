//! A collector: which asks make a reading, and which samples of it are history. No IO, no state, no clock.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ask::{Answers, Ask};
use crate::capability::Capability;
use crate::facts::Facts;
use crate::observed::Observed;
use crate::problem::Problem;
use crate::sample::Samples;
use crate::{Error, Result};

/// Says what to ask a machine and what the answers mean.
///
/// The doc comment of the type that implements it is its manual: first what it reads, then why each thing is asked.
pub trait Collector: 'static {
    /// Its name: that of its file, a noun.
    const NAME: &'static str;
    /// What it reads and why, in a sentence: shown by `doctor --commands`.
    const WHY: &'static str;
    /// How often it asks unless the configuration says otherwise.
    const EVERY: Duration;
    /// What the machine must be able to do.
    const NEEDS: &'static [Capability];
    /// Whether asking costs the machine something (spins up a drive): then what is known is good for a whole interval.
    const COSTLY: bool = false;
    /// Whether it may be asked every few seconds while somebody looks.
    const LIVE: bool = false;
    /// What it makes.
    type Reading: Serialize + DeserializeOwned + JsonSchema + Clone + Send + Sync + 'static;

    /// What to ask a machine of these facts. Only the facts' own collector is asked before there are any.
    fn asks(facts: &Facts) -> Vec<Ask>;

    /// What the answers mean: a reading, or more asks. `before` is the last reading, for rates.
    fn parse(
        facts: &Facts,
        answers: &Answers,
        before: Option<&Observed<Self::Reading>>,
    ) -> Result<Parsed<Self::Reading>>;

    /// What of the reading is history.
    fn samples(reading: &Self::Reading, samples: &mut Samples);
}

/// What the answers meant.
#[derive(Clone, Debug, PartialEq)]
pub enum Parsed<R> {
    /// A reading, and what is missing from it.
    Reading(R, Vec<Problem>),
    /// These must be asked first; `parse` is then called again with all answers so far. At most three rounds.
    More(Vec<Ask>),
}

/// A reading whose type is known only to its collector.
pub trait AnyReading: erased_serde::Serialize + Send + Sync + 'static {
    /// For the one who knows the type.
    fn as_any(&self) -> &dyn Any;
}

impl<T: Serialize + Send + Sync + 'static> AnyReading for T {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

erased_serde::serialize_trait_object!(AnyReading);

/// What a collector's `parse` gave, its type erased.
pub enum AnyParsed {
    /// A reading, what is missing from it, and its samples.
    Reading(Arc<dyn AnyReading>, Vec<Problem>, Samples),
    /// These must be asked first.
    More(Vec<Ask>),
}

type ParseFn = fn(&Facts, &Answers, Option<&Observed<Arc<dyn AnyReading>>>) -> Result<AnyParsed>;

/// A collector as an entry in the list.
#[derive(Clone, Copy)]
pub struct CollectorDef {
    /// Its name.
    pub name: &'static str,
    /// What it reads and why.
    pub why: &'static str,
    /// How often it asks unless the configuration says otherwise.
    pub every: Duration,
    /// What the machine must be able to do.
    pub needs: &'static [Capability],
    /// Whether asking costs the machine something.
    pub costly: bool,
    /// Whether it may be asked every few seconds while somebody looks.
    pub live: bool,
    /// What to ask.
    pub asks: fn(&Facts) -> Vec<Ask>,
    /// What the answers mean.
    pub parse: ParseFn,
    /// Reads back what was stored as JSON.
    pub decode: fn(&[u8]) -> Result<Arc<dyn AnyReading>>,
    /// The schema of its observed reading.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
}

impl CollectorDef {
    /// The entry for `C`.
    pub const fn of<C: Collector>() -> Self {
        Self {
            name: C::NAME,
            why: C::WHY,
            every: C::EVERY,
            needs: C::NEEDS,
            costly: C::COSTLY,
            live: C::LIVE,
            asks: C::asks,
            parse: parse::<C>,
            decode: |json| {
                let reading: C::Reading = serde_json::from_slice(json).map_err(|source| {
                    Error::internal(format!("a stored reading of {} no longer parses", C::NAME))
                        .caused_by(source)
                })?;
                Ok(Arc::new(reading))
            },
            schema: |generator| generator.subschema_for::<C::Reading>(),
        }
    }

    /// The first capability that these facts lack.
    pub fn lacks(&self, facts: &Facts) -> Option<Capability> {
        self.needs.iter().copied().find(|need| !facts.can(*need))
    }
}

fn parse<C: Collector>(
    facts: &Facts,
    answers: &Answers,
    before: Option<&Observed<Arc<dyn AnyReading>>>,
) -> Result<AnyParsed> {
    let before: Option<Observed<C::Reading>> = before.and_then(|observed| {
        let reading = (*observed.value).as_any().downcast_ref::<C::Reading>()?;
        Some(observed.clone().map(|_| reading.clone()))
    });
    Ok(match C::parse(facts, answers, before.as_ref())? {
        Parsed::More(asks) => AnyParsed::More(asks),
        Parsed::Reading(reading, problems) => {
            let mut samples = Samples::default();
            C::samples(&reading, &mut samples);
            AnyParsed::Reading(Arc::new(reading), problems, samples)
        }
    })
}
