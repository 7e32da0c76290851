//! REST: one route for each operation, and errors that say what to do.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use domain::operation::OperationDef;
use serde_json::{Value, json};
use surfaces::peer::Peer;

use crate::toys::{Toys, operations};

#[tokio::test]
async fn path_and_query_become_the_input() {
    let toys = Toys::new().await;
    let answer = toys.get("/api/weather/new%20york?days=3&unit=fahrenheit").await;
    assert_eq!(answer.status, StatusCode::OK);
    let weather = answer.json();
    assert_eq!(
        (&weather["place"], &weather["days"], &weather["unit"]),
        (&json!("new york"), &json!(3), &json!("fahrenheit"))
    );
    let tagged = toys.get("/api/things?tags=all,bolt").await.json();
    let again = toys.get("/api/things?tags=all&tags=bolt").await.json();
    assert_eq!(tagged["total"], 1);
    assert_eq!(tagged, again);
}

#[tokio::test]
async fn fields_come_in_the_order_of_their_struct() {
    let toys = Toys::new().await;
    let body = toys.get("/api/things?limit=1").await.body;
    assert!(
        body.starts_with("{\"summary\":\"3 things\",\"items\":[{\"name\":\"anvil\",\"size_bytes\":"),
        "{body}"
    );
}

#[tokio::test]
async fn a_problem_names_the_situation_and_the_way_out() {
    let toys = Toys::new().await;
    let answer = toys.get("/api/weather/nowhere").await;
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let expected = json!({
        "type": "about:blank", "title": "Not Found", "status": 404, "code": "place_unknown",
        "detail": "no place is called “nowhere”", "help": "nearest: paris, parma", "kind": "not_found",
    });
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_told_how() {
    let toys = Toys::new().await;
    let cases = [
        ("/api/weather/paris?days=soon", 400, "field_type", "“days” is not an integer"),
        ("/api/weather/paris?unit=kelvin", 400, "field_type", "one of"),
        ("/api/weather/paris?dayz=3", 400, "field_unknown", "dayz"),
        ("/api/weather/paris?place=rome", 400, "field_twice", "place"),
        ("/api/weather/paris?days=1&days=2", 400, "field_twice", "2 times"),
        ("/api/weather/%ff", 400, "path_malformed", ""),
        ("/api/things?limit=0", 400, "limit_range", "limit"),
        ("/api/things?page=2", 400, "field_unknown", "page"),
        ("/api/things?cursor=zz", 400, "cursor_malformed", "cursor"),
        ("/api/thingz", 404, "route_unknown", "/api/thingz"),
        ("/api", 404, "route_unknown", ""),
        ("/elsewhere", 404, "route_unknown", ""),
    ];
    for (path, status, code, detail) in cases {
        let answer = toys.get(path).await;
        let problem = answer.json();
        assert_eq!(
            (answer.status.as_u16(), problem["code"].as_str()),
            (status, Some(code)),
            "{path}: {problem}"
        );
        assert!(problem["detail"].as_str().is_some_and(|text| text.contains(detail)), "{path}: {problem}");
        assert!(problem["help"].as_str().is_some_and(|help| !help.is_empty()), "{path}: {problem}");
    }
    let unknown = toys.get("/api/thingz").await.json();
    assert!(unknown["help"].as_str().is_some_and(|help| help.contains("/api/things")), "{unknown}");
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let toys = Toys::new().await;
    let answer = toys.ask(Request::put("/api/things").body(Body::empty()).expect("a request")).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.header("allow"), "GET, HEAD, POST");
    assert_eq!(answer.json()["code"], "method_not_allowed");
}

#[tokio::test]
async fn bodies_that_are_not_json_objects_are_refused() {
    let toys = Toys::new().await;
    let form = Request::post("/api/things")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from("name=nut"))
        .expect("a request");
    let answer = toys.ask_as(Peer::User(0), form).await;
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, Some("media_type"))
    );
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for (body, code) in [
        ("[1]", "input_malformed"),
        ("{\"name\":", "body_malformed"),
        (&deep, "body_malformed"),
        ("{}", "field_missing"),
    ] {
        let answer = toys.post(Peer::User(0), "/api/things", &[], body).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (StatusCode::BAD_REQUEST, Some(code)));
    }
}

#[tokio::test]
async fn the_same_answer_is_sent_once() {
    let toys = Toys::new().await;
    let first = toys.get("/api/things").await;
    let tag = first.header("etag").to_owned();
    assert!(tag.len() > 10 && tag.starts_with('"'), "{tag}");
    let conditional = |tag: &str| {
        Request::get("/api/things")
            .header("if-none-match", format!("\"other\", W/{tag}"))
            .body(Body::empty())
            .expect("a request")
    };
    let again = toys.ask(conditional(&tag)).await;
    assert_eq!(
        (again.status, again.body.as_str(), again.header("etag")),
        (StatusCode::NOT_MODIFIED, "", tag.as_str())
    );
    toys.world.clock.forward(std::time::Duration::from_secs(1));
    let changed = toys.ask(conditional(&tag)).await;
    assert_eq!(changed.status, StatusCode::OK);
}

#[tokio::test]
async fn a_cursor_goes_on_where_the_page_ended() {
    let toys = Toys::new().await;
    let mut names = Vec::new();
    let mut path = "/api/things?limit=1&sort=-size_bytes&fields=name".to_owned();
    loop {
        let page = toys.get(&path).await.json();
        names.extend(page["items"].as_array().expect("items").iter().map(|item| item["name"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/things?limit=1&sort=-size_bytes&fields=name&cursor={cursor}");
    }
    assert_eq!(names, ["anvil", "bolt", "cog"]);
}

#[tokio::test]
async fn tcp_may_read_and_the_socket_may_do_everything() {
    let toys = Toys::new().await;
    let refused = toys.post(Peer::Loopback, "/api/things", &[], "{\"name\":\"nut\"}").await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (StatusCode::FORBIDDEN, Some("read_only")));
    let done = toys.post(Peer::User(7), "/api/things", &[], "{\"name\":\"nut\"}").await;
    assert_eq!((done.status, done.json()["by"].as_str()), (StatusCode::OK, Some("uid:7 by rest")));
    let as_cli =
        toys.post(Peer::User(7), "/api/things", &[("x-reeve-surface", "cli")], "{\"name\":\"nut\"}").await;
    assert_eq!(as_cli.json()["by"], "uid:7 by cli");
    let removed = Request::delete("/api/things/nut").body(Body::empty()).expect("a request");
    assert_eq!(toys.ask_as(Peer::User(7), removed).await.json(), json!({"name": "nut"}));
}

#[tokio::test]
async fn a_command_with_a_key_is_done_once() {
    let toys = Toys::new().await;
    let key = [("idempotency-key", "4711")];
    let first = toys.post(Peer::User(0), "/api/things", &key, "{\"name\":\"nut\"}").await.json();
    let again = toys.post(Peer::User(0), "/api/things", &key, "{\"name\":\"nut\"}").await.json();
    assert_eq!(first, again);
    let other = toys.post(Peer::User(0), "/api/things", &key, "{\"name\":\"washer\"}").await;
    assert_eq!(
        (other.status, other.json()["code"].as_str()),
        (StatusCode::CONFLICT, Some("idempotency_key_reused"))
    );
    let unkeyed = toys.post(Peer::User(0), "/api/things", &[], "{\"name\":\"nut\"}").await.json();
    assert_ne!(first["id"], unkeyed["id"]);
    let failed =
        toys.post(Peer::User(0), "/api/things", &[("idempotency-key", "4712")], "{\"name\":\"anvil\"}").await;
    assert_eq!(
        (failed.status, failed.header("content-type")),
        (StatusCode::CONFLICT, "application/problem+json")
    );
}

#[tokio::test]
async fn a_panic_is_our_fault_and_the_server_lives() {
    let toys = Toys::new().await;
    let broken = toys.get("/api/trouble/panic").await;
    assert_eq!(
        (broken.status, broken.json()["code"].as_str()),
        (StatusCode::INTERNAL_SERVER_ERROR, Some("internal"))
    );
    assert!(!broken.body.contains("the toy broke"), "the cause is for the log: {}", broken.body);
    let hanging = toys.get("/api/trouble/hang").await;
    assert_eq!(
        (hanging.status, hanging.json()["code"].as_str()),
        (StatusCode::GATEWAY_TIMEOUT, Some("deadline_exceeded"))
    );
    assert_eq!(toys.get("/api/things").await.status, StatusCode::OK);
}

#[tokio::test]
async fn every_operation_is_reached_at_its_route() {
    let toys = Toys::new().await;
    for def in operations() {
        let path = def
            .route
            .segments()
            .fold(def.route.path.to_string(), |path, name| path.replace(&format!("{{{name}}}"), "x"));
        let request = Request::builder().method(def.route.method.name()).uri(format!("/api{path}"));
        let answer = toys.ask_as(Peer::User(0), request.body(Body::empty()).expect("a request")).await;
        let code = if answer.status.is_success() { Value::Null } else { answer.json()["code"].clone() };
        assert_ne!(code, json!("route_unknown"), "{}", name(&def));
    }
}

fn name(def: &OperationDef) -> String {
    def.name.to_string()
}
