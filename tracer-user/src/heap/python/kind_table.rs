//! Which addresses are types: asked for nearly every word of the heap.

/// An address is a type's or not.
#[derive(Clone, Debug, Default)]
pub struct KindTable {
    /// Address and number; 0 is free. A power of two of them, at most a quarter taken.
    slots: Vec<(u64, u32)>,
    shift: u32,
    lowest: u64,
    span: u64,
}

impl KindTable {
    /// Of addresses, numbered by their place; of two that are the same the first counts.
    pub fn new(avmas: &[u64]) -> Self {
        let slot_count = (avmas.len().max(4) * 4).next_power_of_two();
        let lowest = avmas.iter().copied().min().unwrap_or(0);
        let mut table = Self {
            slots: vec![(0, 0); slot_count],
            shift: 64 - slot_count.trailing_zeros(),
            lowest,
            span: avmas.iter().copied().max().unwrap_or(0) - lowest,
        };
        for (index, avma) in avmas.iter().enumerate().filter(|(_, avma)| **avma != 0) {
            let mut slot = table.slot_of(*avma);
            while table.slots[slot].0 != 0 && table.slots[slot].0 != *avma {
                slot = (slot + 1) % slot_count;
            }
            if table.slots[slot].0 == 0 {
                table.slots[slot] = (*avma, index as u32);
            }
        }
        table
    }

    #[inline]
    fn slot_of(&self, avma: u64) -> usize {
        (avma.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    /// The number of the type at this address.
    #[inline]
    pub fn find(&self, avma: u64) -> Option<u32> {
        // Nearly all words are no types: most lie outside of where types are.
        if avma.wrapping_sub(self.lowest) > self.span || !avma.is_multiple_of(8) || avma == 0 {
            return None;
        }
        let mut slot = self.slot_of(avma);
        loop {
            let (taken, index) = *self.slots.get(slot)?;
            if taken == avma {
                return Some(index);
            }
            if taken == 0 {
                return None;
            }
            slot = (slot + 1) % self.slots.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_and_nothing_else() {
        let avmas: Vec<u64> = (1..2000_u64).map(|number| 0x7f00_0000_0000 + 416 * number).collect();
        let table = KindTable::new(&avmas);
        for (index, avma) in avmas.iter().enumerate() {
            assert_eq!(table.find(*avma), Some(index as u32));
            assert_eq!(table.find(avma + 8), None);
        }
        assert_eq!(table.find(0), None);
        assert_eq!(KindTable::new(&[]).find(0), None);
        assert_eq!(KindTable::new(&[16, 16]).find(16), Some(0));
        assert_eq!(KindTable::default().find(8), None);
    }
}
