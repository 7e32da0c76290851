//! Which hypervisor or container technology a machine runs in, as far as it can be told.

use domain::ask::{Answer, Answers, Ask};

use super::{has_sign, plain, text};

/// Makers that the firmware of virtual machines names.
const MAKERS: [(&str, &str); 10] = [
    ("QEMU", "qemu"),
    ("KVM", "kvm"),
    ("VMware", "vmware"),
    ("innotek", "virtualbox"),
    ("VirtualBox", "virtualbox"),
    ("Xen", "xen"),
    ("Amazon EC2", "amazon"),
    ("Google Compute Engine", "google"),
    ("Parallels", "parallels"),
    ("bhyve", "bhyve"),
];

/// Asks systemd which hypervisor it is: it can ask the processor, which no file tells. Its word on containers is not
/// asked, because it takes a left-over `/.dockerenv` for one.
pub(super) fn detect() -> Ask {
    Ask::run(["systemd-detect-virt", "--vm"])
}

/// `docker`, `podman`, `lxc` … in a container; `kvm`, `vmware`, `wsl` … in a virtual machine (`vm-other` where nothing says
/// which); `none` on bare metal; absent where it cannot be known.
pub(super) fn found(answers: &Answers) -> Option<String> {
    container(answers).or_else(|| hypervisor(answers))
}

fn container(answers: &Answers) -> Option<String> {
    if let Some(name) = text(answers, "/run/systemd/container").and_then(|name| plain(&name)) {
        return Some(name);
    }
    let cgroup = text(answers, "/proc/1/cgroup").unwrap_or_default();
    let signs = [("kubepods", "kubernetes"), ("/docker", "docker"), ("libpod", "podman"), ("/lxc", "lxc")];
    if let Some((_, name)) = signs.iter().find(|(sign, _)| cgroup.contains(sign)) {
        return Some((*name).to_owned());
    }
    if has_sign(answers, "/run/.containerenv") {
        return Some("podman".to_owned());
    }
    // a virtual machine whose disk was made from a container's image has the file too
    (has_sign(answers, "/.dockerenv") && !has_disk_as_root(answers)).then(|| "docker".to_owned())
}

/// Whether all of a block device is mounted at `/`.
fn has_disk_as_root(answers: &Answers) -> bool {
    let mounts = answers.file_text("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().filter_map(|line| line.split_once(" - ")).any(|(front, back)| {
        let front: Vec<&str> = front.split(' ').collect();
        front.get(3) == Some(&"/")
            && front.get(4) == Some(&"/")
            && back.split(' ').nth(1).is_some_and(|device| device.starts_with("/dev/"))
    })
}

fn hypervisor(answers: &Answers) -> Option<String> {
    let kernel = text(answers, "/proc/sys/kernel/osrelease").unwrap_or_default().to_ascii_lowercase();
    if kernel.contains("microsoft") {
        return Some("wsl".to_owned());
    }
    let detected = answers.get(&detect().question).map(Answer::text).and_then(|name| plain(&name));
    if let Some(name) = detected {
        return Some(name);
    }
    if let Some(kind) = text(answers, "/sys/hypervisor/type").and_then(|kind| plain(&kind)) {
        return Some(kind);
    }
    let vendor = text(answers, "/sys/class/dmi/id/sys_vendor").unwrap_or_default();
    let model = text(answers, "/sys/class/dmi/id/product_name").unwrap_or_default();
    if vendor.contains("Microsoft") && model.contains("Virtual") {
        return Some("microsoft".to_owned());
    }
    let cpuinfo = text(answers, "/proc/cpuinfo").unwrap_or_default();
    let emulated = cpuinfo.contains("QEMU Virtual CPU") || cpuinfo.contains("QEMU TCG");
    if let Some((_, name)) = MAKERS.iter().find(|(maker, _)| vendor.contains(maker) || model.contains(maker))
    {
        // QEMU's firmware is the same with the kernel's help and without
        let with_kernel = *name == "qemu" && !emulated && flags(&cpuinfo).is_some_and(is_guest);
        return Some(if with_kernel { "kvm" } else { name }.to_owned());
    }
    if text(answers, "/proc/device-tree/hypervisor/compatible").is_some()
        || flags(&cpuinfo).is_some_and(is_guest)
    {
        return Some("vm-other".to_owned());
    }
    let says_nothing =
        flags(&cpuinfo).is_none() && vendor.is_empty() && text(answers, "/proc/device-tree/model").is_none();
    (!says_nothing).then(|| "none".to_owned())
}

/// The flags of the first processor, which only x86 has.
fn flags(cpuinfo: &str) -> Option<&str> {
    cpuinfo.lines().find_map(|line| line.strip_prefix("flags")?.split_once(':')).map(|(_, flags)| flags)
}

fn is_guest(flags: &str) -> bool {
    flags.split_whitespace().any(|flag| flag == "hypervisor")
}
