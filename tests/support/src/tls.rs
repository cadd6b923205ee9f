//! An authority that vouches for the servers of one test, and for their clients.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// The names of a server of the tests.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "registry.test"];

/// An authority, with a certificate for a server and one for a client, in PEM.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) certificate: String,
    pub(crate) client: Identity,
    pub(crate) server: Arc<ServerConfig>,
}

/// A certificate with its key, in PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The key.
    pub key: String,
}

impl Authority {
    /// A new authority; its server asks clients for a certificate, or does not.
    pub(crate) fn new(asks: bool) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority can be made");
        let signed = |names: &[&str]| {
            let key = KeyPair::generate().expect("a key can be made");
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            let params = CertificateParams::new(names).expect("the names are names");
            let certificate = params.signed_by(&key, &issuer).expect("it can be signed");
            Identity { certificate: certificate.pem(), key: key.serialize_pem() }
        };
        let (certificate, own) = (issuer.pem(), signed(&NAMES));
        let server = Arc::new(config(&certificate, &own, asks));
        Self { certificate, client: signed(&["client.test"]), server }
    }
}

fn config(authority: &str, own: &Identity, asks: bool) -> ServerConfig {
    let read = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("it is PEM");
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider knows the usual versions");
    let builder = if asks {
        let mut roots = RootCertStore::empty();
        roots.add(read(authority)).expect("an authority is a root");
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
        builder.with_client_cert_verifier(verifier.build().expect("there is a root"))
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("it is PEM");
    builder.with_single_cert(vec![read(&own.certificate)], key).expect("the key fits")
}

/// A connection with or without TLS.
pub(crate) enum Connection {
    Plain(TcpStream),
    Secure(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, server: Option<Arc<ServerConfig>>) -> Self {
        match server {
            None => Self::Plain(stream),
            Some(server) => {
                let session = ServerConnection::new(server).expect("the settings fit");
                Self::Secure(Box::new(StreamOwned::new(session, stream)))
            }
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(stream) => stream.as_fd(),
            Self::Secure(stream) => stream.sock.as_fd(),
        }
    }
}

impl Read for Connection {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(bytes),
            Self::Secure(stream) => stream.read(bytes),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Secure(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Secure(stream) => stream.flush(),
        }
    }
}
