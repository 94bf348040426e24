//! Kernel memory of our maps, as the kernel itself accounts it.

use std::{collections::BTreeMap, path::Path};

/// Bytes of all BPF maps that this process holds open.
///
/// From Linux 6.4 the figure of a growing map follows its entries; older kernels count it as full.
///
/// # Sources
/// `bpf_map_show_fdinfo` in kernel/bpf/syscall.c.
pub fn of_open_maps() -> u64 {
    of_descriptors(Path::new("/proc/self/fdinfo"))
}

fn of_descriptors(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    // A map may have several descriptors.
    texts.filter_map(|text| map_bytes(&text)).collect::<BTreeMap<u64, u64>>().values().sum()
}

/// Number and `memlock` of a descriptor's map, where it has one.
fn map_bytes(fdinfo: &str) -> Option<(u64, u64)> {
    let field = |name| fdinfo.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok();
    Some((field("map_id:")?, field("memlock:")?))
}

#[cfg(test)]
mod tests {
    use super::map_bytes;

    #[test]
    fn only_maps_count() {
        assert_eq!(
            map_bytes("pos:\t0\nmap_type:\t2\nmemlock:\t4096\nmap_id:\t7\n"),
            Some((7, 4096))
        );
        assert_eq!(map_bytes("pos:\t0\nprog_type:\t2\nmemlock:\t4096\nprog_id:\t7\n"), None);
        assert_eq!(map_bytes(""), None);
    }
}
