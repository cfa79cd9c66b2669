//! What the official SDK makes of this job: its Streamable HTTP server and its child process, joined by a pump, with a child a
//! session. `rmcp-pump PORT PROGRAM [ARGS]...`; a rival of the benchmark, run by nobody else.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use futures_core::Stream;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::service::{RxJsonRpcMessage, TxJsonRpcMessage};
use rmcp::transport::streamable_http_server::session::local::{LocalSessionManager, LocalSessionManagerError};
use rmcp::transport::streamable_http_server::session::{ServerSseMessage, SessionId, SessionManager};
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService, TokioChildProcess, Transport};
use rmcp::{RoleServer, ServerHandler};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::oneshot;

#[tokio::main]
async fn main() {
    let mut words = std::env::args().skip(1);
    let port: u16 = words.next().and_then(|word| word.parse().ok()).expect("a port");
    let sessions = Arc::new(Pumped { sessions: LocalSessionManager::default(), command: words.collect() });
    let service = StreamableHttpService::new(|| Ok(Nobody), sessions, StreamableHttpServerConfig::default());
    let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let _ = socket.set_nodelay(true);
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

/// Never asked: the child is the server.
struct Nobody;

impl ServerHandler for Nobody {}

/// What the SDK runs `Nobody` on: nothing comes until the session is over.
struct Silent(Option<oneshot::Receiver<()>>);

impl Transport<RoleServer> for Silent {
    type Error = Infallible;

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        let _ = self.0.take()?.await;
        None
    }

    fn send(&mut self, _: TxJsonRpcMessage<RoleServer>) -> impl Future<Output = Result<(), Infallible>> + Send + 'static {
        pending()
    }

    async fn close(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The SDK's sessions, with a pump to a child behind each.
struct Pumped {
    sessions: LocalSessionManager,
    command: Vec<String>,
}

async fn pump(mut server: impl Transport<RoleServer>, mut child: TokioChildProcess, _ended: oneshot::Sender<()>) {
    loop {
        // Both halves are queues: a message stays in them when the other one comes first.
        let is_alive = tokio::select! {
            message = server.receive() => match message {
                Some(message) => child.send(message).await.is_ok(),
                None => false,
            },
            message = child.receive() => match message {
                Some(message) => server.send(message).await.is_ok(),
                None => false,
            },
        };
        if !is_alive {
            let _ = child.close().await;
            return;
        }
    }
}

type Outcome<T> = Result<T, LocalSessionManagerError>;

impl SessionManager for Pumped {
    type Error = LocalSessionManagerError;
    type Transport = Silent;

    async fn create_session(&self) -> Outcome<(SessionId, Silent)> {
        let (id, server) = self.sessions.create_session().await?;
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        let child = TokioChildProcess::new(command).expect("the program starts");
        let (ended, silent) = oneshot::channel();
        tokio::spawn(pump(server, child, ended));
        Ok((id, Silent(Some(silent))))
    }

    async fn initialize_session(&self, id: &SessionId, message: ClientJsonRpcMessage) -> Outcome<ServerJsonRpcMessage> {
        self.sessions.initialize_session(id, message).await
    }

    async fn has_session(&self, id: &SessionId) -> Outcome<bool> {
        self.sessions.has_session(id).await
    }

    async fn close_session(&self, id: &SessionId) -> Outcome<()> {
        self.sessions.close_session(id).await
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Outcome<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static> {
        self.sessions.create_stream(id, message).await
    }

    async fn accept_message(&self, id: &SessionId, message: ClientJsonRpcMessage) -> Outcome<()> {
        self.sessions.accept_message(id, message).await
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Outcome<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static> {
        self.sessions.create_standalone_stream(id).await
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Outcome<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static> {
        self.sessions.resume(id, last_event_id).await
    }
}
