//! The repository's own chores: `cargo xtask serve`, `test`, `golden`, `tidy`, `lab`, `bench`, `record`.

mod checks;
mod tidy;

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};

const USAGE: &str = "cargo xtask CHORE
  serve [ARGS]     builds Reeve and runs `reeve serve ARGS`
  test [FILTER]    everything that must pass: brings up the lab, then checks and tests (as root it installs what it needs)
  check            the same without the lab and its tests
  golden           writes crates/reeve/golden anew
  tidy             the laws that the compiler cannot tell
  lab up|down …    real devices in containers, for tests and for trying things
  bench [NAME]     aims and results, side by side
  record ARGS      writes a transcript of a device's answers: record DEVICE COLLECTOR";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (chore, rest) = arguments.split_first().context(USAGE)?;
    match chore.as_str() {
        "serve" => reeve("serve", rest),
        "record" => reeve("record", rest),
        "test" => checks::test(rest),
        "check" => checks::check(),
        "golden" => checks::golden(),
        "tidy" => tidy::check(&root()),
        "lab" => lab(rest),
        "bench" => checks::bench(rest),
        other => bail!("there is no chore “{other}”\n{USAGE}"),
    }
}

/// Builds Reeve as users run it, and runs it.
fn reeve(command: &str, arguments: &[String]) -> anyhow::Result<()> {
    let mut cargo = cargo(&["run", "--release", "--quiet", "--package", "reeve", "--", command]);
    cargo.args(arguments);
    step(&mut cargo)
}

fn lab(arguments: &[String]) -> anyhow::Result<()> {
    let (script, rest) = arguments.split_first().context("lab up, lab down, lab fault, lab hang-mount")?;
    step(Command::new(root().join("lab").join(script)).args(rest))
}

/// A cargo command in the repository.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(root());
    cargo
}

/// Runs a command that must succeed.
pub fn step(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{} cannot be run", shown(command)))?;
    if status.success() { Ok(()) } else { bail!("{} failed: {status}", shown(command)) }
}

/// A command as one would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// The repository's root.
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).unwrap_or(here)
}
