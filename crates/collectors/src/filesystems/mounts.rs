//! Which mounts have storage worth counting, from `/proc/self/mountinfo`.

use std::collections::BTreeMap;

use super::Storage;

/// A mount.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mount {
    /// Where, as the kernel says it.
    pub place: String,
    /// The part of the file system that is mounted here: `/` for all of it.
    root: String,
    /// What the kernel tells file systems apart by, `major:minor`.
    number: String,
    /// What is mounted.
    pub device: String,
    /// Type of file system.
    pub kind: String,
    /// Whether it is mounted read-only.
    pub is_read_only: bool,
}

const LOCAL: [&str; 18] = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "vfat", "exfat", "ntfs", "ntfs3", "f2fs", "jfs",
    "reiserfs", "bcachefs", "hfsplus", "nilfs2", "fuseblk", "ufs",
];
const NETWORK: [&str; 10] =
    ["nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "9p", "afs", "virtiofs"];
/// File systems of programs that have no storage: what they show is elsewhere.
const FUSE_WITHOUT_STORAGE: [&str; 6] =
    ["fuse.lxcfs", "fuse.gvfsd-fuse", "fuse.portal", "fuse.snapfuse", "fuse.archivemount", "fuse.rar2fs"];
/// They join other file systems. Unraid's may call itself anything; its device is always `shfs`.
const UNIONS: [&str; 6] = ["fuse.shfs", "shfs", "fuse.mergerfs", "mergerfs", "fuse.unionfs", "aufs"];
const MEMORY: [&str; 3] = ["tmpfs", "ramfs", "rootfs"];
/// Files that container engines mount into each container.
const OF_CONTAINERS: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
/// Below these, container engines mount what belongs to their containers.
const ENGINE_DIRECTORIES: [&str; 4] =
    ["/var/lib/docker/", "/var/lib/containers/", "/var/lib/kubelet/", "/run/docker/"];

impl Mount {
    /// Whether asking it can block although this machine is well.
    pub fn may_hang(&self) -> bool {
        matches!(self.storage(), Storage::Network | Storage::Union)
    }

    /// Where its data is.
    pub fn storage(&self) -> Storage {
        let kind = self.kind.as_str();
        if self.device == "shfs" || UNIONS.contains(&kind) {
            Storage::Union
        } else if NETWORK.contains(&kind) || kind == "fuse" || kind.starts_with("fuse.") {
            Storage::Network
        } else if MEMORY.contains(&kind) {
            Storage::Memory
        } else if self.device.starts_with("/dev/loop") {
            Storage::Image
        } else {
            Storage::Local
        }
    }

    /// The ZFS pool of a dataset.
    pub fn pool(&self) -> Option<&str> {
        (self.kind == "zfs").then(|| self.device.split('/').next().unwrap_or(&self.device))
    }

    fn is_wanted(&self) -> bool {
        let place = self.place.as_str();
        let has_storage = match self.storage() {
            Storage::Local | Storage::Image => LOCAL.contains(&self.kind.as_str()),
            Storage::Network => !FUSE_WITHOUT_STORAGE.contains(&self.kind.as_str()),
            Storage::Union => true,
            Storage::Memory => false,
        };
        // a machine may run from memory (Unraid) or be a container itself
        let is_root = place == "/" && (self.storage() == Storage::Memory || self.kind == "overlay");
        (has_storage || is_root)
            && !OF_CONTAINERS.contains(&place)
            && !ENGINE_DIRECTORIES.iter().any(|directory| place.starts_with(directory))
            && !place.contains(char::is_control)
    }

    /// What two mounts of one file system share. The kernel numbers each subvolume of btrfs by itself.
    fn identity(&self) -> &str {
        if self.kind == "btrfs" { &self.device } else { &self.number }
    }

    /// Of several mounts of one file system the best is that of all of it, then the one nearest to `/`.
    fn rank(&self) -> (bool, usize, &str) {
        (self.root != "/", self.place.len(), &self.place)
    }
}

/// The mounts that have storage worth counting, each file system once, by mount point.
pub(super) fn wanted_mounts(mountinfo: &str) -> Vec<Mount> {
    let mut by_place: BTreeMap<String, Mount> = BTreeMap::new();
    // a later mount hides an earlier one at the same place
    for mount in mountinfo.lines().filter_map(parse) {
        by_place.insert(mount.place.clone(), mount);
    }
    let mut best: BTreeMap<String, Mount> = BTreeMap::new();
    for mount in by_place.into_values().filter(Mount::is_wanted) {
        match best.get(mount.identity()) {
            Some(known) if known.rank() <= mount.rank() => {}
            _ => {
                best.insert(mount.identity().to_owned(), mount);
            }
        }
    }
    let mut mounts: Vec<Mount> = best.into_values().collect();
    mounts.sort_by(|a, b| a.place.cmp(&b.place));
    mounts
}

/// Reads `27 1 254:0 / /mnt rw,relatime shared:1 - ext4 /dev/vda rw`: after the sixth field come any number of tags, then
/// `-`.
fn parse(line: &str) -> Option<Mount> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ');
    let number = front.nth(2)?.to_owned();
    let (root, place, options) = (front.next()?, front.next()?, front.next()?);
    let mut back = back.split(' ');
    let (kind, device, super_options) = (back.next()?, back.next()?, back.next().unwrap_or(""));
    let read_only = |options: &str| options.split(',').any(|option| option == "ro");
    Some(Mount {
        place: unescaped(place),
        root: unescaped(root),
        number,
        device: unescaped(device),
        kind: kind.to_owned(),
        is_read_only: read_only(options) || read_only(super_options),
    })
}

/// The kernel writes space, tab, line feed and backslash as `\040` and so on.
fn unescaped(text: &str) -> String {
    let mut plain = text.to_owned();
    for (escape, character) in
        [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\043", "#"), (r"\134", "\\")]
    {
        plain = plain.replace(escape, character);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(mountinfo: &str) -> Vec<String> {
        wanted_mounts(mountinfo).into_iter().map(|mount| mount.place).collect()
    }

    #[test]
    fn a_bind_mount_is_not_counted_again() {
        let mountinfo = "27 1 254:0 / / rw - ext4 /dev/vda rw\n\
            50 27 254:0 /srv/www /www rw - ext4 /dev/vda rw\n\
            51 27 254:0 /var/lib/docker /var/lib/docker rw - ext4 /dev/vda rw\n\
            52 27 0:99 / /var/lib/docker/overlay2/a/merged rw - overlay overlay rw\n";
        assert_eq!(places(mountinfo), ["/"]);
    }

    #[test]
    fn subvolumes_of_btrfs_are_one_file_system() {
        let mountinfo =
            "27 1 0:30 /@ / rw - btrfs /dev/sda2 rw\n28 27 0:31 /@home /home rw - btrfs /dev/sda2 rw\n";
        assert_eq!(places(mountinfo), ["/"]);
    }

    #[test]
    fn names_with_spaces_are_read_back() {
        let mountinfo = "30 1 8:1 / /mnt/my\\040disk ro,noatime shared:7 - vfat /dev/sda1 rw\n";
        let mounts = wanted_mounts(mountinfo);
        assert_eq!(mounts[0].place, "/mnt/my disk");
        assert!(mounts[0].is_read_only);
    }

    #[test]
    fn a_dead_union_or_share_is_asked_alone() {
        let mountinfo = "30 1 0:40 / /mnt/user rw - fuse.shfs shfs rw\n31 1 0:41 / /mnt/nas rw - nfs4 nas:/x rw\n\
            32 1 0:42 / /mnt/cloud rw - fuse.rclone remote: rw\n33 1 0:43 / /var/lib/lxcfs rw - fuse.lxcfs lxcfs rw\n";
        let mounts = wanted_mounts(mountinfo);
        assert_eq!(mounts.len(), 3);
        assert!(mounts.iter().all(Mount::may_hang));
    }
}
