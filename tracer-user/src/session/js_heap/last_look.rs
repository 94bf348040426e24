//! What the inspector's thread does at the very end where that is wanted: a snapshot.

use super::{
    asker::Asker,
    order::{Command, HideKeys, Told},
    retainers::{self, RetainersError},
};
use crate::{
    heap::v8::{Asked, Sampled},
    runtime::node::inspector::{Client, Heap, HeapProfile, InspectorError, JsPlace},
};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// How long the session may take, after the last profile, to want a snapshot: probes are taken out
/// before.
const SNAPSHOT_WANTED_WITHIN: Duration = Duration::from_secs(120);

impl Asker<'_> {
    /// Whether the session, which was told all that is sampled, wants a snapshot as well.
    pub(super) fn is_snapshot_wanted(&self) -> bool {
        let is_end = matches!(self.finish, Some(Some(Command::Finish { .. })));
        if self.order.retainers.is_none() || !is_end {
            return false;
        }
        self.tell(Told::Settled);
        let next = self.commands.recv_timeout(SNAPSHOT_WANTED_WITHIN);
        matches!(next, Ok(Command::Retainers))
    }

    /// Tells who holds what, and what the sampler says is alive, which V8 knows while it is at work.
    /// The connection, where it is still of use.
    pub(super) fn retainers_of_samples(
        &self,
        mut heap: Heap,
        distance_bytes: u64,
    ) -> Option<Client> {
        let profile = match heap.profile() {
            Ok(profile) => profile,
            Err(error) => {
                log::info!("no profile before the snapshot: {error}");
                return self.retainers(heap.end());
            }
        };
        let sampled = sampled(&profile, distance_bytes);
        let is_fit = self.take(heap.client(), Some(&sampled), Some(profile));
        is_fit.then(|| heap.end())
    }

    /// Tells who holds what, by a snapshot. The connection, where it is still of use.
    pub(super) fn retainers(&self, mut client: Client) -> Option<Client> {
        self.take(&mut client, None, None).then_some(client)
    }

    /// Whether the connection is still of use.
    fn take(
        &self,
        client: &mut Client,
        sampled: Option<&Sampled>,
        profile: Option<HeapProfile>,
    ) -> bool {
        let hide_keys = self.order.retainers.is_some_and(|HideKeys(hide)| hide);
        let began = Instant::now();
        let say = |text| self.tell(Told::Say(text));
        let asked = Asked { sampled, holders: &self.order.holders, hide_keys };
        match retainers::take(client, &self.order.target, &asked, say) {
            Ok(heap) => {
                self.tell(Told::Retainers(Box::new(heap), profile, began.elapsed()));
                true
            }
            // Whoever interrupts it knows why there is none. What is on its way is not waited for.
            Err(RetainersError::Inspector(InspectorError::Interrupted)) => false,
            Err(error) => {
                let tgid = self.order.target.tgid;
                let is_fit = error.leaves_connection();
                let (code, message) = if self.order.target.is_alive() {
                    let message = format!(
                        "Who holds the objects of process {tgid}'s JavaScript heap is not told: {error}."
                    );
                    ("js-retainers-refused", message)
                } else {
                    let message =
                        format!("Process {tgid} has ended before its heap could be looked at.");
                    ("js-retainers-ended", message)
                };
                self.less(code, message, error.advice());
                is_fit
            }
        }
    }
}

/// Whether a place is not in V8's nor in Node's own code.
fn is_of_program(place: &JsPlace) -> bool {
    !place.url.is_empty() && !place.url.starts_with("node:")
}

/// What a profile says is alive: stacks by the numbers of their nodes.
fn sampled(taken: &HeapProfile, distance_bytes: u64) -> Sampled {
    let mut sampled = Sampled::new(distance_bytes);
    let mut functions: HashMap<&JsPlace, u64> = HashMap::new();
    for sample in &taken.profile.samples {
        let node = taken.profile.node_of(sample);
        let known = functions.len() as u64;
        let stack = taken.profile.stack(node);
        // The nearest function of the program; what it calls of Node's and V8's is its doing.
        let own = stack.iter().find(|place| is_of_program(place)).or(stack.first());
        let function = own.map_or(known, |place| *functions.entry(*place).or_insert(known));
        sampled.add(sample.weight_bytes, node as u64, function);
    }
    sampled
}
