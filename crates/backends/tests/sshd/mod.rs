//! A real `sshd` for one test: its own keys, port and folder; gone when dropped.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use backends::sources::{Account, Machines};
use domain::Timestamp;
use domain::device::{Reach, SourceId, SshTarget};
use domain::ports::{ApprovedHostKey, Shell, Sources};

const SSHD: &str = "/usr/sbin/sshd";

/// Whether there is an sshd; says so aloud where there is none, and fails where all must be tested.
pub fn is_here() -> bool {
    let is_here = Path::new(SSHD).exists() && Path::new("/usr/bin/ssh-keygen").exists();
    if !is_here {
        assert!(std::env::var_os("CI").is_none(), "needs sshd: apt-get install openssh-server");
        eprintln!("skipped: needs sshd");
    }
    is_here
}

/// A folder with keys, and the account whose home it is.
pub struct World {
    pub folder: tempfile::TempDir,
    pub user: String,
}

impl World {
    /// With a key that every sshd of this world lets in.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("reeve").tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("opened");
        let user = String::from_utf8(output("id", &["-un"])).expect("a name").trim().to_owned();
        let world = Self { folder, user };
        world.keygen("key", &["-t", "ed25519"]);
        world
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        path
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("read")
    }

    /// Makes a key pair `name` and `name.pub` without a passphrase, unless the arguments say more.
    pub fn keygen(&self, name: &str, arguments: &[&str]) {
        let path = self.path(name);
        let mut all = vec!["-q", "-f", path.as_str(), "-C", name];
        if !arguments.contains(&"-N") {
            all.extend(["-N", ""]);
        }
        all.extend(arguments);
        output("ssh-keygen", &all);
    }

    pub fn account(&self) -> Account {
        Account {
            home: self.folder.path().to_owned(),
            user: self.user.clone(),
            ssh_config: Some(self.path("ssh_config").into()),
            known_hosts: vec![self.path("known_hosts").into()],
            agent_socket: None,
        }
    }

    pub fn machines(&self) -> Machines {
        Machines::new(self.account(), Vec::new())
    }

    /// Starts an sshd with these lines beside the usual ones; its host key is known.
    pub fn sshd(&self, name: &str, lines: &str) -> Sshd {
        let sshd = self.unknown_sshd(name, lines);
        let known = format!("{} {}", sshd.known_as(), self.read(&format!("{name}_host.pub")));
        let path = self.path("known_hosts");
        let before = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, before + &known).expect("written");
        sshd
    }

    /// Starts an sshd whose host key nobody knows.
    pub fn unknown_sshd(&self, name: &str, lines: &str) -> Sshd {
        if !Path::new(&self.path(&format!("{name}_host"))).exists() {
            self.keygen(&format!("{name}_host"), &["-t", "ed25519"]);
        }
        // the privilege separation folder, which the init script makes elsewhere
        let _ = fs::create_dir_all("/run/sshd");
        // another process may take the port between the two: then another one is tried
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
            let config = self.write(
                &format!("{name}.conf"),
                // the first value wins, so what the test says comes first
                &format!(
                    "{lines}\nPort {port}\nListenAddress 127.0.0.1\nHostKey {host_key}\nPidFile none\nUsePAM no\n\
                     AuthorizedKeysFile {keys}\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n\
                     KbdInteractiveAuthentication no\nMaxStartups 100\nUseDNS no\nLogLevel VERBOSE\n",
                    host_key = self.path(&format!("{name}_host")),
                    keys = self.path("key.pub"),
                ),
            );
            let log = fs::File::create(self.path(&format!("{name}.log"))).expect("a log");
            let mut child = Command::new(SSHD)
                .args(["-D", "-e", "-f", &config])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .expect("started");
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(20) {
                if self.read(&format!("{name}.log")).contains("Server listening") {
                    return Sshd { child, port, log: self.path(&format!("{name}.log")).into() };
                }
                if child.try_wait().expect("a child").is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("sshd does not start: {}", self.read(&format!("{name}.log")));
    }
}

pub struct Sshd {
    child: Child,
    pub port: u16,
    log: PathBuf,
}

impl Sshd {
    /// The target for the world's own key.
    pub fn target(&self, world: &World) -> SshTarget {
        SshTarget {
            host: "127.0.0.1".to_owned(),
            port: Some(self.port),
            user: Some(world.user.clone()),
            identity_files: vec![world.path("key")],
            ..SshTarget::default()
        }
    }

    pub fn known_as(&self) -> String {
        format!("[127.0.0.1]:{}", self.port)
    }

    /// Signals each process that serves a connection, but not the one that listens.
    pub fn signal_connections(&self, signal: &str) {
        let served = descendants(self.child.id());
        assert!(!served.is_empty(), "nobody is connected");
        send(signal, &served);
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let served = descendants(self.child.id());
        let _ = self.child.kill();
        send("-KILL", &served);
        let _ = self.child.wait();
    }
}

fn descendants(of: u32) -> Vec<u32> {
    let mut found = children(of);
    let mut at = 0;
    while at < found.len() {
        found.extend(children(found[at]));
        at += 1;
    }
    found
}

/// Some of them may have ended meanwhile.
pub fn send(signal: &str, pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    let _ = Command::new("kill").arg(signal).args(pids).stderr(Stdio::null()).status();
}

fn children(parent: u32) -> Vec<u32> {
    let stats = fs::read_dir("/proc").expect("proc").flatten().filter_map(|entry| {
        let pid = entry.file_name().to_string_lossy().parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let its_parent: u32 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()?;
        (its_parent == parent).then_some(pid)
    });
    stats.collect()
}

/// A shell to `target`.
pub fn open(machines: &Machines, target: SshTarget) -> std::sync::Arc<dyn Shell> {
    machines.open(SourceId(1), &Reach::Ssh(target))
}

pub fn approval(host: String, public_key_line: &str) -> ApprovedHostKey {
    let mut words = public_key_line.split(' ');
    ApprovedHostKey {
        host,
        algorithm: words.next().expect("a type").to_owned(),
        public_key: words.next().expect("a key").to_owned(),
        approved_at: Timestamp::default(),
        approved_by: "test".to_owned(),
    }
}

/// The output of a program that must succeed.
pub fn output(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().expect("started");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// How many processes have exactly this command line.
pub fn running(argv: &[&str]) -> usize {
    pids(argv).len()
}

/// The processes that have exactly this command line.
pub fn pids(argv: &[&str]) -> Vec<u32> {
    let line: Vec<u8> = argv.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
    let processes = fs::read_dir("/proc").expect("proc").flatten();
    let is_it = |path: &Path| fs::read(path.join("cmdline")).is_ok_and(|found| found == line);
    processes
        .filter(|entry| is_it(&entry.path()))
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .collect()
}

/// Waits until something is so; fails when it is not in time.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(30), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
