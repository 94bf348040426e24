//! The references by which objects are first reached: labels for all of them and for all that they
//! are reached through, each holder looked at once.

use super::edges;
use super::label::{Edge, Label};
use super::search::{Holder, Reached};
use super::view::View;
use crate::heap::python::ObjectIndex;

/// Labels of first references.
pub(super) struct Paths {
    members: Members,
    /// By place among the members.
    labels: Vec<Label>,
}

/// The objects on paths. A number for each in the order of the objects, which takes little room
/// where they are many and few alike.
struct Members {
    /// A bit for each object.
    bits: Vec<u64>,
    /// Members before each word.
    before: Vec<u32>,
}

impl Members {
    fn place(&self, index: ObjectIndex) -> Option<usize> {
        let at = index.0 as usize;
        let (word, bit) = (*self.bits.get(at / 64)?, at % 64);
        let below = (word & ((1 << bit) - 1)).count_ones();
        (word >> bit & 1 != 0).then(|| (self.before[at / 64] + below) as usize)
    }
}

impl Paths {
    /// Those of these objects, and of everything between them and their roots.
    ///
    /// # Cost
    /// Linear in the objects on the paths and what those hold; 32 bytes for each on the paths.
    pub fn of(view: &View, reached: &Reached, subjects: &[ObjectIndex]) -> Self {
        let mut bits = vec![0_u64; view.objects.all().len().div_ceil(64)];
        let mut pairs: Vec<(ObjectIndex, ObjectIndex)> = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let mut index = *subject;
            while let Some(Holder::Object(parent)) = reached.holder(index) {
                let Some(word) = bits.get_mut(index.0 as usize / 64) else { break };
                let bit = 1 << (index.0 % 64);
                if *word & bit != 0 {
                    break;
                }
                *word |= bit;
                pairs.push((parent, index));
                index = parent;
            }
        }
        let mut count = 0;
        let before = bits.iter().map(|word| {
            let before = count;
            count += word.count_ones();
            before
        });
        let before = before.collect();
        let members = Members { bits, before };
        pairs.sort_unstable();
        let mut labels = vec![Label::Memory; pairs.len()];
        for children in pairs.chunk_by(|one, other| one.0 == other.0) {
            let holder = children[0].0;
            let mut unnamed = children.len();
            edges::each(view, holder, &mut |edge: Edge| {
                if unnamed == 0 {
                    return;
                }
                let Some(target) = view.find(edge.target) else { return };
                let Some(place) = members.place(target) else { return };
                if labels[place] == Label::Memory
                    && reached.holder(target) == Some(Holder::Object(holder))
                {
                    labels[place] = edge.label;
                    unnamed -= 1;
                }
            });
        }
        Self { members, labels }
    }

    /// How many objects have a label.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The place of an object among those that have a label.
    pub fn place(&self, index: ObjectIndex) -> Option<usize> {
        self.members.place(index)
    }

    /// How an object's holder refers to it.
    pub fn label(&self, index: ObjectIndex) -> Label {
        self.place(index).and_then(|place| self.labels.get(place)).copied().unwrap_or(Label::Memory)
    }
}
