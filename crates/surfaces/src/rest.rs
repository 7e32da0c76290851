//! REST: each operation at its route below `/api`.

mod routes;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Query, Request};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::caller::{Caller, Surface};
use domain::context::{Context, Ports};
use domain::operation::{Effect, OperationDef};
use domain::untrusted::clean;
use domain::{Error, Result};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::failure::Failure;
use crate::guard::read_body;
use crate::peer::Peer;
use crate::repeats::{Admitted, Place, Repeats, Told};
use crate::schemas::Field;

use routes::{Found, Routes};

/// By this header the command line says that it is the one who asks; believed at the socket only.
pub const SURFACE: HeaderName = HeaderName::from_static("x-reeve-surface");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The operations over REST.
pub struct Rest {
    routes: Routes,
    ports: Arc<Ports>,
    repeats: Repeats,
}

impl Rest {
    /// These operations over REST.
    pub fn new(operations: &[OperationDef], ports: Arc<Ports>) -> Self {
        Self { routes: Routes::new(operations), ports, repeats: Repeats::default() }
    }

    /// Answers a request below `/api`.
    pub async fn answer(&self, peer: Peer, request: Request) -> Response {
        match self.try_answer(peer, request).await {
            Ok(response) => response,
            Err(failure) => failure.into_response(),
        }
    }

    async fn try_answer(&self, peer: Peer, request: Request) -> Result<Response, Failure> {
        let path = request.uri().path();
        let found = self.routes.find(request.method(), path.strip_prefix("/api").unwrap_or(path))?;
        let def = found.def;
        let (parts, body) = request.into_parts();
        let asked = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_err(|_| {
            Error::invalid("query_malformed", "the query cannot be read", "write ?name=value&other=value")
        })?;
        let input = {
            let body = read_body(body).await?;
            input(&found, asked.0, body_fields(&parts.headers, &body)?)?
        };
        let surface = match parts.headers.get(SURFACE) {
            Some(name) if name == Surface::Cli.name() && matches!(peer, Peer::User(_)) => Surface::Cli,
            _ => Surface::Rest,
        };
        let caller = peer.caller(surface);
        if def.effect == Effect::Read {
            let bytes = def.call(input, self.context(caller)).await?.to_json()?;
            return Ok(tagged(&parts.headers, bytes));
        }
        match parts.headers.get(IDEMPOTENCY_KEY) {
            None => Ok(command(def, input, self.context(caller)).await.into_response()),
            Some(key) => self.once(def, input, caller, key).await,
        }
    }

    /// Does a command whose key is new, in a task of its own: a caller who leaves and comes back is told its answer.
    async fn once(
        &self,
        def: &OperationDef,
        input: Value,
        caller: Caller,
        key: &HeaderValue,
    ) -> Result<Response, Failure> {
        let key = key.to_str().unwrap_or_default();
        let now = self.ports.clock.monotonic();
        let told = self.repeats.admit(
            &caller.principal.to_string(),
            key,
            &def.name,
            input.to_string().as_bytes(),
            now,
        )?;
        let place: Place = match told {
            Admitted::Told(told) => return Ok(told.into_response()),
            Admitted::New(place) => place,
        };
        let (def, context) = (def.clone(), self.context(caller));
        let doing = self.ports.tasks.spawn(async move {
            let told = command(&def, input, context).await;
            place.settle(&told);
            told
        });
        let told = doing
            .await
            .map_err(|source| Error::internal("a command ended without an answer").caused_by(source))?;
        Ok(told.into_response())
    }

    fn context(&self, caller: Caller) -> Context {
        Context::new(Arc::clone(&self.ports), caller)
    }
}

impl IntoResponse for Told {
    fn into_response(self) -> Response {
        let kind = if self.status.is_success() { "application/json" } else { "application/problem+json" };
        let mut response = (self.status, [(CONTENT_TYPE, kind)], self.body).into_response();
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

async fn command(def: &OperationDef, input: Value, context: Context) -> Told {
    let answer = def.call(input, context).await.and_then(|answer| answer.to_json());
    match answer {
        Ok(body) => Told { status: StatusCode::OK, body: Bytes::from(body) },
        Err(error) => Told::from(Failure::from(error)),
    }
}

/// One input from what the path, the query and the body say; where two say different things, neither is guessed.
fn input(found: &Found<'_>, query: Vec<(String, String)>, body: Map<String, Value>) -> Result<Value> {
    let fields = Field::all(found.def);
    let mut texts: Vec<(String, Vec<String>)> =
        found.fields.iter().map(|(name, text)| ((*name).to_owned(), vec![text.clone()])).collect();
    for (name, text) in query {
        if found.fields.iter().any(|(in_path, _)| *in_path == name) {
            return Err(said_twice(&name));
        }
        match texts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, more)) => more.push(text),
            None => texts.push((name, vec![text])),
        }
    }
    let mut input = body;
    for (name, texts) in texts {
        let value = match fields.iter().find(|field| field.name == name) {
            Some(field) => field.kind.from_texts(&name, &texts)?,
            None => Value::from(texts.join(",")),
        };
        if input.get(&name).is_some_and(|other| *other != value) {
            return Err(said_twice(&name));
        }
        input.insert(name, value);
    }
    Ok(Value::Object(input))
}

fn said_twice(name: &str) -> Error {
    let message = format!("“{}” is said twice, in different places", clean(name));
    Error::invalid("field_twice", message, "say it once: in the path, in the query or in the body")
}

fn body_fields(headers: &HeaderMap, body: &Bytes) -> Result<Map<String, Value>, Failure> {
    if body.is_empty() {
        return Ok(Map::new());
    }
    let media = headers.get(CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media != "application/json" {
        let error =
            Error::invalid("media_type", "the body is not JSON", "send Content-Type: application/json");
        return Err(Failure::with_status(error, StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => {
            Err(Error::invalid("input_malformed", "the body is not an object", "send a JSON object").into())
        }
        Err(source) => {
            let message = format!("the body is not JSON: {source}");
            Err(Error::invalid("body_malformed", message, "send a JSON object in UTF-8").into())
        }
    }
}

/// An answer with its tag, or only word that the caller has it already.
fn tagged(headers: &HeaderMap, bytes: Vec<u8>) -> Response {
    use std::fmt::Write as _;
    let mut tag = String::with_capacity(34);
    tag.push('"');
    for byte in &Sha256::digest(&bytes)[..16] {
        // Writing to a String cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    let is_known = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|tags| tags.to_str().ok())
        .flat_map(|tags| tags.split(','))
        .map(|known| known.trim().trim_start_matches("W/"))
        .any(|known| known == "*" || known == tag);
    let always = [(ETAG, tag), (CACHE_CONTROL, "private, no-cache".to_owned())];
    if is_known {
        (StatusCode::NOT_MODIFIED, always).into_response()
    } else {
        (always, [(CONTENT_TYPE, "application/json")], bytes).into_response()
    }
}
