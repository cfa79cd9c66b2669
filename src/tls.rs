//! TLS for the listeners: certificate, key and the authorities of client certificates are read from files, checked against
//! each other, and put in force for the handshakes from then on. TLS 1.2 and 1.3 with their strong suites; what is weak is not
//! there to be switched off.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::ServerConfig;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{Error, InconsistentKeys, version};
use tokio_rustls::{Accept, TlsAcceptor};

use self::certificate::Certificate;
pub(crate) use self::client_ca::{ClientCa, ClientCas, ClientCertificate};

mod certificate;
mod client_ca;

/// What a handshake says that is to be spoken behind it (RFC 7301).
pub(crate) const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Files that can be served with.
#[derive(Debug)]
pub(crate) struct Tls {
    server: Arc<ServerConfig>,
    /// Whose client certificates are believed, file by file.
    pub(crate) client_cas: ClientCas,
    warnings: Vec<String>,
}

/// Everything that is wrong with the files, a line each.
#[derive(Debug, Error)]
#[error("{}", lines.join("\n"))]
pub(crate) struct TlsFault {
    pub(crate) lines: Vec<String>,
}

impl Tls {
    /// Reads the server's certificate with its intermediate ones, its key, and files of authorities whose client certificates
    /// are believed. Without any of those, no client is asked for one.
    pub(crate) fn read<'a>(
        certificate: &Path,
        key: &Path,
        client_cas: impl IntoIterator<Item = &'a Path>,
    ) -> Result<Tls, TlsFault> {
        let provider = Arc::new(ring::default_provider());
        let mut lines = Vec::new();
        let chain = kept(certificates("--tls-cert", certificate), &mut lines);
        let key_der = kept(private_key(key), &mut lines);
        let mut warnings: Vec<_> =
            chain.iter().flatten().take(1).filter_map(|leaf| warning("--tls-cert", certificate, leaf)).collect();
        let identity = chain.zip(key_der);
        let identity =
            identity.and_then(|(chain, key_der)| kept(identify(certificate, chain, key, key_der, &provider), &mut lines));
        let believed = client_ca::read(client_cas, &provider, (&mut lines, &mut warnings));
        match (identity, believed) {
            (Some(identity), Some((client_cas, verifier))) => {
                let server = server(identity, verifier, provider).map_err(|fault| TlsFault { lines: vec![fault] })?;
                Ok(Tls { server: Arc::new(server), client_cas, warnings })
            }
            _ => Err(TlsFault { lines }),
        }
    }

    /// What whoever runs the gateway should know, although it can be served.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// What the handshakes of the listeners use. A reload puts other files in force; what has been negotiated goes on.
pub(crate) struct Handshakes(ArcSwap<ServerConfig>);

impl Handshakes {
    pub(crate) fn new(tls: Tls) -> Handshakes {
        Handshakes(ArcSwap::new(tls.server))
    }

    /// In force from the next handshake on. What clients keep to resume their sessions is void with it: a certificate that
    /// another authority vouched for proves nothing any more.
    pub(crate) fn renew(&self, tls: Tls) {
        self.0.store(tls.server);
    }

    pub(crate) fn begin<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Accept<S> {
        TlsAcceptor::from(self.0.load_full()).accept(stream)
    }
}

/// What was read, or a line about it.
fn kept<T>(read: Result<T, String>, faults: &mut Vec<String>) -> Option<T> {
    read.map_err(|fault| faults.push(fault)).ok()
}

fn certificates(option: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(option, file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(format!(
            "{option} {}: no certificate in it; give a PEM file, with lines that say BEGIN CERTIFICATE",
            file.display()
        )),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("{option} {}: not PEM as it should be ({error}); write the file anew", file.display())),
    }
}

/// Errors do not repeat what stands in the file.
fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = read("--tls-key", file)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let is_encrypted = text.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
        let fault = match error {
            pem::Error::NoItemsFound if is_encrypted => {
                "the key is encrypted; write it without a passphrase, and let nobody else read the file"
            }
            pem::Error::NoItemsFound => "no private key in it; give a PEM file, with a line that says BEGIN PRIVATE KEY",
            _ => "not PEM as it should be; write the file anew",
        };
        format!("--tls-key {}: {fault}", file.display())
    })
}

fn read(option: &str, file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => "; let the gateway's user read it",
            _ => "",
        };
        format!("{option} {}: {error}{hint}", file.display())
    })
}

/// A certificate that is out of its time is served with all the same: clients say what they think of it, and a clock may be wrong.
fn warning(option: &str, file: &Path, certificate: &CertificateDer<'_>) -> Option<String> {
    let read = Certificate::read(certificate)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let days = |time: Duration| time.as_secs() / (24 * 3600);
    if read.not_after < now {
        let days = days(now - read.not_after);
        return Some(format!("{option} {}: expired {days} days ago; put another in its place and send SIGHUP", file.display()));
    }
    (now < read.not_before).then(|| {
        let days = days(read.not_before - now);
        format!("{option} {}: not valid yet, for {days} days; is this machine's clock right?", file.display())
    })
}

fn identify(
    certificate: &Path,
    chain: Vec<CertificateDer<'static>>,
    key: &Path,
    key_der: PrivateKeyDer<'static>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let signing = provider.key_provider.load_private_key(key_der).map_err(|error| {
        format!("--tls-key {}: {error}; use a key of ECDSA P-256 or P-384, of Ed25519, or of RSA from 2048 bits", key.display())
    })?;
    let identity = CertifiedKey::new(chain, signing);
    match identity.keys_match() {
        Ok(()) => Ok(identity),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(format!(
            "--tls-key {}: does not belong to the first certificate in {}; give the key that it was issued for, and the \
             server's own certificate first",
            key.display(),
            certificate.display()
        )),
        Err(error) => Err(format!("--tls-cert {}: the first certificate in it cannot be used: {error}", certificate.display())),
    }
}

fn server(
    identity: CertifiedKey,
    verifier: Arc<dyn ClientCertVerifier>,
    provider: Arc<CryptoProvider>,
) -> Result<ServerConfig, String> {
    let tickets = ring::Ticketer::new().map_err(|error| format!("no key for session tickets: {error}"))?;
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .expect("the provider has suites for both versions")
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    server.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
    // The order is ours, the strongest first: a client may be old, or told to choose badly.
    server.ignore_client_order = true;
    server.ticketer = tickets;
    Ok(server)
}

/// What the first line of a key says that has a passphrase: as PKCS #8, and as OpenSSL wrote it before.
const ENCRYPTED: &[u8] = b"ENCRYPTED";

#[cfg(test)]
pub(crate) mod tests;
