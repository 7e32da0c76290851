//! Whether `sudo` lets us run commands that want root.

use std::time::Duration;

use domain::ask::{Answer, Ask, Outcome};
use domain::capability::{Capability, Refusal};
use domain::facts::Facts;
use domain::problem::Problem;

/// Asks `sudo` without a password. It may look a user up on a server that is gone.
pub(super) fn ask() -> Ask {
    Ask::run(["sudo", "-n", "true"]).may_hang().deadline(Duration::from_secs(5))
}

/// Why it does not let us, and the line that would.
pub(super) fn refusal(answer: &Answer, facts: &Facts) -> Refusal {
    let user = facts.user.as_deref().unwrap_or("the user that Reeve signs in as");
    let problem = match answer.outcome {
        Outcome::Done { .. } => Problem::new(
            "sudo_not_allowed",
            format!("sudo does not let {user} run commands without a password"),
        ),
        Outcome::TimedOut | Outcome::StillHanging => Problem::new(
            "sudo_hangs",
            "sudo does not answer: it may wait for a directory server that is gone",
        ),
        _ => Problem::new("sudo_not_allowed", "sudo could not be run"),
    };
    let help = format!("{}; reeve doctor prints the commands that want root", sudoers_command(user, facts));
    Refusal { capability: Capability::Sudo, problem: problem.help(help) }
}

/// The command that lets `user` run what Reeve needs root for, and `true`, by which it finds out.
fn sudoers_command(user: &str, facts: &Facts) -> String {
    let wants_root = ["smartctl", "zpool", "virsh"];
    let known = facts
        .programs
        .iter()
        .filter(|path| wants_root.contains(&path.rsplit('/').next().unwrap_or_default()))
        .map(String::as_str);
    let commands: Vec<&str> = std::iter::once("/usr/bin/true").chain(known).collect();
    format!(
        "as root on the machine: echo {} > /etc/sudoers.d/reeve",
        domain::ask::quoted(&format!("{user} ALL=(root) NOPASSWD: {}", commands.join(", ")))
    )
}
