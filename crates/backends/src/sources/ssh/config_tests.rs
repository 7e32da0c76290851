//! What aliases mean, by written configurations.

use std::path::PathBuf;

use super::super::destination::known_name;
use super::*;

struct Files {
    home: tempfile::TempDir,
}

impl Files {
    fn new(config: &str) -> Self {
        let files = Self { home: tempfile::tempdir().expect("a directory") };
        files.write(".ssh/config", config);
        files
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.home.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    fn home(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    fn config(&self) -> Config {
        Config::load(&Account {
            home: self.home.path().to_owned(),
            user: "ann".to_owned(),
            ssh_config: Some(self.home(".ssh/config")),
            known_hosts: Vec::new(),
            agent_socket: Some(PathBuf::from("/run/agent")),
        })
        .expect("read")
    }

    fn resolve(&self, alias: &str) -> Destination {
        self.config().resolve(&target(alias)).expect("resolved")
    }
}

fn target(alias: &str) -> SshTarget {
    SshTarget { host: alias.to_owned(), ..SshTarget::default() }
}

#[test]
fn the_first_value_wins_and_blocks_add_up() {
    let files = Files::new(
        "Host nas\n  HostName nas.lan\n  Port 2222\nHost *\n  User root\n  Port 22\nHost n*\n User other\n",
    );
    let nas = files.resolve("nas");
    assert_eq!((nas.host_name.as_str(), nas.port, nas.user.as_str()), ("nas.lan", 2222, "root"));
    assert!(nas.is_known);
    let other = files.resolve("elsewhere");
    assert_eq!((other.host_name.as_str(), other.port), ("elsewhere", 22));
    assert!(!other.is_known);
}

#[test]
fn what_the_target_says_goes_before_the_configuration() {
    let files = Files::new("Host nas\n HostName nas.lan\n User root\n Port 2222\n ProxyJump gate\n");
    let asked = SshTarget {
        port: Some(23),
        user: Some("bob".to_owned()),
        host_name: Some("10.0.0.1".to_owned()),
        proxy_jump: Some("none".to_owned()),
        ..target("nas")
    };
    let nas = files.config().resolve(&asked).expect("resolved");
    assert_eq!((nas.host_name.as_str(), nas.port, nas.user.as_str()), ("10.0.0.1", 23, "bob"));
    assert!(nas.jumps.is_empty());
}

#[test]
fn negated_patterns_keep_a_host_out() {
    let files = Files::new("Host *.lan !nas.lan\n User lan\nHost ?.wan\n User wan\n");
    assert_eq!(files.resolve("pi.lan").user, "lan");
    assert_eq!(files.resolve("nas.lan").user, "ann");
    assert_eq!(files.resolve("a.wan").user, "wan");
    assert_eq!(files.resolve("ab.wan").user, "ann");
}

#[test]
fn identity_files_gather_and_their_tokens_are_filled() {
    let files = Files::new(
        "Host nas\n HostName %h.lan\n IdentityFile ~/keys/%h-%r-%u\n IdentityFile \"%d/my key\"\n\
         IdentitiesOnly yes\n CertificateFile ~/keys/%n-cert.pub\n IdentityAgent none\n IdentityFile $HOME/x\n",
    );
    let nas = files.resolve("nas");
    assert_eq!(nas.host_name, "nas.lan");
    assert_eq!(nas.identity_files, [files.home("keys/nas.lan-ann-ann"), files.home("my key")]);
    assert_eq!(nas.certificate_files, [files.home("keys/nas-cert.pub")]);
    assert!(nas.identities_only && nas.are_identities_named && nas.agent_socket.is_none());
    assert_eq!(nas.warnings.len(), 1, "{:?}", nas.warnings);
}

#[test]
fn without_identity_files_the_usual_ones_are_tried() {
    let nas = Files::new("").resolve("nas");
    assert!(!nas.are_identities_named);
    assert!(nas.identity_files[0].ends_with(".ssh/id_ed25519"));
    assert_eq!(nas.agent_socket, Some(PathBuf::from("/run/agent")));
}

#[test]
fn simple_matches_work_and_others_are_passed_over_with_a_warning() {
    let files = Files::new(
        "Match originalhost nas user ann\n Port 1\nMatch exec \"touch /x\"\n Port 2\nMatch all\n Port 3\n\
         Match host *.lan !localuser bob\n ConnectTimeout 7\nMatch final\n User x\n",
    );
    assert_eq!(files.resolve("nas").port, 1);
    let other = files.resolve("pi.lan");
    assert_eq!((other.port, other.connect_timeout_seconds), (3, Some(7)));
    assert_eq!(other.user, "ann");
    assert!(other.warnings[0].contains("exec"));
}

#[test]
fn jumps_are_read_in_order() {
    let jumps = Files::new("Host x\n ProxyJump ann@gate:2200,[fe80::1]:23,inner\n").resolve("x").jumps;
    let parts: Vec<_> = jumps.iter().map(|j| (j.host.as_str(), j.user.as_deref(), j.port)).collect();
    assert_eq!(
        parts,
        [("gate", Some("ann"), Some(2200)), ("fe80::1", None, Some(23)), ("inner", None, None)]
    );
}

#[test]
fn a_proxy_command_is_refused_by_name() {
    let files = Files::new("Host x\n ProxyCommand nc %h %p\nHost y\n ProxyJump none\n ProxyCommand nc\n");
    let error = files.config().resolve(&target("x")).expect_err("refused");
    assert_eq!(error.code(), "ssh_proxy_command");
    files.config().resolve(&target("y")).expect("a ProxyJump before it wins");
}

#[test]
fn included_files_belong_to_the_block_they_stand_in() {
    let files = Files::new("Include conf.d/*.conf\nHost b\n Include ~/more\nHost a b\n Port 9\n");
    files.write(".ssh/conf.d/1.conf", "Host a\r\n Port 1\r\n");
    files.write(".ssh/conf.d/2.conf", "Host a\n Port 2\n User two\n");
    files.write("more", "User more\n");
    let a = files.resolve("a");
    assert_eq!((a.port, a.user.as_str()), (1, "two"));
    let b = files.resolve("b");
    assert_eq!((b.port, b.user.as_str()), (9, "more"));
    assert_eq!(files.config().aliases(), ["a", "b"]);
}

#[test]
fn a_file_that_includes_itself_ends() {
    let files = Files::new("Include config\nHost a\n Port 5\n");
    assert_eq!(files.resolve("a").port, 5);
}

#[test]
fn known_hosts_files_and_alias_are_taken() {
    let files = Files::new(
        "Host a\n UserKnownHostsFile ~/one ~/two\n GlobalKnownHostsFile none\n HostKeyAlias Store\n Port 2\n",
    );
    let a = files.resolve("a");
    assert_eq!(a.known_hosts, [files.home("one"), files.home("two")]);
    assert_eq!(a.known_as(), "store");
    assert_eq!(known_name("NAS", 2222), "[nas]:2222");
    assert_eq!(known_name("NAS", 22), "nas");
}

#[test]
fn a_malformed_port_names_file_and_line() {
    let files = Files::new("Host a\n Port ssh\n");
    let error = files.config().resolve(&target("a")).expect_err("malformed");
    assert!(error.message().contains("line 2"), "{error}");
}
