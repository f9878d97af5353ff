use super::*;

pub(super) fn gather(
    file: Option<&str>,
    environment: &[(&str, &str)],
    flags: &[(&str, &str)],
) -> Result<Values, Faults> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("saga.toml");
    std::fs::write(&path, file.unwrap_or_default()).unwrap();
    let environment = environment.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    let flags = flags.iter().map(|(key, value)| {
        let setting = SETTINGS.iter().find(|setting| setting.key == *key).unwrap();
        (setting, (*value).to_owned())
    });
    Values::gather(file.map(|_| path.as_path()), environment, flags.collect())
}

#[test]
fn each_layer_covers_the_one_below_and_says_where_a_value_comes_from() {
    let file = "listen = '127.0.0.1:1'\nhosts = ['a', 'b']\n[worker]\nlease_ttl = '11s'\nconcurrency_max = 7\n[log]\nformat = 'json'";
    let environment = [("SAGA_WORKER__LEASE_TTL", "12s"), ("SAGA_LISTEN", "127.0.0.1:2")];
    let values = gather(Some(file), &environment, &[("listen", "127.0.0.1:3")]).unwrap();
    let config = values.read().unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.worker.lease_ttl, Duration::from_secs(12));
    assert_eq!((config.worker.concurrency_max, config.log.format), (7, LogFormat::Json));
    assert_eq!(config.hosts, ["a", "b"]);
    assert_eq!(config.worker.drain_timeout, Duration::from_secs(30));
    let origins: BTreeMap<_, _> =
        values.shown().map(|(key, _, from)| (key, from.to_string())).collect();
    assert_eq!(origins["listen"], "--listen");
    assert_eq!(origins["worker.lease_ttl"], "SAGA_WORKER__LEASE_TTL");
    assert!(origins["worker.concurrency_max"].ends_with("saga.toml"));
    assert_eq!(origins["worker.drain_timeout"], "default");
}

#[test]
fn every_faulty_value_is_named_with_its_origin_and_what_was_expected() {
    let environment = [("SAGA_LISTEN", "everywhere"), ("SAGA_INSECURE", "yes")];
    let file = "worker.lease_ttl = 10\nlog.filter = 'saga=loud'\nkeys_file = '/nowhere/keys.toml'";
    let faults = gather(Some(file), &environment, &[("http.streams_max", "-1")])
        .unwrap()
        .read()
        .unwrap_err();
    let text = faults.to_string();
    for part in [
        "`listen` is \"everywhere\" (SAGA_LISTEN): expected an address",
        "`insecure` is \"yes\" (SAGA_INSECURE): expected false or true",
        "`worker.lease_ttl` is \"10\"",
        "`http.streams_max` is \"-1\" (--http-streams-max)",
        "`log.filter`",
        "`keys_file`",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(faults.0.len(), 6);
}

#[test]
fn an_unknown_name_is_a_fault_with_the_nearest_one() {
    let faults = gather(Some("lissten = 'x'\n[worker]\nlease = 1"), &[("SAGA_LISTN", "x")], &[])
        .unwrap_err();
    let text = faults.to_string();
    assert!(text.contains("did you mean listen?") && text.contains("SAGA_LISTN"), "{text}");
    assert_eq!(faults.0.len(), 3);
}

#[test]
fn an_unknown_name_hides_no_faulty_value() {
    let file = "listne = 'x'\nlisten = 'everywhere'\n[worker]\nlease_ttl = 'soon'";
    let faults = gather(Some(file), &[("SAGA_FOO", "1")], &[]).unwrap_err().to_string();
    for word in ["4 faults", "`listne`", "SAGA_FOO", "everywhere", "soon"] {
        assert!(faults.contains(word), "{word}: {faults}");
    }
}

#[test]
fn no_password_is_ever_shown() {
    let url = "postgres://saga:hush@db.internal/saga?sslpassword=hush2&application_name=x";
    let values = gather(None, &[("SAGA_STORE", url)], &[]).unwrap();
    let shown: String = values.shown().map(|(key, value, _)| format!("{key}={value}\n")).collect();
    assert!(!shown.contains("hush") && shown.contains("db.internal"), "{shown}");
    assert_eq!(values.read().unwrap().store, url);
    assert_eq!(mask("sqlite://saga.db"), "sqlite://saga.db");
    for key in ["otlp.endpoint", "otlp.traces_endpoint", "otlp.metrics_endpoint"] {
        let refused = gather(None, &[], &[(key, "http://ops:hush@collector:4318")]).unwrap().read();
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("collector:4318") && !text.contains("hush"), "{text}");
    }
}

#[test]
fn the_default_store_lies_in_the_data_folder_of_the_account() {
    let values = gather(None, &[("STATE_DIRECTORY", "/var/lib/saga")], &[]).unwrap();
    let config = values.read().unwrap();
    assert_eq!(config.store, "sqlite:///var/lib/saga/saga.db");
    assert!(config.store_is_default && config.keys.is_empty());
}
