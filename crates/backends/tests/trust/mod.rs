//! Whom Reeve trusts, and who trusts Reeve: host keys, user keys, certificates, agents.

use super::*;

#[tokio::test]
async fn an_unknown_host_key_waits_to_be_approved() {
    let world = world!();
    let sshd = world.unknown_sshd("nas", "");
    let machines = world.machines();
    let reach = Reach::Ssh(sshd.target(&world));
    let shell = open(&machines, sshd.target(&world));
    assert_eq!(code(&shell).await, "host_key_unknown");
    let seen = machines.inspect(&reach).await;
    let key = seen.host_key.expect("a key was shown");
    let printed = output("ssh-keygen", &["-lf", &world.path("nas_host.pub")]);
    assert!(String::from_utf8_lossy(&printed).contains(&key.fingerprint));
    assert_eq!((key.verdict, key.host.clone()), (KeyVerdict::Unknown, sshd.known_as()));
    assert_eq!(seen.address.as_deref(), Some("127.0.0.1"));
    assert!(!seen.signed_in);
    let line = format!("{} {}", key.algorithm, key.public_key);
    assert!(world.read("nas_host.pub").starts_with(&line));
    machines.trust(&approval(key.host, &line));
    assert_eq!(code(&shell).await, "answered");
    let seen = machines.inspect(&reach).await;
    assert!(seen.signed_in && seen.error.is_none());
    assert!(!std::path::Path::new(&world.path("known_hosts")).exists(), "known_hosts is never written");
}

#[tokio::test]
async fn a_changed_host_key_is_refused_until_it_is_approved() {
    let world = world!();
    let sshd = world.unknown_sshd("nas", "");
    world.keygen("other", &["-t", "ed25519"]);
    let machines = world.machines();
    let shell = open(&machines, sshd.target(&world));
    machines.trust(&approval(sshd.known_as(), &world.read("other.pub")));
    assert_eq!(code(&shell).await, "host_key_changed");
    machines.trust(&approval(sshd.known_as(), &world.read("nas_host.pub")));
    assert_eq!(code(&shell).await, "answered");
    shell.hang_up().await;
    world.write("known_hosts", &format!("{} {}", sshd.known_as(), world.read("other.pub")));
    assert_eq!(code(&shell).await, "host_key_changed", "the file knows another one");
}

#[tokio::test]
async fn a_revoked_host_key_is_refused() {
    let world = world!();
    let sshd = world.sshd("nas", "");
    let revoked = format!("@revoked * {}", world.read("nas_host.pub"));
    world.write("known_hosts", &(world.read("known_hosts") + &revoked));
    assert_eq!(code(&open(&world.machines(), sshd.target(&world))).await, "host_key_revoked");
}

#[tokio::test]
async fn hashed_known_hosts_are_understood() {
    let world = world!();
    let sshd = world.sshd("nas", "");
    output("ssh-keygen", &["-q", "-H", "-f", &world.path("known_hosts")]);
    assert!(world.read("known_hosts").starts_with("|1|"));
    assert_eq!(code(&open(&world.machines(), sshd.target(&world))).await, "answered");
}

#[tokio::test]
async fn the_host_key_that_is_known_is_asked_for() {
    let world = world!();
    world.keygen("second", &["-t", "ecdsa"]);
    let sshd = world.unknown_sshd("nas", &format!("HostKey {}", world.path("second")));
    world.write("known_hosts", &format!("{} {}", sshd.known_as(), world.read("second.pub")));
    assert_eq!(code(&open(&world.machines(), sshd.target(&world))).await, "answered");
}

#[tokio::test]
async fn a_host_certificate_counts_by_its_authority_and_its_names() {
    let world = world!();
    world.keygen("ca", &["-t", "ed25519"]);
    for (name, principal, expected) in
        [("good", "127.0.0.1", "answered"), ("bad", "elsewhere", "host_key_unknown")]
    {
        let host = format!("{name}_host");
        world.keygen(&host, &["-t", "ed25519"]);
        output(
            "ssh-keygen",
            &[
                "-q",
                "-s",
                &world.path("ca"),
                "-I",
                name,
                "-h",
                "-n",
                principal,
                &world.path(&format!("{host}.pub")),
            ],
        );
        let sshd =
            world.unknown_sshd(name, &format!("HostCertificate {}", world.path(&format!("{host}-cert.pub"))));
        world.write("known_hosts", &format!("@cert-authority [127.0.0.1]:* {}", world.read("ca.pub")));
        let shell = open(&world.machines(), sshd.target(&world));
        assert_eq!(code(&shell).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_user_certificate_signs_in() {
    let world = world!();
    world.keygen("ca", &["-t", "ed25519"]);
    let sshd =
        world.sshd("nas", &format!("TrustedUserCAKeys {}\nAuthorizedKeysFile none", world.path("ca.pub")));
    for kind in ["ed25519", "rsa", "ecdsa"] {
        world.keygen(kind, &["-t", kind]);
        let target = SshTarget { identity_files: vec![world.path(kind)], ..sshd.target(&world) };
        assert_eq!(code(&open(&world.machines(), target.clone())).await, "ssh_auth_failed");
        let public = world.path(&format!("{kind}.pub"));
        output("ssh-keygen", &["-q", "-s", &world.path("ca"), "-I", "me", "-n", &world.user, &public]);
        assert_eq!(code(&open(&world.machines(), target)).await, "answered", "{kind}: {}", sshd.log());
    }
}

#[tokio::test]
async fn keys_of_every_kind_sign_in() {
    let world = world!();
    let sshd = world.sshd("nas", &format!("AuthorizedKeysFile {}", world.path("keys")));
    for (name, arguments) in [
        ("rsa", ["-t", "rsa", "-b", "2048"]),
        ("pem", ["-t", "rsa", "-m", "PEM"]),
        ("ecdsa", ["-t", "ecdsa", "-b", "384"]),
    ] {
        world.keygen(name, &arguments);
        world.write("keys", &world.read(&format!("{name}.pub")));
        let target = SshTarget { identity_files: vec![world.path(name)], ..sshd.target(&world) };
        assert_eq!(code(&open(&world.machines(), target)).await, "answered", "{name}: {}", sshd.log());
    }
}

#[tokio::test]
async fn an_encrypted_key_needs_its_passphrase_or_the_agent() {
    let world = world!();
    world.keygen("locked", &["-t", "ed25519", "-N", "open sesame", "-a", "1"]);
    let sshd = world.sshd("nas", &format!("AuthorizedKeysFile {}", world.path("locked.pub")));
    let target = SshTarget { identity_files: vec![world.path("locked")], ..sshd.target(&world) };
    assert_eq!(code(&open(&world.machines(), target.clone())).await, "ssh_key_passphrase");
    let with =
        |words: &str| SshTarget { passphrase_file: Some(world.write("words", words)), ..target.clone() };
    assert_eq!(code(&open(&world.machines(), with("wrong\n"))).await, "ssh_key_passphrase");
    assert_eq!(code(&open(&world.machines(), with("open sesame\n"))).await, "answered");
}

#[tokio::test]
async fn the_agents_keys_sign_in_and_identities_only_holds_them_back() {
    let world = world!();
    let sshd = world.sshd("nas", "");
    let socket = world.path("agent");
    let mut agent = std::process::Command::new("ssh-agent")
        .args(["-D", "-a", &socket])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("an agent");
    until("the agent listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok()).await;
    output("env", &[&format!("SSH_AUTH_SOCK={socket}"), "ssh-add", "-q", &world.path("key")]);
    let mut account = world.account();
    account.agent_socket = Some(socket.clone().into());
    let machines = backends::sources::Machines::new(account, Vec::new());
    let target = SshTarget { identity_files: Vec::new(), ..sshd.target(&world) };
    assert_eq!(code(&open(&machines, target.clone())).await, "answered");
    world.write("ssh_config", "Host 127.0.0.1\n IdentitiesOnly yes\n IdentityFile ~/other\n");
    world.keygen("other", &["-t", "ed25519"]);
    assert_eq!(code(&open(&machines, target.clone())).await, "ssh_auth_failed");
    // named by its public half, the agent holds the private one
    let named = SshTarget { identity_files: vec![world.path("key.pub")], ..target };
    assert_eq!(code(&open(&machines, named)).await, "answered");
    agent.kill().expect("killed");
    agent.wait().expect("ended");
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_named() {
    let world = world!();
    let sshd = world.sshd("nas", "");
    let with = |file: &str| SshTarget { identity_files: vec![world.path(file)], ..sshd.target(&world) };
    assert_eq!(code(&open(&world.machines(), with("nowhere"))).await, "ssh_key_missing");
    world.write("nonsense", "this is no key");
    assert_eq!(code(&open(&world.machines(), with("nonsense"))).await, "ssh_key_unreadable");
    world.keygen("stranger", &["-t", "ed25519"]);
    let error = open(&world.machines(), with("stranger"))
        .converse(vec![Ask::run(["true"])])
        .await
        .expect_err("refused");
    assert_eq!(error.code(), "ssh_auth_failed");
    assert!(error.message().contains("stranger") && error.message().contains("publickey"), "{error:?}");
    assert!(error.help().contains("ssh-copy-id"));
}
