//! Secrets reach the participant, and nobody else.

use std::fs;

use saga_core::Failure;
use saga_daemon::declared::{Options, SecretSource};
use serde_json::{Value, json};

use crate::support::{Given, Service, call, declare};

const TOKEN: &str = "s3cr3t-canary-4711";

fn definition(url: &str) -> String {
    format!(
        "name: test\nallow_hosts: [127.0.0.1]\nparticipants:\n  shop:\n    url: {url}\n    headers: {{ Authorization: Bearer secret://SHOP_TOKEN }}\nsteps:\n  - {{ name: pay, participant: shop, pivot: pay }}\n"
    )
}

fn from_environment(value: &'static str) -> Options {
    let environment =
        move |variable: &str| (variable == "SAGA_SECRET_SHOP_TOKEN").then(|| value.to_owned());
    Options { secrets: SecretSource::with_environment(None, environment), ..Options::default() }
}

#[tokio::test]
async fn a_secret_comes_from_the_environment_or_from_a_file_which_may_be_replaced() {
    let service = Service::start(|_| (200, Vec::new())).await;
    let declared = declare(&definition(&service.url), &from_environment(TOKEN));
    assert_eq!(declared.secrets, ["SHOP_TOKEN"]);
    call(&declared.definition, 0, Given::default()).await.unwrap();
    assert_eq!(service.taken()[0].headers["authorization"], format!("Bearer {TOKEN}"));

    let folder = tempfile::tempdir().unwrap();
    let source = SecretSource::with_environment(Some(folder.path().to_owned()), |_| None);
    let options = Options { secrets: source.clone(), ..Options::default() };
    let declared = declare(&definition(&service.url), &options);
    for token in ["first-token", "second-token"] {
        fs::write(folder.path().join("SHOP_TOKEN"), format!("{token}\n")).unwrap();
        source.check("SHOP_TOKEN").unwrap();
        call(&declared.definition, 0, Given::default()).await.unwrap();
        assert_eq!(service.taken()[0].headers["authorization"], format!("Bearer {token}"));
    }
}

#[tokio::test]
async fn a_secret_that_is_missing_is_unknown_and_can_be_mended() {
    let service = Service::start(|_| (200, Vec::new())).await;
    for (value, says) in [
        ("", "there is no secret SHOP_TOKEN: expected the variable SAGA_SECRET_SHOP_TOKEN"),
        ("abc\n", "the secret SHOP_TOKEN is too short: expected at least 4 characters"),
        ("a\r\nX-Evil: 1", "the secret SHOP_TOKEN holds what a header cannot carry"),
    ] {
        let declared = declare(&definition(&service.url), &from_environment(value));
        match call(&declared.definition, 0, Given::default()).await {
            Err(Failure::Transient(transient)) => {
                assert!(transient.message.contains(says), "{transient}")
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(service.taken().len(), 0);
}

#[test]
fn the_name_of_a_secret_is_no_path() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("outside"), "x").unwrap();
    let source = SecretSource::with_environment(Some(folder.path().join("inside")), |_| {
        Some("x".to_owned())
    });
    for name in ["../outside", "", "a", "A/B", "A.B", "é"] {
        assert!(source.check(name).unwrap_err().contains("is no name of a secret"), "{name}");
    }
}

#[tokio::test]
async fn a_secret_is_in_no_output_no_error_and_no_debug_text() {
    // A service that tells everybody what it was told, as error pages do.
    let quoted = r#"quo"ted\secret"#;
    let cases =
        [200, 422, 500, 503].into_iter().flat_map(|status| [(status, TOKEN), (status, quoted)]);
    for (status, token) in cases {
        let service = Service::start(move |seen| {
            let authorization = seen.headers["authorization"].to_str().unwrap().to_owned();
            (
                status,
                json!({"detail": format!("you sent {authorization}"), "again": authorization})
                    .to_string()
                    .into_bytes(),
            )
        })
        .await;
        let options = from_environment(token);
        let declared = declare(&definition(&service.url), &options);
        let answer = call(&declared.definition, 0, Given::default()).await;
        let shown = format!("{answer:?} {declared:?} {options:?}");
        assert!(!shown.contains(token) && !shown.contains("ted\\"), "{status}: {shown}");
        assert!(shown.contains("Bearer ***"), "{status}: {shown}");
        if let Ok(output) = answer {
            assert_eq!(output.decode::<Value>().unwrap()["again"], "Bearer ***");
        }
        assert_eq!(service.taken()[0].headers["authorization"], format!("Bearer {token}"));
    }
}
