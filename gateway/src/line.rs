//! A client's connection, as those use it who have something for the client: its own session, and whoever lays a
//! message into its outbox while the session sleeps. To wake it would cost as much again as the writing.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use peregrine_proto::Painted;
use tokio::io::AsyncWrite;

use crate::{
    client::SessionEnd,
    metrics::ClientMetrics,
    outbox::{Delivery, DeliveryKind, Outbox, Outgoing},
    painted::Unpainted,
    websocket::Writer,
};

/// Bytes after which no more are added to what is written at once; more is left in the queues, where it can be dropped.
const BATCH: usize = 64 * 1024;

/// With TLS or without.
type Connection = Box<dyn AsyncWrite + Send + Unpin>;

/// See the module.
pub(crate) struct Line {
    pub(crate) writer: Writer<Connection>,
    /// What the writer has and has not written yet.
    in_hand: Vec<Arc<Delivery>>,
    unpainted: Unpainted,
    metrics: Arc<ClientMetrics>,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("in_hand", &self.in_hand).finish_non_exhaustive()
    }
}

impl Line {
    pub(crate) fn new(
        writer: Writer<impl AsyncWrite + Send + Unpin + 'static>,
        metrics: Arc<ClientMetrics>,
    ) -> Self {
        let writer = writer.boxed();
        Self { writer, in_hand: Vec::new(), unpainted: Unpainted::default(), metrics }
    }

    /// Writes what waits, in batches, until nothing does.
    fn poll_send(&mut self, outbox: &Outbox, cx: &mut Context<'_>) -> Poll<Result<(), SessionEnd>> {
        loop {
            ready!(self.writer.poll_write(cx)).map_err(|error| SessionEnd::of(&error.into()))?;
            for delivery in self.in_hand.drain(..) {
                self.metrics.sent(delivery.kind);
                if delivery.kind == DeliveryKind::Result && delivery.live {
                    self.unpainted.written(&delivery);
                }
            }
            let added = outbox.take(BATCH, |message| {
                let frame = message.frame(outbox.encoding);
                self.writer.add(frame);
                let size = frame.len();
                if let Outgoing::Data(delivery) = message {
                    self.in_hand.push(delivery);
                }
                size
            })?;
            if added == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl Outbox {
    /// Writes what waits to the client, until nothing does.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<Result<(), SessionEnd>> {
        match &mut *self.line() {
            Some(line) => line.poll_send(self, cx),
            None => Poll::Ready(Err(SessionEnd::ConnectionLost)),
        }
    }

    /// Does what the session would do that sleeps, see [`Outbox::lay`], and wakes it only where something is left to do:
    /// where the client does not take everything at once, say, or after as many writes as tokio grants a task at a time.
    pub(crate) fn send_for(&self, session: Waker) {
        let awake = match self.poll_send(&mut Context::from_waker(&session)) {
            Poll::Ready(Ok(())) => self.sleep(session),
            _ => {
                self.is_to_do();
                Some(session)
            }
        };
        awake.into_iter().for_each(Waker::wake);
    }

    /// The client reports that it has painted a result.
    pub(crate) fn painted(&self, report: &Painted) {
        if let Some(line) = &mut *self.line() {
            line.unpainted.painted(report);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures_util::task::noop_waker;
    use peregrine_proto::{CameraId, FrameId, Problem, ServerMessage};
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::{
        encoding::{Encoding, Shared},
        outbox::OutboxLimits,
        websocket,
    };

    fn delivery(size: usize) -> Arc<Delivery> {
        Arc::new(Delivery {
            camera: CameraId::new("yard").unwrap(),
            id: FrameId { ms: 1, seq: 0 },
            kind: DeliveryKind::Result,
            seen: Instant::now(),
            message: Shared::new(ServerMessage::Problem(Problem { message: "-".repeat(size) })),
            metrics: None,
            live: true,
        })
    }

    #[tokio::test]
    async fn session_sleeps_over_a_message_that_is_half_written() {
        let limits = OutboxLimits { messages: 8, bytes: 10_000, control: 2 };
        let outbox = Outbox::new(limits, Encoding::Msgpack);
        let (ours, mut theirs) = tokio::io::duplex(64);
        let (_, writer) = websocket::split(ours, 100).await;
        outbox.connect(Line::new(writer, Arc::new(ClientMetrics::new())));
        assert!(outbox.sleep(noop_waker()).is_none(), "nothing is to be done");

        let (_, session) = outbox.lay(delivery(10), None);
        outbox.send_for(session.expect("who sleeps"));
        assert!(theirs.read(&mut [0; 64]).await.unwrap() > 10, "written in its stead");
        let (_, session) = outbox.lay(delivery(1000), None);
        outbox.send_for(session.expect("it sleeps on"));
        assert!(outbox.sleep(noop_waker()).is_some(), "the rest is to be written");
    }
}
