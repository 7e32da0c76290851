//! The lab's machines, shared by all tests that read and lent to one that breaks them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The lab, where it is up.
pub struct Lab {
    state: PathBuf,
}

impl Lab {
    /// The lab; nothing and a word where it is not up. Where `REEVE_LAB_REQUIRED` is set, it must be up.
    pub fn find() -> Option<Self> {
        let state =
            PathBuf::from(std::env::var("REEVE_LAB").unwrap_or_else(|_| "/var/tmp/reeve-lab".to_owned()));
        let is_up =
            state.join("ssh_config").exists() && std::net::TcpStream::connect("127.0.0.1:22001").is_ok();
        if is_up {
            return Some(Self { state });
        }
        assert!(std::env::var_os("REEVE_LAB_REQUIRED").is_none(), "the lab is not up");
        eprintln!("skipped: needs the lab (cargo xtask lab up)");
        None
    }

    /// A file of its state: `ssh_config`, `id_ed25519` …
    pub fn file(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }

    /// Configuration that reaches hosts as the lab's `ssh_config` says.
    pub fn config(&self) -> String {
        format!("[ssh]\nconfig = \"{}\"\n", self.file("ssh_config").display())
    }

    /// Configuration with these lab devices declared by their short names.
    pub fn config_with(&self, devices: &[&str]) -> String {
        devices.iter().fold(self.config(), |config, device| {
            format!("{config}\n[[devices]]\nname = \"{device}\"\nhost = \"lab-{device}\"\n")
        })
    }

    /// Reads from a device for as long as this is held: nobody breaks it meanwhile.
    pub fn share(&self, device: &str) -> File {
        let lock = self.lock(device);
        lock.lock_shared().expect("the lock can be shared");
        lock
    }

    /// Breaks a device for as long as this is held: nobody else uses it meanwhile.
    pub fn borrow(&self, device: &str) -> File {
        let lock = self.lock(device);
        lock.lock().expect("the lock can be had");
        lock
    }

    fn lock(&self, device: &str) -> File {
        File::create(self.state.join(format!("test-{device}.lock"))).expect("a lock can be made")
    }

    /// Turns a fault of a device on or off.
    pub fn fault(&self, fault: &str, device: &str, is_on: bool) {
        self.script("fault", &[fault, device, if is_on { "on" } else { "off" }]);
    }

    /// Hangs a mount of a device, or lets it go.
    pub fn hang_mount(&self, device: &str, is_on: bool) {
        self.script("hang-mount", &[if is_on { "up" } else { "down" }, device]);
    }

    fn script(&self, name: &str, arguments: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../lab").join(name);
        let output = Command::new(script)
            .args(arguments)
            .env("REEVE_LAB", &self.state)
            .output()
            .expect("a script runs");
        assert!(output.status.success(), "{name} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs a command on a device by plain `ssh`, for comparison.
    pub fn ssh(&self, device: &str, command: &str) -> String {
        let config = self.file("ssh_config");
        let host = format!("lab-{device}");
        let output =
            Command::new("ssh").arg("-F").arg(config).args([&host, command]).output().expect("ssh runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
