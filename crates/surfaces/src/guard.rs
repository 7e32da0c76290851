//! Stands before every route: no web page reaches us through a browser, and no request is larger or slower than we take.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, ORIGIN, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::untrusted::clean;
use domain::{Error, ErrorKind, Result};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::failure::Failure;

/// Largest request body, in bytes.
pub const LARGEST_BODY: usize = 1 << 20;
/// Longest time in which a request's body must have arrived.
pub const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Which names a caller may know us by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// The loopback address at this port, by any of its names.
    Loopback(Vec<String>),
    /// The data directory's socket: browsers cannot reach it, so a host name says nothing there.
    Socket,
}

impl Names {
    /// The names of a listener at this address.
    pub fn of(address: SocketAddr) -> Self {
        let port = address.port();
        let own = match address.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let mut names: Vec<String> = ["127.0.0.1", "localhost", "[::1]", &own]
            .into_iter()
            .map(|name| format!("{name}:{port}"))
            .collect();
        if port == 80 {
            names.extend(["127.0.0.1", "localhost", "[::1]", &own].map(str::to_owned));
        }
        names.dedup();
        Self::Loopback(names)
    }
}

/// Checks whom the request is for and whence it comes, then lets it through, and dresses the answer.
pub async fn stand(State(names): State<Names>, request: Request, next: Next) -> Response {
    let mut response = match check(&names, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    dress(response.headers_mut());
    response
}

/// The whole body of a request, where it is small and comes soon.
pub async fn read_body(body: Body) -> Result<Bytes, Failure> {
    // Said beforehand to be too large, it need not arrive.
    if body.size_hint().lower() > LARGEST_BODY as u64 {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(BODY_WITHIN, Limited::new(body, LARGEST_BODY).collect()).await;
    match collected {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Failure::from(Error::invalid(
            "body_broken",
            "the request's body did not arrive whole",
            "send it again",
        ))),
        Err(_) => Err(Failure::with_status(
            Error::new(
                ErrorKind::DeadlineExceeded,
                "body_too_slow",
                format!("the request's body did not arrive within {} s", BODY_WITHIN.as_secs()),
                "send it again",
            ),
            StatusCode::REQUEST_TIMEOUT,
        )),
    }
}

fn too_large() -> Failure {
    let message = format!("the request's body is larger than {LARGEST_BODY} bytes");
    Failure::from(Error::new(ErrorKind::TooLarge, "body_too_large", message, "send less at once"))
}

fn check(names: &Names, request: &Request) -> Result<(), Failure> {
    let host = host(request)?;
    if let Names::Loopback(names) = names {
        let host = host.as_deref().ok_or_else(|| malformed("the request has no Host header"))?;
        if !names.iter().any(|name| name.eq_ignore_ascii_case(host)) {
            let message = format!("we are not known as “{}”", clean(host));
            let help = format!("ask http://{} itself", names.first().map_or("127.0.0.1", String::as_str));
            return Err(forbidden("host_unknown", message, help));
        }
    }
    check_origin(request.headers(), host.as_deref())?;
    check_fetch(request)
}

fn host(request: &Request) -> Result<Option<String>, Failure> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let named = hosts.next().map(|host| host.to_str().map(str::to_owned));
    if hosts.next().is_some() {
        return Err(malformed("the request has two Host headers"));
    }
    let named = named.transpose().map_err(|_| malformed("the Host header is not text"))?;
    let target = request.uri().authority().map(|authority| authority.as_str().to_owned());
    match (named, target) {
        (Some(named), Some(target)) if !named.eq_ignore_ascii_case(&target) => {
            Err(malformed("the request's target and its Host header differ"))
        }
        (named, target) => Ok(named.or(target)),
    }
}

/// Browsers send `Origin` with whatever a page asks for across sites, and with every POST.
fn check_origin(headers: &HeaderMap, host: Option<&str>) -> Result<(), Failure> {
    for origin in headers.get_all(ORIGIN) {
        let own = host.map(|host| format!("http://{host}"));
        let is_own =
            origin.to_str().is_ok_and(|origin| own.is_some_and(|own| own.eq_ignore_ascii_case(origin)));
        if !is_own {
            return Err(foreign());
        }
    }
    Ok(())
}

/// Browsers say in `Sec-Fetch-Site` whence a request without an `Origin` comes; a person may still follow a link to us.
fn check_fetch(request: &Request) -> Result<(), Failure> {
    let header = |name: &'static str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let is_foreign = header("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none");
    let is_link = request.method() == Method::GET
        && header("sec-fetch-mode") == Some("navigate")
        && header("sec-fetch-dest") == Some("document");
    if is_foreign && !is_link { Err(foreign()) } else { Ok(()) }
}

fn dress(headers: &mut HeaderMap) {
    const ALWAYS: [(HeaderName, &str); 4] = [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    const UNLESS_SAID: [(HeaderName, &str); 2] = [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in UNLESS_SAID {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

fn malformed(message: &'static str) -> Failure {
    Failure::from(Error::invalid("request_malformed", message, "use an ordinary HTTP client"))
}

fn forbidden(code: &'static str, message: String, help: String) -> Failure {
    Failure::from(Error::new(ErrorKind::Forbidden, code, message, help))
}

fn foreign() -> Failure {
    let message = "the request comes from another web page".to_owned();
    forbidden(
        "origin_foreign",
        message,
        "pages of other origins may not ask us; use a program, or our own pages".to_owned(),
    )
}
