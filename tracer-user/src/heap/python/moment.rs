//! Two moments compared: which types grew, and which containers.

use super::census::changes;
use super::heap::PythonHeap;
use super::kind::Shape;
use super::object::ObjectIndex;
use crate::capture::TypeCount;
use std::collections::BTreeMap;

/// Containers with fewer entries are not remembered: there are millions of them, and what grows
/// has more one day.
const MIN_LENGTH: u64 = 8;
/// A container that is not remembered counts as grown only from this length on.
const MIN_NEW_LENGTH: u64 = 64;
/// Containers and types that are told.
const MAX_CONTAINERS: usize = 2000;
const MAX_TYPES: usize = 300;

/// What is kept of a heap to compare a later one with: 24 bytes for each container of some length.
#[derive(Clone, Debug, Default)]
pub struct Moment {
    /// Objects and bytes by the name of their type.
    kinds: BTreeMap<String, (u64, u64)>,
    /// By address.
    containers: Vec<Container>,
}

#[derive(Clone, Copy, Debug)]
struct Container {
    avma: u64,
    kind_avma: u64,
    length: u64,
}

/// What changed since a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Types whose objects or bytes changed, those that gained the most bytes first; a bounded
    /// number.
    pub types: Vec<TypeCount>,
    /// Containers with more entries than before, those that gained the most first; a bounded
    /// number.
    pub containers: Vec<GrownLength>,
}

/// A container that has more entries than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrownLength {
    /// The container.
    pub object: ObjectIndex,
    /// Where it is.
    pub avma: u64,
    /// Entries then and now.
    pub before: u64,
    /// See the field above.
    pub after: u64,
    /// Not known from before: it is new, or had only a few entries.
    pub is_new: bool,
}

impl Moment {
    /// Bytes that it takes, about.
    pub fn length_bytes(&self) -> u64 {
        let names: usize = self.kinds.keys().map(|name| name.len() + 64).sum();
        (self.containers.len() * size_of::<Container>() + names) as u64
    }

    pub(super) fn by_name(&self) -> BTreeMap<String, (u64, u64)> {
        self.kinds.clone()
    }
}

impl PythonHeap<'_> {
    /// What a later look is compared with.
    pub fn moment(&self) -> Moment {
        let kinds = self.named(self.sums()).into_iter();
        let mut containers: Vec<Container> = self
            .containers()
            .filter(|(_, _, length)| *length >= MIN_LENGTH)
            .map(|(_, container, _)| container)
            .collect();
        containers.shrink_to_fit();
        Moment {
            kinds: kinds.map(|(name, sum)| (name.to_owned(), (sum.count, sum.bytes))).collect(),
            containers,
        }
    }

    /// Containers that programs add to, by address.
    fn containers(&self) -> impl Iterator<Item = (ObjectIndex, Container, u64)> {
        let grows: Vec<bool> = self
            .types
            .iter()
            .map(|kind| match kind.shape {
                Shape::Dict | Shape::List | Shape::Deque | Shape::ByteArray => true,
                Shape::Set => kind.name != "frozenset",
                _ => false,
            })
            .collect();
        self.objects.all().iter().enumerate().filter_map(move |(index, object)| {
            if !*grows.get(object.kind.0 as usize)? {
                return None;
            }
            let kind = self.types.get(object.kind.0 as usize)?;
            let length = self.length_at(kind.shape, object.avma)?;
            let container = Container { avma: object.avma, kind_avma: kind.avma, length };
            Some((ObjectIndex(index as u32), container, length))
        })
    }

    /// What changed since a moment: types, and containers that are at the same address and of the
    /// same type.
    pub fn grown_since(&self, moment: &Moment) -> Growth {
        let mut types = changes(&self.named(self.sums()), &moment.kinds);
        types.retain(|kind| kind.count_change != 0 || kind.bytes_change != 0);
        types.sort_by(|one, other| {
            other.bytes_change.cmp(&one.bytes_change).then_with(|| one.name.cmp(&other.name))
        });
        types.truncate(MAX_TYPES);
        let mut known = moment.containers.iter().peekable();
        let mut containers = Vec::new();
        for (object, container, after) in self.containers() {
            while known.peek().is_some_and(|before| before.avma < container.avma) {
                known.next();
            }
            let before = known
                .peek()
                .filter(|it| it.avma == container.avma && it.kind_avma == container.kind_avma)
                .map(|before| before.length);
            let is_grown = match before {
                Some(before) => after > before,
                None => after >= MIN_NEW_LENGTH,
            };
            if is_grown {
                containers.push(GrownLength {
                    object,
                    avma: container.avma,
                    before: before.unwrap_or(0),
                    after,
                    is_new: before.is_none(),
                });
            }
            if containers.len() >= 2 * MAX_CONTAINERS {
                keep_most_grown(&mut containers);
            }
        }
        keep_most_grown(&mut containers);
        Growth { types, containers }
    }
}

fn keep_most_grown(containers: &mut Vec<GrownLength>) {
    containers.sort_by_key(|it| (std::cmp::Reverse(it.after - it.before), it.avma));
    containers.truncate(MAX_CONTAINERS);
}
