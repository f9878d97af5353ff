//! TLS of the API: certificate and key from files, read again on request.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::RootCertStore;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};

/// The files that TLS is made of, all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those of the authorities between it and the root.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities of the certificates that clients must show. `None`: clients show none.
    pub client_ca: Option<PathBuf>,
}

/// What the API shows to its clients: TLS 1.2 or newer. Clones share what is read later.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

impl Tls {
    /// Reads the files and checks that they fit together.
    ///
    /// # Errors
    /// [`TlsError`] naming the file and what is wrong with it.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let config = read(&files)?;
        Ok(Self { files, config: Arc::new(RwLock::new(config)) })
    }

    /// Reads the files again. Connections made from now on see what is in them; with an error
    /// everything stays as it was.
    ///
    /// # Errors
    /// As [`Tls::load`].
    pub fn reload(&self) -> Result<(), TlsError> {
        self.replace(read(&self.files)?);
        Ok(())
    }

    /// What is in the files now, checked but not yet in use.
    pub(crate) fn read_again(&self) -> Result<Arc<ServerConfig>, TlsError> {
        read(&self.files)
    }

    pub(crate) fn replace(&self, config: Arc<ServerConfig>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {error}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}: {found}: expected {expected}", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
        /// What it should hold.
        expected: &'static str,
    },
}

fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(&files.cert)?;
    let key_bytes = bytes(&files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&key_bytes).map_err(|error| TlsError::Content {
        path: files.key.clone(),
        found: format!("no private key in PEM ({error})"),
        expected: "a private key such as `-----BEGIN PRIVATE KEY-----`, without a password",
    })?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("ring has what TLS 1.2 and 1.3 need");
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| authorities(path, &error))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| TlsError::Content {
        path: files.cert.clone(),
        found: error.to_string(),
        expected: "the certificate of the key, its own first, then those of the authorities",
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| authorities(path, &error))?;
    }
    Ok(roots)
}

fn authorities(path: &Path, error: &dyn fmt::Display) -> TlsError {
    TlsError::Content {
        path: path.to_owned(),
        found: error.to_string(),
        expected: "the certificates of the authorities that sign those of clients",
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |found: String| TlsError::Content {
        path: path.to_owned(),
        found,
        expected: "certificates in PEM, such as `-----BEGIN CERTIFICATE-----`",
    };
    let bytes = bytes(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| wrong(format!("a certificate is damaged ({error})")))?;
    if found.is_empty() { Err(wrong("no certificate".to_owned())) } else { Ok(found) }
}

fn bytes(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|error| TlsError::File { path: path.to_owned(), error })
}
