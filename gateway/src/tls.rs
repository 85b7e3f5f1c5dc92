//! The certificate and key under which the gateway answers.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring,
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject},
        },
    },
};

/// Files in PEM format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those that vouch for it.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("gateway.{key}: {} cannot be used ({why}): give a file in PEM format", path.display())]
    File { key: &'static str, path: PathBuf, why: String },
    #[error(
        "gateway.tls_cert and gateway.tls_key cannot be used together ({0}): give the key of this certificate"
    )]
    Pair(rustls::Error),
}

/// Reads the files.
pub(crate) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let chain: Vec<CertificateDer<'static>> =
        read(&files.cert, "tls_cert", |path| CertificateDer::pem_file_iter(path)?.collect())?;
    let key = read(&files.key, "tls_key", |path| PrivateKeyDer::from_pem_file(path))?;
    if chain.is_empty() {
        let why = "it has no certificate in it".to_owned();
        return Err(TlsError::File { key: "tls_cert", path: files.cert.clone(), why });
    }
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn read<T>(
    path: &Path,
    key: &'static str,
    parse: impl FnOnce(&Path) -> Result<T, pem::Error>,
) -> Result<T, TlsError> {
    parse(path).map_err(|error| {
        let why = match error {
            pem::Error::Io(error) => error.to_string(),
            // What the parser says of the content may quote it, and this may be a key.
            pem::Error::NoItemsFound => "there is none of its kind in it".into(),
            _ => "it is not well-formed".into(),
        };
        TlsError::File { key, path: path.to_owned(), why }
    })
}
