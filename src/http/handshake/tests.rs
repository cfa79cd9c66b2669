use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientStream;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{
    self, ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion, version,
};

use super::*;
use crate::config::Listen;
use crate::http::Site;
use crate::http::body::Body;
use crate::http::connection::{Bounds, Shared, look};
use crate::http::listener::{Accepting, Listener, accept};
use crate::http::socket::Stream;
use crate::http::wire::{Ticker, Wire};
use crate::metrics::Format;
use crate::shutdown::{Phase, Shutdown};
use crate::tls::tests::{Authority, Issued, dns};

const BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
const LARGE: usize = 4 << 20;

/// What [`Site::Echo`] answers.
pub(in crate::http) async fn echo(request: &mut Request<Incoming>, wire: &Arc<Wire>) -> Response<Body> {
    let posted = request.body_mut().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let name = wire.certificate().map(|shown| shown.name.as_bytes()).unwrap_or_default();
    Response::builder().header("x-certificate", name).body(Body::full(posted)).expect("a response")
}

/// A listener with TLS, and whom its clients believe.
struct Served {
    address: SocketAddr,
    authority: Authority,
    handshakes: Arc<Handshakes>,
    metrics: Arc<Metrics>,
    shutdown: Arc<Shutdown>,
}

impl Served {
    async fn new() -> Served {
        let authority = Authority::new();
        let handshakes = Arc::new(Handshakes::new(authority.server()));
        let (metrics, shutdown) = (Arc::new(Metrics::new()), Arc::new(Shutdown::new()));
        let ticker = Ticker::new(Arc::clone(&shutdown));
        let listener = Listener::bind(&Listen::Tcp(([127, 0, 0, 1], 0).into()), 0o600).await.expect("bound");
        let &Listen::Tcp(address) = listener.address() else { panic!("TCP") };
        let shared = Shared {
            site: Site::Echo,
            bounds: Bounds { max_streams: 16, max_headers: 16 << 10 },
            ticker: Arc::clone(&ticker),
            metrics: Arc::clone(&metrics),
            handshakes: Some(Arc::clone(&handshakes)),
        };
        let accepting = Accepting {
            shared: Arc::new(shared),
            connections: Arc::new(Semaphore::new(4)),
            shutdown: Arc::clone(&shutdown),
            until: Phase::Draining,
            workers: None,
            pulse: None,
        };
        tokio::spawn(accept(listener, accepting));
        let counted = Arc::clone(&metrics);
        tokio::spawn(ticker.run(move |wire, since| look(&counted, wire, since)));
        Served { address, authority, handshakes, metrics, shutdown }
    }

    fn client(&self, versions: &[&'static SupportedProtocolVersion], alpn: &[&[u8]], own: Option<Issued>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der.clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).expect("versions");
        let client = client.with_root_certificates(roots);
        let mut client = match own {
            Some(own) => client.with_client_auth_cert(vec![own.certificate], own.key).expect("a certificate"),
            None => client.with_no_client_auth(),
        };
        client.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        client
    }

    async fn try_connect(&self, client: ClientConfig) -> std::io::Result<ClientStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(client)).connect("localhost".try_into().expect("a name"), stream).await
    }

    async fn connect(&self, alpn: &[&[u8]]) -> ClientStream<TcpStream> {
        self.try_connect(self.client(&BOTH, alpn, None)).await.expect("connected")
    }

    /// A client's certificate.
    fn alice(&self) -> Issued {
        self.authority.issue(|params| params.subject_alt_names = vec![dns("alice.example")])
    }

    fn count(&self, line: &str) -> bool {
        self.metrics.print(&[], Format::OpenMetrics).lines().any(|counted| counted == line)
    }
}

fn post(body: Bytes) -> Request<Full<Bytes>> {
    Request::post("https://localhost/").header("host", "localhost").body(Full::new(body)).expect("a request")
}

/// Posts on a connection of its own; says whom the gateway took the client for, and gives what came back.
async fn exchange(stream: ClientStream<TcpStream>, body: Bytes) -> (String, Bytes) {
    let io = TokioIo::new(stream);
    let response = if io.inner().get_ref().1.alpn_protocol() == Some(H2) {
        let (mut send, connection) = http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
        tokio::spawn(connection);
        send.send_request(post(body)).await.expect("answered")
    } else {
        let (mut send, connection) = http1::handshake(io).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        send.send_request(post(body)).await.expect("answered")
    };
    let name = response.headers()["x-certificate"].to_str().expect("text").to_owned();
    (name, response.into_body().collect().await.expect("a body").to_bytes())
}

fn large() -> Bytes {
    (0..LARGE).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn both_versions_carry_both_http_versions_and_large_bodies_both_ways() {
    let served = Served::new().await;
    for (tls, spoken) in [(&version::TLS12, ProtocolVersion::TLSv1_2), (&version::TLS13, ProtocolVersion::TLSv1_3)] {
        for alpn in [&[H2, b"http/1.1"][..], &[b"http/1.1"], &[]] {
            let stream = served.try_connect(served.client(&[tls], alpn, None)).await.expect("connected");
            assert_eq!(stream.get_ref().1.protocol_version(), Some(spoken));
            assert_eq!(stream.get_ref().1.alpn_protocol(), alpn.first().copied());
            let (name, body) = exchange(stream, large()).await;
            assert_eq!(name, "");
            assert!(body == large(), "{} bytes", body.len());
        }
    }
}

#[tokio::test]
async fn only_what_was_agreed_on_is_spoken() {
    let served = Served::new().await;
    // No agreement: the preface of HTTP/2 is no request.
    let mut stream = served.connect(&[]).await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("sent");
    let mut said = Vec::new();
    let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut said)).await.expect("closed");
    assert!(!said.windows(3).any(|three| three == b"200"), "{said:?}");
    // Agreed on something that is not served.
    let refused = served.try_connect(served.client(&BOTH, &[b"h3"], None)).await.expect_err("refused");
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    assert!(
        served.count("mcp_gateway_rejected_total{reason=\"handshake\"} 1"),
        "{}",
        served.metrics.print(&[], Format::OpenMetrics)
    );
}

#[tokio::test]
async fn a_client_is_whom_its_certificate_names_on_each_request() {
    let served = Served::new().await;
    for tls in BOTH {
        for alpn in [&[H2][..], &[b"http/1.1"]] {
            let client = served.client(&[tls], alpn, Some(served.alice()));
            for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
                let stream = served.try_connect(client.clone()).await.expect("connected");
                assert_eq!(stream.get_ref().1.handshake_kind(), Some(kind));
                let (name, _) = exchange(stream, Bytes::new()).await;
                assert_eq!(name, "dns:alice.example");
            }
        }
    }
    let stranger = Authority::new().issue(|params| params.subject_alt_names = vec![dns("alice.example")]);
    let client = served.client(&[&version::TLS12], &[], Some(stranger));
    let refused = served.try_connect(client).await.expect_err("refused");
    assert!(refused.to_string().contains("fatal alert"), "{refused}");
}

#[tokio::test]
async fn a_reload_is_for_the_next_handshake_and_nobody_is_cut_off() {
    let served = Served::new().await;
    let leaf = |stream: &ClientStream<TcpStream>| -> CertificateDer<'static> {
        let (_, session) = stream.get_ref();
        session.peer_certificates().expect("certificates")[0].clone().into_owned()
    };
    let client = served.client(&BOTH, &[], None);
    let before = served.try_connect(client.clone()).await.expect("connected");
    let old = leaf(&before);
    let (mut send, connection) = http1::handshake(TokioIo::new(before)).await.expect("HTTP/1.1");
    tokio::spawn(connection);
    let first = send.send_request(post("1".into())).await.expect("answered");
    assert_eq!(first.into_body().collect().await.expect("a body").to_bytes(), "1");
    served.handshakes.renew(served.authority.server());
    // The client offers to resume, which is void, and gets the new certificate.
    let after = served.try_connect(client).await.expect("connected");
    assert_eq!(after.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    assert_ne!(leaf(&after), old);
    assert_eq!(exchange(after, "3".into()).await.1, "3");
    let second = send.send_request(post("2".into())).await.expect("answered");
    assert_eq!(second.into_body().collect().await.expect("a body").to_bytes(), "2");
}

#[tokio::test]
async fn who_speaks_clear_text_is_told_in_clear_text() {
    let served = Served::new().await;
    let large = format!("POST /mcp HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n{}", "x".repeat(100_000));
    for said in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &large] {
        let mut stream = TcpStream::connect(served.address).await.expect("connected");
        stream.write_all(said.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())) || head.ends_with(&body.len().to_string()),
            "{head}"
        );
        assert!(body.contains("https"), "{body}");
    }
    assert!(
        served.count("mcp_gateway_rejected_total{reason=\"clear_text\"} 3"),
        "{}",
        served.metrics.print(&[], Format::OpenMetrics)
    );
}

/// Lets the clock run ahead until something is so; says how far it ran.
async fn until(is_so: impl Fn() -> bool) -> Duration {
    tokio::time::pause();
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "it never is");
        sleep(Duration::from_millis(50)).await;
    }
    tokio::time::resume();
    began.elapsed()
}

/// Until its end, which is an error where it is not on purpose.
async fn rest(mut stream: impl AsyncRead + Unpin) -> std::io::Result<String> {
    let mut rest = String::new();
    timeout(Duration::from_secs(30), stream.read_to_string(&mut rest)).await.expect("an end").map(|_| rest)
}

#[tokio::test]
async fn a_handshake_that_does_not_get_on_ends_after_ten_seconds() {
    let served = Served::new().await;
    let mut streams = Vec::new();
    // Silent; the beginning of a record and no more; clear text without an end.
    for said in [&b""[..], b"\x16\x03\x01", b"GET / HTTP/1.1\r\n"] {
        let mut stream = TcpStream::connect(served.address).await.expect("connected");
        stream.write_all(said).await.expect("sent");
        streams.push(stream);
    }
    while !served.count("mcp_gateway_connections_active 3") {
        sleep(Duration::from_millis(1)).await;
    }
    let took = until(|| served.count("mcp_gateway_timeouts_total{bound=\"handshake\"} 3")).await;
    assert!((Duration::from_secs(9)..Duration::from_secs(11)).contains(&took), "{took:?}");
    for stream in streams {
        let _ = rest(stream).await;
    }
    while !served.count("mcp_gateway_connections_active 0") {
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_client_that_is_idle_or_leaves_hears_that_nothing_is_missing() {
    let served = Served::new().await;
    let mut asked = Vec::new();
    for fields in ["", "", "connection: close\r\n"] {
        let mut stream = served.connect(&[]).await;
        stream.write_all(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n").as_bytes()).await.expect("sent");
        stream.read_exact(&mut [0; 15]).await.expect("answered");
        asked.push(stream);
    }
    let ends = async |stream| rest(stream).await.expect("an end on purpose").ends_with("\r\n\r\n");
    assert!(ends(asked.remove(2)).await);
    let took = until(|| served.count("mcp_gateway_timeouts_total{bound=\"head\"} 2")).await;
    assert!((Duration::from_secs(9)..Duration::from_secs(11)).contains(&took), "{took:?}");
    assert!(ends(asked.remove(1)).await && ends(asked.remove(0)).await);
    let mut stream = served.connect(&[]).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("sent");
    stream.read_exact(&mut [0; 15]).await.expect("answered");
    served.shutdown.advance(Phase::Cut);
    assert!(ends(stream).await);
}

#[tokio::test]
async fn without_a_handshake_nothing_is_said_to_a_connection_too_many() {
    let served = Served::new().await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(served.connect(&[]).await);
    }
    let mut stream = TcpStream::connect(served.address).await.expect("connected");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
    assert!(
        served.count("mcp_gateway_rejected_total{reason=\"too_many_connections\"} 1"),
        "{}",
        served.metrics.print(&[], Format::OpenMetrics)
    );
}

#[test]
fn the_answer_to_clear_text_has_the_length_it_says() {
    let (head, body) = std::str::from_utf8(CLEAR).expect("text").split_once("\r\n\r\n").expect("a body");
    assert!(head.ends_with(&format!("content-length: {}", body.len())), "{}", body.len());
}

#[test]
fn a_connection_keeps_no_room_for_tls() {
    assert_eq!(size_of::<Stream>(), size_of::<TcpStream>() + size_of::<usize>());
}
