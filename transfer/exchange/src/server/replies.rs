//! The replies of one stream, on their way to the task that writes them.

use std::any::Any;

use bytes::Bytes;
use phase_protocol::wire::{self, Refusal, Reply, ReplyHeader, RequestId};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::framing::OutFrame;
use crate::server::sessions::Activity;

/// Frames that may wait for the writer: two runs of chunks and the replies between them.
const FRAME_QUEUE: usize = 32;

/// A reply as it waits for the writer.
pub(super) type Frame = OutFrame<Written>;

/// Notes that the peer has taken in a frame, and gives back what it held.
pub(super) struct Written {
    activity: Activity,
    _held: Option<Guard>,
}

impl Drop for Written {
    fn drop(&mut self) {
        self.activity.note(Instant::now());
    }
}

/// What a frame holds until it has been written, or never will be: its drop gives it back.
pub(super) type Guard = Box<dyn Any + Send>;

/// The stream is gone: nothing can be answered any more.
pub(super) struct Closed;

/// Where a stream's replies go. Whoever sends one waits while the peer does not read.
#[derive(Clone)]
pub(super) struct Replies {
    frames: mpsc::Sender<Frame>,
    activity: Activity,
}

impl Replies {
    /// Also returns what the writer takes the frames from.
    pub(super) fn new(activity: Activity) -> (Self, mpsc::Receiver<Frame>) {
        let (frames, queue) = mpsc::channel(FRAME_QUEUE);
        (Self { frames, activity }, queue)
    }

    /// Sends a reply that has no payload.
    pub(super) async fn reply(&self, id: RequestId, body: Reply) -> Result<(), Closed> {
        self.send(id, body, Bytes::new(), None).await
    }

    pub(super) async fn refuse(&self, id: RequestId, refusal: Refusal) -> Result<(), Closed> {
        self.reply(id, Reply::Refused(refusal)).await
    }

    pub(super) async fn send(
        &self,
        id: RequestId,
        body: Reply,
        payload: Bytes,
        guard: Option<Guard>,
    ) -> Result<(), Closed> {
        let len = u32::try_from(payload.len()).map_err(|_| Closed)?;
        let header = wire::encode_reply(&ReplyHeader { id, len, body });
        let guard = Written { activity: self.activity.clone(), _held: guard };
        self.frames.send(OutFrame { header, payload, guard }).await.map_err(|_| Closed)
    }
}
