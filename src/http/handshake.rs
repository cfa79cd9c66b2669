//! The beginning of a connection under TLS: the handshake, or a plain answer to who speaks clear text. How long it may take
//! is the connection's business.

use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use crate::metrics::Metrics;
use crate::tls::{ClientCertificate, H2, Handshakes};

/// The answer to a request in clear text.
const CLEAR: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\
    content-length: 43\r\n\r\nThis port speaks TLS: use https, not http.\n";

/// Of what follows on such a request no more is read.
const MOST_READ: usize = 1 << 20;

/// What came of a handshake.
pub(super) struct Shaken {
    pub(super) stream: Box<TlsStream<TcpStream>>,
    pub(super) is_h2: bool,
    pub(super) certificate: Option<ClientCertificate>,
}

/// A handshake under way; it comes to nothing if the client goes, or speaks something else.
pub(super) type Shaking = Pin<Box<dyn Future<Output = Option<Shaken>> + Send>>;

pub(super) async fn shake(stream: TcpStream, handshakes: Arc<Handshakes>, metrics: Arc<Metrics>) -> Option<Shaken> {
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    // Every request line, and the preface of HTTP/2, begins with a letter; no record of TLS does.
    if first[0].is_ascii_alphabetic() {
        metrics.rejection_counted("clear_text");
        turn_away(&stream).await;
        return None;
    }
    let stream = match handshakes.begin(stream).await {
        Ok(stream) => Box::new(stream),
        Err(error) => {
            metrics.rejection_counted("handshake");
            debug!(%error, "a handshake came to nothing");
            return None;
        }
    };
    let (_, session) = stream.get_ref();
    let is_h2 = session.alpn_protocol() == Some(H2);
    let certificate = session.peer_certificates().and_then(|chain| {
        let certificate = ClientCertificate::of(chain);
        if certificate.is_none() {
            debug!("a client's certificate has no name that could be used");
        }
        certificate
    });
    Some(Shaken { stream, is_h2, certificate })
}

/// Says what is wrong. What the client still sends is read, so that its end does not take the answer with it.
async fn turn_away(stream: &TcpStream) {
    // There is room for it: nothing has been sent before.
    let _ = stream.try_write(CLEAR);
    let _ = SockRef::from(stream).shutdown(Shutdown::Write);
    let (mut rest, mut left) = ([0; 1024], MOST_READ);
    while left > 0 && stream.readable().await.is_ok() {
        match stream.try_read(&mut rest) {
            Ok(0) => return,
            Ok(read) => left = left.saturating_sub(read),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
