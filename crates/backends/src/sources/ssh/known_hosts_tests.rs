//! Verdicts by written `known_hosts` and approvals; hashed lines were made by `ssh-keygen -H`.

use domain::Timestamp;
use domain::device::SshTarget;

use super::*;
use crate::sources::Account;
use crate::sources::ssh::config::Config;

const ONE: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIMAU5/jqIUf90XCi30PsMDT3lNVjmaubLcZV0O6bSbDf";
const TWO: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIF59+m0FRxwH6CmYay/5aLMqEshvHum/B+5F0R2Uab6+";
const ECDSA: &str = "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBDikl1Um7TrPHPBLK5mCU+ljnwaLGszEGZogE2lPEVN2rwHYydrhUJjMmQeTqFT7TtZVz/lOGlDlwJHfmnGTaqg=";

fn destination(host: &str, port: u16) -> Destination {
    let account = Account {
        home: "/nonexistent".into(),
        user: "ann".to_owned(),
        ssh_config: Some("/nonexistent".into()),
        known_hosts: Vec::new(),
        agent_socket: None,
    };
    let target = SshTarget { host: host.to_owned(), port: Some(port), ..SshTarget::default() };
    Config::load(&account).expect("nothing to read").resolve(&target).expect("resolved")
}

fn key(base64: &str) -> PublicKey {
    let algorithm = if base64 == ECDSA { "ecdsa-sha2-nistp256" } else { "ssh-ed25519" };
    parse_key(algorithm, base64).expect("a key")
}

fn verdict(text: &str, host: &str, port: u16, shown: &str) -> KeyVerdict {
    KnownKeys::from_texts(&destination(host, port), [text], &[]).verdict(&key(shown))
}

fn approval(host: &str, base64: &str) -> ApprovedHostKey {
    ApprovedHostKey {
        host: host.to_owned(),
        algorithm: key(base64).algorithm().as_str().to_owned(),
        public_key: base64.to_owned(),
        approved_at: Timestamp::default(),
        approved_by: "ann".to_owned(),
    }
}

#[test]
fn a_known_key_is_trusted_and_another_has_changed() {
    let text = format!("# mine\nnas,10.0.0.2 ssh-ed25519 {ONE} comment\n");
    assert_eq!(verdict(&text, "nas", 22, ONE), KeyVerdict::Trusted);
    assert_eq!(verdict(&text, "NAS", 22, ONE), KeyVerdict::Trusted);
    assert_eq!(verdict(&text, "10.0.0.2", 22, TWO), KeyVerdict::Changed);
    assert_eq!(verdict(&text, "nas", 22, ECDSA), KeyVerdict::Changed);
    assert_eq!(verdict(&text, "pi", 22, ONE), KeyVerdict::Unknown);
}

#[test]
fn ports_patterns_and_negations_count() {
    let text = format!("[nas]:2222 ssh-ed25519 {ONE}\n*.lan,!bad.lan ssh-ed25519 {TWO}\n");
    assert_eq!(verdict(&text, "nas", 2222, ONE), KeyVerdict::Trusted);
    assert_eq!(verdict(&text, "nas", 22, ONE), KeyVerdict::Unknown);
    assert_eq!(verdict(&text, "pi.lan", 22, TWO), KeyVerdict::Trusted);
    assert_eq!(verdict(&text, "bad.lan", 22, TWO), KeyVerdict::Unknown);
    // a key known under the plain name is taken for another port too, a different one says nothing
    assert_eq!(verdict(&text, "pi.lan", 2222, TWO), KeyVerdict::Trusted);
    assert_eq!(verdict(&text, "pi.lan", 2222, ONE), KeyVerdict::Unknown);
}

#[test]
fn hashed_names_are_found() {
    let text = format!("|1|6x8TSDXn4KBhFrfCqOhj/WXdJ00=|{HASH} ssh-ed25519 {ONE}\n", HASH = hash("nas.lan"));
    assert_eq!(verdict(&text, "nas.lan", 22, ONE), KeyVerdict::Trusted);
    assert_eq!(verdict(&text, "nas.wan", 22, ONE), KeyVerdict::Unknown);
}

fn hash(name: &str) -> String {
    let salt = STANDARD.decode("6x8TSDXn4KBhFrfCqOhj/WXdJ00=").expect("base64");
    let mut mac = Hmac::<Sha1>::new_from_slice(&salt).expect("any length");
    mac.update(name.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

#[test]
fn a_revoked_key_is_refused_wherever_it_is_known() {
    let text = format!("nas ssh-ed25519 {ONE}\n@revoked * ssh-ed25519 {ONE}\n");
    assert_eq!(verdict(&text, "nas", 22, ONE), KeyVerdict::Revoked);
    assert_eq!(verdict(&text, "nas", 22, TWO), KeyVerdict::Changed);
}

#[test]
fn approvals_stand_beside_the_files() {
    let of = |text: &str, approvals: &[ApprovedHostKey], shown: &str| {
        KnownKeys::from_texts(&destination("nas", 22), [text], approvals).verdict(&key(shown))
    };
    assert_eq!(of("", &[approval("nas", ONE)], ONE), KeyVerdict::Trusted);
    assert_eq!(of("", &[approval("pi", ONE)], ONE), KeyVerdict::Unknown);
    assert_eq!(of("", &[approval("nas", ONE)], TWO), KeyVerdict::Changed);
    let file = format!("nas ssh-ed25519 {TWO}\n");
    assert_eq!(of(&file, &[approval("nas", ONE)], ONE), KeyVerdict::Changed, "the file knows another one");
    let ecdsa = format!("nas ecdsa-sha2-nistp256 {ECDSA}\n");
    assert_eq!(
        of(&ecdsa, &[approval("nas", ONE)], ONE),
        KeyVerdict::Trusted,
        "a key of another type is no change"
    );
}

#[test]
fn known_types_are_asked_for_first() {
    let text = format!("nas ecdsa-sha2-nistp256 {ECDSA}\n@cert-authority *.lan ssh-ed25519 {ONE}\n");
    let known = KnownKeys::from_texts(&destination("nas", 22), [text.as_str()], &[]);
    assert_eq!(known.algorithms(), [key(ECDSA).algorithm()]);
    assert!(!known.has_authority());
    let other = KnownKeys::from_texts(&destination("pi.lan", 22), [text.as_str()], &[]);
    assert!(other.has_authority());
}

#[test]
fn nonsense_lines_are_passed_over() {
    assert_eq!(
        verdict("nas\nnas x y\n@revoked\n|1|a|b ssh-ed25519 c\n\u{0}", "nas", 22, ONE),
        KeyVerdict::Unknown
    );
}
