//! No web page reaches us through a browser.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use surfaces::peer::Peer;

use crate::toys::Toys;

const DOORS: [(&str, Method); 7] = [
    ("/api/things", Method::GET),
    ("/api/things", Method::POST),
    ("/mcp", Method::GET),
    ("/mcp", Method::POST),
    ("/mcp", Method::DELETE),
    ("/health", Method::GET),
    ("/nothing", Method::GET),
];

async fn asked(toys: &Toys, path: &str, method: &Method, headers: &[(&str, &str)]) -> StatusCode {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = toys.ask_as(Peer::User(0), request.body(Body::empty()).expect("a request")).await;
    if answer.status == StatusCode::FORBIDDEN {
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    answer.status
}

#[tokio::test]
async fn a_host_that_is_not_ours_is_refused_on_every_route() {
    let toys = Toys::new().await;
    for (path, method) in DOORS {
        for host in ["evil.com", "evil.com:8420", "127.0.0.1:8421", "127.0.0.1", "localhost.evil.com:8420"] {
            assert_eq!(
                asked(&toys, path, &method, &[("host", host)]).await,
                StatusCode::FORBIDDEN,
                "{method} {path} {host}"
            );
        }
    }
    for host in ["127.0.0.1:8420", "LOCALHOST:8420", "[::1]:8420"] {
        assert_eq!(asked(&toys, "/health", &Method::GET, &[("host", host)]).await, StatusCode::OK, "{host}");
    }
}

#[tokio::test]
async fn a_foreign_origin_is_refused_on_every_route() {
    let toys = Toys::new().await;
    let foreign = [
        "http://evil.com",
        "null",
        "http://127.0.0.1:9999",
        "https://127.0.0.1:8420",
        "http://localhost:8420",
        "http://127.0.0.1:8420.evil.com",
        "",
    ];
    for (path, method) in DOORS {
        for origin in foreign {
            let status = asked(&toys, path, &method, &[("origin", origin)]).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path} {origin}");
        }
        let own = asked(&toys, path, &method, &[("origin", "http://127.0.0.1:8420")]).await;
        assert_ne!(own, StatusCode::FORBIDDEN, "{method} {path}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_may_link_to_us_and_no_more() {
    let toys = Toys::new().await;
    let image =
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")];
    assert_eq!(asked(&toys, "/api/things", &Method::GET, &image).await, StatusCode::FORBIDDEN);
    let frame =
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
    assert_eq!(asked(&toys, "/api/things", &Method::GET, &frame).await, StatusCode::FORBIDDEN);
    let link =
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    assert_eq!(asked(&toys, "/api/docs", &Method::GET, &link).await, StatusCode::OK);
    let own = [("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")];
    assert_eq!(asked(&toys, "/api/things", &Method::GET, &own).await, StatusCode::OK);
}

#[tokio::test]
async fn a_request_that_names_two_hosts_is_malformed() {
    let toys = Toys::new().await;
    let two = [("host", "127.0.0.1:8420"), ("host", "evil.com")];
    assert_eq!(asked(&toys, "/health", &Method::GET, &two).await, StatusCode::BAD_REQUEST);
    let absolute = asked(&toys, "http://evil.com/health", &Method::GET, &[]).await;
    assert_eq!(absolute, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn every_answer_forbids_frames_sniffing_and_caching() {
    let toys = Toys::new().await;
    for path in ["/api/weather/nowhere", "/health", "/nothing", "/api/docs"] {
        let answer = toys.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"), "{path}");
    }
}

#[tokio::test]
async fn a_body_over_a_mebibyte_is_too_large() {
    let toys = Toys::new().await;
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(1 << 20));
    for path in ["/api/things", "/mcp"] {
        let answer = toys.post(Peer::User(0), path, &[], &large).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{path}");
        assert_eq!(answer.json()["code"], "body_too_large");
    }
}
