//! Who names the stacks of each image: a process has one more with every exec, since that brings
//! other files. What no stack will need any more is let go, however many processes come.

use crate::{
    runtime::Runtimes,
    stack::RawStack,
    symbol::{DebugInfo, Observed, Resolver},
    target::Target,
};
use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    rc::Rc,
};

/// All images that still matter.
#[derive(Debug, Default)]
pub struct Images {
    resolvers: BTreeMap<u32, Resolver>,
    /// Those that some stack names. The table of stacks bounds how many there can be.
    named: HashSet<u32>,
    /// Those that have ended since the last call of [`Self::let_go`].
    ended: HashSet<u32>,
    debug_info: Rc<DebugInfo>,
}

impl Images {
    /// `image` is what `target` runs now, or is better known now. `forked_from`: the process that
    /// it was forked from, where it has the same addresses.
    pub fn begin(
        &mut self,
        image: u32,
        target: &Target,
        runtimes: Runtimes,
        forked_from: Option<u32>,
    ) {
        let resolver = Resolver::sharing(&self.debug_info, target.tgid, target, runtimes);
        let resolver = match forked_from {
            Some(parent) => resolver.forked_from(parent),
            None => resolver,
        };
        self.resolvers.insert(image, resolver);
    }

    /// Nothing runs this one any more; stacks of it may still be on their way.
    pub fn end(&mut self, image: u32) {
        self.ended.insert(image);
    }

    /// Lets go what is known of images that have ended: all where no stack names them, what more
    /// stacks would need where all that came were looked at. `unobserved` are those that were not.
    /// To be called when the stacks that the kernel side had recorded at [`Self::end`] have come.
    pub fn let_go(&mut self, unobserved: &VecDeque<RawStack>) {
        if self.ended.is_empty() {
            return;
        }
        let waiting: HashSet<u32> = unobserved.iter().map(|raw| raw.image).collect();
        let (resolvers, named) = (&mut self.resolvers, &self.named);
        self.ended.retain(|image| {
            if waiting.contains(image) {
                return true;
            }
            if !named.contains(image) {
                resolvers.remove(image);
            } else if let Some(resolver) = resolvers.get_mut(image) {
                resolver.settle();
            }
            false
        });
    }

    /// What names the stacks of an image.
    pub fn get(&self, image: u32) -> Option<&Resolver> {
        self.resolvers.get(&image)
    }

    /// As [`Self::get`], to be changed.
    pub fn get_mut(&mut self, image: u32) -> Option<&mut Resolver> {
        self.resolvers.get_mut(&image)
    }

    /// All, by image.
    pub fn resolvers(&self) -> impl Iterator<Item = &Resolver> {
        self.resolvers.values()
    }

    /// The same with their images.
    pub fn all(&self) -> impl Iterator<Item = (u32, &Resolver)> {
        self.resolvers.iter().map(|(image, resolver)| (*image, resolver))
    }

    /// Takes all, by image. Nothing is known of any image afterwards.
    pub fn take(&mut self) -> BTreeMap<u32, Resolver> {
        std::mem::take(&mut self.resolvers)
    }

    /// Reads the code objects that new stacks name before anything else: they may die soon.
    pub fn read_ahead(&mut self, stacks: &[RawStack]) {
        let mut of_image: BTreeMap<u32, Vec<&RawStack>> = BTreeMap::new();
        for raw in stacks {
            of_image.entry(raw.image).or_default().push(raw);
        }
        for (image, stacks) in of_image {
            self.named.insert(image);
            if let Some(resolver) = self.resolvers.get_mut(&image) {
                resolver.read_ahead(stacks.into_iter());
            }
        }
    }

    /// Reads what a new stack refers to while it exists; `None` for a stack of nobody that is
    /// known.
    pub fn observe(&mut self, raw: &RawStack) -> Option<Observed> {
        self.resolvers.get_mut(&raw.image).map(|resolver| resolver.observe(raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        stack::{Domain, StackId, WalkEnd},
        target::discover,
    };
    use std::process::{Command, Stdio};

    fn raw(image: u32) -> RawStack {
        RawStack {
            id: StackId(u64::from(image)),
            image,
            domain: Domain::Malloc,
            native: vec![0x10],
            native_end: WalkEnd::Bottom,
            js: Vec::new(),
            python: Vec::new(),
            python_end: WalkEnd::Absent,
        }
    }

    #[test]
    fn only_what_stacks_name_outlives_its_process() {
        let mut cat =
            Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let (target, _) = discover(cat.id()).unwrap();
        let mut images = Images::default();
        (1..=1000).for_each(|image| images.begin(image, &target, Runtimes::default(), None));
        images.read_ahead(&[raw(7), raw(8)]);
        (2..=1000).for_each(|image| images.end(image));
        images.let_go(&VecDeque::from([raw(8), raw(9)]));
        let left: Vec<u32> = images.resolvers.keys().copied().collect();
        assert_eq!(left, [1, 7, 8, 9], "one runs, one is named, two are waited for");
        images.let_go(&VecDeque::new());
        let left: Vec<u32> = images.resolvers.keys().copied().collect();
        assert_eq!(left, [1, 7, 8]);
        assert!(images.observe(&raw(7)).is_some());
        cat.kill().unwrap();
        cat.wait().unwrap();
    }
}
