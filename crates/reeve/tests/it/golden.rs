//! What the public surfaces look like, as files: a change of them is a diff that somebody reads.
//!
//! `cargo xtask golden` writes them anew.

use std::path::Path;

use crate::server::{Server, reeve};

fn golden(name: &str, now: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name);
    if std::env::var_os("REEVE_GOLDEN").is_some() {
        std::fs::write(&file, now).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == now, "{name} changed: run `cargo xtask golden` and read the diff");
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}

#[test]
fn golden_openapi_document() {
    let server = Server::start();
    golden("openapi.json", &pretty(&server.get_json("/api/openapi.json")));
}

#[test]
fn golden_tools() {
    let server = Server::start();
    let tools = crate::mcp::Session::open(&server, "").list_tools();
    golden("tools.json", &pretty(&tools));
}

#[test]
fn golden_help() {
    let data = tempfile::tempdir().unwrap();
    let help = |arguments: &[&str]| {
        let output = reeve(data.path()).args(arguments).env("COLUMNS", "100").output().unwrap();
        String::from_utf8_lossy(&output.stdout).replace(data.path().to_str().unwrap(), "DIR")
    };
    let main = help(&["--help"]);
    let commands =
        main.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<String> = commands
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|l| l.split_whitespace().next().map(str::to_owned))
        .collect();
    let mut text = main.clone();
    for name in names.iter().filter(|name| *name != "help") {
        text += &format!("\n\n$ reeve {name} --help\n{}", help(&[name, "--help"]));
    }
    golden("help.txt", &text);
}
