//! The authorities whose client certificates a server believes. A handshake takes what any server would believe; whether this
//! one does is asked again, of its own authorities alone.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;

use super::certificate::Certificate;
use super::{certificates, kept, warning};

/// The authorities of one file.
#[derive(Clone)]
pub(crate) struct ClientCa {
    verifier: Arc<dyn ClientCertVerifier>,
    roots: Arc<[CertificateDer<'static>]>,
}

/// By their files.
pub(crate) type ClientCas = BTreeMap<PathBuf, Arc<ClientCa>>;

/// What a client showed in a handshake, and has the key of.
pub(crate) struct ClientCertificate {
    /// `uri:…`, `email:…`, `dns:…` or `subject:…`, what it has first of these.
    pub(crate) name: Arc<str>,
    /// The client's own first.
    chain: Box<[CertificateDer<'static>]>,
}

impl ClientCa {
    /// Whether they vouch for it now.
    pub(crate) fn vouches_for(&self, shown: &ClientCertificate) -> bool {
        let Some((own, intermediates)) = shown.chain.split_first() else { return false };
        self.verifier.verify_client_cert(own, intermediates, UnixTime::now()).is_ok()
    }

    /// Whether all of these authorities are among them.
    pub(crate) fn includes(&self, other: &ClientCa) -> bool {
        other.roots.iter().all(|root| self.roots.contains(root))
    }
}

impl fmt::Debug for ClientCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCa").finish_non_exhaustive()
    }
}

impl ClientCertificate {
    /// `None` where it has no name that can be told from others in a log: none, one with control characters, one beyond 256
    /// bytes.
    pub(crate) fn of(chain: &[CertificateDer<'_>]) -> Option<ClientCertificate> {
        let name = Certificate::read(chain.first()?)?.principal_name()?;
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Some(ClientCertificate { name: name.into(), chain })
    }
}

/// Reads each of the files. Also gives what verifies for all of them in a handshake; without any, no client is asked.
pub(super) fn read<'a>(
    files: impl IntoIterator<Item = &'a Path>,
    provider: &Arc<CryptoProvider>,
    (faults, warnings): (&mut Vec<String>, &mut Vec<String>),
) -> Option<(ClientCas, Arc<dyn ClientCertVerifier>)> {
    let mut authorities = ClientCas::new();
    let mut union = RootCertStore::empty();
    let mut is_whole = true;
    for file in files {
        let roots = kept(certificates("--client-ca", file), faults).unwrap_or_default();
        warnings.extend(roots.iter().filter_map(|root| warning("--client-ca", file, root)));
        let store = store(file, &roots, faults);
        let read = store.and_then(|store| {
            union.extend(store.roots.iter().cloned());
            kept(verifier(store, provider).map_err(|error| format!("--client-ca {}: {error}", file.display())), faults)
        });
        is_whole &= read.is_some();
        let client_ca = read.map(|verifier| Arc::new(ClientCa { verifier, roots: roots.into() }));
        authorities.extend(client_ca.map(|client_ca| (file.to_owned(), client_ca)));
    }
    if !is_whole {
        return None;
    }
    let verifier = match authorities.is_empty() {
        true => WebPkiClientVerifier::no_client_auth(),
        false => kept(verifier(union, provider).map_err(|error| format!("--client-ca: {error}")), faults)?,
    };
    Some((authorities, verifier))
}

/// All of the file, or nothing.
fn store(file: &Path, roots: &[CertificateDer<'static>], faults: &mut Vec<String>) -> Option<RootCertStore> {
    let mut store = RootCertStore::empty();
    for (at, root) in roots.iter().enumerate() {
        if let Err(error) = store.add(root.clone()) {
            faults.push(format!("--client-ca {}: certificate {} in it cannot be used: {error}", file.display(), at + 1));
        }
    }
    (store.len() == roots.len().max(1)).then_some(store)
}

fn verifier(store: RootCertStore, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
    builder.allow_unauthenticated().build().map_err(|error| error.to_string())
}
