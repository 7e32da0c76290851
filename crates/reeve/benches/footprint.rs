//! What the program costs: how soon it is ready, what memory it takes with 20 devices, what a dead device costs a caller.
//!
//! Needs the lab: `cargo xtask lab up`. `BENCH_SECONDS` sets how long it runs before its memory is told; 600 unless set.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const REEVE: &str = env!("CARGO_BIN_EXE_reeve");
const LAB: [&str; 4] = ["debian", "plain", "busybox", "tower"];

fn main() {
    ready();
    if TcpStream::connect("127.0.0.1:22001").is_err() {
        println!("memory, dead device: need the lab (cargo xtask lab up)");
        return;
    }
    let state = std::env::var("REEVE_LAB").unwrap_or_else(|_| "/var/tmp/reeve-lab".to_owned());
    dead_device();
    first_caller(&state);
    memory(&state);
}

/// From the start of the process to the answer of `/ready`.
fn ready() {
    let mut first = Vec::new();
    let mut again = Vec::new();
    for _ in 0..20 {
        let data = tempfile::tempdir().expect("a directory");
        first.push(time_to_ready(data.path()));
        again.push(time_to_ready(data.path()));
    }
    println!("\nstart to ready                       p50 ms    max ms    aim");
    for (name, mut times) in [("first start", first), ("later start", again)] {
        times.sort_by(f64::total_cmp);
        println!("  {name:<32}{:>9.1}{:>10.1}    ≤ 50", times[times.len() / 2], times[times.len() - 1]);
    }
}

fn time_to_ready(data: &Path) -> f64 {
    let start = Instant::now();
    let server = Server::start(data, "");
    while !server.get("/ready").starts_with("HTTP/1.1 200") {}
    start.elapsed().as_secs_f64() * 1_000.0
}

/// Resident memory with 20 devices.
fn memory(state: &str) {
    let mut config = format!("[ssh]\nconfig = \"{state}/ssh_config\"\n");
    for number in 0..20 {
        let host = LAB[number % LAB.len()];
        config +=
            &format!("[[devices]]\nname = \"d{number}\"\nhost = \"lab-{host}\"\nlocation = \"{number}\"\n");
    }
    let seconds = std::env::var("BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(600);
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path(), &config);
    println!("\nmemory with 20 devices over SSH      RSS MB    aim (a Beszel hub with 20: 36)");
    let start = Instant::now();
    for share in [1, 4, 10] {
        let until = Duration::from_secs(seconds * share / 10);
        std::thread::sleep(until.saturating_sub(start.elapsed()));
        let online = server.get("/api/devices?status=online&fields=name&limit=1");
        let total = online.split("\"total\":").nth(1).unwrap_or("?").trim_end_matches('}').to_owned();
        println!(
            "  after {:>4} s, {total:>2} online           {:>9.1}    ≤ 30",
            until.as_secs(),
            server.rss_mb()
        );
    }
}

/// What a caller waits for a device that is known to be dead.
fn dead_device() {
    let config = "[[devices]]\nname = \"dead\"\nhost = \"127.0.0.1\"\nport = 9\nuser = \"nobody\"\n";
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path(), config);
    while !server.get("/api/devices/dead").contains("ssh_refused") {
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut times: Vec<f64> = (0..500)
        .map(|_| {
            let start = Instant::now();
            server.get("/api/devices/dead/memory?max_age_seconds=0");
            start.elapsed().as_secs_f64() * 1_000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("\na device known to be dead, over HTTP, a connection each   p50 ms    p99 ms    aim");
    println!("  {:<52}{:>10.2}{:>10.2}    ≤ 1", "", times[times.len() / 2], times[times.len() * 99 / 100]);
}

/// What the first caller waits after a device fell silent: its deadline, and no longer.
fn first_caller(state: &str) {
    let config = format!(
        "[ssh]\nconfig = \"{state}/ssh_config\"\n[[devices]]\nname = \"busybox\"\nhost = \"lab-busybox\"\n\
         [polling.intervals]\nload = \"1h\"\nmemory = \"1h\"\nnetwork = \"1h\"\ndisks = \"1h\"\n"
    );
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path(), &config);
    while !server.get("/api/devices/busybox/memory").contains("total_bytes") {
        std::thread::sleep(Duration::from_millis(100));
    }
    fault(state, "on");
    let waits: Vec<f64> = (0..3)
        .map(|_| {
            let start = Instant::now();
            server.get("/api/devices/busybox/memory?max_age_seconds=0");
            start.elapsed().as_secs_f64() * 1_000.0
        })
        .collect();
    fault(state, "off");
    println!(
        "\na device that fell silent, over HTTP      first, second, third caller, ms    (deadline 2000 ms)"
    );
    println!("  {:<36}{:>12.1}{:>12.1}{:>12.1}", "", waits[0], waits[1], waits[2]);
}

fn fault(state: &str, switch: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../lab/fault");
    let status = Command::new(script).args(["freeze", "busybox", switch]).env("REEVE_LAB", state).status();
    assert!(status.is_ok_and(|status| status.success()), "freeze {switch}");
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(data: &Path, config: &str) -> Self {
        let file = data.join("config.toml");
        std::fs::write(&file, config).expect("it is written");
        let mut child = Command::new(REEVE)
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(&file)
            .env_remove("REEVE_LAB")
            .env("REEVE_DATA_DIR", data)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output is ours")).lines();
        let greeting = lines.next().and_then(Result::ok).unwrap_or_default();
        let address = greeting.trim_start_matches("listening on http://").to_owned();
        Self { child, address }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        answer
    }

    fn rss_mb(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
