//! What the sampling heap profiler answers: the objects that are alive, by the stack that
//! allocated them.

use serde::Deserialize;

/// Deepest nesting of an answer that is read. V8 records 128 frames, each two levels deep.
const MAX_NESTING: usize = 600;
/// Most nodes, and most samples, that are taken from one profile.
const MAX_ENTRIES: usize = 8 << 20;

/// A function, as V8 names its place: where its definition begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JsPlace {
    /// As V8 infers it; empty for one without a name.
    #[serde(default)]
    pub function_name: String,
    /// Of its script; empty for V8 itself.
    #[serde(default)]
    pub url: String,
    /// From 0; -1 for V8 itself.
    #[serde(default)]
    pub line_number: i64,
    /// From 0, in UTF-16 units; -1 for V8 itself.
    #[serde(default)]
    pub column_number: i64,
}

/// An object that is alive, and stands for others of its kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Its number, which it keeps: the same in every profile of one heap, and never used again.
    pub ordinal: u64,
    /// Bytes that it stands for.
    pub weight_bytes: u64,
    /// The node that allocated it, as an index.
    node: usize,
}

/// A profile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Profile {
    /// Functions by node, each with the index of its caller's node; the root is its own.
    nodes: Vec<(JsPlace, usize)>,
    /// The objects.
    pub samples: Vec<Sample>,
}

impl Profile {
    /// Reads the answer to `HeapProfiler.getSamplingProfile`; `None` when it makes no sense.
    pub fn parse(result: &str) -> Option<Self> {
        if nesting(result) > MAX_NESTING {
            return None;
        }
        let mut deserializer = serde_json::Deserializer::from_str(result);
        // Its nesting is bounded above; the reader's own bound is below V8's deepest stack.
        deserializer.disable_recursion_limit();
        let answer = Answer::deserialize(&mut deserializer).ok()?;
        let mut profile = Self::default();
        let mut by_id = std::collections::HashMap::new();
        let mut open = vec![(answer.profile.head, 0)];
        while let Some((node, parent)) = open.pop() {
            let index = profile.nodes.len();
            if index >= MAX_ENTRIES {
                return None;
            }
            profile.nodes.push((node.call_frame, parent));
            by_id.insert(node.id, index);
            open.extend(node.children.into_iter().map(|child| (child, index)));
        }
        for sample in answer.profile.samples.into_iter().take(MAX_ENTRIES) {
            // V8 lists its nodes before its samples, and may sample what it allocates for the list
            // itself. The next profile has the node too.
            let Some(node) = by_id.get(&sample.node_id).copied() else { continue };
            // Numbers of JavaScript; a conversion that does not fit saturates.
            let (ordinal, weight_bytes) = (sample.ordinal as u64, sample.size as u64);
            profile.samples.push(Sample { ordinal, weight_bytes, node });
        }
        Some(profile)
    }

    /// Identity within this profile of the stack of a sample.
    pub fn node_of(&self, sample: &Sample) -> usize {
        sample.node
    }

    /// The function of a node.
    pub fn place(&self, node: usize) -> Option<&JsPlace> {
        self.nodes.get(node).map(|(place, _)| place)
    }

    /// The functions in it, some more than once.
    pub fn places(&self) -> impl Iterator<Item = &JsPlace> {
        self.nodes.iter().map(|(place, _)| place)
    }

    /// The stack of a node, innermost function first, without V8's root.
    pub fn stack(&self, node: usize) -> Vec<&JsPlace> {
        let mut frames = Vec::new();
        let mut at = node;
        // The root is the first node, and every parent comes before its children.
        while at != 0 {
            let Some((place, parent)) = self.nodes.get(at) else { break };
            frames.push(place);
            at = *parent;
        }
        frames
    }
}

#[derive(Deserialize)]
struct Answer {
    profile: Body,
}

#[derive(Deserialize)]
struct Body {
    head: Node,
    #[serde(default)]
    samples: Vec<RawSample>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    call_frame: JsPlace,
    #[serde(default)]
    id: u64,
    #[serde(default)]
    children: Vec<Node>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSample {
    size: f64,
    node_id: u64,
    ordinal: f64,
}

/// How deep the brackets of a JSON text are nested.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, id: u64, children: &str) -> String {
        format!(
            r#"{{"callFrame":{{"functionName":"{name}","scriptId":"7","url":"file:///a.js","lineNumber":4,"columnNumber":2}},"selfSize":0,"id":{id},"children":[{children}]}}"#
        )
    }

    fn profile(head: &str, samples: &str) -> String {
        format!(r#"{{"profile":{{"head":{head},"samples":[{samples}]}}}}"#)
    }

    #[test]
    fn a_stack_is_told_from_the_leaf_without_the_root() {
        let head = node("(root)", 1, &node("outer", 2, &node("inner", 3, "")));
        let text = profile(&head, r#"{"size":32784,"nodeId":3,"ordinal":9}"#);
        let profile = Profile::parse(&text).unwrap();
        let sample = &profile.samples[0];
        assert_eq!((sample.ordinal, sample.weight_bytes), (9, 32784));
        let stack = profile.stack(profile.node_of(sample));
        let names: Vec<&str> = stack.iter().map(|place| place.function_name.as_str()).collect();
        assert_eq!(names, ["inner", "outer"]);
        for end in 0..text.len() {
            assert_eq!(Profile::parse(&text[..end]), None, "{end}");
        }
    }

    #[test]
    fn the_deepest_stack_of_v8_is_read_and_a_deeper_one_refused() {
        let deep = |depth| (0..depth).fold(String::new(), |inner, id| node("f", id, &inner));
        assert!(Profile::parse(&profile(&deep(130), "")).is_some());
        assert_eq!(Profile::parse(&profile(&deep(2_000), "")), None);
    }

    #[test]
    fn a_sample_of_no_node_is_left_out_and_numbers_that_do_not_fit_are_cut() {
        let head = node("(root)", 1, "");
        let samples = r#"{"size":1,"nodeId":3,"ordinal":1},{"size":1e300,"nodeId":1,"ordinal":-9}"#;
        let profile = Profile::parse(&profile(&head, samples)).unwrap();
        assert_eq!(profile.samples, [Sample { ordinal: 0, weight_bytes: u64::MAX, node: 0 }]);
        assert!(profile.stack(0).is_empty());
    }
}
