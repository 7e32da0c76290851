//! Everything that must pass before a change lands, in the order in which it fails soonest.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;

use crate::{cargo, root, shown, step, tidy};

/// The version of cargo-deny that `deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";

/// Brings up the lab, then runs everything; takes the lab down in the end, whatever happened.
pub fn test(filter: &[String]) -> anyhow::Result<()> {
    if !filter.is_empty() {
        return timed(cargo(&["test", "--workspace", "--"]).args(filter));
    }
    check()?;
    let lab = |script: &str| Command::new(root().join("lab").join(script));
    let result = timed(lab("up").env("CI", "true")).and_then(|()| {
        timed(
            cargo(&["test", "--workspace", "--quiet", "--", "--test-threads", "4"])
                .env("REEVE_LAB_REQUIRED", "1")
                .env("INSTA_UPDATE", "no"),
        )
    });
    let down = timed(&mut lab("down"));
    result.and(down)
}

/// What needs no machines: format, lints, documentation, dependencies, laws.
pub fn check() -> anyhow::Result<()> {
    timed(&mut cargo(&["fmt", "--all", "--check"]))?;
    tidy::check(&root())?;
    timed(&mut cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"]))?;
    timed(
        cargo(&["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    deny()
}

/// Writes the golden files anew.
pub fn golden() -> anyhow::Result<()> {
    timed(cargo(&["test", "--package", "reeve", "--quiet", "golden"]).env("REEVE_GOLDEN", "write"))
}

/// Runs the benchmarks, or the one that is named: each prints its aims and results side by side.
pub fn bench(arguments: &[String]) -> anyhow::Result<()> {
    let Some((name, rest)) = arguments.split_first() else {
        return BENCHES.iter().try_for_each(|(package, name)| timed(&mut one_bench(package, name)));
    };
    let known = BENCHES.iter().find(|(_, known)| known == name);
    let (package, name) = known.with_context(|| format!("there is no benchmark “{name}”: {BENCHES:?}"))?;
    timed(one_bench(package, name).arg("--").args(rest))
}

/// The benchmarks, by package.
const BENCHES: [(&str, &str); 3] = [("backends", "history"), ("backends", "poll"), ("reeve", "footprint")];

fn one_bench(package: &str, name: &str) -> Command {
    cargo(&["bench", "--quiet", "--package", package, "--bench", name])
}

/// Licences, sources and bans. Advisories need the network's newest word, so they are for a scheduled run.
fn deny() -> anyhow::Result<()> {
    timed(Command::new(deny_program()?).args(["check", "bans", "licenses", "sources"]).current_dir(root()))
}

/// cargo-deny: the one that is installed, or one that is built into `target/tools` once.
fn deny_program() -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    if let Some(installed) =
        env::split_paths(&path).map(|dir| dir.join("cargo-deny")).find(|file| file.exists())
    {
        return Ok(installed);
    }
    let tools = root().join("target/tools");
    let program = tools.join("bin/cargo-deny");
    if !program.exists() {
        let mut install =
            cargo(&["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--quiet", "--root"]);
        timed(install.arg(&tools)).context("cargo-deny cannot be installed")?;
    }
    Ok(program)
}

fn timed(command: &mut Command) -> anyhow::Result<()> {
    let name = shown(command);
    eprintln!("==> {name}");
    let start = Instant::now();
    let result = step(command);
    eprintln!("<== {:.0} s {name}", start.elapsed().as_secs_f64());
    result
}
