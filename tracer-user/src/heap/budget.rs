//! Whether there is memory for a copy of a heap and what is made of it. Asked before anything is
//! read: whoever looks for a leak on a machine that is nearly full must not be what fills it.

use crate::target::memory_limits::MemoryLimit;
use crate::units;

/// Copy, index and graph take this many times the copied memory; in tenths.
const NEED_TENTHS: u64 = 15;
/// What else it takes, whatever is copied; bytes.
const NEED_BESIDES_BYTES: u64 = 32 << 20;
/// At most one part in this many of what is left may be taken.
const SHARE: u64 = 2;
/// The same of a control group that the target is in too: what is taken there, the target lacks.
const SHARED_SHARE: u64 = 4;

/// There is too little memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BudgetError {
    /// The machine's, or that of outlive's own control group.
    #[error(
        "looking at its heap may take {}, and outlive takes no more than half of the {} that {place} has left: free memory there, or stop the process's other readers first",
        units::bytes(*.need_bytes), units::bytes(*.room_bytes)
    )]
    NoRoom {
        /// What would be needed, bytes.
        need_bytes: u64,
        /// What is left, bytes.
        room_bytes: u64,
        /// Where.
        place: String,
    },
    /// That of a control group that the target is in as well.
    #[error(
        "looking at its heap may take {}, and of the {} that are left to control group {group} outlive takes no more than a quarter, because the process lives there too: run outlive outside of that container or unit",
        units::bytes(*.need_bytes), units::bytes(*.room_bytes)
    )]
    TargetsOwn {
        /// What would be needed, bytes.
        need_bytes: u64,
        /// What is left, bytes.
        room_bytes: u64,
        /// The group.
        group: String,
    },
}

/// What it takes to look at so much memory, bytes.
pub fn need_bytes(copied_bytes: u64) -> u64 {
    (copied_bytes / 10).saturating_mul(NEED_TENTHS).saturating_add(NEED_BESIDES_BYTES)
}

/// Whether that may be taken, by what bounds outlive and what bounds the target.
///
/// # Errors
/// [`BudgetError`], which says what to do.
pub fn check(
    need_bytes: u64,
    ours: &[MemoryLimit],
    theirs: &[MemoryLimit],
) -> Result<(), BudgetError> {
    for limit in ours {
        let room_bytes = limit.room_bytes();
        let is_shared =
            |group: &String| theirs.iter().any(|their| their.group.as_ref() == Some(group));
        match &limit.group {
            Some(group) if is_shared(group) && need_bytes > room_bytes / SHARED_SHARE => {
                let group = group.clone();
                return Err(BudgetError::TargetsOwn { need_bytes, room_bytes, group });
            }
            group if need_bytes > room_bytes / SHARE => {
                let place = match group {
                    Some(group) => format!("outlive's control group {group}"),
                    None => "the machine".into(),
                };
                return Err(BudgetError::NoRoom { need_bytes, room_bytes, place });
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn limit(group: Option<&str>, limit_mib: u64, used_mib: u64) -> MemoryLimit {
        MemoryLimit {
            group: group.map(str::to_owned),
            limit_bytes: limit_mib * MIB,
            used_bytes: used_mib * MIB,
        }
    }

    #[test]
    fn half_of_what_is_left_may_be_taken_and_a_quarter_where_the_target_lives() {
        let machine = limit(None, 4000, 2000);
        let ours = [limit(Some("/tools"), 1000, 200), machine.clone()];
        let theirs = [limit(Some("/app"), 1000, 900), machine.clone()];
        assert_eq!(check(400 * MIB, &ours, &theirs), Ok(()));
        let error = check(401 * MIB, &ours, &theirs).unwrap_err();
        assert!(error.to_string().contains("control group /tools"), "{error}");
        let shared = [limit(Some("/app"), 1000, 200), machine.clone()];
        assert_eq!(check(200 * MIB, &shared, &theirs), Ok(()));
        let error = check(201 * MIB, &shared, &theirs).unwrap_err().to_string();
        assert!(error.contains("201.0 MiB") && error.contains("outside"), "{error}");
        let alone = [machine];
        assert_eq!(check(1000 * MIB, &alone, &theirs), Ok(()));
        let error = check(1001 * MIB, &alone, &theirs).unwrap_err().to_string();
        assert!(error.contains("2.0 GiB that the machine has left"), "{error}");
    }

    #[test]
    fn nothing_overflows() {
        assert_eq!(need_bytes(0), NEED_BESIDES_BYTES);
        assert_eq!(need_bytes(1000 * MIB), 1532 * MIB);
        let full = limit(None, 0, u64::MAX / MIB);
        assert!(check(need_bytes(u64::MAX), &[full], &[]).is_err());
    }
}
