//! Reeve: watches a self-hosted fleet, for people and for AI assistants.

mod arguments;
mod ask;
mod clock;
mod config;
mod data_dir;
mod declared;
mod import;
mod record;
mod run;
mod wire;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ArgMatches;
use surfaces::client::Refusal;
use surfaces::mcp::Toolsets;
use tracing_subscriber::EnvFilter;

use crate::config::{Loaded, LogFormat};
use crate::data_dir::DataDir;

fn main() -> ExitCode {
    let operations = run::operations();
    let matches = arguments::command(&operations).get_matches();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let result = runtime.block_on(obey(&matches));
        // a read of standard input that nobody waits for any more must not hold the end up
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

async fn obey(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let data = DataDir::resolve(matches.get_one("data-dir").cloned())?;
    match matches.subcommand() {
        Some(("serve", serve)) => {
            let loaded = load(serve)?;
            start_log(&loaded, serve.get_flag("log-json"))?;
            let listen = serve.get_one::<String>("listen").unwrap_or(&loaded.config.listen);
            run::serve(&loaded, &data, listen).await.map(|()| ExitCode::SUCCESS)
        }
        Some(("mcp", mcp)) => {
            let loaded = load(mcp)?;
            start_log(&loaded, false)?;
            let toolsets = Toolsets::named(mcp.get_one::<String>("toolsets").map_or("", String::as_str));
            ask::speak_mcp(loaded, &data, &toolsets).await.map(|()| ExitCode::SUCCESS)
        }
        Some(("import", import)) => import::run(load(import)?, &data, &import::Wishes::of(import)).await,
        Some(("record", record)) => record::run(&load(record)?, &data, record).await,
        Some(("restore", restore)) => {
            let copy: &std::path::PathBuf = restore.get_one("FILE").context("FILE is needed")?;
            let _lock = data.lock()?;
            backends::store::restore(copy, data.path()).map_err(wire::with_help)?;
            say(&format!("restored {} from {}\n", data.path().display(), copy.display()));
            Ok(ExitCode::SUCCESS)
        }
        Some(("completions", completions)) => {
            let shell: clap_complete::Shell = *completions.get_one("SHELL").context("SHELL is needed")?;
            let command = arguments::command(&run::operations());
            say(&String::from_utf8_lossy(&surfaces::cli::completions(shell, command)));
            Ok(ExitCode::SUCCESS)
        }
        _ => ask::run(matches, &data).await,
    }
}

fn load(matches: &ArgMatches) -> anyhow::Result<Loaded> {
    let file = matches.get_one::<std::path::PathBuf>("config");
    Loaded::read(file.map(std::path::PathBuf::as_path), config::environment())
}

fn start_log(loaded: &Loaded, is_json: bool) -> anyhow::Result<()> {
    let log = &loaded.config.log;
    let filter = EnvFilter::try_new(&log.level).with_context(|| format!("log.level “{}”", log.level))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if is_json || log.format == LogFormat::Json {
        subscriber.json().flatten_event(true).init();
    } else {
        subscriber.with_ansi(std::io::stderr().is_terminal()).init();
    }
    Ok(())
}

fn failed(error: &anyhow::Error) -> ExitCode {
    let Some(ours) = error.downcast_ref::<domain::Error>() else {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    };
    eprint!("{}", surfaces::cli::error_text(ours.code(), ours.message(), ours.help()));
    ExitCode::from(surfaces::cli::exit_code(ours.kind()))
}

/// Tells a person why a question was refused.
fn refused(refusal: &Refusal) -> ExitCode {
    eprint!("{}", surfaces::cli::error_text(&refusal.code, &refusal.message, &refusal.help));
    ExitCode::from(surfaces::cli::exit_code(refusal.kind))
}

/// Writes to standard output. A reader that has left (`reeve devices | head -1`) is no failure.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
