//! Questions from the command line: to the server where one runs, in this process where none does.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::ArgMatches;
use domain::Timestamp;
use domain::caller::{Caller, Surface};
use domain::context::Context;
use domain::operation::OperationDef;
use domain::ports::Clock as _;
use serde_json::Value;
use surfaces::client::{Client, Refusal, with_progress};
use surfaces::mcp::{Toolsets, bridge, serve_stream};
use surfaces::peer::Peer;
use tokio::net::UnixStream;

use crate::clock::SystemClock;
use crate::config::{self, Loaded};
use crate::data_dir::{DataDir, InUse, uid};
use crate::run::{Program, Signals};
use crate::wire::Declares;
use crate::{refused, run, say};

/// Answers what was typed.
pub async fn run(matches: &ArgMatches, data: &DataDir) -> anyhow::Result<ExitCode> {
    let operations = run::operations();
    let Some(call) = surfaces::cli::parse(matches, &operations)? else {
        anyhow::bail!("there is no such command; see: reeve --help");
    };
    let Some(def) = operations.iter().find(|def| def.name == call.operation) else {
        anyhow::bail!("there is no operation {}", call.operation);
    };
    let line = Line::open(data, || {
        let file = std::env::var_os("REEVE_CONFIG").map(PathBuf::from);
        Loaded::read(file.as_deref(), config::environment())
    });
    let line = line.await?;
    let is_terminal = std::io::stderr().is_terminal();
    let result = with_progress(&def.summary, is_terminal, line.call(def, call.input)).await;
    line.close().await?;
    Ok(match result {
        Ok(answer) if call.json => {
            say(&surfaces::cli::json_text(&answer, std::io::stdout().is_terminal()));
            ExitCode::SUCCESS
        }
        Ok(answer) => {
            show(def, &answer);
            ExitCode::SUCCESS
        }
        Err(refusal) => refused(&refusal),
    })
}

/// Shows an answer as a person reads it.
pub fn show(def: &OperationDef, answer: &Value) {
    let now: Timestamp = SystemClock::new().now();
    let rendered = surfaces::cli::render(answer, &def.output_inline(), width(), now);
    say(&rendered.out);
    eprint!("{}", rendered.notes);
}

/// How many columns standard output has: what the terminal says, or `COLUMNS`, or plenty where it is a file.
fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0));
    terminal.or(columns).unwrap_or(200)
}

/// A line to Reeve: to its server, or to the program in this process.
pub enum Line {
    /// The server at the data directory's socket.
    Server(Client),
    /// The program in this process; it does not poll.
    Here(Box<Program>),
}

impl Line {
    /// To the server where one answers; `load` reads the configuration where none does.
    pub async fn open(data: &DataDir, load: impl FnOnce() -> anyhow::Result<Loaded>) -> anyhow::Result<Self> {
        Ok(match reach(data, load).await? {
            None => Self::Server(Client::new(data.socket())),
            Some(program) => Self::Here(Box::new(program)),
        })
    }

    /// Asks.
    pub async fn call(&self, def: &OperationDef, input: Value) -> Result<Value, Refusal> {
        match self {
            Self::Server(client) => client.call(def, input).await,
            Self::Here(program) => {
                let caller = Caller::local(uid().unwrap_or_default(), Surface::Cli);
                let ctx = Context::new(program.ports.clone(), caller);
                Ok(def.call(input, ctx).await?.to_value()?)
            }
        }
    }

    /// Hangs up.
    pub async fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Server(_) => Ok(()),
            Self::Here(program) => program.stop(None).await,
        }
    }
}

/// How long a data directory may be in use by a process that does not answer: a server that starts, or a command.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// Pause before it is tried again.
const START_PAUSE: Duration = Duration::from_millis(50);

/// Nothing where a server answers, else the program in this process.
async fn reach(
    data: &DataDir,
    load: impl FnOnce() -> anyhow::Result<Loaded>,
) -> anyhow::Result<Option<Program>> {
    if UnixStream::connect(data.socket()).await.is_ok() {
        return Ok(None);
    }
    let loaded = load()?;
    let began = Instant::now();
    loop {
        match Program::start(&loaded, data, Declares::AllOfFile).await {
            Err(error) if error.is::<InUse>() && began.elapsed() < START_PATIENCE => {
                tokio::time::sleep(START_PAUSE).await;
            }
            started => return started.map(Some),
        }
        if UnixStream::connect(data.socket()).await.is_ok() {
            return Ok(None);
        }
    }
}

/// Speaks MCP at standard input and output.
pub async fn speak_mcp(loaded: Loaded, data: &DataDir, toolsets: &Toolsets) -> anyhow::Result<()> {
    let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
    let Some(program) = reach(data, || Ok(loaded)).await? else {
        return Ok(bridge(&data.socket(), toolsets, input, output).await?);
    };
    let mut signals = Signals::listen()?;
    program.poll();
    let (_, ready) = tokio::sync::watch::channel(true);
    let server = program.server(ready);
    let peer = Peer::User(uid().unwrap_or_default());
    let tools = server.tools().of(peer, toolsets.clone());
    let ended = tokio::select! {
        ended = serve_stream(tools, input, output, program.stopping()) => ended,
        () = signals.next() => Ok(()),
    };
    program.stop(Some(server)).await?;
    Ok(ended?)
}
