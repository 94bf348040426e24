//! Source maps that were read, and the scripts that have none: each is looked for once, and all of
//! them together have a bound.

use super::script::Place;
use super::source_map::{Map, Original};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Bytes of the maps of one process.
const MAX_HELD_BYTES: u64 = 192 << 20;
/// Scripts whose maps, or lack of one, are remembered.
const MAX_SCRIPTS: usize = 100_000;

/// The maps of one process, by what its scripts are known as.
#[derive(Debug)]
pub(super) struct KnownMaps<K> {
    maps: HashMap<K, Option<Map>>,
    held_bytes: u64,
}

impl<K> Default for KnownMaps<K> {
    fn default() -> Self {
        Self { maps: HashMap::new(), held_bytes: 0 }
    }
}

impl<K: Eq + Hash> KnownMaps<K> {
    /// Whether the map of a script was looked for.
    pub(super) fn is_known(&self, script: &K) -> bool {
        self.maps.contains_key(script)
    }

    /// The original of `place` in `script`, whose map `read` reads where it was not looked for.
    pub(super) fn original<Q>(
        &mut self,
        script: &Q,
        place: Place,
        read: impl FnOnce() -> Option<Map>,
    ) -> Option<Original>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        if !self.maps.contains_key(script) {
            if self.maps.len() >= MAX_SCRIPTS {
                *self = Self::default();
            }
            let map = read().filter(|map| self.has_room_for(map));
            self.held_bytes += map.as_ref().map_or(0, Map::held_bytes);
            self.maps.insert(script.to_owned(), map);
        }
        self.maps.get(script)?.as_ref()?.original(place)
    }

    fn has_room_for(&self, map: &Map) -> bool {
        self.held_bytes.saturating_add(map.held_bytes()) <= MAX_HELD_BYTES
    }
}
