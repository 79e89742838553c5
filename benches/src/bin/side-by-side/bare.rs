//! The bare pipeline: pread → libp2p stream → BLAKE3 of every 256 KiB → pwrite. It does only the work that no fetch
//! over libp2p can avoid, without any protocol.
//!
//! On each side, one task moves bytes between the stream and a few buffers. A second thread does the rest: it reads the
//! file on the serving side, or hashes the bytes and writes the file on the fetching side. In this way network, hashing
//! and disk work at the same time.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{self, SwarmEvent};
use libp2p::{Multiaddr, Stream, StreamProtocol, Swarm};
use libp2p_stream::Control;
use phase_benches::Result;
use phase_benches::measure::{Stopwatch, peak_memory};
use phase_node::TransportConfig;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::child::{self, Fetched};
use crate::contender::{Shape, Transport};
use crate::stock;

const PROTOCOL: StreamProtocol = StreamProtocol::new("/bare/1");
/// The length of a piece: the number of bytes that are read, hashed and written at a time.
const PIECE: usize = 256 << 10;
/// The number of buffers for one stream, on each side.
const BUFFERS: usize = 8;

/// The timeout for opening a stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// A node that only opens and accepts streams.
type Bare = Swarm<libp2p_stream::Behaviour>;

/// A piece of the file: its byte range, and a buffer with its bytes.
type Piece = (Range<u64>, Vec<u8>);

/// Runs the serving process, which sends the requested parts of `file`.
pub(crate) async fn serve(transport: Transport, shape: Shape, file: &Path) -> Result<()> {
    let file = Arc::new(File::open(file)?);
    let mut swarm = swarm(transport, shape)?;
    let mut incoming = swarm.behaviour().new_control().accept(PROTOCOL)?;
    swarm.listen_on(transport.listen_address())?;
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address.with(Protocol::P2p(*swarm.local_peer_id()));
        }
    };
    tokio::spawn(drive(swarm));
    tokio::spawn(async move {
        while let Some((_, stream)) = incoming.next().await {
            // An error of this task is ignored, because the fetching process notices and reports a stream that fails.
            tokio::spawn(send(stream, file.clone()));
        }
    });
    child::serve_until_stdin_closes(address).await
}

/// Runs the fetching process, which fetches `size` bytes into `path`.
pub(crate) async fn fetch(
    transport: Transport,
    shape: Shape,
    address: Multiaddr,
    path: &Path,
    size: u64,
) -> Result<Fetched> {
    let Some(Protocol::P2p(peer)) = address.iter().last() else { return Err("the address contains no peer id".into()) };
    let mut controls = Vec::new();
    for _ in 0..shape.connections {
        controls.push(connect(swarm(transport, shape)?, &address).await?);
    }

    let watch = Stopwatch::start()?;
    let file = Arc::new(File::create(path)?);
    let mut receiving = JoinSet::new();
    for (number, part) in parts(size, shape.streams).enumerate() {
        let control = &mut controls[number % shape.connections as usize];
        // The timeout is needed, because opening a stream could wait for ever.
        let mut stream = tokio::time::timeout(OPEN_TIMEOUT, control.open_stream(peer, PROTOCOL)).await??;
        // Wait for the greeting, because the serving side accepts one new stream at a time and drops further ones.
        stream.read_exact(&mut [0]).await?;
        receiving.spawn(receive(stream, file.clone(), part));
    }
    let mut digests = Vec::new();
    while let Some(received) = receiving.join_next().await {
        digests.extend(received??);
    }
    let taken = watch.stop()?;
    digests.sort_unstable_by_key(|(at, _)| *at);
    let pieces = digests.iter().fold(blake3::Hasher::new(), |mut all, (_, digest)| {
        all.update(digest.as_bytes());
        all
    });
    Ok(Fetched {
        taken,
        peak_memory: peak_memory()?,
        file: path.to_owned(),
        pieces: Some(pieces.finalize().to_string()),
        resolve_seconds: None,
        prepare_seconds: None,
    })
}

/// Returns the BLAKE3 digest over the BLAKE3 digests of all pieces of a file, for comparison with [`Fetched::pieces`].
pub(crate) fn digest_of_pieces(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let (mut all, mut buffer) = (blake3::Hasher::new(), vec![0; PIECE]);
    for range in pieces(0..len) {
        let bytes = &mut buffer[..(range.end - range.start) as usize];
        file.read_exact_at(bytes, range.start)?;
        all.update(blake3::hash(bytes).as_bytes());
    }
    Ok(all.finalize().to_string())
}

/// Opens a connection in a new swarm, and waits until the connection is established.
async fn connect(mut swarm: Bare, address: &Multiaddr) -> Result<Control> {
    swarm.dial(address.clone())?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { .. } => break,
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error.into()),
            _ => {}
        }
    }
    let control = swarm.behaviour().new_control();
    tokio::spawn(drive(swarm));
    Ok(control)
}

fn swarm(transport: Transport, shape: Shape) -> Result<Bare> {
    let key = Keypair::generate_ed25519();
    let connections = if shape.stock {
        stock::connections(&key, transport)?
    } else {
        let tls = transport != Transport::Noise;
        phase_node::connections(&key, &TransportConfig { tls, ..TransportConfig::default() })?
    };
    let config = swarm::Config::with_tokio_executor();
    Ok(Swarm::new(connections, libp2p_stream::Behaviour::new(), key.public().to_peer_id(), config))
}

async fn drive(mut swarm: Bare) {
    loop {
        swarm.select_next_some().await;
    }
}

/// Divides a file into one contiguous byte range for each stream.
fn parts(size: u64, streams: u64) -> impl Iterator<Item = Range<u64>> {
    let per_stream = size.div_ceil(streams).next_multiple_of(PIECE as u64);
    (0..streams).map(move |n| (n * per_stream).min(size)..((n + 1) * per_stream).min(size))
}

fn pieces(part: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = part.end;
    part.step_by(PIECE).map(move |start| start..end.min(start + PIECE as u64))
}

/// Serves one stream: sends a greeting, reads which part of the file is requested, and sends this part. Keeps the
/// stream open until the fetching side has received all bytes.
async fn send(mut stream: Stream, file: Arc<File>) -> io::Result<()> {
    stream.write_all(&[0]).await?;
    stream.flush().await?;
    let part = read_u64(&mut stream).await?..read_u64(&mut stream).await?;
    let (to_stream, mut full) = mpsc::channel::<Piece>(BUFFERS);
    let (to_file, mut empty) = mpsc::channel::<Vec<u8>>(BUFFERS);
    for _ in 0..BUFFERS {
        to_file.try_send(vec![0; PIECE]).expect("the queue holds every buffer");
    }
    let reading = tokio::task::spawn_blocking(move || {
        for range in pieces(part) {
            // The channel of empty buffers is closed if sending on the stream has failed.
            let Some(mut buffer) = empty.blocking_recv() else { break };
            file.read_exact_at(&mut buffer[..(range.end - range.start) as usize], range.start)?;
            if to_stream.blocking_send((range, buffer)).is_err() {
                break;
            }
        }
        io::Result::Ok(())
    });
    while let Some((range, buffer)) = full.recv().await {
        stream.write_all(&buffer[..(range.end - range.start) as usize]).await?;
        let _ = to_file.try_send(buffer);
    }
    stream.flush().await?;
    reading.await??;
    // Wait until the fetching side closes the stream, which it does after it has received all bytes.
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

/// Fetches one part of the file on a stream, hashes its pieces and writes them. Returns for each piece its offset in
/// the file and its digest.
async fn receive(mut stream: Stream, file: Arc<File>, part: Range<u64>) -> io::Result<Vec<(u64, blake3::Hash)>> {
    stream.write_all(&part.start.to_be_bytes()).await?;
    stream.write_all(&part.end.to_be_bytes()).await?;
    stream.flush().await?;
    let (to_file, mut full) = mpsc::channel::<Piece>(BUFFERS);
    let (to_stream, mut empty) = mpsc::channel::<Vec<u8>>(BUFFERS);
    for _ in 0..BUFFERS {
        to_stream.try_send(vec![0; PIECE]).expect("the queue holds every buffer");
    }
    let writing = tokio::task::spawn_blocking(move || {
        let mut digests = Vec::new();
        while let Some((range, buffer)) = full.blocking_recv() {
            let bytes = &buffer[..(range.end - range.start) as usize];
            digests.push((range.start, blake3::hash(bytes)));
            file.write_all_at(bytes, range.start)?;
            let _ = to_stream.try_send(buffer);
        }
        io::Result::Ok(digests)
    });
    for range in pieces(part) {
        // The channel of empty buffers is closed if writing to the file has failed. `writing` below then returns the
        // error.
        let Some(mut buffer) = empty.recv().await else { break };
        stream.read_exact(&mut buffer[..(range.end - range.start) as usize]).await?;
        if to_file.send((range, buffer)).await.is_err() {
            break;
        }
    }
    drop(to_file);
    let digests = writing.await??;
    stream.close().await?;
    Ok(digests)
}

async fn read_u64(stream: &mut Stream) -> io::Result<u64> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes).await?;
    Ok(u64::from_be_bytes(bytes))
}
