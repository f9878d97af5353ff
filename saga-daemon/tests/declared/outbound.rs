//! Calls go to the hosts that a definition names, and to no private address by surprise.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Url;
use saga_core::{BoxFuture, Failure};
use saga_daemon::declared::Options;
use saga_daemon::outbound::{AddressKind, AllowHosts, AllowedHost, Lookup, Outbound};

use crate::support::{Given, Service, call, declare, faults};

/// A resolver that answers from a list, one answer after the other; the last one stays.
struct Scripted {
    answers: Vec<Vec<IpAddr>>,
    asked: AtomicUsize,
}

impl Lookup for Scripted {
    fn lookup(&self, _: String) -> BoxFuture<std::io::Result<Vec<SocketAddr>>> {
        let nth = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
        let addresses = self.answers[nth].iter().map(|ip| SocketAddr::new(*ip, 0)).collect();
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

fn scripted(answers: &[&[&str]]) -> Arc<Scripted> {
    let parse = |answer: &&[&str]| answer.iter().map(|ip| ip.parse().unwrap()).collect();
    Arc::new(Scripted { answers: answers.iter().map(parse).collect(), asked: AtomicUsize::new(0) })
}

fn allow(entries: &[&str]) -> AllowHosts {
    entries.iter().map(|entry| entry.parse::<AllowedHost>().unwrap()).collect()
}

const HOSTILE: [&str; 72] = [
    "http://127.0.0.1/",
    "https://127.0.0.1/",
    "https://127.0.0.1:8443/",
    "https://127.1/",
    "https://127.0.1/",
    "https://127.255.255.254/",
    "https://0177.0.0.1/",
    "https://0x7f.0.0.1/",
    "https://0x7f000001/",
    "https://2130706433/",
    "https://017700000001/",
    "https://0/",
    "https://0.0.0.0/",
    "https://0.1.2.3/",
    "https://10.0.0.1/",
    "https://10.255.255.255/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.0.1/",
    "https://192.168.255.255/",
    "https://100.64.0.1/",
    "https://100.127.255.255/",
    "https://169.254.169.254/latest/meta-data/",
    "https://169.254.0.1/",
    "https://0xa9fea9fe/",
    "https://2852039166/",
    "https://192.0.0.192/",
    "https://192.0.2.1/",
    "https://192.88.99.1/",
    "https://198.18.0.1/",
    "https://198.19.255.255/",
    "https://198.51.100.7/",
    "https://203.0.113.7/",
    "https://224.0.0.1/",
    "https://239.255.255.255/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://[::1]/",
    "https://[::]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[::ffff:169.254.169.254]/",
    "https://[::127.0.0.1]/",
    "https://[64:ff9b::127.0.0.1]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[64:ff9b:1::10.0.0.1]/",
    "https://[2002:7f00:1::]/",
    "https://[2002:a9fe:a9fe::]/",
    "https://[2001::1]/",
    "https://[2001:db8::1]/",
    "https://[3fff::1]/",
    "https://[100::1]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fdff:ffff::1]/",
    "https://[fe80::1]/",
    "https://[febf::1]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
    "https://[4000::1]/",
    "https://localhost/",
    "https://LOCALHOST./",
    "https://api.localhost/",
    "https://\u{ff11}\u{ff12}\u{ff17}.0.0.1/",
    "https://127\u{3002}0\u{3002}0\u{3002}1/",
    "http://shop.example/",
    "ftp://shop.example/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:25/",
    "https://user:secret@shop.example/",
];

#[test]
fn hostile_urls_are_refused_by_the_guard_and_in_a_file() {
    let guard = Outbound::new(AllowHosts::default());
    for url in HOSTILE {
        let parsed = Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        assert!(guard.check(&parsed).is_err(), "{url} passes");
    }
    // Each file is read with a client of its own, so a few stand for all.
    for url in HOSTILE.iter().step_by(9) {
        let shown = faults(&format!("name: a\nsteps:\n  - name: a\n    pivot: \"{url}\"\n"));
        assert!(shown.contains("test.yaml:4:12:"), "{url}: {shown}");
        assert!(shown.ends_with("1 fault"), "{url}: {shown}");
    }
}

#[test]
fn public_hosts_pass_by_https() {
    let guard = Outbound::new(AllowHosts::default());
    for url in [
        "https://shop.example/",
        "https://shop.example:8443/v1",
        "https://8.8.8.8/",
        "https://172.32.0.1/",
        "https://100.128.0.1/",
        "https://[2606:4700::1111]/",
        "https://localhost.example/",
    ] {
        guard.check(&Url::parse(url).unwrap()).unwrap();
    }
}

#[test]
fn what_is_allowed_passes_and_only_that() {
    let guard = Outbound::new(allow(&[
        "10.1.0.0/16",
        "127.0.0.1",
        "shop.internal",
        "*.svc.local",
        "fd00::/8",
    ]));
    for (url, passes) in [
        ("http://10.1.2.3/", true),
        ("http://10.2.0.1/", false),
        ("http://127.0.0.1:8081/", true),
        ("http://[::ffff:127.0.0.1]/", true),
        ("http://127.0.0.2/", false),
        ("http://[fd12::1]/", true),
        ("http://[fe80::1]/", false),
        ("http://shop.internal/", true),
        ("http://SHOP.internal./", true),
        ("http://a.shop.internal/", false),
        ("http://a.b.svc.local/", true),
        ("http://svc.local/", false),
        ("http://evilsvc.local/", false),
        ("http://169.254.169.254/", false),
    ] {
        let checked = guard.check(&Url::parse(url).unwrap());
        assert_eq!(checked.is_ok(), passes, "{url}: {checked:?}");
    }
}

#[test]
fn entries_that_allow_nothing_clear_are_refused() {
    for entry in [
        "",
        "*",
        "*.",
        "a b",
        "http://a",
        "10.0.0.0/33",
        "256.1.1.1",
        "127.1",
        "a/b",
        "a..b",
        "user@a",
    ] {
        let error = entry.parse::<AllowedHost>().unwrap_err().to_string();
        assert!(
            error.contains(&format!("{entry:?}")) && error.contains("expected a host"),
            "{error}"
        );
    }
}

#[test]
fn every_kind_of_address_is_told() {
    for (address, kind) in [
        ("1.1.1.1", AddressKind::Public),
        ("127.0.0.1", AddressKind::Loopback),
        ("::ffff:127.0.0.1", AddressKind::Loopback),
        ("192.168.1.1", AddressKind::Private),
        ("169.254.169.254", AddressKind::LinkLocal),
        ("0.0.0.0", AddressKind::Reserved),
        ("64:ff9b::1", AddressKind::Translated),
        ("2002::1", AddressKind::Translated),
        ("fd00::1", AddressKind::Private),
        ("fe80::1", AddressKind::LinkLocal),
        ("2606:4700::1111", AddressKind::Public),
    ] {
        assert_eq!(AddressKind::of(address.parse().unwrap()), kind, "{address}");
    }
}

/// What a call to `host` gives, when the resolver answers so and these are allowed.
async fn outcome(
    service: &Service,
    host: &str,
    lookup: Arc<Scripted>,
    allowed: &[&str],
) -> Result<(), String> {
    let port = service.url.rsplit(':').next().unwrap();
    // Plain http needs the name to be allowed, so the addresses are what is tried here.
    let allowed = allow(allowed).and([host.parse().unwrap()]);
    let options = Options { allow_hosts: allowed, lookup, ..Options::default() };
    let text = format!("name: a\nsteps:\n  - name: a\n    pivot: http://{host}:{port}/a\n");
    let declared = declare(&text, &options);
    match call(&declared.definition, 0, Given::default()).await {
        Ok(_) => Ok(()),
        Err(Failure::Transient(transient)) => Err(transient.message),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_when_it_is_resolved() {
    let service = Service::start(|_| (200, Vec::new())).await;
    for address in [
        "127.0.0.1",
        "169.254.169.254",
        "::1",
        "::ffff:127.0.0.1",
        "0.0.0.0",
        "64:ff9b::7f00:1",
        "fe80::1",
    ] {
        let refused =
            outcome(&service, "shop.internal", scripted(&[&[address]]), &[]).await.unwrap_err();
        assert!(refused.contains("shop.internal leads to"), "{address}: {refused}");
    }
    assert_eq!(service.taken().len(), 0, "no connection was made");
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_refused_at_the_next_connection() {
    let service = Service::start(|_| (200, Vec::new())).await;
    let rebinding = scripted(&[&["127.0.0.1"], &["169.254.169.254"]]);
    let allowed = allow(&["127.0.0.1", "shop.internal"]);
    let options = Options { allow_hosts: allowed, lookup: rebinding.clone(), ..Options::default() };
    let port = service.url.rsplit(':').next().unwrap();
    let text = format!("name: a\nsteps:\n  - name: a\n    pivot: http://shop.internal:{port}/a\n");
    let declared = declare(&text, &options);
    call(&declared.definition, 0, Given::default()).await.unwrap();
    let refused = call(&declared.definition, 0, Given::default()).await.unwrap_err().to_string();
    let says =
        "shop.internal leads to 169.254.169.254, a link-local address, as of a metadata service";
    assert!(refused.contains(says), "{refused}");
    assert_eq!(rebinding.asked.load(Ordering::SeqCst), 2);
    assert_eq!(service.taken().len(), 1);
}

#[tokio::test]
async fn among_several_addresses_only_those_that_may_be_called_are_tried() {
    let service = Service::start(|_| (200, Vec::new())).await;
    let mixed = scripted(&[&["169.254.169.254", "127.0.0.1"]]);
    outcome(&service, "shop.internal", mixed, &["127.0.0.0/8"]).await.unwrap();
    assert_eq!(service.taken().len(), 1);
}

#[tokio::test]
async fn localhost_by_its_name_may_lead_to_this_machine() {
    let service = Service::start(|_| (200, Vec::new())).await;
    outcome(&service, "localhost", scripted(&[&["127.0.0.1"]]), &[]).await.unwrap();
    assert_eq!(service.taken().len(), 1);
}

#[tokio::test]
async fn hosts_that_no_definition_names_are_not_resolved() {
    let lookup = scripted(&[&["127.0.0.1"]]);
    let mut guard =
        Outbound::new(allow(&["127.0.0.1", "a.internal", "b.internal"])).lookup(lookup.clone());
    guard.name(&Url::parse("http://a.internal/").unwrap()).unwrap();
    let client = guard.client().unwrap();
    let error = client.get("http://b.internal:1/").send().await.unwrap_err();
    let text = format!("{error:?}");
    assert!(text.contains("Unnamed"), "{text}");
    assert_eq!(lookup.asked.load(Ordering::SeqCst), 0);
}
