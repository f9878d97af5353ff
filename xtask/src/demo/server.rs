//! The PostgreSQL server of a run: one that is given, or a throwaway of the run's own.

use anyhow::Context as _;
use reqwest::Url;
use throwaway_postgres::{Cluster, Settings, URL_VARIABLE};

use super::options::{Options, Store};

/// How many of the last lines of a server's log are shown when it ends.
const TAIL_LINES: usize = 8;

/// Where a server is to come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// It runs already.
    Given(Url),
    /// The run starts its own.
    Throwaway,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    url: Url,
    own: Option<Cluster>,
}

impl Source {
    /// Where the server of a run comes from; nothing for a run without one. It is looked for before
    /// anything is built, so that a missing server costs nobody minutes.
    ///
    /// # Errors
    /// When none is given and none is installed, or the environment holds a URL that is none.
    pub(crate) fn find(options: &Options) -> anyhow::Result<Option<Self>> {
        if options.store == Store::Sqlite {
            return Ok(None);
        }
        let given = match &options.postgres_url {
            Some(url) => Some(parse("--postgres-url", url)),
            None => throwaway_postgres::given().map(|url| parse(URL_VARIABLE, &url)),
        };
        match given {
            Some(url) => Ok(Some(Self::Given(url.map_err(anyhow::Error::msg)?))),
            None => {
                throwaway_postgres::installed().context(
                    "there is no PostgreSQL to run on, and neither --postgres-url nor \
                     SAGA_TEST_POSTGRES_URL names a server",
                )?;
                Ok(Some(Self::Throwaway))
            }
        }
    }
}

impl Server {
    /// Starts a server of the run's own, or takes the given one without a look at it.
    ///
    /// # Errors
    /// When the server's programs say so.
    pub(crate) async fn start(source: Source, connections: u32) -> anyhow::Result<Self> {
        if let Source::Given(url) = source {
            return Ok(Self { url, own: None });
        }
        // Some for whoever looks into the databases while the demo runs.
        let most = ("max_connections".to_owned(), (connections + 20).to_string());
        let starting =
            tokio::task::spawn_blocking(|| Cluster::start(&Settings { server: vec![most] }));
        let cluster = starting.await.context("the start of PostgreSQL panicked")?;
        let cluster = cluster.context("could not start a PostgreSQL server for the demo")?;
        let url = Url::parse(&cluster.url("postgres")).context("the server has no URL")?;
        Ok(Self { url, own: Some(cluster) })
    }

    /// The URL of a database there, without a password.
    pub(crate) fn url(&self, database: Option<&str>) -> Url {
        let mut url = self.url.clone();
        if url.password().is_some() {
            url.set_password(None).ok();
        }
        if let Some(database) = database {
            url.set_path(database);
        }
        url
    }

    /// What the processes need in their environment: the password, which must not stand in command
    /// lines that everybody can read.
    pub(crate) fn environment(&self) -> Option<(&'static str, String)> {
        let password = self.url.password()?;
        Some(("PGPASSWORD", percent_decoded(password)))
    }

    /// Whether it goes with the run.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Fails when the run's own server has ended.
    pub(crate) fn check_running(&self) -> anyhow::Result<()> {
        let Some(cluster) = self.own.as_ref().filter(|cluster| cluster.server_has_ended()) else {
            return Ok(());
        };
        let log = cluster.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n    ");
        anyhow::bail!("the PostgreSQL server ended; the last lines of its log:\n    {tail}")
    }

    /// Ends the run's own server. A folder that is kept is told with how to look into it.
    pub(crate) async fn end(self, keep: bool) -> Option<String> {
        let cluster = self.own?;
        let port = cluster.port();
        let ended = tokio::task::spawn_blocking(move || match keep {
            true => cluster.keep().map(Some),
            false => {
                drop(cluster);
                Ok(None)
            }
        });
        match ended.await {
            Ok(Ok(folder)) => folder.map(|folder| {
                let data = folder.join("data");
                format!(
                    "PostgreSQL's data is kept in {}; as the owner of that folder, \
                     `postgres -D {} -p {port} -k ''` serves it again",
                    folder.display(),
                    data.display()
                )
            }),
            Ok(Err(error)) => Some(format!("PostgreSQL's data could not be kept: {error}")),
            Err(_) => Some("the end of PostgreSQL panicked".to_owned()),
        }
    }
}

/// The URL of a PostgreSQL database; a message names where it was given and never repeats it, since
/// it may hold a password.
pub(crate) fn parse(given_by: &str, text: &str) -> Result<Url, String> {
    let expected = "expected postgres://USER@HOST:PORT/DATABASE";
    let url =
        Url::parse(text).map_err(|error| format!("{given_by} is no URL ({error}); {expected}"))?;
    match url.scheme() {
        "postgres" | "postgresql" if !url.cannot_be_a_base() => Ok(url),
        scheme => Err(format!("{given_by} begins with `{scheme}:`; {expected}")),
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| byte == b'%');
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(code) => {
                bytes.push(code);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(url: &str) -> Server {
        Server { url: parse("--postgres-url", url).unwrap(), own: None }
    }

    #[test]
    fn a_password_goes_into_the_environment_and_not_into_the_url() {
        let server = given("postgres://shop:p%40ss%2Fw@db.example:5433/books?sslmode=require");
        assert_eq!(server.environment(), Some(("PGPASSWORD", "p@ss/w".to_owned())));
        let fresh = server.url(Some("fresh")).to_string();
        assert_eq!(fresh, "postgres://shop@db.example:5433/fresh?sslmode=require");
        let first = server.url(None).to_string();
        assert_eq!(first, "postgres://shop@db.example:5433/books?sslmode=require");
    }

    #[test]
    fn without_a_password_the_environment_is_left_alone() {
        assert_eq!(given("postgresql://shop@db/books").environment(), None);
    }
}
