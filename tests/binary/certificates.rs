//! TLS, and clients that a certificate names: each server believes the authorities that it was given, and no others.

use std::fs;
use std::io;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::gateway::{Gateway, Start, path_in, stub};
use crate::support::http::{Connection, Reply, Request, Socket};
use crate::support::proc::eventually_true;
use crate::support::session::{Entry, call, initialize};
use crate::support::tokens::Tokens;

const SECOND: Duration = Duration::from_secs(1);

/// A certificate authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

/// A certificate with its key.
struct Issued {
    certificate: CertificateDer<'static>,
    pem: String,
    key: KeyPair,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("signed");
        Authority { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) }
    }

    fn issue(&self, name: &str) -> Issued {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Issued { certificate: certificate.der().clone(), pem: certificate.pem(), key }
    }
}

/// A gateway with TLS whose servers ask for certificates.
struct Site {
    dir: TempDir,
    /// Vouches for the gateway.
    root: Authority,
    gateway: Gateway,
}

impl Site {
    /// `files` are written beside the configuration; `DIR` in it is where they are.
    fn new(files: &[(&str, &str)], text: &str) -> Site {
        let (dir, root) = (TempDir::new().expect("a folder"), Authority::new());
        let own = root.issue("localhost");
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
        write("tls.pem", &own.pem);
        write("tls.key", &own.key.serialize_pem());
        files.iter().for_each(|(name, text)| write(name, text));
        let top = "listen = \"127.0.0.1:0\"\naccess_log = true\ntls_cert = \"DIR/tls.pem\"\ntls_key = \"DIR/tls.key\"\n";
        let (path, name) = path_in(&dir, "gateway.toml");
        let text = format!("{top}{text}").replace("DIR", dir.path().to_str().expect("UTF-8"));
        fs::write(path, text.replace("STUB", &stub())).expect("written");
        let gateway = Start::new(&[]).child(&["--config", &name]).listens_by_file().run();
        Site { dir, root, gateway }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A client with that certificate, or without one.
    fn client(&self, own: Option<&Issued>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der.clone()).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("versions").with_root_certificates(roots);
        Arc::new(match own {
            Some(own) => {
                let key = PrivatePkcs8KeyDer::from(own.key.serialize_der()).into();
                builder.with_client_auth_cert(vec![own.certificate.clone()], key).expect("a key that fits")
            }
            None => builder.with_no_client_auth(),
        })
    }

    fn try_connect(&self, client: &Arc<ClientConfig>) -> io::Result<Connection> {
        let stream = TcpStream::connect(self.gateway.address())?;
        let session = ClientConnection::new(Arc::clone(client), "localhost".try_into().expect("a name"));
        let mut stream = StreamOwned::new(session.map_err(io::Error::other)?, stream);
        stream.conn.complete_io(&mut stream.sock)?;
        let socket = Socket::Tls(Box::new(stream));
        socket.wait_at_most(60 * SECOND);
        Ok(Connection::over(socket))
    }

    fn connect(&self, own: Option<&Issued>) -> Connection {
        self.try_connect(&self.client(own)).expect("connected")
    }

    /// Reads files and configuration again.
    #[track_caller]
    fn reload(&self) {
        let done = self.gateway.metric("reloads_total", "done");
        self.gateway.signal(Signal::HUP);
        eventually_true(5 * SECOND, "all is read again", || self.gateway.metric("reloads_total", "done") > done);
    }
}

fn open_at(name: &str) -> Request {
    Entry::at(&format!("/servers/{name}/mcp")).own(initialize("2025-11-25"))
}

fn status(reply: &Reply) -> u16 {
    assert!(reply.status() != 401 || reply.text().contains("connect with a client certificate"), "{}", reply.text());
    reply.status()
}

const TWO: &str = "[servers.one]\ncmd = [\"STUB\"]\nclient_ca = \"DIR/x.pem\"\n\
                   [servers.two]\ncmd = [\"STUB\"]\nclient_ca = \"DIR/y.pem\"\n\
                   [servers.open]\ncmd = [\"STUB\"]\n";

#[test]
fn each_server_believes_its_own_authorities() {
    let (x, y) = (Authority::new(), Authority::new());
    let site = Site::new(&[("x.pem", &x.pem), ("y.pem", &y.pem)], TWO);
    let (alice, stranger) = (x.issue("alice.example"), y.issue("alice.example"));
    // One connection after the other, and each asks all of them twice: what one server said does not count for the next.
    for (own, statuses) in [(Some(&alice), [200, 401, 200]), (Some(&stranger), [401, 200, 200]), (None, [401, 401, 200])] {
        let mut connection = site.connect(own);
        for _ in 0..2 {
            let said = ["one", "two", "open"].map(|name| status(&connection.exchange(&open_at(name))));
            assert_eq!(said, statuses, "{own:?}", own = own.map(|own| &own.pem));
        }
    }
    // Nobody vouches for this one: there is no connection. TLS 1.3 tells the client with its first answer.
    let nobody = Authority::new().issue("alice.example");
    let refused = site.try_connect(&site.client(Some(&nobody))).and_then(|mut connection| {
        connection.send(&open_at("open").bytes())?;
        connection.reply()
    });
    let refused = refused.expect_err("refused").to_string();
    assert!(refused.contains("alert"), "{refused}");
    let is_logged = |line: &String| line.contains("dns:alice.example") && line.contains("initialize");
    eventually_true(5 * SECOND, "her request is logged", || site.gateway.log().iter().any(is_logged));
}

#[test]
fn what_a_certificate_opened_is_unknown_to_another_and_its_own_on_each_connection() {
    let x = Authority::new();
    let site = Site::new(&[("x.pem", &x.pem)], "client_ca = \"DIR/x.pem\"\n[servers.one]\ncmd = [\"STUB\"]\n");
    let (alice, bob) = (x.issue("alice.example"), x.issue("bob.example"));
    let reply = site.connect(Some(&alice)).exchange(&open_at("one"));
    let id = reply.head.field("mcp-session-id").expect("a session").to_owned();
    let ask = |own: &Issued, id: &str| {
        let request = Entry::at("/servers/one/mcp").own(Request::post(call("1", "1", "echo", &json!({ "text": "hers" }))));
        let reply =
            site.connect(Some(own)).exchange(&request.with("mcp-session-id", id).with("mcp-protocol-version", "2025-11-25"));
        (reply.status(), reply.body)
    };
    let (foreign, none) = (ask(&bob, &id), ask(&bob, "00000000000000000000000000000000"));
    assert_eq!((foreign.0, &foreign), (404, &none));
    // Another certificate of hers is hers.
    assert_eq!((ask(&alice, &id).0, ask(&x.issue("alice.example"), &id).0), (200, 200));
}

fn open_as(site: &Site, name: &str, own: &Issued) -> Reply {
    site.connect(Some(own)).exchange(&open_at(name))
}

/// A call in the session that was opened.
fn ask_in(site: &Site, own: &Issued, opened: &Reply) -> Reply {
    let request = Entry::at("/servers/one/mcp").own(Request::post(call("1", "1", "echo", &json!({ "text": "mine" }))));
    let id = opened.head.field("mcp-session-id").expect("a session");
    site.connect(Some(own)).exchange(&request.with("mcp-session-id", id).with("mcp-protocol-version", "2025-11-25"))
}

#[test]
fn each_server_has_its_own_share_for_who_comes_by_one_connection() {
    let x = Authority::new();
    let text = "client_ca = \"DIR/x.pem\"\n[servers.one]\ncmd = [\"STUB\"]\n\
                [servers.two]\ncmd = [\"STUB\"]\nmax_principal_sessions = 1\n";
    let site = Site::new(&[("x.pem", &x.pem)], text);
    let mut connection = site.connect(Some(&x.issue("alice.example")));
    let said = ["one", "two", "one", "two", "one"].map(|name| connection.exchange(&open_at(name)).status());
    assert_eq!(said, [200, 200, 200, 429, 200]);
}

#[test]
fn an_authority_that_is_taken_out_vouches_for_nobody_any_more() {
    let (x, y) = (Authority::new(), Authority::new());
    let site = Site::new(&[("x.pem", &x.pem), ("y.pem", &y.pem)], TWO);
    let (alice, other) = (x.issue("alice.example"), y.issue("other.example"));
    let (mut hers, mut of_other) = (site.connect(Some(&alice)), site.connect(Some(&other)));
    assert_eq!((status(&hers.exchange(&open_at("one"))), status(&of_other.exchange(&open_at("two")))), (200, 200));
    let opened = open_as(&site, "one", &alice);
    assert_eq!(opened.status(), 200);
    fs::write(site.file("x.pem"), &y.pem).expect("written");
    site.reload();
    // Who has the same name of the other authority is another.
    let reply = ask_in(&site, &y.issue("alice.example"), &opened);
    assert_eq!(reply.status(), 404, "{}", reply.text());
    // Her connection is still there, and proves nothing; the other's went on meanwhile.
    assert_eq!(["one", "two", "open"].map(|name| status(&hers.exchange(&open_at(name)))), [401, 401, 200]);
    assert_eq!(["one", "two"].map(|name| status(&of_other.exchange(&open_at(name)))), [200, 200]);
    // A file that cannot be used changes nothing.
    fs::write(site.file("x.pem"), "nothing\n").expect("written");
    site.gateway.signal(Signal::HUP);
    eventually_true(5 * SECOND, "the file is refused", || site.gateway.metric("reloads_total", "refused") == 1);
    assert_eq!(status(&of_other.exchange(&open_at("one"))), 200);
}

#[test]
fn a_token_or_a_certificate_lets_in_and_a_wrong_token_does_not() {
    let x = Authority::new();
    let tokens = Tokens::new();
    let token = tokens.add("ada");
    let text = format!("client_ca = \"DIR/x.pem\"\nbearer_tokens = \"{}\"\n[servers.one]\ncmd = [\"STUB\"]\n", tokens.name);
    let site = Site::new(&[("x.pem", &x.pem)], &text);
    let alice = x.issue("alice.example");
    let (mut certified, mut bare) = (site.connect(Some(&alice)), site.connect(None));
    let with = |value: &str| open_at("one").with("authorization", value);
    for _ in 0..2 {
        assert_eq!(certified.exchange(&open_at("one")).status(), 200);
        assert_eq!(bare.exchange(&open_at("one")).status(), 401);
        for connection in [&mut certified, &mut bare] {
            assert_eq!(connection.exchange(&with(&format!("Bearer {token}"))).status(), 200);
            assert_eq!(connection.exchange(&with(&format!("Bearer {token}x"))).status(), 401);
        }
    }
}

#[test]
fn who_has_the_same_name_of_another_authority_gets_nothing_of_a_server_that_was_replaced() {
    let (x, y) = (Authority::new(), Authority::new());
    let site = Site::new(&[("x.pem", &x.pem), ("y.pem", &y.pem)], TWO);
    let (alice, other) = (x.issue("alice.example"), y.issue("alice.example"));
    let opened = open_as(&site, "one", &alice);
    let id = opened.head.field("mcp-session-id").expect("a session");
    let own = |request: Request| {
        let request = Entry::at("/servers/one/mcp").own(request);
        request.with("mcp-session-id", id).with("mcp-protocol-version", "2025-11-25")
    };
    // In flight, so that the server before goes on for a while.
    let mut hers = site.connect(Some(&alice));
    hers.send(&own(Request::post(call("1", "1", "sleep", &json!({ "ms": 4000 })))).bytes()).expect("sent");
    let sent = || site.gateway.metric("messages_total", "server=\"one\",direction=\"to_child\",kind=\"request\"");
    eventually_true(5 * SECOND, "the call is in flight", || sent() == 2);
    let path = site.file("gateway.toml");
    let text = fs::read_to_string(&path).expect("text");
    fs::write(&path, text.replace("x.pem", "y.pem")).expect("written");
    site.reload();
    assert_eq!(site.connect(Some(&other)).exchange(&own(Request::delete())).status(), 404);
    assert_eq!(status(&open_as(&site, "one", &other)), 200);
}
