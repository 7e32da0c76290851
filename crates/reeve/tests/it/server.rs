//! A running Reeve of one test: its own data directory, its own port.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The program that cargo built for these tests.
pub const REEVE: &str = env!("CARGO_BIN_EXE_reeve");

/// A running server; it is stopped and waited for when this is dropped.
pub struct Server {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// Its data directory.
    pub data: TempDir,
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The head, as sent.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }
}

impl Server {
    /// Starts one that watches this machine.
    pub fn start() -> Self {
        Self::start_with("", &[])
    }

    /// Starts one with this configuration and environment.
    pub fn start_with(config: &str, environment: &[(&str, &str)]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), config, environment)
    }

    /// Starts one in a data directory that may have been used before.
    pub fn start_in(data: TempDir, config: &str, environment: &[(&str, &str)]) -> Self {
        let file = data.path().join("config.toml");
        std::fs::write(&file, config).expect("the configuration is written");
        let mut command = reeve(data.path());
        command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&file);
        command.envs(environment.iter().copied()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("reeve starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output is ours")).lines();
        let greeting = lines.next().and_then(Result::ok).unwrap_or_default();
        let address = greeting
            .strip_prefix("listening on http://")
            .unwrap_or_else(|| panic!("reeve did not start: {greeting:?}"))
            .to_owned();
        // what it says later must not block it
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address, data }
    }

    /// `GET path`.
    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "")
    }

    /// `GET path`, which must answer 200, as JSON.
    pub fn get_json(&self, path: &str) -> Value {
        let reply = self.get(path);
        assert_eq!(reply.status, 200, "{path}: {}", String::from_utf8_lossy(&reply.body));
        reply.json()
    }

    /// Any request over TCP.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let host = if headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            String::new()
        } else {
            format!("Host: {}\r\n", self.address)
        };
        let headers: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let headers = headers.concat();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{host}{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        exchange(&self.address, request.as_bytes())
    }

    /// Runs `reeve ARGUMENTS` against this server's data directory.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        reeve(self.data.path()).args(arguments).output().expect("reeve runs")
    }

    /// The same, which must succeed, with `--json`.
    pub fn cli_json(&self, arguments: &[&str]) -> Value {
        let output = self.cli(&[arguments, &["--json"]].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}{errors}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// Asks `question` until it says something, at most `within`.
    pub fn until<T>(&self, what: &str, within: Duration, mut question: impl FnMut(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(answer) = question(self) {
                return answer;
            }
            assert!(
                start.elapsed() < within,
                "{what}: not within {within:?}; {}",
                self.get_json("/api/overview")
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it as a service manager does; gives its data directory and how long it took.
    pub fn stop(mut self) -> (TempDir, Duration) {
        let start = Instant::now();
        signal(self.child.id(), "TERM");
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}");
        let data = std::mem::replace(&mut self.data, tempfile::tempdir().expect("a directory"));
        (data, start.elapsed())
    }

    /// Kills it as a power cut does; gives its data directory.
    pub fn kill(mut self) -> TempDir {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
        std::mem::replace(&mut self.data, tempfile::tempdir().expect("a directory"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.child.id(), "TERM");
            let _ = self.child.wait();
        }
    }
}

/// `reeve` with nothing of the tester's own environment.
pub fn reeve(data: &Path) -> Command {
    let mut command = Command::new(REEVE);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("REEVE_")) {
        command.env_remove(name);
    }
    command.env("REEVE_DATA_DIR", data).env("HOME", data).stdin(Stdio::null());
    command.env_remove("SSH_AUTH_SOCK");
    command
}

/// Sends a signal to a process.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "kill -{name} {pid}");
}

/// Sends bytes and reads the answer until the other side closes.
pub fn exchange(address: &str, request: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
    // a server that refuses early may close before all is sent
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = if head.to_lowercase().contains("transfer-encoding: chunked") {
        unchunked(&answer[end..])
    } else {
        answer[end..].to_vec()
    };
    Reply { status, head, body }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(&String::from_utf8_lossy(&rest[..end]), 16).unwrap_or(0);
        let chunk = rest.get(end + 2..end + 2 + size).unwrap_or_default();
        if size == 0 {
            break;
        }
        body.extend_from_slice(chunk);
        rest = rest.get(end + 2 + size + 2..).unwrap_or_default();
    }
    body
}
