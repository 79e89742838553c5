//! What a provider tells over HTTP, to those who know nothing else: peers to begin with, figures, that it is alive.
//!
//! Everything is read only, small and public: whoever can reach the port may read it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::{IncomingStream, Listener};
use phase_node::bootstrap::peers_document;
use phase_node::{NodeHandle, reachable_from};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Connections at a time; further ones wait. Each may take hyper's half megabyte of buffers.
const MAX_CONNECTIONS: usize = 64;
/// How long a connection may last, however much is asked on it: whoever is slow makes way for others, and all answers
/// together take a fraction of it.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PATHS: &str = "\
nothing here; there are:
  /peers    peers to join the network with
  /metrics  figures, for Prometheus
  /health   whether this provider runs
";

/// A port that is bound and not yet served.
pub(crate) struct HttpPort {
    listener: TcpListener,
    address: SocketAddr,
}

impl HttpPort {
    pub(crate) async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The port, if machines other than this one can reach it.
    pub(crate) fn public_port(&self) -> Option<u16> {
        (!self.address.ip().is_loopback()).then(|| self.address.port())
    }
}

/// The task that serves. Dropping it ends every connection.
pub(crate) struct HttpServer {
    address: SocketAddr,
    task: JoinHandle<()>,
    stop: DropGuard,
}

impl HttpServer {
    pub(crate) fn start(HttpPort { listener, address }: HttpPort, node: NodeHandle) -> Self {
        let stop = CancellationToken::new();
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let listener = BoundedListener { listener, slots, stop: stop.clone() };
        let service = router(node).into_make_service_with_connect_info::<Asker>();
        let serving = stop.clone().run_until_cancelled_owned(async move { axum::serve(listener, service).await });
        let task = tokio::spawn(async move {
            // It goes on after errors, and so ends only when it is stopped.
            serving.await;
        });
        Self { address, task, stop: stop.drop_guard() }
    }

    /// Where it serves.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Frees the port.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        // Ended or panicked: it is gone either way.
        let _ = self.task.await;
    }
}

fn router(node: NodeHandle) -> Router {
    Router::new()
        .route("/peers", get(peers))
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .fallback(async || (StatusCode::NOT_FOUND, PATHS))
        .with_state(node)
}

/// Ourselves first: whoever asks us can reach us, and good peers may have gone.
async fn peers(State(node): State<NodeHandle>, ConnectInfo(Asker(ip)): ConnectInfo<Asker>) -> impl IntoResponse {
    let ourselves = (node.peer_id(), node.external_addresses().await);
    let all = std::iter::once(ourselves).chain(node.good_peers());
    let told = all.map(|(peer, addresses)| (peer, reachable_from(addresses, ip)));
    let told: Vec<_> = told.filter(|(_, addresses)| !addresses.is_empty()).collect();
    ([(CONTENT_TYPE, "application/json")], peers_document(&told))
}

async fn metrics(State(node): State<NodeHandle>) -> impl IntoResponse {
    ([(CONTENT_TYPE, METRICS_TYPE)], node.metrics())
}

async fn health(State(node): State<NodeHandle>) -> String {
    format!("ok {}\n", node.peer_id())
}

/// Who asks.
#[derive(Clone, Copy)]
struct Asker(IpAddr);

impl Connected<IncomingStream<'_, BoundedListener>> for Asker {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        Self(stream.remote_addr().ip())
    }
}

/// Bounds the number of connections and how long each may last: axum bounds neither.
struct BoundedListener {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let slot = self.slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let stopped = self.stop.clone().cancelled_owned();
        let end = async {
            // Either way it ends.
            let _ = tokio::time::timeout(CONNECTION_LIMIT, stopped).await;
        };
        (Connection { stream, end: Some(Box::pin(end)), _slot: slot }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

struct Connection {
    stream: TcpStream,
    /// When it is over; `None` if it is.
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    /// An error if its time is over. Otherwise the task is woken when it is.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.end.as_mut().is_some_and(|end| end.as_mut().poll(context).is_pending()) {
            return Ok(());
        }
        self.end = None;
        Err(io::ErrorKind::TimedOut.into())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
