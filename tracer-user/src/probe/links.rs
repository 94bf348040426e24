//! The placed probes of one process. They are shared with whoever may have to take hot ones out in
//! a hurry ([`super::reach`]), while the session is busy with something else.

use super::{
    attach::{AttachFailure, Placement, return_program, scope},
    keeper::{Keeper, Kept},
};
use crate::plan::Function;
use aya::{
    Ebpf,
    programs::{ProgramError, UProbe, uprobe::UProbeLink},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// What tells a placed probe from others of the same process.
type PlaceKey = (FileKey, u64, &'static str);
/// Device and inode: the same file may be reached by several paths.
type FileKey = (u64, u64);

struct Placed {
    link: UProbeLink,
    /// A path to its file that the kernel can open.
    path: PathBuf,
    function: Function,
    /// It stands at the function's return, or at one of its exits.
    is_return: bool,
}

/// Placed probes of one process; dropping the last handle takes them out.
///
/// # Cost
/// The kernel waits for a grace period for each probe (some 80 ms on Linux 6.18) and takes them
/// one at a time, whatever the number of threads that close them. A thread of the target that hits
/// one meanwhile may wait too: see [`super::keeper`] for how that is spared it.
#[derive(Clone, Default)]
pub struct Links {
    placed: Arc<Mutex<HashMap<PlaceKey, Placed>>>,
    /// Functions of the allocator whose probes are kept out.
    gate: Gate,
}

/// Whether probes of the allocator may go in. One for all processes.
#[derive(Clone, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    /// From now on none goes in, or any may.
    pub fn set_closed(&self, is_closed: bool) {
        self.0.store(is_closed, Ordering::SeqCst);
    }

    fn is_closed(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Whether a function is among those that the governor may take the probes of while a session goes
/// on: the allocator's own. The others are rare, and the ledger and V8's collections depend on them.
const fn may_be_hot(function: Function) -> bool {
    !function.is_mapping() && !matches!(function, Function::FullCollection | Function::Throw)
}

impl Links {
    /// None yet, behind a gate.
    pub fn behind(gate: &Gate) -> Self {
        Self { gate: gate.clone(), ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PlaceKey, Placed>> {
        // A thread that panicked has left a map that is whole.
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of probes.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// All of them, which leaves none here.
    pub fn take(&self) -> Self {
        let taken = std::mem::take(&mut *self.lock());
        Self { placed: Arc::new(Mutex::new(taken)), gate: self.gate.clone() }
    }

    /// The probes one by one, to be dropped at leisure.
    pub fn into_each(self) -> Vec<UProbeLink> {
        std::mem::take(&mut *self.lock()).into_values().map(|placed| placed.link).collect()
    }

    /// Places one probe more wherever those of some functions are, or all, that does nothing: what keeps
    /// the breakpoints of process `tgid` while these go. None where the kernel has no such probes.
    pub fn keep(&self, keeper: &Keeper, tgid: u32, functions: Option<&[Function]>) -> Vec<Kept> {
        let mut files: HashMap<FileKey, (PathBuf, BTreeSet<u64>)> = HashMap::new();
        for ((file, offset, _), placed) in &*self.lock() {
            if functions.is_none_or(|functions| functions.contains(&placed.function)) {
                let (_, offsets) =
                    files.entry(*file).or_insert_with(|| (placed.path.clone(), BTreeSet::new()));
                offsets.insert(*offset);
            }
        }
        let keep = |(path, offsets): (PathBuf, BTreeSet<u64>)| {
            let offsets: Vec<u64> = offsets.into_iter().collect();
            keeper.keep(&path, &offsets, tgid).ok()
        };
        files.into_values().filter_map(keep).collect()
    }

    /// Takes the probes of a function out of here, those at its return first.
    pub fn take_function(&self, function: Function) -> Vec<UProbeLink> {
        let mut all = self.lock();
        let taken = all.extract_if(|_, placed| placed.function == function);
        let mut taken: Vec<Placed> = taken.map(|(_, placed)| placed).collect();
        taken.sort_by_key(|placed| !placed.is_return);
        taken.into_iter().map(|placed| placed.link).collect()
    }

    /// Functions that have probes here, with the programs at their entries: those of the allocator,
    /// or at the end all.
    pub fn functions(&self, is_end: bool) -> BTreeMap<&'static str, Vec<Function>> {
        let mut found: BTreeMap<&'static str, Vec<Function>> = BTreeMap::new();
        for ((_, _, program), placed) in &*self.lock() {
            if !placed.is_return && (is_end || may_be_hot(placed.function)) {
                let functions = found.entry(program).or_default();
                if !functions.contains(&placed.function) {
                    functions.push(placed.function);
                }
            }
        }
        found
    }

    /// Places a probe into process `tgid`, unless it is there or kept out.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn place(
        &self,
        ebpf: &mut Ebpf,
        placement: Placement<'_>,
        tgid: u32,
    ) -> Result<(), AttachFailure> {
        let Placement { program: name, point, offset } = placement;
        let failure = |source| AttachFailure {
            function: point.function,
            path: point.display_path.display().to_string(),
            offset,
            source,
        };
        let file = file_key(&point.file).map_err(ProgramError::IOError).map_err(failure)?;
        // Held until it is in: whoever closes the gate and takes probes out comes before or after.
        let mut placed = self.lock();
        if self.gate.is_closed() && may_be_hot(point.function) {
            return Ok(());
        }
        let Entry::Vacant(place) = placed.entry((file, offset, name)) else { return Ok(()) };
        let program: &mut UProbe = ebpf
            .program_mut(name)
            .ok_or(ProgramError::NotLoaded)
            .and_then(TryInto::try_into)
            .map_err(failure)?;
        let link = program
            .attach(offset, &point.file, scope(tgid))
            .and_then(|link| program.take_link(link))
            .map_err(failure)?;
        let is_return =
            return_program(point.function) == Some(name) || name == super::attach::EXIT_PROGRAM;
        let path = point.file.clone();
        place.insert(Placed { link, path, function: point.function, is_return });
        Ok(())
    }
}

fn file_key(path: &Path) -> io::Result<FileKey> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
