//! An object store in this process that speaks S3, on a port of loopback: `s3s`, with its files in a
//! folder. It knows one user, whose signatures it checks.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// The user, and what proves it.
const USER: [&str; 2] = ["tester", "hush-hush"];

/// An object store with one empty bucket, that runs as long as this lives.
#[derive(Debug)]
pub(super) struct Bucket {
    folder: TempDir,
    address: SocketAddr,
    // Dropped, it stops.
    _runtime: Runtime,
}

impl Bucket {
    /// The bucket's name.
    const NAME: &str = "shared";

    /// Starts it.
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        fs::create_dir(folder.path().join(Self::NAME)).expect("a folder can be made");
        let files = FileSystem::new(folder.path()).expect("the folder is there");
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(USER[0], USER[1]));
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime starts");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("loopback has free ports");
        let address = listener.local_addr().expect("a listener has an address");
        let service = service.build();
        std::mem::drop(runtime.spawn(serve(listener, service)));
        Self { folder, address, _runtime: runtime }
    }

    /// The flags of a cache in it.
    pub(super) fn flags(&self) -> String {
        let (name, address) = (Self::NAME, self.address);
        format!(
            "type=s3,bucket={name},region=us-east-1,endpoint_url=http://{address},\
             use_path_style=true"
        )
    }

    /// The variables by which its user is known.
    pub(super) fn login() -> String {
        let [id, secret] = USER;
        format!("AWS_ACCESS_KEY_ID={id} AWS_SECRET_ACCESS_KEY={secret}")
    }

    /// The file of an object.
    pub(super) fn file(&self, key: &str) -> PathBuf {
        self.folder.path().join(Self::NAME).join(key)
    }
}

async fn serve(listener: TcpListener, service: S3Service) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let service = service.clone();
        connections.spawn(async move {
            let server = Builder::new(TokioExecutor::new());
            // A client that goes away in the middle is its own affair.
            let _ = server.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}
