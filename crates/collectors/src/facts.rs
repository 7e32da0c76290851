//! Who a machine is and what it can do for us.

use std::time::Duration;

use domain::ask::{Answers, Ask};
use domain::capability::{Capability, Refusal};
use domain::collector::{Collector, Parsed};
use domain::device_types;
use domain::facts::{EngineState, Facts, Hardware, Os};
use domain::observed::Observed;
use domain::sample::Samples;
use domain::{Result, Timestamp, Untrusted};

use crate::linux::{between, colon_field, kib_field, lines_by_path, untrusted, word};

mod addresses;
mod engines;
mod sudo;
mod virtualization;

/// Who a machine is and what it can do.
///
/// First round: the files that tell the operating system, kernel, processor, memory, firmware and start; the names of
/// interfaces' cards; which of the programs that Reeve knows are installed; which container sockets are there; the
/// machine's clock. Second round: the container engines are asked for their version and `sudo` whether it lets us;
/// where `ip` is missing, the kernel's own tables tell the addresses. Third round: engines of the user's own.
pub struct FactsCollector;

/// Programs that Reeve knows how to use.
const PROGRAMS: [&str; 16] = [
    "smartctl",
    "zpool",
    "zfs",
    "virsh",
    "docker",
    "podman",
    "systemctl",
    "journalctl",
    "apt-get",
    "pvesh",
    "mdcmd",
    "sudo",
    "df",
    "stat",
    "ip",
    "ss",
];
/// Things whose being there says what a machine is or can do.
const SIGNS: [&str; 5] =
    ["/.dockerenv", "/run/.containerenv", "/run/systemd/system", "/proc/spl/kstat/zfs", "/var/local/emhttp"];
const FILES: [&str; 19] = [
    "/proc/sys/kernel/hostname",
    "/etc/machine-id",
    "/etc/os-release",
    "/usr/lib/os-release",
    "/etc/unraid-version",
    "/proc/sys/kernel/osrelease",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/mdstat",
    "/proc/self/status",
    "/proc/self/mountinfo",
    "/proc/1/cgroup",
    "/run/systemd/container",
    "/sys/hypervisor/type",
    "/sys/class/dmi/id/sys_vendor",
    "/sys/class/dmi/id/product_name",
    "/proc/device-tree/model",
    "/proc/device-tree/hypervisor/compatible",
];
const CARDS: &str = "/sys/class/net/*/address";
/// Large machines list many cores and mounts.
const FILE_CAP_BYTES: usize = 4 << 20;

fn uname() -> Ask {
    Ask::run(["uname", "-m"])
}

fn clock() -> Ask {
    Ask::run(["date", "+%s.%N"])
}

fn user() -> Ask {
    Ask::run(["id", "-un"])
}

fn df_version() -> Ask {
    Ask::run(["df", "--version"])
}

fn programs() -> Ask {
    Ask::which(PROGRAMS)
}

fn signs() -> Ask {
    Ask::probe(SIGNS)
}

impl Collector for FactsCollector {
    const NAME: &'static str = Facts::COLLECTOR;
    const WHY: &'static str = "who a machine is and what it can do: system, hardware, addresses, installed programs, container engines, sudo";
    const EVERY: Duration = Duration::from_secs(300);
    const NEEDS: &'static [Capability] = &[];
    type Reading = Facts;

    fn asks(_: &Facts) -> Vec<Ask> {
        let mut asks: Vec<Ask> =
            FILES.into_iter().map(|path| Ask::file(path).cap_bytes(FILE_CAP_BYTES)).collect();
        asks.extend([Ask::files(CARDS), uname(), clock(), user(), df_version(), programs(), signs()]);
        asks.extend([engines::probe(), virtualization::detect(), addresses::ip()]);
        asks
    }

    fn parse(_: &Facts, answers: &Answers, _: Option<&Observed<Facts>>) -> Result<Parsed<Facts>> {
        let uid = uid(answers);
        let programs = found_programs(answers);
        let has = |program: &str| programs.iter().any(|path| path.rsplit('/').next() == Some(program));
        let mut more = engines::more_asks(answers, uid);
        more.extend(addresses::more_asks(answers));
        if uid != Some(0) && has("sudo") {
            more.push(sudo::ask());
        }
        more.retain(|ask| answers.get(&ask.question).is_none());
        if !more.is_empty() {
            return Ok(Parsed::More(more));
        }
        let found_engines = engines::found(answers, uid);
        let mut facts = Facts {
            hostname: text(answers, "/proc/sys/kernel/hostname").and_then(|name| untrusted(&name)),
            machine_id: machine_id(answers),
            addresses: addresses::found(answers),
            hardware_addresses: hardware_addresses(answers),
            os: operating_system(answers),
            kernel: text(answers, "/proc/sys/kernel/osrelease").and_then(|text| plain(&text)),
            architecture: output(answers, &uname()).and_then(|text| plain(&text)),
            virtualization: virtualization::found(answers),
            hardware: hardware(answers),
            boot_time: text(answers, "/proc/stat").and_then(|stat| boot_time(&stat)),
            clock_offset_seconds: output(answers, &clock()).and_then(|text| clock_offset(&text, answers.at)),
            user: output(answers, &user()).and_then(|name| plain(&name)),
            device_type: String::new(),
            engines: Vec::new(),
            capabilities: capabilities(answers, uid, has),
            refusals: Vec::new(),
            programs,
        };
        for (engine, problem) in found_engines {
            if engine.state == EngineState::Answering {
                facts.capabilities.insert(Capability::ContainerEngine);
            }
            if let Some(problem) = problem {
                facts.refusals.push(Refusal { capability: Capability::ContainerEngine, problem });
            }
            facts.engines.push(engine);
        }
        facts.refusals.extend(engines::installed_without_socket(&facts));
        match answers.get(&sudo::ask().question) {
            Some(answer) if answer.ok().is_some() => {
                facts.capabilities.insert(Capability::Sudo);
            }
            Some(answer) => facts.refusals.push(sudo::refusal(answer, &facts)),
            None => {}
        }
        device_types::recognise(&facts).clone_into(&mut facts.device_type);
        Ok(Parsed::Reading(facts, Vec::new()))
    }

    fn samples(facts: &Facts, samples: &mut Samples) {
        samples.gauge("clock_offset_seconds", &[], facts.clock_offset_seconds);
        let boot_seconds = facts.boot_time.map(|boot| boot.millis() as f64 / 1000.0);
        samples.gauge("node_boot_time_seconds", &[], boot_seconds);
    }
}

fn text(answers: &Answers, path: &str) -> Option<String> {
    answers.file_text(path).and_then(|text| word(&text))
}

fn output(answers: &Answers, ask: &Ask) -> Option<String> {
    answers.get(&ask.question)?.ok().and_then(|text| word(&text))
}

/// The first line, cleaned.
fn plain(text: &str) -> Option<String> {
    word(&Untrusted::new(text.trim().lines().next()?).to_string())
}

/// The paths that a probe found, with what we may do with each.
fn probed(answers: &Answers, probe: &Ask) -> Vec<(String, String)> {
    let Some(answer) = answers.get(&probe.question) else { return Vec::new() };
    let text = answer.text();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(flags, path)| (flags.to_owned(), path.to_owned()))
        .collect()
}

fn has_sign(answers: &Answers, sign: &str) -> bool {
    probed(answers, &signs()).iter().any(|(_, path)| path == sign)
}

/// The user that we sign in as: `Uid: real effective …` of our own process.
fn uid(answers: &Answers) -> Option<u32> {
    colon_field(&text(answers, "/proc/self/status")?, "Uid")?.split_whitespace().nth(1)?.parse().ok()
}

fn found_programs(answers: &Answers) -> Vec<String> {
    let Some(answer) = answers.get(&programs().question) else { return Vec::new() };
    answer.text().lines().filter(|line| line.starts_with('/')).filter_map(plain).collect()
}

fn machine_id(answers: &Answers) -> Option<String> {
    let id = text(answers, "/etc/machine-id")?;
    (id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit())).then_some(id)
}

fn operating_system(answers: &Answers) -> Os {
    let release = text(answers, "/etc/os-release").or_else(|| text(answers, "/usr/lib/os-release"));
    let release = release.as_deref().unwrap_or_default();
    // older Unraid shows itself as the Slackware that it is made from
    if let Some(version) = text(answers, "/etc/unraid-version") {
        let version = version.trim_start_matches("version=").trim_matches('"').to_owned();
        let name = release_field(release, "PRETTY_NAME").filter(|name| name.contains("Unraid"));
        return Os {
            id: Some("unraid-os".to_owned()),
            name: untrusted(&name.unwrap_or_else(|| format!("Unraid OS {version}"))),
            version: plain(&version),
        };
    }
    Os {
        id: release_field(release, "ID").and_then(|id| plain(&id)),
        name: release_field(release, "PRETTY_NAME").and_then(|name| untrusted(&name)),
        version: release_field(release, "VERSION_ID").and_then(|version| plain(&version)),
    }
}

/// A field of os-release: `ID=debian`, `PRETTY_NAME="Debian GNU/Linux"`.
fn release_field(release: &str, key: &str) -> Option<String> {
    let value = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    word(value.trim().trim_matches(['"', '\'']))
}

fn hardware(answers: &Answers) -> Hardware {
    let cpuinfo = text(answers, "/proc/cpuinfo").unwrap_or_default();
    let processors = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let cpu_model = ["model name", "Processor", "cpu model", "cpu"]
        .into_iter()
        .find_map(|key| colon_field(&cpuinfo, key).filter(|model| !model.is_empty()));
    let firmware = |path| text(answers, path).filter(|text| is_telling(text));
    let board = text(answers, "/proc/device-tree/model").map(|model| model.trim_matches('\0').to_owned());
    Hardware {
        vendor: firmware("/sys/class/dmi/id/sys_vendor").and_then(|vendor| untrusted(&vendor)),
        model: firmware("/sys/class/dmi/id/product_name").or(board).and_then(|model| untrusted(&model)),
        cpu_model: cpu_model.and_then(untrusted),
        cpu_count: u32::try_from(processors).ok().filter(|count| *count > 0),
        memory_bytes: text(answers, "/proc/meminfo").and_then(|text| kib_field(&text, "MemTotal")),
    }
}

/// Makers of boards leave these where a name should be.
fn is_telling(firmware: &str) -> bool {
    let firmware = firmware.to_ascii_lowercase();
    ![
        "to be filled by o.e.m.",
        "system manufacturer",
        "system product name",
        "default string",
        "not specified",
    ]
    .contains(&firmware.as_str())
}

fn hardware_addresses(answers: &Answers) -> Vec<String> {
    let mut cards: Vec<String> = lines_by_path(answers.files(CARDS))
        .into_iter()
        .filter_map(|(path, card)| {
            let name = between(&path, "/sys/class/net/", "/address")?;
            let card = card.trim().to_ascii_lowercase();
            let is_card = card.len() == 17 && card.chars().all(|c| c.is_ascii_hexdigit() || c == ':');
            (is_card && card != "00:00:00:00:00:00" && !addresses::is_made_here(name)).then_some(card)
        })
        .collect();
    cards.sort();
    cards.dedup();
    cards
}

/// When the kernel started, by the machine's own clock: `btime` of `/proc/stat`.
fn boot_time(stat: &str) -> Option<Timestamp> {
    let seconds: i64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    seconds.checked_mul(1000).map(Timestamp::from_millis)
}

/// How far the machine's clock is ahead of Reeve's, as well as the length of a question lets us tell.
///
/// `date` of busybox does not know `%N` and tells whole seconds: half a second is added, and the answer is good to half
/// a second.
fn clock_offset(date: &str, at: Timestamp) -> Option<f64> {
    let (seconds, fraction) = date.split_once('.').unwrap_or((date, ""));
    let seconds: i64 = seconds.parse().ok()?;
    let is_fraction = fraction.len() == 9 && fraction.chars().all(|c| c.is_ascii_digit());
    let millis = if is_fraction { fraction.get(..3)?.parse().ok()? } else { 500 };
    let theirs = seconds.checked_mul(1000)?.checked_add(millis)?;
    Some(theirs.checked_sub(at.millis())? as f64 / 1000.0)
}

fn capabilities(
    answers: &Answers,
    uid: Option<u32>,
    has: impl Fn(&str) -> bool,
) -> std::collections::BTreeSet<Capability> {
    let runs_systemd = has_sign(answers, "/run/systemd/system");
    let mdstat = answers.file_text("/proc/mdstat");
    let df_version = output(answers, &df_version());
    [
        (Capability::Procfs, answers.file_text("/proc/stat").is_some()),
        (Capability::Systemd, runs_systemd && has("systemctl")),
        (Capability::Journald, runs_systemd && has("journalctl")),
        (Capability::Zfs, has_sign(answers, "/proc/spl/kstat/zfs")),
        (Capability::Smart, has("smartctl")),
        (Capability::Libvirt, has("virsh")),
        // Unraid's own driver answers there with something else
        (Capability::Mdraid, mdstat.is_some_and(|text| text.starts_with("Personalities"))),
        (Capability::UnraidArray, has_sign(answers, "/var/local/emhttp")),
        (Capability::ProxmoxNode, has("pvesh")),
        (Capability::Root, uid == Some(0)),
        (Capability::Apt, has("apt-get")),
        (Capability::GnuDf, df_version.is_some_and(|text| text.contains("coreutils"))),
    ]
    .into_iter()
    .filter_map(|(capability, is_there)| is_there.then_some(capability))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_compared_as_well_as_it_tells() {
        let at = Timestamp::from_millis(1_000_250);
        assert_eq!(clock_offset("1001.250000000", at), Some(1.0));
        assert_eq!(clock_offset("1000.%N", at), Some(0.25));
        assert_eq!(clock_offset("soon", at), None);
    }

    #[test]
    fn os_release_is_read_with_and_without_quotes() {
        assert_eq!(release_field("NAME=x\nID=debian\n", "ID").as_deref(), Some("debian"));
        assert_eq!(release_field("PRETTY_NAME=\"A B\"\n", "PRETTY_NAME").as_deref(), Some("A B"));
        assert_eq!(release_field("VERSION_ID=\"\"\n", "VERSION_ID"), None);
    }
}
