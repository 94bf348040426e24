//! Unwind tables on disk, by what they were made from. A table that is missing, damaged, of
//! another version or not ours is built anew; nothing here is ever an error.

use super::{Flaws, MAX_FILE_RULES, MAX_TABLE_PAGES, MAX_TABLE_ROWS, UnwindTable};
use crate::target::elf::Elf;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tracer_common::unwind::Rule;

/// Tables with fewer rows are built faster than they are read.
pub const MIN_ROWS: usize = 4096;
/// Bytes of all tables on disk; above, those that were used longest ago go.
const MAX_CACHE_BYTES: u64 = 256 << 20;
/// Files in the folder that are looked at.
const MAX_CACHE_FILES: usize = 16_384;
/// Version of the layout of files, and of the meaning of rules.
const FORMAT: u32 = 1;
const MAGIC: [u8; 8] = *b"outlive\xfd";
/// Magic, version, checksum of the rest.
const HEAD_BYTES: usize = 16;
/// Origin, flaws, and the lengths of the three lists.
const COUNTS_BYTES: usize = 24;

/// What a table was made from: it is found again under this name only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(String);

impl Identity {
    /// Of a file with a build ID. A checksum of its .eh_frame is part of it, since two files may
    /// have the same build ID by mistake; and its owner, since both can be forged: whoever does so
    /// shares tables with the files of the same user only. What a forger can reach there is that
    /// stacks through the other file are walked wrongly, or end early.
    pub fn of(elf: &Elf) -> Option<Self> {
        let build_id = elf.build_id.as_ref()?;
        let metadata = elf.file().metadata().ok()?;
        let section = elf.section(".eh_frame")?;
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&elf.section_bytes(section)?);
        let code = elf.code_svmas();
        for word in [section.svma, code.start, code.end] {
            checksum.update(&word.to_le_bytes());
        }
        let (owner, file_bytes) = (metadata.uid(), metadata.len());
        Some(Self(format!("{build_id}-{owner:x}-{file_bytes:x}-{:08x}", checksum.finalize())))
    }
}

/// A folder of tables that is ours alone.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The folder for this user: `/var/cache/outlive/unwind` for root, whose `HOME` may be
    /// somebody else's (sudo); else below `XDG_CACHE_HOME` or `~/.cache`.
    pub fn open_default() -> Option<Self> {
        let base = if own_uid() == 0 {
            PathBuf::from("/var/cache")
        } else {
            let below = |name: &str, rest: &str| {
                let path = PathBuf::from(std::env::var_os(name)?).join(rest);
                path.is_absolute().then_some(path)
            };
            below("XDG_CACHE_HOME", "").or_else(|| below("HOME", ".cache"))?
        };
        Self::open(&base)
    }

    /// The folder `outlive/unwind` in `base`, which must exist. `None` unless both can be had as
    /// ours alone.
    pub fn open(base: &Path) -> Option<Self> {
        let own = base.join("outlive");
        let folder = own.join("unwind");
        for path in [&own, &folder] {
            // There already is as good; what it is decides.
            let _ = DirBuilder::new().mode(0o700).create(path);
            let metadata = fs::symlink_metadata(path).ok()?;
            if !metadata.is_dir() || metadata.uid() != own_uid() || metadata.mode() & 0o022 != 0 {
                return None;
            }
        }
        Some(Self { folder })
    }

    /// The table kept for `identity`.
    pub fn read(&self, identity: &Identity) -> Option<UnwindTable> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.folder.join(&identity.0))
            .ok()?;
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || metadata.uid() != own_uid() || metadata.len() > MAX_CACHE_BYTES {
            return None;
        }
        let mut bytes = Vec::with_capacity(metadata.len() as usize);
        (&mut file).take(MAX_CACHE_BYTES).read_to_end(&mut bytes).ok()?;
        let table = decode(&bytes)?;
        // Those that were used last stay longest. Not being able to say so costs nothing.
        let _ = file.set_modified(SystemTime::now());
        Some(table)
    }

    /// Keeps a table, and makes room for it.
    pub fn write(&self, identity: &Identity, table: &UnwindTable) {
        if self.try_write(identity, table).is_ok() {
            self.keep_below(MAX_CACHE_BYTES);
        }
    }

    fn try_write(&self, identity: &Identity, table: &UnwindTable) -> io::Result<()> {
        let beside = self.folder.join(format!(".{}-{}", identity.0, std::process::id()));
        let written = create(&beside)
            .and_then(|mut file| file.write_all(&encode(table)))
            .and_then(|()| fs::rename(&beside, self.folder.join(&identity.0)));
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written
    }

    /// Removes the files that were used longest ago until `max_bytes` are left.
    fn keep_below(&self, max_bytes: u64) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut files: Vec<(SystemTime, u64, OsString)> = entries
            .take(MAX_CACHE_FILES)
            .flatten()
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                Some((metadata.modified().ok()?, metadata.len(), entry.file_name()))
            })
            .collect();
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, name) in files {
            if total <= max_bytes {
                break;
            }
            if fs::remove_file(self.folder.join(name)).is_ok() {
                total -= bytes;
            }
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn own_uid() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

fn encode(table: &UnwindTable) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(MAGIC);
    bytes.extend(FORMAT.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(table.origin_svma.to_le_bytes());
    let flaws = u32::from(table.flaws.damaged) | u32::from(table.flaws.cut) << 1;
    for count in [flaws as usize, table.pages.len(), table.rows.len(), table.rules.len()] {
        bytes.extend((count as u32).to_le_bytes());
    }
    for word in table.pages.iter().chain(&table.rows) {
        bytes.extend(word.to_le_bytes());
    }
    for rule in &table.rules {
        bytes.extend(rule.cfa.to_le_bytes());
        bytes.extend(rule.rbp.to_le_bytes());
        for number in [rule.cfa_offset, rule.cfa_add, rule.rbp_offset] {
            bytes.extend(number.to_le_bytes());
        }
    }
    let checksum = crc32fast::hash(&bytes[HEAD_BYTES..]);
    bytes[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<UnwindTable> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let (magic, head) = head.split_at(MAGIC.len());
    if magic != MAGIC || word(head, 0)? != FORMAT || word(head, 1)? != crc32fast::hash(rest) {
        return None;
    }
    let (counts, rest) = rest.split_at_checked(COUNTS_BYTES)?;
    let origin_svma = u64::from_le_bytes(counts[..8].try_into().ok()?);
    let flaws = word(counts, 2)?;
    let [pages, rows, rules] = [3, 4, 5].map(|at| word(counts, at).unwrap_or(0) as usize);
    if pages > MAX_TABLE_PAGES + 1
        || rows > MAX_TABLE_ROWS + MAX_TABLE_PAGES
        || rules > MAX_FILE_RULES
        || rest.len() != (pages + rows) * 4 + rules * size_of::<Rule>()
    {
        return None;
    }
    let (page_bytes, rest) = rest.split_at(pages * 4);
    let (row_bytes, rule_bytes) = rest.split_at(rows * 4);
    let table = UnwindTable {
        origin_svma,
        pages: words(page_bytes),
        rows: words(row_bytes),
        rules: rule_bytes.chunks_exact(size_of::<Rule>()).filter_map(rule).collect(),
        flaws: Flaws { damaged: flaws & 1 != 0, cut: flaws & 2 != 0 },
    };
    table.is_sound().then_some(table)
}

fn word(bytes: &[u8], index: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(index * 4..index * 4 + 4)?.try_into().ok()?))
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes
        .chunks_exact(4)
        .map(|chunk| u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]))
        .collect()
}

fn rule(bytes: &[u8]) -> Option<Rule> {
    let kinds = word(bytes, 0)?;
    Some(Rule {
        cfa: kinds as u16,
        rbp: (kinds >> 16) as u16,
        cfa_offset: word(bytes, 1)? as i32,
        cfa_add: word(bytes, 2)? as i32,
        rbp_offset: word(bytes, 3)? as i32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unwind::build;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn own_table() -> (Identity, UnwindTable) {
        let elf = Elf::read(File::open("/proc/self/exe").unwrap()).unwrap();
        let identity = Identity::of(&elf).unwrap_or(Identity("00-0-0".into()));
        (identity, build(&elf))
    }

    #[test]
    fn files_of_two_owners_share_no_table() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("copy");
        let identity = |path: &Path| Identity::of(&Elf::read(File::open(path).unwrap()).unwrap());
        // Not every linker is told to make build IDs.
        let with_build_id = ["/proc/self/exe", "/lib64/ld-linux-x86-64.so.2"]
            .into_iter()
            .find(|path| identity(Path::new(path)).is_some());
        let Some(original) = with_build_id else { return eprintln!("skipped: no build ID here") };
        fs::copy(original, &path).unwrap();
        let before = identity(&path).unwrap();
        assert_eq!(identity(&path).unwrap(), before);
        if std::os::unix::fs::chown(&path, Some(own_uid() + 1), None).is_err() {
            return eprintln!("skipped: needs root");
        }
        assert_ne!(identity(&path).unwrap(), before);
    }

    #[test]
    fn a_table_comes_back_as_it_was_kept_and_a_damaged_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let (identity, table) = own_table();
        assert!(table.rows.len() > MIN_ROWS);
        assert_eq!(cache.read(&identity), None);
        cache.write(&identity, &table);
        assert_eq!(cache.read(&identity).as_ref(), Some(&table));
        assert_eq!(cache.read(&Identity("11-0-0".into())), None);

        let path = cache.folder.join(&identity.0);
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 97).chain(0..64) {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            fs::write(&path, flipped).unwrap();
            assert_eq!(cache.read(&identity), None, "byte {at}");
        }
        for length in (0..64).chain((64..whole.len()).step_by(whole.len() / 97)) {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(cache.read(&identity), None, "{length} bytes");
        }
        // What is damaged is replaced.
        cache.write(&identity, &table);
        assert_eq!(cache.read(&identity), Some(table));
    }

    #[test]
    fn a_forged_table_with_a_right_checksum_is_refused() {
        let rows = vec![tracer_common::unwind::pack_row(0, 1)];
        let table = UnwindTable {
            pages: vec![0, 1],
            rows,
            rules: vec![Rule::default()],
            ..UnwindTable::default()
        };
        assert_eq!(decode(&encode(&table)), None, "a rule that does not exist");
        let sound = UnwindTable { rules: vec![Rule::default(); 2], ..table.clone() };
        assert_eq!(decode(&encode(&sound)).as_ref(), Some(&sound));
        let beyond = UnwindTable { pages: vec![0, 9], ..sound.clone() };
        assert_eq!(decode(&encode(&beyond)), None, "a page beyond the rows");
        let late = vec![tracer_common::unwind::pack_row(1, 0)];
        assert_eq!(decode(&encode(&UnwindTable { rows: late, ..sound })), None, "no first row");
    }

    #[test]
    fn links_and_folders_that_others_can_write_to_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, folder.path().join("outlive")).unwrap();
        assert!(Cache::open(folder.path()).is_none());
        fs::remove_file(folder.path().join("outlive")).unwrap();

        let cache = Cache::open(folder.path()).unwrap();
        assert_eq!(fs::metadata(&cache.folder).unwrap().mode() & 0o777, 0o700);
        let (identity, table) = own_table();
        let real = folder.path().join("real");
        fs::write(&real, encode(&table)).unwrap();
        symlink(&real, cache.folder.join(&identity.0)).unwrap();
        assert_eq!(cache.read(&identity), None);
        fs::set_permissions(&cache.folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Cache::open(folder.path()).is_none());
        assert!(Cache::open(&folder.path().join("missing")).is_none());
    }

    #[test]
    fn those_used_longest_ago_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let start = SystemTime::now();
        for index in 0..4_u64 {
            let file = create(&cache.folder.join(index.to_string())).unwrap();
            file.set_len(100).unwrap();
            let order = [2, 0, 3, 1][index as usize];
            file.set_modified(start + std::time::Duration::from_secs(order)).unwrap();
        }
        cache.keep_below(250);
        let mut left: Vec<_> = fs::read_dir(&cache.folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["0", "2"]);
    }
}
