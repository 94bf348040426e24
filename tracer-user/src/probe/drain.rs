//! Takes what waits in the ring buffer: mapping events are accounted here, and the blocks of images
//! that were replaced are forgotten.

use super::{
    events::{self, Event},
    probes::Probes,
};
use std::collections::HashSet;
use tracer_common::record::Mapping;

impl Probes {
    /// Takes all events that wait. Mapping events are accounted here; the others are returned.
    pub fn drain(&mut self) -> Vec<Event> {
        self.collect();
        std::mem::take(&mut self.waiting)
    }

    /// Whether events wait that have left the ring buffer already.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Makes room in the ring buffer: what waits there waits here then.
    pub(super) fn collect(&mut self) {
        let epoch = self.epoch();
        let mut ended = HashSet::new();
        while let Some(decoded) = self.events.next().map(|item| events::decode(&item)) {
            let Some(event) = decoded else {
                self.unknown_records += 1;
                continue;
            };
            match event {
                Event::Mapping(mapping) => {
                    self.account(&mapping, epoch);
                    continue;
                }
                Event::NewStack(ref stack) => {
                    self.images.insert(stack.id.0, stack.image);
                }
                Event::Exec { tgid, image, .. } => ended.extend(self.end_images(tgid, image)),
                Event::Fork { .. } | Event::Libraries { .. } => {}
            }
            self.waiting.push(event);
        }
        if !ended.is_empty() {
            self.sweep.forget(ended);
        }
    }

    fn account(&mut self, mapping: &Mapping, epoch: u32) {
        let owner = self.owners.get(&mapping.image).and_then(|tgid| self.traced.get_mut(tgid));
        if let Some(traced) = owner
            && traced.images.last() == Some(&mapping.image)
        {
            traced.mappings.apply(mapping, epoch);
        }
    }

    /// The process begins an image: what belonged to earlier ones is gone.
    fn end_images(&mut self, tgid: u32, image: u32) -> Vec<u32> {
        let Some(traced) = self.traced.get_mut(&tgid) else { return Vec::new() };
        traced.mappings.clear();
        let ended = traced.images.clone();
        traced.images.push(image);
        self.owners.insert(image, tgid);
        self.ended_images.extend(&ended);
        ended
    }
}
