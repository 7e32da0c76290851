//! A poll of one device over warm SSH, beside the same commands run by other means. Needs the lab: `cargo xtask lab up`.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use backends::sources::{Account, Machines};
use domain::ask::Ask;
use domain::device::{Reach, SourceId, SshTarget};
use domain::ports::Sources as _;

/// The questions of an ordinary poll.
fn questions() -> Vec<Ask> {
    let files = ["stat", "loadavg", "meminfo", "diskstats", "net/dev", "uptime", "mounts", "version"];
    let commands: [&[&str]; 4] =
        [&["uname", "-r"], &["df", "-P", "-k", "/"], &["ip", "-o", "addr"], &["date", "+%s"]];
    let files = files.iter().map(|file| Ask::file(format!("/proc/{file}")));
    files.chain(commands.iter().map(|argv| Ask::run(argv.iter().copied()))).collect()
}

/// The same questions as a person would type them.
fn typed() -> Vec<String> {
    questions().iter().map(ToString::to_string).collect()
}

/// A way of asking them all, and its name.
type Way<'a> = (&'a str, Box<dyn Fn() + 'a>);

const ROUNDS: usize = 60;

fn main() {
    let state = PathBuf::from(std::env::var("REEVE_LAB").unwrap_or_else(|_| "/var/tmp/reeve-lab".to_owned()));
    if std::net::TcpStream::connect("127.0.0.1:22001").is_err() {
        println!("poll: needs the lab (cargo xtask lab up)");
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let config = state.join("ssh_config");
    let account = Account {
        home: "/nonexistent".into(),
        user: "root".into(),
        ssh_config: Some(config.clone()),
        known_hosts: Vec::new(),
        agent_socket: None,
    };
    let machines = Machines::new(account, Vec::new());
    let target = SshTarget { host: "lab-debian".into(), ..SshTarget::default() };
    let shell = machines.open(SourceId(1), &Reach::Ssh(target));
    let master = Master::open(&config, "lab-debian");
    let script = typed().join("\n");

    let ways: [Way<'_>; 4] = [
        (
            "Reeve, one conversation",
            Box::new(|| {
                let answers = runtime.block_on(shell.converse(questions())).expect("the device answers");
                assert!(answers.iter().all(|answer| answer.ok().is_some()), "{answers:?}");
            }),
        ),
        ("ssh ControlMaster, one session", Box::new(|| master.run(&script))),
        ("local sh", Box::new(|| feed(Command::new("sh").arg("-s"), &script))),
        ("ssh ControlMaster, 12 calls", Box::new(|| typed().iter().for_each(|line| master.run(line)))),
    ];
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); ways.len()];
    for round in 0..=ROUNDS {
        for (place, (_, way)) in ways.iter().enumerate() {
            let start = Instant::now();
            way();
            // the first round opens what the others find open
            if round > 0 {
                times[place].push(start.elapsed().as_secs_f64() * 1_000.0);
            }
        }
    }
    println!("\na poll of 12 questions, {ROUNDS} rounds in turn          p50 ms   Reeve is × of it   aim");
    let ours = times[0].clone();
    for ((name, _), theirs) in ways.iter().zip(&times) {
        // ratios are taken round by round, so that a slow moment of the machine hits both
        let ratio = median(ours.iter().zip(theirs).map(|(a, b)| a / b).collect());
        let aim = match *name {
            "ssh ControlMaster, one session" => "≤ 1.0",
            "local sh" => "≤ 1.3",
            _ => "",
        };
        println!("  {name:<48}{:>8.1}{ratio:>15.2}       {aim}", median(theirs.clone()));
    }
    drop(ways);
    runtime.block_on(machines.close());
    runtime.shutdown_timeout(Duration::from_secs(1));
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn feed(command: &mut Command, script: &str) {
    use std::io::Write as _;
    let command =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).env("LC_ALL", "C");
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().expect("its input is ours").write_all(script.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.stdout.len() > 1_000 || script.lines().count() == 1);
}

/// A master connection of OpenSSH's own client.
struct Master {
    config: PathBuf,
    host: &'static str,
    socket: PathBuf,
}

impl Master {
    fn open(config: &std::path::Path, host: &'static str) -> Self {
        let socket = std::env::temp_dir().join(format!("reeve-bench-{}", std::process::id()));
        let master = Self { config: config.to_owned(), host, socket };
        let status = master.ssh().args(["-M", "-N", "-f", host]).status();
        assert!(status.is_ok_and(|status| status.success()), "a master connection opens");
        master
    }

    fn ssh(&self) -> Command {
        let mut command = Command::new("ssh");
        command.arg("-F").arg(&self.config).arg("-S").arg(&self.socket);
        command
    }

    fn run(&self, script: &str) {
        feed(self.ssh().args([self.host, "sh", "-s"]), script);
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        let _ = self.ssh().args(["-O", "exit", self.host]).stderr(Stdio::null()).status();
    }
}
