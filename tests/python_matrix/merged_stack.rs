//! Whether a merged stack has its native frames where they belong: C code between the Python
//! functions it connects, and all of it down to where the thread began. Pure.

use serde_json::Value;

/// What a case of `cases.py` demands of its stacks.
pub struct Demand<'a> {
    pub case: &'a Value,
    /// The interpreter's own file.
    pub executable: &'a str,
}

impl Demand<'_> {
    /// Where native and Python frames stand in the wrong order, one sentence each.
    pub fn order(&self, frames: &[Value]) -> Vec<String> {
        let python: Vec<usize> = (0..frames.len()).filter(|at| is_python(&frames[*at])).collect();
        let mut faults = Vec::new();
        let Some(first) = python.first() else {
            return vec!["there is no Python frame".to_owned()];
        };
        let leaf = texts(&self.case["leaf"]);
        if !has_part(&frames[..*first], &leaf, self.executable) {
            faults.push(format!(
                "above {} stands {}, nothing of {leaf:?}",
                name(&frames[*first]),
                names(&frames[..*first])
            ));
        }
        for pair in python.windows(2) {
            let (callee, caller) = (&frames[pair[0]], &frames[pair[1]]);
            let between = &frames[pair[0] + 1..pair[1]];
            let shown = || {
                format!("between {} and {} stands {}", name(callee), name(caller), names(between))
            };
            let function = last_part(name(callee));
            let parts = texts(&self.case["c_below"][function]);
            if !parts.is_empty() && !has_part(between, &parts, self.executable) {
                faults.push(format!("{}, nothing of {parts:?}", shown()));
            }
            if texts(&self.case["direct"]).contains(&function) && !between.is_empty() {
                faults.push(format!("{}, where Python calls Python", shown()));
            }
        }
        faults
    }

    /// Why the stack does not reach the place where its thread began; `None` when it does.
    pub fn truncation(&self, site: &Value) -> Option<String> {
        if let Some(reason) = site["truncated"].as_str() {
            return Some(format!("the report calls the stack truncated: {reason}"));
        }
        let frames = site["frames"].as_array().map_or(&[] as &[Value], Vec::as_slice);
        let outermost = frames.last()?;
        if is_python(outermost) {
            return Some(format!("nothing native stands below {}", name(outermost)));
        }
        let after_python = frames.iter().rposition(is_python).map_or(0, |at| at + 1);
        let below = &frames[after_python..];
        let threaded = self.case["threaded"] == true;
        let begins_there = if threaded {
            is_libc(outermost)
        } else {
            // libc called main, and was itself entered from the executable's first instruction.
            file_name(outermost) == base(self.executable) && below.iter().any(is_libc)
        };
        let place = if threaded { "where libc starts threads" } else { "the program's start" };
        (!begins_there).then(|| format!("it ends at {}, not at {place}", names(below)))
    }
}

/// Whether a name or a module among `frames` contains one of `parts`. A stripped interpreter
/// gives no names: its nameless frames may be any of its functions.
fn has_part(frames: &[Value], parts: &[&str], executable: &str) -> bool {
    frames.iter().any(|frame| {
        let is_nameless = name(frame).contains("+0x") && file_name(frame) == base(executable);
        is_nameless
            || parts
                .iter()
                .any(|part| name(frame).contains(part) || file_name(frame).contains(part))
    })
}

fn is_python(frame: &Value) -> bool {
    frame["kind"] == "python"
}

fn is_libc(frame: &Value) -> bool {
    file_name(frame).starts_with("libc.") || file_name(frame).starts_with("libc-")
}

fn name(frame: &Value) -> &str {
    frame["function"].as_str().unwrap_or("?")
}

fn names(frames: &[Value]) -> String {
    let names: Vec<&str> = frames.iter().map(name).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(" < ") }
}

/// A function's own name, without what it is nested in.
fn last_part(qualified: &str) -> &str {
    qualified.rsplit('.').next().unwrap_or(qualified)
}

fn file_name(frame: &Value) -> &str {
    base(frame["module"].as_str().unwrap_or(""))
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::Demand;
    use serde_json::{Value, json};

    /// `kind function module`, leaf first.
    fn frames(lines: &[&str]) -> Vec<Value> {
        let frame = |line: &&str| {
            let mut words = line.split(' ');
            let mut word = || words.next().unwrap_or("");
            json!({"kind": word(), "function": word(), "module": word()})
        };
        lines.iter().map(frame).collect()
    }

    fn faults(lines: &[&str], case: &Value) -> (usize, bool) {
        let demand = Demand { case, executable: "/usr/bin/python3.11" };
        let frames = frames(lines);
        let site = json!({"frames": frames, "truncated": null});
        (demand.order(&frames).len(), demand.truncation(&site).is_some())
    }

    const WHOLE: [&str; 8] = [
        "native PyBytes_New /usr/bin/python3.11",
        "python A.key",
        "native list_sort /usr/bin/python3.11",
        "python outer",
        "python <module>",
        "native Py_Main /usr/bin/python3.11",
        "native __libc_start_main /lib/libc.so.6",
        "native _start /usr/bin/python3.11",
    ];

    fn case() -> Value {
        json!({"leaf": ["Bytes"], "c_below": {"key": ["sort"]}, "direct": ["outer"],
               "threaded": false})
    }

    #[test]
    fn a_whole_stack_in_order_has_no_fault() {
        assert_eq!(faults(&WHOLE, &case()), (0, false));
    }

    #[test]
    fn native_frames_beside_their_place_are_found() {
        let mut moved = WHOLE;
        moved.swap(2, 3);
        assert_eq!(faults(&moved, &case()), (2, false), "C missing here, and standing there");
        let mut leafless = WHOLE;
        leafless.swap(0, 1);
        assert_eq!(faults(&leafless, &case()).0, 1);
        assert_eq!(faults(&WHOLE[2..3], &case()).0, 1, "no Python at all");
    }

    #[test]
    fn nameless_frames_of_the_interpreter_may_be_what_is_wanted_and_others_not() {
        let mut stripped = WHOLE;
        stripped[2] = "native python3.11+0x1234 /usr/bin/python3.11";
        assert_eq!(faults(&stripped, &case()).0, 0);
        stripped[2] = "native libz.so+0x1234 /lib/libz.so";
        assert_eq!(faults(&stripped, &case()).0, 1);
    }

    #[test]
    fn a_stack_that_ends_early_is_found() {
        for length in 1..WHOLE.len() {
            assert!(faults(&WHOLE[..length], &case()).1, "{length} frames");
        }
        let mut case = case();
        case["threaded"] = json!(true);
        assert!(faults(&WHOLE, &case).1, "a thread does not begin at _start");
        assert!(!faults(&WHOLE[..7], &case).1);
    }

    #[test]
    fn a_stack_that_is_said_to_be_truncated_is_not_whole() {
        let site = json!({"frames": frames(&WHOLE), "truncated": "no-rule"});
        let case = case();
        let demand = Demand { case: &case, executable: "/usr/bin/python3.11" };
        assert!(demand.truncation(&site).is_some_and(|why| why.contains("no-rule")));
    }
}
