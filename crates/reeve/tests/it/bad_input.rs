//! Every bad input gets a clear error that says what to do, on each surface alike.

use serde_json::json;

use crate::server::{Server, exchange, reeve};

#[test]
fn errors_teach_on_every_surface() {
    let server = Server::start();
    let name = server.get_json("/api/devices")["items"][0]["name"].as_str().unwrap().to_owned();
    let near = format!("{}x", &name[..name.len() - 1]);
    let cases: Vec<(String, u16, &str, &str)> = vec![
        (format!("/api/devices/{near}"), 404, "device_unknown", &name),
        ("/api/devices?limt=3".into(), 400, "field_unknown", "limit"),
        ("/api/devices?limit=lots".into(), 400, "", "limit"),
        ("/api/devices?limit=0".into(), 400, "limit_range", "1 to 500"),
        ("/api/devices?page=2".into(), 400, "field_unknown", "cursor"),
        ("/api/devices?status=onlin".into(), 400, "", "online"),
        ("/api/devices?sort=nmae".into(), 400, "field_unknown", "name"),
        (format!("/api/metrics/{name}/history?since=1h&until=2h"), 400, "range_backwards", "earlier"),
        (format!("/api/metrics/{name}/history?since=yesterday"), 400, "time_malformed", "RFC 3339"),
        (format!("/api/metrics/{name}/history?labels=x"), 400, "labels_malformed", "name=value"),
        ("/api/devcies".into(), 404, "", "devices"),
    ];
    for (path, status, code, hint) in cases {
        let reply = server.get(&path);
        let body = reply.json();
        assert_eq!(reply.status, status, "{path}: {body}");
        assert!(reply.head.to_lowercase().contains("application/problem+json"), "{path}: {}", reply.head);
        assert!(code.is_empty() || body["code"] == code, "{path}: {body}");
        assert!(body.to_string().contains(hint), "{path} does not teach “{hint}”: {body}");
    }
    // the same words on the command line
    let output = server.cli(&["device-info", &near]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("device_unknown") && text.contains(&name), "{text}");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn who_comes_by_tcp_may_only_read() {
    let server = Server::start();
    let body = json!({ "host": "example" }).to_string();
    let reply = server.send("POST", "/api/devices", &[("Content-Type", "application/json")], &body);
    assert_eq!((reply.status, &reply.json()["code"]), (403, &json!("read_only")));
    // the refusal is in the audit, and repeats are not a row each
    for _ in 0..5 {
        server.send("POST", "/api/devices", &[("Content-Type", "application/json")], &body);
    }
    let audit = server.cli_json(&["audit"]);
    let refused =
        audit["items"].as_array().unwrap().iter().filter(|row| row["outcome"] == "read_only").count();
    assert_eq!(refused, 1);
}

#[test]
fn a_web_page_cannot_reach_it_through_a_browser() {
    let server = Server::start();
    let evil = [
        ("Host", "evil.example"),
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Origin", "http://localhost.evil.example"),
    ];
    for path in ["/api/devices", "/mcp", "/health", "/api/openapi.json", "/api/docs"] {
        for header in evil {
            let reply = server.send("GET", path, &[header], "");
            assert_eq!(reply.status, 403, "{path} {header:?}");
            assert!(!reply.head.to_lowercase().contains("access-control-allow-origin"));
        }
    }
    let own = format!("http://{}", server.address);
    assert_eq!(server.send("GET", "/api/devices", &[("Origin", &own)], "").status, 200);
    let twice = format!(
        "GET /api/devices HTTP/1.1\r\nHost: {}\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        server.address
    );
    assert!([400, 403].contains(&exchange(&server.address, twice.as_bytes()).status));
}

#[test]
fn it_refuses_to_listen_elsewhere_than_on_loopback() {
    let data = tempfile::tempdir().unwrap();
    let output = reeve(data.path()).args(["serve", "--listen", "0.0.0.0:0"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("loopback") && text.contains("ssh -L"), "{text}");
    let output = reeve(data.path()).args(["serve", "--listen", "127.0.0.1:99999"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("99999"), "{text}");
}

#[test]
fn a_malformed_configuration_is_told_with_file_line_and_key() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("reeve.toml");
    for (text, line, word) in [
        ("[log]\nlevle = \"info\"\n", 2, "levle"),
        ("listen = 1\n", 1, "string"),
        ("[retention]\n\nraw = \"soon\"\n", 3, "soon"),
        ("[[devices]]\nhost = \"x\"\n", 1, "name"),
        ("listen = \n", 1, ""),
    ] {
        std::fs::write(&file, text).unwrap();
        let output = reeve(data.path()).args(["serve", "--config"]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains(&format!("reeve.toml:{line}")) && said.contains(word),
            "{said}"
        );
    }
    let output = reeve(data.path()).args(["serve", "--config", "/no/such.toml"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("/no/such.toml"));
    std::fs::write(&file, "[polling.intervals]\nmemroy = \"1m\"\n").unwrap();
    let output = reeve(data.path()).args(["serve", "--config"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("memroy") && said.contains("memory"), "{said}");
}

#[test]
fn a_device_that_cannot_be_is_refused_before_anything_looks_at_it() {
    let server = Server::start();
    for (arguments, word) in [
        (vec!["add-device", "--", "-oProxyCommand=touch /tmp/x"], "not a host"),
        (vec!["add-device", "a;b"], "not a host"),
        (vec!["add-device", "nas", "--name", "../x"], "letters, digits"),
        (vec!["add-device", "nas", "--port", "0"], "65535"),
        (vec!["add-device", "nas", "--identity-files", "/no/such/key"], "/no/such/key"),
    ] {
        let output = server.cli(&arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && text.contains(word), "{arguments:?}: {text}");
    }
    assert_eq!(server.get_json("/api/devices")["total"], 1);
}
