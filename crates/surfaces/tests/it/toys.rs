//! Toy operations, and a server of them in a world without machines.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use domain::context::Context;
use domain::listing::{Listing, Page, Row};
use domain::operation::{Effect, Operation, OperationDef, Route, Toolset};
use domain::problem::Problem;
use domain::testing::world::World;
use domain::{Error, Result, Timestamp};
use http_body_util::BodyExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use surfaces::guard::Names;
use surfaces::peer::Peer;
use surfaces::server::Server;
use tokio::sync::watch;
use tower::ServiceExt as _;

/// Tells the weather at a place. As it was
/// last seen.
#[derive(Deserialize, JsonSchema)]
pub struct GetWeather {
    /// The place.
    place: String,
    /// How many days.
    days: Option<u32>,
    /// The unit.
    unit: Option<Unit>,
}

/// A unit.
#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Of water.
    Celsius,
    /// Of Mr Fahrenheit.
    Fahrenheit,
}

/// Weather.
#[derive(Serialize, JsonSchema)]
pub struct Weather {
    /// Where.
    place: String,
    /// How warm.
    air_celsius: f64,
    /// For how many days.
    days: Option<u32>,
    /// In which unit it was asked.
    unit: Option<Unit>,
    /// When it was seen.
    as_of: Timestamp,
}

impl Operation for GetWeather {
    const NAME: &'static str = "get_weather";
    const EFFECT: Effect = Effect::Read;
    const ROUTE: Route = Route::get("/weather/{place}");
    const TOOLSET: Toolset = Toolset::Fleet;
    type Output = Weather;

    async fn run(self, ctx: &Context) -> Result<Weather> {
        if self.place == "nowhere" {
            return Err(Error::not_found("place_unknown", "place", &self.place, ["paris", "parma"]));
        }
        let as_of = ctx.ports.clock.now().minus(Duration::from_secs(12));
        Ok(Weather { place: self.place, air_celsius: 21.5, days: self.days, unit: self.unit, as_of })
    }
}

/// Lists things.
#[derive(Deserialize, JsonSchema)]
pub struct ListThings {
    /// Only things with all these tags.
    #[serde(default)]
    tags: Vec<String>,
    #[serde(flatten)]
    page: Page,
}

/// A thing.
#[derive(Serialize, JsonSchema)]
pub struct Thing {
    /// Its name.
    name: String,
    /// Its size.
    size_bytes: u64,
    /// Part in use.
    used_ratio: Option<f64>,
    /// Its tags.
    tags: Vec<String>,
    /// When it was seen.
    as_of: Timestamp,
}

impl Row for Thing {
    const KEY: &'static [&'static str] = &["name"];
}

impl Operation for ListThings {
    const NAME: &'static str = "list_things";
    const EFFECT: Effect = Effect::Read;
    const ROUTE: Route = Route::get("/things");
    const TOOLSET: Toolset = Toolset::Containers;
    type Output = Listing<Thing>;

    async fn run(self, ctx: &Context) -> Result<Self::Output> {
        let now = ctx.ports.clock.now();
        let thing = |name: &str, size_bytes, used_ratio, seconds| Thing {
            name: name.to_owned(),
            size_bytes,
            used_ratio,
            tags: vec!["all".to_owned(), name.to_owned()],
            as_of: now.minus(Duration::from_secs(seconds)),
        };
        let mut things = vec![
            thing("anvil", 3 << 30, Some(0.5), 5),
            thing("bolt", 2_048, None, 70),
            thing("cog", 7, Some(1.0), 7_300),
        ];
        things.retain(|thing| self.tags.iter().all(|tag| thing.tags.contains(tag)));
        let problems =
            vec![Problem::new("not_weighed", "bolt was never weighed").about("bolt").help("weigh it")];
        Listing::new(format!("{} things", things.len()), &things, problems, &self.page)
    }
}

/// Adds a thing.
#[derive(Deserialize, JsonSchema)]
pub struct AddThing {
    /// Its name.
    name: String,
    /// Its size.
    size_bytes: Option<u64>,
    /// Its labels.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Whether it may replace another.
    replace: Option<bool>,
}

/// A thing that was added.
#[derive(Serialize, JsonSchema)]
pub struct Added {
    /// Its id, another one each time.
    id: String,
    /// Its name.
    name: String,
    /// Its size.
    size_bytes: Option<u64>,
    /// Its labels.
    labels: BTreeMap<String, String>,
    /// Whether it replaced another.
    replace: Option<bool>,
    /// Who added it, and how.
    by: String,
}

impl Operation for AddThing {
    const NAME: &'static str = "add_thing";
    const EFFECT: Effect = Effect::Configure;
    const ROUTE: Route = Route::post("/things");
    const TOOLSET: Toolset = Toolset::Admin;
    type Output = Added;

    async fn run(self, ctx: &Context) -> Result<Added> {
        if self.name == "anvil" {
            return Err(Error::conflict("thing_known", "there is an anvil", "give it another name"));
        }
        let by = format!("{} by {}", ctx.caller.principal, ctx.caller.surface.name());
        let id = uuid::Uuid::new_v4().to_string();
        Ok(Added {
            id,
            name: self.name,
            size_bytes: self.size_bytes,
            labels: self.labels,
            replace: self.replace,
            by,
        })
    }
}

/// Removes a thing for ever.
#[derive(Deserialize, JsonSchema)]
pub struct RemoveThing {
    /// Its name.
    name: String,
}

/// A name.
#[derive(Serialize, JsonSchema)]
pub struct Named {
    /// The name.
    name: String,
}

impl Operation for RemoveThing {
    const NAME: &'static str = "remove_thing";
    const EFFECT: Effect = Effect::Configure;
    const ROUTE: Route = Route::delete("/things/{name}");
    const TOOLSET: Toolset = Toolset::Admin;
    const PERSON: bool = true;
    type Output = Named;

    async fn run(self, _: &Context) -> Result<Named> {
        Ok(Named { name: self.name })
    }
}

/// Breaks down.
#[derive(Deserialize, JsonSchema)]
pub struct BreakDown {}

impl Operation for BreakDown {
    const NAME: &'static str = "break_down";
    const EFFECT: Effect = Effect::Read;
    const ROUTE: Route = Route::get("/trouble/panic");
    const TOOLSET: Toolset = Toolset::Readings;
    type Output = Named;

    async fn run(self, _: &Context) -> Result<Named> {
        panic!("the toy broke")
    }
}

/// Hangs.
#[derive(Deserialize, JsonSchema)]
pub struct Hang {}

impl Operation for Hang {
    const NAME: &'static str = "hang";
    const EFFECT: Effect = Effect::Read;
    const ROUTE: Route = Route::get("/trouble/hang");
    const TOOLSET: Toolset = Toolset::Readings;
    const DEADLINE: Duration = Duration::from_millis(50);
    type Output = Named;

    async fn run(self, _: &Context) -> Result<Named> {
        std::future::pending().await
    }
}

/// The list.
pub fn operations() -> Vec<OperationDef> {
    vec![
        OperationDef::of::<ListThings>(),
        OperationDef::of::<GetWeather>(),
        OperationDef::of::<AddThing>(),
        OperationDef::of::<RemoveThing>(),
        OperationDef::of::<BreakDown>(),
        OperationDef::of::<Hang>(),
    ]
}

/// A server and what it stands on.
pub struct Toys {
    pub world: World,
    pub server: Server,
    pub ready: watch::Sender<bool>,
    router: Router,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

impl Toys {
    pub async fn new() -> Self {
        let world = World::new(&[]).await;
        let (ready, is_ready) = watch::channel(true);
        let server = Server::new(&operations(), &world.ports, is_ready, world.stop.clone());
        let address = "127.0.0.1:8420".parse().expect("an address");
        let router = server.router(Names::of(address));
        Self { world, server, ready, router }
    }

    /// Asks as a program on this machine would.
    pub async fn ask(&self, request: Request<Body>) -> Answer {
        self.ask_as(Peer::Loopback, request).await
    }

    pub async fn ask_as(&self, peer: Peer, mut request: Request<Body>) -> Answer {
        if !request.headers().contains_key("host") {
            request.headers_mut().insert("host", "127.0.0.1:8420".parse().expect("a value"));
        }
        request.extensions_mut().insert(peer);
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let body = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    pub async fn post(&self, peer: Peer, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::post(path).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.ask_as(peer, request.body(Body::from(body.to_owned())).expect("a request")).await
    }
}
