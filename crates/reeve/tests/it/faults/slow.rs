//! A machine at the other end of a slow line: read right all the same, and nobody waits for it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{device, until_status};
use crate::lab::Lab;
use crate::server::Server;

/// How long each byte is under way, in each direction.
const LATENCY: Duration = Duration::from_millis(300);
/// Most bytes that arrive together.
const CHUNK: usize = 512;

/// A line to `target` on which everything takes `LATENCY` and arrives in pieces; gives its port. It ends with the test
/// process.
fn slow_line_to(target: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(target) else { continue };
            let (near_back, far_back) = (near.try_clone().expect("a copy"), far.try_clone().expect("a copy"));
            carry(near, far);
            carry(far_back, near_back);
        }
    });
    port
}

/// Carries bytes from one to the other, each piece `LATENCY` after it was sent.
fn carry(mut from: TcpStream, mut to: TcpStream) {
    let (sender, pieces) = mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        let mut buffer = [0; CHUNK];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if sender.send((Instant::now() + LATENCY, buffer[..count].to_vec())).is_err() {
                break;
            }
        }
    });
    std::thread::spawn(move || {
        for (due, piece) in pieces {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}

#[test]
fn a_machine_on_a_slow_line_is_read_right_and_delays_no_other() {
    let Some(lab) = Lab::find() else { return };
    let _held = lab.share("plain");
    let dir = tempfile::tempdir().unwrap();
    let ssh_config = dir.path().join("ssh_config");
    let text = format!(
        "Host far\n HostName 127.0.0.1\n Port {}\n User root\n IdentityFile {}\n IdentitiesOnly yes\n \
         UserKnownHostsFile {known}\n HostKeyAlias [127.0.0.1]:22002\n\
         Host near\n HostName 127.0.0.1\n Port 22002\n User root\n IdentityFile {1}\n IdentitiesOnly yes\n \
         UserKnownHostsFile {known}\n",
        slow_line_to("127.0.0.1:22002"),
        lab.file("id_ed25519").display(),
        known = lab.file("known_hosts").display(),
    );
    std::fs::write(&ssh_config, text).unwrap();
    let config = format!(
        "[ssh]\nconfig = \"{}\"\n[[devices]]\nname = \"far\"\nhost = \"far\"\n[[devices]]\nname = \"near\"\nhost = \"near\"\n",
        ssh_config.display()
    );
    let server = Server::start_with(&super::quick(&config), &[]);
    until_status(&server, "near", "online");
    let device_far = until_status(&server, "far", "online");
    assert_eq!(device_far["why"], serde_json::Value::Null, "{device_far}");

    let far = server.get_json("/api/metrics/far?max_age_seconds=0&deadline_seconds=40");
    let near = server.get_json("/api/metrics/near?max_age_seconds=0&deadline_seconds=20");
    assert_eq!(far["memory"]["total_bytes"], near["memory"]["total_bytes"], "{far}");
    let mounts = |metrics: &serde_json::Value| -> Vec<String> {
        let list = metrics["filesystems"].as_array().cloned().unwrap_or_default();
        list.iter().map(|filesystem| filesystem["mount_point"].to_string()).collect()
    };
    assert!(!mounts(&near).is_empty(), "{near}");
    assert_eq!(mounts(&far), mounts(&near));
    let facts = |name: &str| device(&server, name)["facts"]["kernel"].clone();
    assert_eq!(facts("far"), facts("near"));

    // while the far one is asked, the near one answers as fast as ever
    std::thread::scope(|scope| {
        let asked =
            scope.spawn(|| server.get_json("/api/devices/far/memory?max_age_seconds=0&deadline_seconds=20"));
        let took = (0..5).map(|_| {
            let start = Instant::now();
            let memory = server.get_json("/api/devices/near/memory?max_age_seconds=0&deadline_seconds=20");
            assert_eq!(memory["stale"], false);
            start.elapsed()
        });
        // this machine may be slow itself now and then, but not each time
        let fastest = took.min().expect("it was asked");
        assert!(fastest < 2 * LATENCY, "{fastest:?}");
        let memory = asked.join().expect("it was answered");
        assert_eq!(memory["stale"], false, "slow is not dead: {memory}");
    });
}
