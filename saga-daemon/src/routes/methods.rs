//! Which methods a path knows, for the answer to one that it does not.

use super::Verb;
use super::table::ROUTES;

/// The methods that a path knows; `None` where there is no route.
pub(crate) fn allowed(path: &str) -> Option<&'static str> {
    let knows = |verb| ROUTES.iter().any(|route| route.verb == verb && fits(route.path, path));
    match (knows(Verb::Get), knows(Verb::Post)) {
        (true, true) => Some("GET, HEAD, POST"),
        (true, false) => Some("GET, HEAD"),
        (false, true) => Some("POST"),
        (false, false) => None,
    }
}

fn fits(pattern: &str, path: &str) -> bool {
    let one = |(pattern, part): (&str, &str)| match pattern.starts_with('{') {
        true => !part.is_empty(),
        false => pattern == part,
    };
    pattern.split('/').count() == path.split('/').count()
        && pattern.split('/').zip(path.split('/')).all(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_methods_of_a_path_are_those_of_all_its_routes() {
        assert_eq!(allowed("/v1/sagas/x"), Some("GET, HEAD, POST"));
        assert_eq!(allowed("/v1/sagas/x/stop"), Some("POST"));
        assert_eq!(allowed("/healthz"), Some("GET, HEAD"));
        assert_eq!(allowed("/nothing"), None);
    }
}
