//! `reeve import`: the hosts that this user knows, offered to the server.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context as _;
use backends::sources::ssh::config::Config as SshConfig;
use clap::ArgMatches;
use domain::device::SshTarget;
use domain::operation::OperationDef;
use operations::destination::Candidate;
use serde_json::{Value, json};
use surfaces::client::{Refusal, with_progress};

use crate::ask::{Line, show};
use crate::config::Loaded;
use crate::data_dir::DataDir;
use crate::{refused, run, say, wire};

/// What the person wants.
pub struct Wishes {
    hosts: Vec<String>,
    ssh_config: Option<PathBuf>,
    is_dry: bool,
    is_sure: bool,
    approves_keys: bool,
}

impl Wishes {
    /// As typed.
    pub fn of(matches: &ArgMatches) -> Self {
        Self {
            hosts: matches.get_many("HOSTS").into_iter().flatten().cloned().collect(),
            ssh_config: matches.get_one("ssh-config").cloned(),
            is_dry: matches.get_flag("dry-run"),
            is_sure: matches.get_flag("yes"),
            approves_keys: matches.get_flag("approve-keys"),
        }
    }
}

/// Looks, shows, asks, adds, and approves host keys one by one.
pub async fn run(loaded: Loaded, data: &DataDir, wishes: &Wishes) -> anyhow::Result<ExitCode> {
    let mut candidates = from_ssh_config(&loaded, wishes)?;
    for peer in from_tailscale() {
        if candidates.iter().all(|known| known.device_name() != peer.device_name()) {
            candidates.push(peer);
        }
    }
    if !wishes.hosts.is_empty() {
        candidates.retain(|candidate| wishes.hosts.iter().any(|host| host == candidate.device_name()));
    }
    if candidates.is_empty() {
        say("no hosts were found in ~/.ssh/config or Tailscale; add one with: reeve add-device HOST\n");
        return Ok(ExitCode::SUCCESS);
    }
    let operations = run::operations();
    let line = Line::open(data, || Ok(loaded)).await?;
    let result = offer(&line, &operations, &candidates, wishes).await;
    line.close().await?;
    Ok(match result? {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => refused(&refusal),
    })
}

async fn offer(
    line: &Line,
    operations: &[OperationDef],
    candidates: &[Candidate],
    wishes: &Wishes,
) -> anyhow::Result<Result<(), Refusal>> {
    let import = find(operations, "import_devices")?;
    let ask = |is_dry: bool| {
        let what = format!("testing {} hosts", candidates.len());
        async move {
            let input = json!({ "candidates": candidates, "dry_run": is_dry });
            with_progress(&what, std::io::stderr().is_terminal(), line.call(import, input)).await
        }
    };
    let look = match ask(true).await {
        Ok(look) => look,
        Err(refusal) => return Ok(Err(refusal)),
    };
    show(import, &look);
    let new = rows(&look).filter(|row| row["outcome"] == "new").count();
    if wishes.is_dry || new == 0 {
        return Ok(Ok(()));
    }
    if !wishes.is_sure && !agrees(&format!("add these {new} devices?"))? {
        return Ok(Ok(()));
    }
    let added = match ask(false).await {
        Ok(added) => added,
        Err(refusal) => return Ok(Err(refusal)),
    };
    say(&format!("\n{}\n", added["summary"].as_str().unwrap_or_default()));
    approve(line, find(operations, "approve_host_key")?, &added, wishes).await
}

/// Shows each key that nobody has approved, and approves those that the person says are right.
async fn approve(
    line: &Line,
    approval: &OperationDef,
    added: &Value,
    wishes: &Wishes,
) -> anyhow::Result<Result<(), Refusal>> {
    for row in rows(added).filter(|row| row["needs_approval"] == true) {
        let (name, key) =
            (row["name"].as_str().unwrap_or_default(), row["host_key"].as_str().unwrap_or_default());
        say(&format!(
            "{name} at {} shows the host key\n  {key}\n",
            row["destination"].as_str().unwrap_or_default()
        ));
        let is_right = wishes.approves_keys || agrees("is this the machine's own key?")?;
        if !is_right {
            say(&format!("  it waits: reeve approve-host-key {name} {}\n", fingerprint(key)));
            continue;
        }
        let input = json!({ "device": name, "fingerprint": fingerprint(key) });
        match line.call(approval, input).await {
            Ok(_) => say("  approved\n"),
            Err(refusal) => {
                refused(&refusal);
            }
        }
    }
    Ok(Ok(()))
}

fn find<'a>(operations: &'a [OperationDef], name: &str) -> anyhow::Result<&'a OperationDef> {
    operations.iter().find(|def| def.name == name).with_context(|| format!("there is no operation {name}"))
}

fn rows(listing: &Value) -> impl Iterator<Item = &Value> {
    listing["items"].as_array().into_iter().flatten()
}

fn fingerprint(key: &str) -> &str {
    key.rsplit(' ').next().unwrap_or(key)
}

/// Asks a person; without a terminal nobody agrees.
fn agrees(question: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        say(&format!("{question} nobody is here to say; give --yes (and --approve-keys) to go on\n"));
        return Ok(false);
    }
    say(&format!("{question} [y/N] "));
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// The hosts that this user's `ssh_config` names, each as it resolves here.
fn from_ssh_config(loaded: &Loaded, wishes: &Wishes) -> anyhow::Result<Vec<Candidate>> {
    let mut account = wire::account(loaded)?;
    if let Some(file) = &wishes.ssh_config {
        account.ssh_config = Some(file.clone());
    }
    let config = SshConfig::load(&account).map_err(wire::with_help)?;
    let mut candidates = Vec::new();
    for alias in config.aliases() {
        let target = SshTarget { host: alias.clone(), ..SshTarget::default() };
        // a host that cannot be resolved is told with the others, by the server's own look at it
        let resolved = config.resolve(&target).ok();
        let keys = resolved.as_ref().map(|host| host.identity_files.iter().filter(|key| key.exists()));
        candidates.push(Candidate {
            name: Some(alias.clone()),
            host: alias,
            host_name: resolved.as_ref().map(|host| host.host_name.clone()),
            port: resolved.as_ref().map(|host| host.port),
            user: resolved.as_ref().map(|host| host.user.clone()),
            identity_files: keys.map(|keys| keys.map(|key| key.display().to_string()).collect()),
            ..Candidate::default()
        });
    }
    Ok(candidates)
}

/// The Linux machines of this user's Tailscale network, where there is one.
fn from_tailscale() -> Vec<Candidate> {
    let Ok(output) = Command::new("tailscale").args(["status", "--json"]).output() else { return Vec::new() };
    let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let peers = status["Peer"].as_object().into_iter().flat_map(|peers| peers.values());
    let candidates = peers.filter(|peer| peer["OS"] == "linux").filter_map(|peer| {
        let dns_name = peer["DNSName"].as_str()?.trim_end_matches('.');
        let name = dns_name.split('.').next().filter(|name| !name.is_empty())?;
        let tags = vec!["tailscale".to_owned()];
        Some(Candidate {
            name: Some(name.to_owned()),
            host: name.to_owned(),
            host_name: Some(dns_name.to_owned()),
            tags: Some(tags),
            ..Candidate::default()
        })
    });
    candidates.collect()
}
