//! Heartbeats over a network that goes silent without a word.

use std::net::SocketAddr;
use std::time::Duration;

use saga_core::store::Leases;
use saga_store::{PostgresOptions, PostgresStore};
use sqlx::postgres::PgConnectOptions;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Fresh, card, fresh};

/// Long enough for a server that is busy with other tests, and shorter than a connection may take
/// to be made.
const LEASE: Duration = Duration::from_secs(3);
/// When a worker gives its lease up by itself.
const GIVEN_UP: Duration = Duration::from_millis(2_400);

/// A proxy before the server: what it swallows never arrives, and nobody is told.
struct Proxy {
    address: SocketAddr,
    network: watch::Sender<Network>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Network {
    /// Connections made before this was raised are dead.
    silences: u32,
    /// Whether connections that are made now are dead from the beginning.
    swallows: bool,
}

impl Proxy {
    async fn before(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("the port");
        let network = watch::Sender::new(Network::default());
        let now = network.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, server.clone(), now.clone()));
            }
        });
        Self { address, network }
    }

    /// All connections that there are go silent; new ones do as well until [`Proxy::heal`].
    fn go_silent(&self, swallows: bool) {
        self.network.send_modify(|now| *now = Network { silences: now.silences + 1, swallows });
    }

    fn heal(&self) {
        self.network.send_modify(|now| now.swallows = false);
    }
}

async fn carry(mut client: TcpStream, server: String, mut network: watch::Receiver<Network>) {
    let born = *network.borrow_and_update();
    if !born.swallows {
        let mut server = TcpStream::connect(server).await.expect("the server listens");
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
            _ = network.wait_for(|now| now.silences > born.silences) => {}
        }
        // The server's end stays open as well: it hears nothing of the silence either.
        std::future::pending::<()>().await;
    }
    // Dead for as long as the proxy lives, also once later connections work again.
    let _held = client;
    std::future::pending().await
}

/// A store behind a proxy whose heartbeat has a connection already, and its worker.
async fn beating() -> (Proxy, PostgresStore, saga_core::WorkerId) {
    let Fresh(url) = fresh();
    let options: PgConnectOptions = url.parse().expect("the fixture's URL");
    let proxy = Proxy::before(format!("{}:{}", options.get_host(), options.get_port())).await;
    let options = options.host("127.0.0.1").port(proxy.address.port());
    let store = PostgresStore::open(PostgresOptions::from(options)).await.expect("it opens");
    let card = card();
    store.enlist(&card, LEASE).await.expect("a lease");
    assert_eq!(store.renew(card.id, LEASE).await, Ok(true));
    (proxy, store, card.id)
}

#[tokio::test]
async fn a_renewal_on_a_silent_connection_is_answered_over_another_within_the_lease() {
    let (proxy, store, worker) = beating().await;
    let asked = Instant::now();
    proxy.go_silent(false);
    assert_eq!(store.renew(worker, LEASE).await, Ok(true));
    assert!(asked.elapsed() < GIVEN_UP, "after {:?}", asked.elapsed());
}

#[tokio::test]
async fn a_renewal_does_not_wait_for_a_connection_that_is_never_made() {
    let (proxy, store, worker) = beating().await;
    let asked = Instant::now();
    proxy.go_silent(true);
    let heals = async {
        // The connection that there was is given up, and the first that replaces it is begun.
        tokio::time::sleep(LEASE / 3 + Duration::from_millis(200)).await;
        proxy.heal();
    };
    let (renewed, ()) = tokio::join!(store.renew(worker, LEASE), heals);
    assert_eq!(renewed, Ok(true));
    assert!(asked.elapsed() < GIVEN_UP, "after {:?}", asked.elapsed());
}

#[tokio::test]
async fn a_renewal_that_comes_after_the_lease_has_ended_does_not_bring_it_back() {
    let (proxy, store, worker) = beating().await;
    proxy.go_silent(true);
    let heals = async {
        tokio::time::sleep(LEASE + Duration::from_millis(200)).await;
        proxy.heal();
    };
    let (renewed, ()) = tokio::join!(store.renew(worker, LEASE), heals);
    assert_ne!(renewed, Ok(true), "others may have its sagas");
    assert_eq!(store.renew(worker, LEASE).await, Ok(false), "and it stays lost");
}
