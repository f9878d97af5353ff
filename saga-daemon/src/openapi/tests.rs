use super::*;
use crate::routes::Place;

#[test]
fn every_route_of_the_table_is_in_the_document_with_all_it_answers() {
    let document = document(Keys::Asked);
    for route in ROUTES {
        let method = if route.verb == Verb::Get { "get" } else { "post" };
        let operation = &document["paths"][route.path][method];
        assert_eq!(operation["operationId"], route.operation);
        let documented = operation["responses"].as_object().unwrap();
        let answers = route.answers.iter().map(|answer| answer.status);
        let problems = route.all_problems().into_iter().map(|kind| kind.status().as_u16());
        for status in answers.chain(problems) {
            assert!(documented.contains_key(&status.to_string()), "{}: {status}", route.operation);
        }
        for parameter in route.parameters.iter().filter(|p| p.place == Place::Path) {
            assert!(route.path.contains(&format!("{{{}}}", parameter.name)), "{}", route.path);
        }
    }
}

#[test]
fn operations_have_names_of_their_own() {
    let mut names: Vec<_> = ROUTES.iter().map(|route| route.operation).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ROUTES.len());
}

/// Every `$ref` of a value.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get("$ref").and_then(Value::as_str));
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(array) => array.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_schema_that_is_referred_to_exists() {
    let document = document(Keys::Asked);
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > ROUTES.len());
    for reference in found {
        let pointer = reference.trim_start_matches('#');
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn problems_of_every_kind_have_a_type_of_their_own() {
    let mut slugs: Vec<_> = Kind::ALL.iter().map(|kind| kind.slug()).collect();
    slugs.sort_unstable();
    slugs.dedup();
    assert_eq!(slugs.len(), Kind::ALL.len());
}

#[test]
fn the_page_names_every_path_and_loads_nothing() {
    let page = page();
    for route in ROUTES {
        assert!(page.contains(route.path) && page.contains(route.summary), "{}", route.path);
    }
    for loading in ["<script", "<link", "<img", "src=", "@import", "url("] {
        assert!(!page.contains(loading), "{loading}");
    }
}

#[test]
fn a_version_is_as_large_in_the_document_as_the_daemon_takes_it() {
    let document = document(Keys::Asked);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let versions = schemas.iter().filter_map(|(name, schema)| {
        let version = schema["properties"].get("version")?;
        Some((name, version["maximum"].as_u64(), version["format"].as_str()))
    });
    let versions: Vec<_> = versions.collect();
    assert!(versions.len() >= 5, "{versions:?}");
    for (name, maximum, format) in versions {
        assert_eq!((maximum, format), (Some(u32::MAX.into()), Some("int64")), "{name}");
    }
}
