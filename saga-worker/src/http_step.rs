//! Steps whose actions and compensations are HTTP calls in the participant protocol.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use saga_core::Step;

use crate::http_call::HttpCall;

/// A service that takes part in sagas, reached over HTTP.
///
/// ```
/// use saga_core::{Definition, Step};
/// use saga_worker::HttpParticipant;
///
/// let inventory = HttpParticipant::new("inventory", "http://127.0.0.1:8081")?;
/// let payments = HttpParticipant::new("payments", "http://127.0.0.1:8082/v1")?;
/// let definition = Definition::new("buy", [
///     inventory.compensatable("reserve-stock", "reserve", "release")?,
///     payments.pivot("capture-payment", "capture")?,
/// ])?;
/// assert_eq!(definition.spec().steps[0].participant, "inventory");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct HttpParticipant {
    name: Arc<str>,
    base: Url,
    client: reqwest::Client,
}

/// A participant that cannot be called as described.
#[derive(Debug, thiserror::Error)]
pub enum HttpParticipantError {
    /// The address is not a URL that can be called.
    #[error(
        "participant {participant}: {url:?} {why}: expected a URL such as http://127.0.0.1:8081"
    )]
    Url {
        /// The participant's name.
        participant: String,
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The HTTP client could not be built.
    #[error("participant {participant}: the HTTP client cannot be built: {source}")]
    Client {
        /// The participant's name.
        participant: String,
        /// Why.
        source: reqwest::Error,
    },
}

impl HttpParticipant {
    /// A participant at a base URL, to which the paths of its endpoints are added.
    ///
    /// Redirects are not followed and proxies of the environment not used: a call goes where it
    /// was meant to, or fails.
    ///
    /// # Errors
    /// [`HttpParticipantError`] naming the participant and what was wrong.
    pub fn new(name: impl Into<String>, base: &str) -> Result<Self, HttpParticipantError> {
        let participant = name.into();
        let mut client = Self::client_builder();
        if base.starts_with("http://") {
            // No call leads to https from here, so the system's roots need not be read and parsed,
            // which would be the larger part of a worker's start.
            client = client.tls_certs_only(std::iter::empty());
        }
        let client = client.build().map_err(|source| HttpParticipantError::Client {
            participant: participant.clone(),
            source,
        })?;
        Self::with_client(participant, base, client)
    }

    /// A participant that is called through a client of your own; participants that share a client
    /// share its connections. Begin with [`HttpParticipant::client_builder`]: a client that follows
    /// redirects or uses a proxy sends calls where nobody meant them to go.
    ///
    /// # Errors
    /// [`HttpParticipantError::Url`] naming the participant and what was wrong.
    pub fn with_client(
        name: impl Into<String>,
        base: &str,
        client: reqwest::Client,
    ) -> Result<Self, HttpParticipantError> {
        let participant = name.into();
        let faulty = |why: &str| HttpParticipantError::Url {
            participant: participant.clone(),
            url: base.to_owned(),
            why: why.to_owned(),
        };
        let with_slash = format!("{}/", base.trim_end_matches('/'));
        let base_url = Url::parse(&with_slash).map_err(|e| faulty(&format!("is no URL ({e})")))?;
        if !matches!(base_url.scheme(), "http" | "https") || base_url.host_str().is_none() {
            return Err(faulty("is neither http nor https"));
        }
        if base_url.query().is_some() || base_url.fragment().is_some() {
            return Err(faulty("has a query or a fragment"));
        }
        Ok(Self { name: participant.into(), base: base_url, client })
    }

    /// The settings that [`HttpParticipant::new`] builds its client from: no redirects, no proxy,
    /// five seconds to connect. Add what is your own, such as a resolver.
    pub fn client_builder() -> reqwest::ClientBuilder {
        // Only the first installation in a process counts; a program may have chosen another provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
    }

    /// A compensatable step: `POST <base>/<action>`, undone by `POST <base>/<compensation>`.
    ///
    /// # Errors
    /// [`HttpParticipantError::Url`] when a path does not make a URL below the base.
    pub fn compensatable(
        &self,
        step: &str,
        action: &str,
        compensation: &str,
    ) -> Result<Step, HttpParticipantError> {
        Ok(self.compensatable_calls(step, self.call(action)?, self.call(compensation)?))
    }

    /// A pivot: `POST <base>/<action>`.
    ///
    /// # Errors
    /// As [`HttpParticipant::compensatable`].
    pub fn pivot(&self, step: &str, action: &str) -> Result<Step, HttpParticipantError> {
        Ok(self.pivot_call(step, self.call(action)?))
    }

    /// A retriable step: `POST <base>/<action>`.
    ///
    /// # Errors
    /// As [`HttpParticipant::compensatable`].
    pub fn retriable(&self, step: &str, action: &str) -> Result<Step, HttpParticipantError> {
        Ok(self.retriable_call(step, self.call(action)?))
    }

    /// A compensatable step of calls made to measure.
    pub fn compensatable_calls(
        &self,
        step: &str,
        action: HttpCall,
        compensation: HttpCall,
    ) -> Step {
        let step = Step::compensatable_calls::<serde_json::Value>(step, action, compensation);
        step.participant(&*self.name)
    }

    /// A pivot of a call made to measure.
    pub fn pivot_call(&self, step: &str, action: HttpCall) -> Step {
        Step::pivot_call::<serde_json::Value>(step, action).participant(&*self.name)
    }

    /// A retriable step of a call made to measure.
    pub fn retriable_call(&self, step: &str, action: HttpCall) -> Step {
        Step::retriable_call::<serde_json::Value>(step, action).participant(&*self.name)
    }

    /// `POST <base>/<path>`, to be changed where the participant speaks otherwise.
    ///
    /// # Errors
    /// [`HttpParticipantError::Url`] when the path does not make a URL below the base.
    pub fn call(&self, path: &str) -> Result<HttpCall, HttpParticipantError> {
        let faulty = |why: String| HttpParticipantError::Url {
            participant: self.name.to_string(),
            url: path.to_owned(),
            why,
        };
        let url = self.base.join(path.trim_start_matches('/'));
        let url = url.map_err(|error| faulty(format!("is no path ({error})")))?;
        HttpCall::new(self.client.clone(), self.base.clone(), url)
            .ok_or_else(|| faulty(format!("leads away from {}", self.base)))
    }
}
