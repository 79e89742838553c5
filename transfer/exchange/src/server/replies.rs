//! The queue of replies of one stream. The session and the uploader add replies, and a task writes them.

use std::any::Any;

use bytes::Bytes;
use phase_protocol::wire::{self, Refusal, Reply, ReplyHeader, RequestId};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::framing::OutFrame;
use crate::server::sessions::Activity;

/// The limit on frames that wait for the writing task. It is enough for two jobs of chunks and the replies between
/// them.
const FRAME_QUEUE: usize = 32;

/// A reply that waits for the writing task.
pub(super) type Frame = OutFrame<Written>;

/// The guard of a reply: a value that is dropped when the reply has left this process, or its stream has ended. The
/// drop is noted as an activity on the stream.
pub(super) struct Written {
    activity: Activity,
    /// The guard that was passed to [`Replies::send`].
    _held: Option<Guard>,
}

impl Drop for Written {
    fn drop(&mut self) {
        self.activity.note(Instant::now());
    }
}

/// A guard of a frame: a value that is dropped when the frame has left this process, or its stream has ended.
pub(super) type Guard = Box<dyn Any + Send>;

/// The error from sending a reply on a closed stream.
pub(super) struct Closed;

/// The sending end of the queue of replies. If the peer does not read, the queue fills up and sending waits.
#[derive(Clone)]
pub(super) struct Replies {
    frames: mpsc::Sender<Frame>,
    activity: Activity,
}

impl Replies {
    /// Creates a queue and returns both ends of it. The receiving end is for the task that writes the replies.
    pub(super) fn new(activity: Activity) -> (Self, mpsc::Receiver<Frame>) {
        let (frames, queue) = mpsc::channel(FRAME_QUEUE);
        (Self { frames, activity }, queue)
    }

    /// Sends a reply that has no payload.
    pub(super) async fn reply(&self, id: RequestId, body: Reply) -> Result<(), Closed> {
        self.send(id, body, Bytes::new(), None).await
    }

    /// Refuses a request.
    pub(super) async fn refuse(&self, id: RequestId, refusal: Refusal) -> Result<(), Closed> {
        self.reply(id, Reply::Refused(refusal)).await
    }

    /// Sends a reply. `guard` is dropped when the reply has left this process or the stream has ended.
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
