//! How a container is called: by the last part of its path that code has a name for.

use crate::capture::{Chain, GrownContainer};

/// What `functools.lru_cache` puts in the place of a function.
const LRU_CACHE: &str = "_lru_cache_wrapper";

/// A container's name, and the function whose results it keeps where it is the cache of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) name: String,
    pub(super) cached_function: Option<String>,
}

/// Of a container that has a path.
pub(super) fn of_container(container: &GrownContainer) -> Name {
    let steps = &container.chain.steps;
    if container.type_name.contains(LRU_CACHE) {
        // The path ends at the wrapper, which stands in the function's place.
        let function = steps.iter().rev().find(|step| is_named(step) && !step.contains(LRU_CACHE));
        return cache_of(function.map(String::as_str), &container.type_name);
    }
    if container.is_lru_cache {
        let function = steps.last().and_then(|step| step.strip_suffix(".cache"));
        return cache_of(function, &container.type_name);
    }
    of_path(steps, &container.type_name)
}

/// Of the container that a chain passes through, where that grows.
pub(super) fn of_grown_step(chain: &Chain) -> Option<Name> {
    let steps = chain.steps.get(..=chain.grown_step?)?;
    Some(of_path(steps, "a container"))
}

fn of_path(steps: &[String], type_name: &str) -> Name {
    if let Some(wrapper) = steps.iter().rposition(|step| step.contains(LRU_CACHE))
        // What is kept may have containers of its own behind the cache.
        && steps.len() - wrapper <= 2
    {
        let function = steps[..wrapper].iter().rev().find(|step| is_named(step));
        return cache_of(function.map(String::as_str), type_name);
    }
    let named = steps.iter().rev().find(|step| is_named(step));
    let name = match named.or(steps.last()) {
        Some(step) => without_index(step).to_owned(),
        None => format!("{type_name} without a name"),
    };
    Name { name, cached_function: None }
}

fn cache_of(function: Option<&str>, type_name: &str) -> Name {
    match function {
        Some(function) => {
            let function = without_index(function).to_owned();
            Name { name: format!("lru_cache of {function}"), cached_function: Some(function) }
        }
        None => Name { name: format!("lru_cache ({type_name})"), cached_function: None },
    }
}

/// Whether a step says more than a type.
fn is_named(step: &str) -> bool {
    let step = without_index(step);
    (step.contains('.') || step.contains(' ')) && !step.contains(".<+")
}

/// A step without the index or key at its end: `Gateway._cache['k']` is `Gateway._cache`.
pub(super) fn without_index(step: &str) -> &str {
    let mut rest = step.trim_end();
    // Keys may hold brackets, so the first that is no part of a name ends it.
    if rest.ends_with([']', '}'])
        && let Some(at) = rest.find(['[', '{'])
        && at > 0
    {
        rest = &rest[..at];
    }
    rest.trim_end()
}

/// Whether a path leads through this container: it is the same up to where that is.
pub(super) fn leads_through(path: &[String], container: &[String]) -> bool {
    !container.is_empty()
        && path.len() >= container.len()
        && path.iter().zip(container).all(|(a, b)| without_index(a) == without_index(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(path: &str) -> Vec<String> {
        path.split(" -> ").map(str::to_owned).collect()
    }

    #[test]
    fn a_container_is_called_by_the_last_name_of_its_path() {
        for (path, kind, expected) in [
            ("gateway.SESSIONS", "dict", "gateway.SESSIONS"),
            (
                "gateway.run.GW -> Gateway._agent_cache['k'] -> AIAgent._session_messages",
                "list",
                "AIAgent._session_messages",
            ),
            ("gateway.GW -> Gateway.rooms[*] -> dict", "dict", "Gateway.rooms"),
            (
                "thread 7 frame worker() local 'mine'",
                "list",
                "thread 7 frame worker() local 'mine'",
            ),
            ("app.parse -> _lru_cache_wrapper.cache", "dict", "lru_cache of app.parse"),
            ("app.Parser.parse", "functools._lru_cache_wrapper", "lru_cache of app.Parser.parse"),
            ("", "dict", "dict without a name"),
        ] {
            let steps = if path.is_empty() { Vec::new() } else { steps(path) };
            let container = GrownContainer {
                type_name: kind.into(),
                chain: Chain { steps, ..Chain::default() },
                ..GrownContainer::default()
            };
            assert_eq!(of_container(&container).name, expected, "{path}");
        }
    }

    #[test]
    fn the_dict_of_a_cache_is_called_by_its_function_and_no_other_dict_is() {
        let mut container = GrownContainer {
            type_name: "dict".into(),
            chain: Chain { steps: steps("app.Api.load.cache"), ..Chain::default() },
            ..GrownContainer::default()
        };
        let global = Name { name: "app.Api.load.cache".into(), cached_function: None };
        assert_eq!(of_container(&container), global);
        container.is_lru_cache = true;
        let cache = of_container(&container);
        assert_eq!(cache.name, "lru_cache of app.Api.load");
        assert_eq!(cache.cached_function.as_deref(), Some("app.Api.load"));
        container.chain.steps.clear();
        assert_eq!(of_container(&container).cached_function, None);
    }

    #[test]
    fn paths_lead_through_what_they_begin_with_whatever_the_keys_are() {
        let container = steps("gateway.GW -> Gateway._cache");
        assert!(leads_through(&steps("gateway.GW -> Gateway._cache['k'] -> Agent"), &container));
        assert!(!leads_through(&steps("gateway.GW -> Gateway._cached['k']"), &container));
        assert!(!leads_through(&steps("gateway.GW"), &container));
        assert!(!leads_through(&steps("gateway.GW"), &[]));
    }
}
