//! Which pages may open streams: those of this daemon's own address, and those that are listed.

use crate::problem::{Kind, Problem};
use crate::request::Call;
use crate::service::App;

/// Refuses the pages of other sites. Browsers name the site of a page with every WebSocket and every
/// request across sites; programs name none.
///
/// # Errors
/// A problem when the site is not one of those allowed.
pub(crate) fn check(app: &App, call: &Call) -> Result<(), Problem> {
    let Some(origin) = call.header("Origin")? else { return Ok(()) };
    let host = call.header("Host")?.unwrap_or_default();
    if is_same(origin, host) || app.allows_origin(origin) {
        return Ok(());
    }
    let shown: String = origin.chars().take(64).collect();
    let detail = format!(
        "`Origin` is {shown:?}, and this request was made to {host:?}: pages of other sites open no streams here unless they are listed under `http.origins`"
    );
    Err(Problem::new(Kind::ForeignOrigin, detail))
}

/// Whether a page of this origin came from this host, by either scheme: what stands before a
/// daemon may take TLS off.
fn is_same(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let bare = |text: &str| text.strip_suffix(port).unwrap_or(text).to_ascii_lowercase();
    !authority.is_empty() && bare(authority) == bare(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_the_same_host_and_port_are_of_the_same_site() {
        for (origin, host) in [
            ("http://127.0.0.1:7878", "127.0.0.1:7878"),
            ("https://saga.example", "saga.example"),
            ("https://saga.example", "saga.example:443"),
            ("http://Saga.Example:80", "saga.example"),
        ] {
            assert!(is_same(origin, host), "{origin} {host}");
        }
        for (origin, host) in [
            ("null", "127.0.0.1:7878"),
            ("", ""),
            ("http://", ""),
            ("http://evil.example", "127.0.0.1:7878"),
            ("http://127.0.0.1:9999", "127.0.0.1:7878"),
            ("http://127.0.0.1:7878.evil.example", "127.0.0.1:7878"),
            ("file://127.0.0.1:7878", "127.0.0.1:7878"),
            ("http://saga.example:443", "saga.example"),
        ] {
            assert!(!is_same(origin, host), "{origin} {host}");
        }
    }
}
