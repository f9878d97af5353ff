//! The API over TLS: what is shown, who is let in, and what a slow client can do.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Certificate, Identity};
use saga_daemon::{Daemon, DaemonBuilder, DaemonError, Limits, Tls, TlsFiles};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use tempfile::TempDir;
use throwaway_postgres::Cluster;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::process::{BINARY, Served, folder, program, stderr, stdout};
use crate::support::{Gate, PATIENCE, memory, place_order};

/// An authority, and files signed by it.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { folder: folder(), issuer };
        fs::write(authority.path("ca.pem"), authority.issuer.pem()).unwrap();
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Writes the certificate and key of `name`.pem and `name`.key for a host.
    fn sign(&self, name: &str, host: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn files(&self, name: &str) -> TlsFiles {
        let (cert, key) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        TlsFiles { cert, key, client_ca: None }
    }

    /// A client that trusts this authority alone.
    fn client(&self) -> reqwest::ClientBuilder {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let roots = Certificate::from_pem(self.issuer.pem().as_bytes()).unwrap();
        reqwest::Client::builder().tls_certs_only([roots]).no_proxy().timeout(PATIENCE)
    }
}

/// A daemon with TLS, and its port.
async fn served(
    tls: Tls,
    tune: impl FnOnce(DaemonBuilder) -> DaemonBuilder,
) -> (u16, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let builder = Daemon::builder(memory()).register(place_order(&Gate::new(Semaphore::new(0))));
    let daemon = tune(builder.tls(tls)).start(listener).await.unwrap();
    let shutdown = CancellationToken::new();
    let running = daemon.run(shutdown.clone());
    (port, shutdown, tokio::spawn(async move { assert!(!running.await.gave_up) }))
}

#[tokio::test]
async fn the_api_answers_over_tls_and_a_stranger_to_the_authority_does_not_believe_it() {
    let authority = Authority::new();
    authority.sign("api", "localhost");
    let tls = Tls::load(authority.files("api")).unwrap();
    let (port, shutdown, running) = served(tls, |builder| builder).await;
    let url = format!("https://localhost:{port}/healthz");
    let client = authority.client().build().unwrap();
    assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
    let stranger = Authority::new().client().build().unwrap();
    assert!(stranger.get(&url).send().await.unwrap_err().is_connect());
    let elsewhere = format!("https://127.0.0.1:{port}/healthz");
    assert!(client.get(&elsewhere).send().await.is_err(), "the certificate is for another name");
    shutdown.cancel();
    timeout(PATIENCE, running).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn tls_1_1_is_refused_and_1_2_and_1_3_are_spoken() {
    let authority = Authority::new();
    authority.sign("api", "localhost");
    let (port, ..) = served(Tls::load(authority.files("api")).unwrap(), |builder| builder).await;
    let url = format!("https://localhost:{port}/healthz");
    for version in [reqwest::tls::Version::TLS_1_2, reqwest::tls::Version::TLS_1_3] {
        let client = authority.client().tls_version_min(version).tls_version_max(version);
        assert_eq!(client.build().unwrap().get(&url).send().await.unwrap().status(), 200);
    }
    // A hello of TLS 1.1, as nobody here can make one any more: an alert is all it gets.
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let body = [&[3, 2][..], &[7; 32], &[0, 0, 2, 0, 0x2f, 1, 0]].concat();
    let length = u8::try_from(body.len()).unwrap();
    let hello = [&[0x16, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat();
    stream.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is closed").ok();
    assert_eq!(answer.first(), Some(&0x15), "an alert: {answer:?}");
}

#[tokio::test]
async fn with_an_authority_of_clients_only_those_with_a_certificate_get_in() {
    let authority = Authority::new();
    authority.sign("api", "localhost");
    authority.sign("shop", "shop");
    let files = TlsFiles { client_ca: Some(authority.path("ca.pem")), ..authority.files("api") };
    let (port, ..) = served(Tls::load(files).unwrap(), |builder| builder).await;
    let url = format!("https://localhost:{port}/healthz");
    let nobody = authority.client().build().unwrap();
    assert!(nobody.get(&url).send().await.is_err());
    let identity = |of: &Authority| {
        let texts = ["shop.pem", "shop.key"].map(|name| fs::read_to_string(of.path(name)).unwrap());
        Identity::from_pem(texts.concat().as_bytes()).unwrap()
    };
    let shop = authority.client().identity(identity(&authority)).build().unwrap();
    assert_eq!(shop.get(&url).send().await.unwrap().status(), 200);
    let other = Authority::new();
    other.sign("shop", "shop");
    let impostor = authority.client().identity(identity(&other)).build().unwrap();
    assert!(impostor.get(&url).send().await.is_err());
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_cut_off_and_disturbs_nobody() {
    let authority = Authority::new();
    authority.sign("api", "localhost");
    let limits = Limits { handshake_within: Duration::from_millis(300), ..Limits::default() };
    let tls = Tls::load(authority.files("api")).unwrap();
    let (port, ..) = served(tls, |builder| builder.limits(limits)).await;
    let mut slow = Vec::new();
    for nth in 0..50 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // Some say nothing at all, some begin.
        if nth % 2 == 0 {
            stream.write_all(&[0x16, 3, 1, 0, 200, 1]).await.unwrap();
        }
        slow.push(stream);
    }
    let client = authority.client().build().unwrap();
    let url = format!("https://localhost:{port}/healthz");
    // In its own time, which the others do not take from it.
    let answered = async { while client.get(&url).send().await.is_err() {} };
    timeout(PATIENCE, answered).await.expect("others are served");
    for mut stream in slow {
        let mut rest = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is cut").ok();
    }
}

#[tokio::test]
async fn plain_http_to_a_port_with_tls_is_told_so() {
    let authority = Authority::new();
    authority.sign("api", "localhost");
    let (port, ..) = served(Tls::load(authority.files("api")).unwrap(), |builder| builder).await;
    let answer = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = answer.get(format!("http://localhost:{port}/healthz")).send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.unwrap().contains("https://"));
}

#[tokio::test]
async fn tls_does_not_stand_in_for_keys() {
    let authority = Authority::new();
    authority.sign("api", "localhost");
    let tls = Tls::load(authority.files("api")).unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = Daemon::builder(memory()).tls(tls).start(listener).await.unwrap_err();
    assert!(matches!(refused, DaemonError::Exposed { .. }), "{refused}");
}

#[test]
fn files_that_do_not_hold_what_they_should_are_named() {
    let authority = Authority::new();
    authority.sign("api", "localhost");
    authority.sign("other", "localhost");
    fs::write(authority.path("empty.pem"), "").unwrap();
    let cases = [
        (authority.path("nowhere.pem"), authority.path("api.key"), "nowhere.pem"),
        (authority.path("empty.pem"), authority.path("api.key"), "no certificate"),
        (authority.path("api.pem"), authority.path("api.pem"), "no private key"),
        (authority.path("api.pem"), authority.path("other.key"), "api.pem"),
    ];
    for (cert, key, says) in cases {
        let fault = Tls::load(TlsFiles { cert, key, client_ca: None }).unwrap_err().to_string();
        assert!(fault.contains(says), "{says}: {fault}");
        assert!(!fault.contains("BEGIN PRIVATE KEY-----\n"), "{fault}");
    }
}

#[test]
fn the_command_line_speaks_https_and_a_new_certificate_is_taken_on_sighup() {
    let authority = Authority::new();
    authority.sign("api", "localhost");
    let flags = ["--tls-cert", &authority.text("api.pem"), "--tls-key", &authority.text("api.key")];
    let served = Served::of(Path::new(BINARY), authority.folder.path(), &flags);
    assert!(served.url.starts_with("https://127.0.0.1:"), "{}", served.banner);
    let url = served.url.replace("127.0.0.1", "localhost");
    let list = |more: &[&str]| {
        let mut command = program(Path::new(BINARY));
        command.args(["list", "--url", &url]).args(more).output().unwrap()
    };
    let trusting = list(&["--ca", &authority.text("ca.pem")]);
    assert_eq!(trusting.status.code(), Some(0), "{}", stderr(&trusting));
    let stranger = list(&[]);
    assert_eq!(stranger.status.code(), Some(69), "{}", stdout(&stranger));
    assert!(stderr(&stranger).contains("--ca"), "{}", stderr(&stranger));
    let wrong = list(&["--ca", "/nowhere/ca.pem"]);
    assert!(stderr(&wrong).contains("/nowhere/ca.pem"), "{}", stderr(&wrong));

    // A key that does not fit is refused, and the old certificate stays.
    let good = fs::read(authority.path("api.key")).unwrap();
    fs::write(authority.path("api.key"), "nothing").unwrap();
    served.signal("HUP");
    served.until_logged("nothing was changed");
    assert_eq!(list(&["--ca", &authority.text("ca.pem")]).status.code(), Some(0));
    fs::write(authority.path("api.key"), good).unwrap();

    let next = Authority::new();
    next.sign("api", "localhost");
    for name in ["api.pem", "api.key"] {
        fs::copy(next.path(name), authority.path(name)).unwrap();
    }
    served.signal("HUP");
    served.until_logged("have been read again");
    let old = list(&["--ca", &authority.text("ca.pem")]);
    assert_eq!(old.status.code(), Some(69), "{}", stdout(&old));
    let renewed = list(&["--ca", &next.text("ca.pem")]);
    assert_eq!(renewed.status.code(), Some(0), "{}", stderr(&renewed));
}

#[test]
fn a_certificate_without_its_key_is_a_fault_of_the_configuration() {
    let mut command = program(Path::new(BINARY));
    let served = command.args(["serve", "--listen", "127.0.0.1:0", "--tls-cert", "a.pem"]);
    let served = served.output().unwrap();
    assert_eq!(served.status.code(), Some(78));
    assert!(stderr(&served).contains("tls.key"), "{}", stderr(&served));
}

/// Runs one statement at a time, as `ALTER SYSTEM` has to be; answers what the last one did.
async fn ask(url: &str, statements: &[String]) -> Vec<bool> {
    let mut db = PgConnection::connect(url).await.unwrap();
    let mut answer = Vec::new();
    for statement in statements {
        let rows = sqlx::query(AssertSqlSafe(statement.as_str())).fetch_all(&mut db).await.unwrap();
        answer = rows.iter().map(|row| row.get(0)).collect();
    }
    answer
}

/// A server with a certificate for `localhost`, and the URL of it without a word on TLS.
#[cfg(unix)]
async fn secured(authority: &Authority) -> (Cluster, String) {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

    let cluster = Cluster::start(&throwaway_postgres::Settings::default()).unwrap();
    authority.sign("db", "localhost");
    let owner = fs::metadata(cluster.folder()).unwrap();
    let mut statements = Vec::new();
    for (setting, file) in [("ssl_cert_file", "db.pem"), ("ssl_key_file", "db.key")] {
        let path = cluster.folder().join(file);
        fs::copy(authority.path(file), &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
        statements.push(format!("ALTER SYSTEM SET {setting} = '{}'", path.display()));
    }
    statements.push("ALTER SYSTEM SET ssl = on".to_owned());
    statements.push("SELECT pg_reload_conf()".to_owned());
    let url = cluster.create_database("sagas").unwrap();
    ask(&url, &statements).await;
    let url = url.replace("127.0.0.1", "localhost");
    let speaks_tls =
        async { while PgConnection::connect(&format!("{url}?sslmode=require")).await.is_err() {} };
    timeout(PATIENCE, speaks_tls).await.expect("the server has read its settings");
    (cluster, url)
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_reached_over_tls_and_an_impostor_is_refused() {
    let (authority, stranger, folder) = (Authority::new(), Authority::new(), folder());
    let (_cluster, url) = secured(&authority).await;
    let proven = format!("{url}?sslmode=verify-full&sslrootcert={}", authority.text("ca.pem"));
    let served = Served::start(folder.path(), &["--store", &proven]);
    let done = served.run(&["start", "brew-tea", "{\"cups\": 1}", "--wait", "60s"]);
    assert_eq!(done.status.code(), Some(0), "{} {}", stderr(&done), served.log());
    let look = "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'saga'";
    let encrypted = ask(&url, &[look.to_owned()]).await;
    assert!(encrypted.len() >= 2 && encrypted.iter().all(|is| *is), "{encrypted:?}");

    let by_address = proven.replace("localhost", "127.0.0.1");
    let by_stranger = proven.replace(&authority.text("ca.pem"), &stranger.text("ca.pem"));
    let in_the_clear = throwaway_postgres::fresh_database().unwrap() + "?sslmode=verify-full";
    for impostor in [by_address, by_stranger, in_the_clear] {
        let refused =
            program(Path::new(BINARY)).args(["migrate", "--check", "--store", &impostor]).output();
        let refused = refused.unwrap();
        assert_ne!(refused.status.code(), Some(0), "{impostor}: {}", stdout(&refused));
        let why = stderr(&refused);
        assert!(why.contains("TLS") || why.contains("certificate"), "{impostor}: {why}");
    }
}

#[test]
fn a_database_elsewhere_that_need_not_prove_who_it_is_is_warned_of() {
    let serve = |url: &str| {
        let mut serve = program(Path::new(BINARY));
        serve.args(["serve", "--listen", "127.0.0.1:0", "--store", url]);
        stderr(&serve.output().unwrap())
    };
    // Names below `invalid` lead nowhere.
    let warned = serve("postgres://saga@db.invalid/saga");
    assert!(warned.contains("WARN") && warned.contains("sslmode=verify-full"), "{warned}");
    let proven = serve("postgres://saga@db.invalid/saga?sslmode=verify-full");
    assert!(!proven.contains("sslmode"), "{proven}");
}
