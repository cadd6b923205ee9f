//! The cache service of GitHub Actions in this process, version 2, and the store of blobs behind it.
//! It takes nothing that the real ones would not, and keeps a list of what was wrong.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::http::{Port, Reply, Request, Server};

/// What proves who asks.
const TOKEN: &str = "hush-runtime-token";
/// What proves that an address was given by the service.
const SIGNATURE: &str = "hush+signature/=";
/// Where the methods are.
const SERVICE: &str = "/twirp/github.actions.results.api.v1.CacheService/";

/// A cache service that runs as long as this lives.
#[derive(Debug)]
pub struct CacheService {
    server: Server,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// By the number at which they were reserved.
    entries: Vec<Entry>,
    faults: Vec<String>,
    log: Vec<String>,
    read_only: bool,
}

#[derive(Debug, Default)]
struct Entry {
    key: String,
    version: String,
    blocks: BTreeMap<String, Vec<u8>>,
    bytes: Option<Vec<u8>>,
    is_final: bool,
    is_gone: bool,
}

impl CacheService {
    /// A service without entries.
    pub fn start() -> Self {
        let (port, state) = (Port::open(), Arc::new(Mutex::new(State::default())));
        let (address, served) = (port.address, state.clone());
        let server = port.serve(move |mut stream: TcpStream| {
            let mut from = BufReader::new(stream.try_clone()?);
            while let Some(request) = Request::read(&mut from)? {
                let mut state = lock(&served);
                state.log.push(format!("{} {}", request.method, request.path));
                let reply = match request.path.strip_prefix(SERVICE) {
                    Some(method) => state.serve(&request, method, &address.to_string()),
                    None => state.blob(&request),
                };
                let reply = reply.unwrap_or_else(|fault| {
                    state.faults.push(format!("{} {}: {fault}", request.method, request.path));
                    Reply::new(400).body(json!({ "code": "malformed", "msg": fault }).to_string())
                });
                drop(state);
                reply.write(&mut stream, request.method == "HEAD")?;
            }
            Ok(())
        });
        Self { server, state }
    }

    /// The variables by which a workflow tells its commands of the service.
    pub fn variables(&self) -> String {
        let address = self.server.address;
        format!("ACTIONS_RESULTS_URL=http://{address}/ ACTIONS_RUNTIME_TOKEN={TOKEN}")
    }

    /// The keys of the entries that can be found, in the order in which they were reserved.
    pub fn keys(&self) -> Vec<String> {
        lock(&self.state).found().map(|entry| entry.key.clone()).collect()
    }

    /// What was asked that must not be, so far.
    pub fn faults(&self) -> Vec<String> {
        lock(&self.state).faults.clone()
    }

    /// The requests so far, as method and path; they are forgotten then.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.state).log)
    }

    /// Drops the entries whose keys begin so, as the service does with what is old.
    pub fn forget(&self, prefix: &str) {
        let mut state = lock(&self.state);
        let gone = state.entries.iter_mut().filter(|entry| entry.key.starts_with(prefix));
        gone.for_each(|entry| entry.is_gone = true);
    }

    /// From now on the token may only read, as that of a pull request from a fork.
    pub fn read_only(&self) {
        lock(&self.state).read_only = true;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn check(is_right: bool, fault: &str) -> Result<(), String> {
    if is_right { Ok(()) } else { Err(fault.to_owned()) }
}

impl State {
    fn found(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.is_final && !entry.is_gone)
    }

    /// A method of the service.
    fn serve(&mut self, request: &Request, method: &str, host: &str) -> Result<Reply, String> {
        check(request.method == "POST", "a method is posted")?;
        check(request.header("authorization") == format!("Bearer {TOKEN}"), "no token")?;
        check(request.header("content-type") == "application/json", "no json")?;
        let asked: Value = serde_json::from_slice(&request.body).map_err(|it| it.to_string())?;
        let text = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
        let (key, version) = (text("key"), text("version"));
        check((1..=512).contains(&key.len()) && !key.contains(','), "no key")?;
        let is_hash = version.len() == 64 && version.chars().all(|c| c.is_ascii_hexdigit());
        check(is_hash, "the version is no digest")?;
        let answer = match method {
            "CreateCacheEntry" if self.read_only => {
                let why = json!({ "code": "permission_denied", "msg": "the token may only read" });
                return Ok(Reply::new(403).body(why.to_string()));
            }
            "CreateCacheEntry" => match self.create(&key, &version) {
                None => {
                    let why = json!({ "code": "already_exists", "msg": "there is such an entry" });
                    return Ok(Reply::new(409).body(why.to_string()));
                }
                Some(at) => json!({ "ok": true, "signed_upload_url": signed(host, at) }),
            },
            "FinalizeCacheEntryUpload" => {
                let at = self.end(&key, &version, &text("size_bytes"))?;
                json!({ "ok": true, "entry_id": at.to_string() })
            }
            "GetCacheEntryDownloadURL" => self.find(&key, &version, &asked["restore_keys"], host),
            _ => return Err("there is no such method".to_owned()),
        };
        Ok(Reply::new(200).with("Content-Type", "application/json").body(answer.to_string()))
    }

    fn create(&mut self, key: &str, version: &str) -> Option<usize> {
        let is_it = |entry: &Entry| !entry.is_gone && entry.key == key && entry.version == version;
        if self.entries.iter().any(is_it) {
            return None;
        }
        let (key, version) = (key.to_owned(), version.to_owned());
        self.entries.push(Entry { key, version, ..Entry::default() });
        Some(self.entries.len() - 1)
    }

    fn end(&mut self, key: &str, version: &str, size: &str) -> Result<usize, String> {
        let is_it = |entry: &&mut Entry| {
            let is_open = !entry.is_final && !entry.is_gone;
            is_open && entry.key == key && entry.version == version
        };
        let found = self.entries.iter_mut().enumerate().find(|(_, entry)| is_it(entry));
        let (at, entry) = found.ok_or("it was not reserved")?;
        let sent = entry.bytes.as_ref().ok_or("nothing was sent")?.len();
        check(size == sent.to_string(), "it has another size")?;
        entry.is_final = true;
        Ok(at)
    }

    /// The entry of a key, else the last one whose key begins as wanted.
    fn find(&self, key: &str, version: &str, beginnings: &Value, host: &str) -> Value {
        let beginnings = beginnings.as_array().into_iter().flatten().filter_map(Value::as_str);
        let of_version =
            || {
                self.entries.iter().enumerate().rev().filter(|(_, entry)| {
                    entry.is_final && !entry.is_gone && entry.version == version
                })
            };
        let exact = of_version().find(|(_, entry)| entry.key == key);
        let begins = |it: &str| of_version().find(|(_, entry)| entry.key.starts_with(it));
        match exact.or_else(|| beginnings.into_iter().find_map(begins)) {
            None => json!({ "ok": false, "signed_download_url": "" }),
            Some((at, entry)) => {
                let url = signed(host, at);
                json!({ "ok": true, "signed_download_url": url, "matched_key": entry.key })
            }
        }
    }

    /// The store of blobs, which knows no token but that in the address.
    fn blob(&mut self, request: &Request) -> Result<Reply, String> {
        check(request.header("authorization").is_empty(), "it is shown a token")?;
        check(request.asks("sig") == SIGNATURE, "the address is not signed")?;
        let at = request.path.strip_prefix("/blobs/").and_then(|at| at.parse::<usize>().ok());
        let entry = at.and_then(|at| self.entries.get_mut(at)).ok_or("there is no such blob")?;
        if entry.is_gone {
            return Ok(Reply::new(404));
        }
        match (&*request.method, request.asks("comp")) {
            ("GET", "") => read(entry, request.header("range")),
            _ if entry.is_final => Err("an entry never changes".to_owned()),
            ("PUT", "") => {
                check(request.header("x-ms-blob-type") == "BlockBlob", "no kind of blob")?;
                entry.bytes = Some(request.body.clone());
                Ok(Reply::new(201))
            }
            ("PUT", "block") => {
                let name = request.asks("blockid").to_owned();
                check(STANDARD.decode(&name).is_ok_and(|it| it.len() <= 64), "no name")?;
                let is_long = |known: &String| known.len() == name.len();
                check(entry.blocks.keys().all(is_long), "names have different lengths")?;
                entry.blocks.insert(name, request.body.clone());
                Ok(Reply::new(201))
            }
            ("PUT", "blocklist") => {
                let list = String::from_utf8_lossy(&request.body).into_owned();
                let names = list.split("<Latest>").skip(1).filter_map(|it| it.split('<').next());
                let blocks: Option<Vec<_>> =
                    names.map(|it| entry.blocks.get(it).cloned()).collect();
                entry.bytes = Some(blocks.ok_or("a block was not sent")?.concat());
                Ok(Reply::new(201))
            }
            _ => Err("there is no such request".to_owned()),
        }
    }
}

fn read(entry: &Entry, range: &str) -> Result<Reply, String> {
    let bytes = entry.bytes.as_ref().ok_or("there is nothing yet")?;
    let Some(from) = range.strip_prefix("bytes=").and_then(|it| it.strip_suffix('-')) else {
        return Ok(Reply::new(200).body(bytes.clone()));
    };
    let from: usize = from.parse().map_err(|_| "no range".to_owned())?;
    let rest = bytes.get(from..).ok_or("the range is beyond the end")?;
    let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
    Ok(Reply::new(206).with("Content-Range", range).body(rest))
}

/// The address of an entry, at this server by another name.
fn signed(host: &str, at: usize) -> String {
    let port = host.rsplit_once(':').map_or("", |(_, port)| port);
    format!("http://localhost:{port}/blobs/{at}?sig=hush%2Bsignature%2F%3D")
}
