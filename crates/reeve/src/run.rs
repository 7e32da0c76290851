//! The program from start to stop.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use backends::sources::Machines;
use domain::context::Ports;
use domain::operation::OperationDef;
use domain::{question, scheduler};
use surfaces::server::Server;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Loaded;
use crate::data_dir::{DataDir, Locked};
use crate::say;
use crate::wire::{self, Declares};

/// Everything that runs.
pub struct Program {
    /// What operations are handed.
    pub ports: Arc<Ports>,
    /// All that may be asked.
    pub operations: Arc<[OperationDef]>,
    machines: Arc<Machines>,
    stop: CancellationToken,
    tasks: TaskTracker,
    _lock: Locked,
}

/// How often the history is tended: sealed, rolled up, forgotten.
const TEND_EVERY: Duration = Duration::from_secs(60);
/// How often latest readings are kept.
const KEEP_EVERY: Duration = Duration::from_secs(300);

/// All that may be asked: the operations, and one question for each collector.
pub fn operations() -> Arc<[OperationDef]> {
    let mut all = operations::all();
    let questions = question::operations(collectors::ALL, &all);
    all.extend(questions);
    all.into()
}

impl Program {
    /// Takes the data directory and makes everything ready; nothing is polled or served yet.
    pub async fn start(loaded: &Loaded, data: &DataDir, declares: Declares) -> anyhow::Result<Self> {
        let lock = data.lock()?;
        let stop = CancellationToken::new();
        let (ports, machines) = wire::ports(loaded, data, declares, stop.clone()).await?;
        Ok(Self { ports, operations: operations(), machines, stop, tasks: TaskTracker::new(), _lock: lock })
    }

    /// Begins to poll and to tend the history.
    pub fn poll(&self) {
        self.tasks.spawn(scheduler::run(Arc::clone(&self.ports), self.stop.clone()));
        self.tasks.spawn(tend(Arc::clone(&self.ports), self.stop.clone()));
    }

    /// The doors.
    pub fn server(&self, ready: watch::Receiver<bool>) -> Server {
        Server::new(&self.operations, &self.ports, ready, self.stop.clone())
    }

    /// Ends when the program is asked to stop.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Stops in the opposite order of starting: no new question, answers finished, what is known kept, all closed.
    pub async fn stop(self, server: Option<Server>) -> anyhow::Result<()> {
        self.stop.cancel();
        if let Some(server) = server {
            server.finish().await;
        }
        self.tasks.close();
        self.tasks.wait().await;
        self.ports.tasks.close();
        self.ports.tasks.wait().await;
        self.ports.audit.tell_repeats().await;
        self.ports.readings.closed().await;
        let kept = self.ports.readings.keep().await;
        self.machines.close().await;
        self.ports.store.close().await?;
        kept.map_err(anyhow::Error::from)
    }
}

/// Serves until a signal says stop.
pub async fn serve(loaded: &Loaded, data: &DataDir, listen: &str) -> anyhow::Result<()> {
    let address = loopback(listen).await?;
    let mut signals = Signals::listen()?;
    let program = Program::start(loaded, data, Declares::All).await?;
    let listener = TcpListener::bind(address).await.with_context(|| cannot_listen(address))?;
    let bound = listener.local_addr()?;
    let socket = open_socket(data)?;
    let (set_ready, ready) = watch::channel(false);
    let server = program.server(ready);
    let (tcp, unix) = (server.clone(), server.clone());
    let doors = TaskTracker::new();
    doors.spawn(async move { log_end("the loopback address", tcp.serve_tcp(listener).await) });
    doors.spawn(async move { log_end("the socket", unix.serve_unix(socket).await) });
    program.poll();
    set_ready.send_replace(true);
    greet(&program, bound, data);
    signals.next().await;
    let result = tokio::select! {
        result = program.stop(Some(server)) => result,
        // what was acknowledged is in the file; the next start takes up from there
        () = signals.next() => anyhow::bail!("stopped at once by a second signal"),
    };
    doors.close();
    doors.wait().await;
    // the next start makes it anew; a socket without a server behind it only misleads
    let _ = std::fs::remove_file(data.socket());
    result
}

/// Refuses to listen anywhere but on loopback.
async fn loopback(listen: &str) -> anyhow::Result<SocketAddr> {
    let mut addresses = tokio::net::lookup_host(listen).await.with_context(|| {
        format!("“{listen}” is not an address and port; write one such as 127.0.0.1:8420")
    })?;
    let address = addresses.next().with_context(|| format!("“{listen}” has no address"))?;
    anyhow::ensure!(
        address.ip().is_loopback(),
        "{address} is not a loopback address: until there are keys, Reeve listens on this machine only. \
         Use --listen 127.0.0.1:{}, and reach it from elsewhere with: ssh -L {0}:127.0.0.1:{0} this-machine",
        address.port()
    );
    Ok(address)
}

fn cannot_listen(address: SocketAddr) -> String {
    format!(
        "cannot listen on {address}; choose another port with --listen 127.0.0.1:PORT, or 0 for a free one"
    )
}

fn open_socket(data: &DataDir) -> anyhow::Result<UnixListener> {
    let path = data.socket();
    // the lock is ours, so a socket that is there belongs to nobody
    if path.exists() {
        std::fs::remove_file(&path)?;
    }
    let listener = UnixListener::bind(&path).with_context(|| format!("{} cannot be made", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn log_end(door: &str, result: domain::Result<()>) {
    if let Err(error) = result {
        tracing::error!(cause = %error.chain(), "{door} is served no more: {error}");
    }
}

/// What a person reads first.
fn greet(program: &Program, bound: SocketAddr, data: &DataDir) {
    let is_usual = DataDir::resolve(None).is_ok_and(|usual| usual.path() == data.path());
    let flag = if is_usual { String::new() } else { format!(" --data-dir {}", data.path().display()) };
    let import = match program.ports.fleet.devices().len() {
        0 | 1 => format!("`reeve import{flag}` adds the hosts of ~/.ssh/config and Tailscale; "),
        _ => String::new(),
    };
    say(&format!(
        "listening on http://{bound}\n\
         next: {import}`reeve overview{flag}` shows the fleet; http://{bound}/api/docs the API\n"
    ));
}

/// The signals that ask the program to stop. Once listened to, they end nothing by themselves any more.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on.
    pub fn listen() -> anyhow::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Ends when the next one comes.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Tends the history, completes the audit, and keeps latest readings, until the program stops.
async fn tend(ports: Arc<Ports>, stop: CancellationToken) {
    let mut tend = tokio::time::interval(TEND_EVERY);
    let mut keep = tokio::time::interval(KEEP_EVERY);
    tend.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    keep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let result = tokio::select! {
            _ = tend.tick() => {
                ports.audit.tell_repeats().await;
                let retention = ports.settings.borrow().retention;
                ports.store.tend(ports.clock.now(), retention).await
            }
            _ = keep.tick() => ports.readings.keep().await,
            () = stop.cancelled() => return,
        };
        if let Err(error) = result {
            tracing::warn!(code = error.code(), cause = %error.chain(), "{error}");
        }
    }
}
