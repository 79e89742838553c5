//! The HTTP server of a provider. It serves a list of bootstrap peers, metrics, and a health check.
//!
//! All responses are small, and any client that can reach the port can read them. No request changes anything.

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

/// The maximum number of connections that are served at the same time. Each connection may use half a megabyte for the
/// buffers of hyper. Further connections wait.
const MAX_CONNECTIONS: usize = 64;
/// The longest lifetime of a connection. The limit ensures that slow clients do not block other clients. A fast client
/// receives all responses in a fraction of this time.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PATHS: &str = "\
not found; this provider serves:
  /peers    a list of bootstrap peers
  /metrics  metrics for Prometheus
  /health   a check that the provider runs
";

/// A bound TCP port on which HTTP is not served yet.
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

    /// Returns the port, or `None` if it is bound to a loopback address, which other machines cannot reach.
    pub(crate) fn public_port(&self) -> Option<u16> {
        (!self.address.ip().is_loopback()).then(|| self.address.port())
    }
}

/// A handle of the task that serves HTTP. Dropping it ends every connection.
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
        let service = router(node).into_make_service_with_connect_info::<RemoteIp>();
        let serving = stop.clone().run_until_cancelled_owned(async move { axum::serve(listener, service).await });
        let task = tokio::spawn(async move {
            // axum continues after errors, so `serving` ends only when the server is stopped.
            serving.await;
        });
        Self { address, task, stop: stop.drop_guard() }
    }

    /// Returns the address on which the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection and frees the port.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        // Ignore a panic of the task, because the port is free in this case too.
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

/// Returns this node and the connected DHT servers, each with the addresses that the HTTP client can reach. This node
/// comes first, because the HTTP client can certainly reach it. A DHT server may have left.
async fn peers(State(node): State<NodeHandle>, ConnectInfo(RemoteIp(ip)): ConnectInfo<RemoteIp>) -> impl IntoResponse {
    let own = (node.peer_id(), node.external_addresses().await);
    let all = std::iter::once(own).chain(node.connected_dht_servers());
    let listed = all.map(|(peer, addresses)| (peer, reachable_from(addresses, ip)));
    let listed: Vec<_> = listed.filter(|(_, addresses)| !addresses.is_empty()).collect();
    ([(CONTENT_TYPE, "application/json")], peers_document(&listed))
}

async fn metrics(State(node): State<NodeHandle>) -> impl IntoResponse {
    ([(CONTENT_TYPE, METRICS_TYPE)], node.metrics())
}

async fn health(State(node): State<NodeHandle>) -> String {
    format!("ok {}\n", node.peer_id())
}

/// The IP address of an HTTP client.
#[derive(Clone, Copy)]
struct RemoteIp(IpAddr);

impl Connected<IncomingStream<'_, BoundedListener>> for RemoteIp {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        Self(stream.remote_addr().ip())
    }
}

/// A TCP listener that limits the number of connections and the lifetime of each, because axum limits neither.
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
            // The connection ends at its time limit or when the server stops.
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
    /// A future that completes when the connection must end. `None` after the future has completed.
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    /// Returns an error if the connection must end. Otherwise registers the task to be woken at that time.
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
