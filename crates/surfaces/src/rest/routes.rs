//! Which operation a method and a path mean.

use std::borrow::Cow;

use axum::http::header::ALLOW;
use axum::http::{HeaderValue, Method, StatusCode};
use domain::error::nearest;
use domain::operation::OperationDef;
use domain::untrusted::clean;
use domain::{Error, ErrorKind};

use crate::failure::Failure;

/// The routes of the list.
pub struct Routes(Vec<Route>);

struct Route {
    segments: Vec<Segment>,
    def: OperationDef,
}

enum Segment {
    Literal(String),
    Field(String),
}

/// An operation that a request means, and what its path says.
pub struct Found<'a> {
    /// The operation.
    pub def: &'a OperationDef,
    /// Fields and their texts, decoded.
    pub fields: Vec<(&'a str, String)>,
}

impl Routes {
    /// The routes of these operations.
    pub fn new(operations: &[OperationDef]) -> Self {
        Self(
            operations
                .iter()
                .map(|def| Route { segments: segments(&def.route.path), def: def.clone() })
                .collect(),
        )
    }

    /// What a method and a path below `/api` mean. `HEAD` means `GET`. Words beat fields, the leftmost first.
    pub fn find(&self, method: &Method, path: &str) -> Result<Found<'_>, Failure> {
        let parts: Vec<Cow<'_, str>> = path
            .trim_matches('/')
            .split('/')
            .map(decoded)
            .collect::<Option<_>>()
            .ok_or_else(|| malformed(path))?;
        let mut fitting: Vec<&Route> = self.0.iter().filter(|route| route.fits(&parts)).collect();
        if fitting.is_empty() {
            return Err(self.unknown(path));
        }
        fitting.sort_by_key(|route| route.segments.iter().map(Segment::is_field).collect::<Vec<_>>());
        let wanted = if *method == Method::HEAD { "GET" } else { method.as_str() };
        let Some(route) = fitting.iter().find(|route| route.def.route.method.name() == wanted) else {
            return Err(not_allowed(method, &fitting));
        };
        Ok(Found { def: &route.def, fields: route.fields(&parts) })
    }

    fn unknown(&self, path: &str) -> Failure {
        let known: Vec<String> = self.0.iter().map(|route| format!("/api{}", route.def.route.path)).collect();
        let near = nearest(&format!("/api{path}"), known.iter().map(String::as_str));
        let message = format!("there is nothing at /api{}", clean(path));
        let help = format!("nearest: {}; all are at /api/docs", near.join(", "));
        Failure::from(Error::new(ErrorKind::NotFound, "route_unknown", message, help))
    }
}

impl Route {
    fn fits(&self, parts: &[Cow<'_, str>]) -> bool {
        self.segments.len() == parts.len()
            && self.segments.iter().zip(parts).all(|(segment, part)| match segment {
                Segment::Literal(word) => word == part,
                Segment::Field(_) => !part.is_empty(),
            })
    }

    fn fields(&self, parts: &[Cow<'_, str>]) -> Vec<(&str, String)> {
        let pairs = self.segments.iter().zip(parts);
        pairs
            .filter_map(|(segment, part)| match segment {
                Segment::Literal(_) => None,
                Segment::Field(name) => Some((name.as_str(), part.to_string())),
            })
            .collect()
    }
}

impl Segment {
    fn is_field(&self) -> bool {
        matches!(self, Self::Field(_))
    }
}

fn segments(path: &str) -> Vec<Segment> {
    let parts = path.trim_matches('/').split('/');
    parts
        .map(|part| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => Segment::Field(name.to_owned()),
            None => Segment::Literal(part.to_owned()),
        })
        .collect()
}

/// Text whose `%XX` are bytes; nothing where they are not UTF-8. An encoded slash stays inside its segment.
fn decoded(part: &str) -> Option<Cow<'_, str>> {
    if !part.contains('%') {
        return Some(Cow::Borrowed(part));
    }
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = tail;
            continue;
        }
        let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn malformed(path: &str) -> Failure {
    let message = format!("the path “{}” is not UTF-8 in percent-encoding", clean(path));
    Failure::from(Error::invalid("path_malformed", message, "encode other characters as %XX"))
}

fn not_allowed(method: &Method, fitting: &[&Route]) -> Failure {
    let mut allowed: Vec<&str> = fitting.iter().map(|route| route.def.route.method.name()).collect();
    if allowed.contains(&"GET") {
        allowed.push("HEAD");
    }
    allowed.sort_unstable();
    allowed.dedup();
    let allowed = allowed.join(", ");
    let message = format!("{} is not possible here", clean(method.as_str()));
    let error = Error::invalid("method_not_allowed", message, format!("use {allowed}"));
    let failure = Failure::with_status(error, StatusCode::METHOD_NOT_ALLOWED);
    match HeaderValue::from_str(&allowed) {
        Ok(allowed) => failure.header(ALLOW, allowed),
        Err(_) => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_read_strictly() {
        assert_eq!(decoded("a%2Fb%20c").as_deref(), Some("a/b c"));
        assert_eq!(decoded("%ff"), None);
        assert_eq!(decoded("%+1"), None);
        assert_eq!(decoded("%2"), None);
    }
}
