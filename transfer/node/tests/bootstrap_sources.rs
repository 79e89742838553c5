//! Tests of fetching a peer list from its URL. If the server is broken or serves no peer list, the fetch fails quickly
//! and uses little memory. The error contains the URL.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use phase_node::bootstrap::{BootstrapError, BootstrapPeer, BootstrapSource, PeersUrl, fetch_list, peers_document};
use phase_node::{Identity, Multiaddr, PeerId};

/// The number of bytes that a hostile server sends: far more than the maximum size of a list.
const FLOOD: usize = 64 * 1024 * 1024;
/// How long a stalled server keeps the connection open: far longer than the timeout of a fetch.
const STALL: Duration = Duration::from_secs(60);

/// Starts an HTTP server that reads requests and calls `answer` to write each response. The server runs until the
/// process ends.
fn serve(answer: impl Fn(&str, &mut TcpStream) -> std::io::Result<()> + Send + 'static) -> PeersUrl {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/peers", listener.local_addr().unwrap()).parse().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut lines = BufReader::new(connection.try_clone().unwrap()).lines().map_while(Result::ok);
            let Some(request) = lines.next() else { continue };
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            // Writing fails if the client has disconnected.
            let _ = answer(&request, &mut connection);
        }
    });
    url
}

fn serve_document(document: String) -> PeersUrl {
    serve(move |_, connection| respond(connection, "200 OK", &document))
}

fn respond(connection: &mut TcpStream, status: &str, body: &str) -> std::io::Result<()> {
    let len = body.len();
    write!(connection, "HTTP/1.1 {status}\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{body}")
}

fn some_peers() -> Vec<(PeerId, Vec<Multiaddr>)> {
    let addresses = ["/ip4/192.0.2.7/tcp/4001", "/dns4/seed.test/udp/4001/quic-v1"];
    let addresses: Vec<_> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    (0..3).map(|_| (Identity::ephemeral().peer_id(), addresses.clone())).collect()
}

/// Fetches a list, which must fail. Returns the error, and asserts that its message contains the URL.
async fn refused(url: &PeersUrl) -> BootstrapError {
    let error = fetch_list(url).await.unwrap_err();
    assert!(error.to_string().contains(url.as_str()), "{error}");
    error
}

#[tokio::test]
async fn a_client_reads_the_list_that_a_provider_writes() {
    let known = some_peers();
    let source: BootstrapSource = serve_document(peers_document(&known)).to_string().parse().unwrap();
    let BootstrapSource::Url(url) = source else { panic!("{source}") };
    let expected = known.iter().flat_map(|(peer, addresses)| {
        addresses.iter().map(|address| BootstrapPeer { peer: Some(*peer), address: address.clone() })
    });
    assert_eq!(fetch_list(&url).await.unwrap(), expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn malformed_entries_do_not_hide_valid_ones() {
    let peer = some_peers()[0].0;
    let good = format!("{{\"peer_id\": \"{peer}\", \"addresses\": [\"localhost:1\", \"/ip4/192.0.2.7/tcp/1\"]}}");
    let url = serve_document(format!("{{\"peers\": [17, {{\"peer_id\": \"x\", \"addresses\": []}}, {good}]}}"));
    let peers = fetch_list(&url).await.unwrap();
    assert_eq!(peers, [format!("/ip4/192.0.2.7/tcp/1/p2p/{peer}").parse().unwrap()]);
}

#[tokio::test]
async fn a_document_that_is_not_a_peer_list_is_refused() {
    for text in ["", "<html></html>", "{\"peers\": 3}", "[]"] {
        let error = refused(&serve_document(text.to_owned())).await;
        assert!(matches!(error, BootstrapError::NotAList { .. }), "{text}: {error}");
    }
}

#[tokio::test]
async fn http_statuses_other_than_200_are_refused_and_redirects_not_followed() {
    let elsewhere = serve_document(peers_document(&some_peers()));
    let moved = serve(move |_, connection| {
        write!(connection, "HTTP/1.1 302 Found\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n")
    });
    assert!(matches!(refused(&moved).await, BootstrapError::Status { status: 302, .. }));
    let missing = serve(|_, connection| respond(connection, "404 Not Found", "nothing here"));
    assert!(matches!(refused(&missing).await, BootstrapError::Status { status: 404, .. }));
}

#[tokio::test]
async fn a_list_that_is_too_long_is_not_read_to_its_end() {
    let announced = serve(|_, connection| {
        write!(connection, "HTTP/1.1 200 OK\r\ncontent-length: {FLOOD}\r\n\r\n")?;
        flood(connection)
    });
    let unannounced = serve(|_, connection| {
        write!(connection, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")?;
        flood(connection)
    });
    for url in [announced, unannounced] {
        assert!(matches!(refused(&url).await, BootstrapError::ListTooLong { .. }));
    }
    let endless_header = serve(|_, connection| {
        write!(connection, "HTTP/1.1 200 OK\r\nx: ")?;
        flood(connection)
    });
    assert!(matches!(refused(&endless_header).await, BootstrapError::Fetch { .. }));
}

/// Writes [`FLOOD`] bytes, or fewer if the client disconnects. The client must disconnect long before the last byte.
fn flood(connection: &mut TcpStream) -> std::io::Result<()> {
    let block = [b' '; 64 * 1024];
    (0..FLOOD / block.len()).try_for_each(|_| connection.write_all(&block))
}

#[tokio::test]
async fn fetching_from_a_server_that_stalls_times_out() {
    let silent = serve(|_, _| {
        thread::sleep(STALL);
        Ok(())
    });
    let trickling = serve(|_, connection| {
        write!(connection, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")?;
        (0..1000).try_for_each(|_| {
            thread::sleep(STALL / 1000);
            connection.write_all(b" ")
        })
    });
    let (silent, trickling) = tokio::join!(refused(&silent), refused(&trickling));
    for error in [silent, trickling] {
        assert!(matches!(error, BootstrapError::Fetch { .. }), "{error}");
        assert!(error.to_string().contains("timeout"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_is_absent_or_does_not_speak_http_is_refused() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{unused}/peers").parse().unwrap();
    assert!(matches!(refused(&url).await, BootstrapError::Fetch { .. }));
    let other = serve(|_, connection| connection.write_all(b"\x13/multistream/1.0.0\n"));
    assert!(matches!(refused(&other).await, BootstrapError::Fetch { .. }));
    let gone =
        serve(|_, connection| write!(connection, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{{\"peers\": ["));
    assert!(matches!(refused(&gone).await, BootstrapError::Fetch { .. }));
}
