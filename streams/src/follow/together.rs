use std::time::Duration;

use redis::{Cmd, Value};

use super::{Cursors, LONGEST_BLOCK, MOST_PER_READ, Waker};
use crate::{StreamError, link::Link, servers::Servers};

/// Reads all streams by one command, over one blocking connection.
pub(super) struct Together {
    link: Link,
    /// The cursor that stands first in the next command.
    first: usize,
    /// The server's number of the blocking connection, and of which one.
    client: Option<(u64, i64)>,
    /// A read was dropped while the server still blocks on it.
    abandoned: bool,
    /// Where a single entry came, it looks once more.
    gathers: bool,
}

impl Together {
    pub(super) fn new(side: &Link, gathers: bool) -> Self {
        Self { link: side.blocking(LONGEST_BLOCK), first: 0, client: None, abandoned: false, gathers }
    }

    pub(super) async fn read(
        &mut self,
        cursors: &mut Cursors,
        side: &Servers,
        waker: &Waker,
        block: Duration,
    ) -> Result<(), StreamError> {
        if self.abandoned {
            self.link.drop_connection().await;
            self.abandoned = false;
        }
        let Some(count) = self.turn(cursors) else {
            let _ = tokio::time::timeout(block, waker.0.notified()).await;
            return Ok(());
        };
        let command = self.xread(cursors, count, Some(block));
        let reply = self.run_blocking(side, waker, &command).await?;
        cursors.take(reply)?;
        // A blocked reader wakes with the first entry that comes: others have often come right behind it.
        if self.gathers
            && cursors.found.len() == 1
            && let Some(count) = self.turn(cursors)
            && let Ok(reply) = self.link.send(&self.xread(cursors, count, None)).await
        {
            // What went wrong here goes wrong again in the next read, and is told there.
            let _ = cursors.take(reply);
        }
        Ok(())
    }

    /// Moves the cursor that stands first in the next command, and says how many entries of each to ask for:
    /// none where no camera has an allowance.
    fn turn(&mut self, cursors: &Cursors) -> Option<usize> {
        self.first = (self.first + 1) % cursors.all.len().max(1);
        let allowances = cursors.all.iter().map(|c| c.allowance).filter(|&a| a > 0);
        allowances.min().map(|least| least.min(MOST_PER_READ))
    }

    fn xread(&self, cursors: &Cursors, count: usize, block: Option<Duration>) -> Cmd {
        let (head, tail) = cursors.all.split_at(self.first.min(cursors.all.len()));
        let wanted = || tail.iter().chain(head).filter(|c| c.allowance > 0);
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(count);
        if let Some(block) = block {
            // Zero would mean for ever.
            command.arg("BLOCK").arg(block.as_millis().max(1) as u64);
        }
        command.arg("STREAMS");
        wanted().for_each(|cursor| {
            command.arg(&cursor.key);
        });
        wanted().for_each(|cursor| {
            command.arg(cursor.after.to_string());
        });
        command
    }

    /// Sends a blocking read and lets the waker end it.
    async fn run_blocking(
        &mut self,
        side: &Servers,
        waker: &Waker,
        command: &Cmd,
    ) -> Result<Value, StreamError> {
        let generation = self.link.generation().await;
        let client = match self.client {
            Some((of, id)) if of == generation && generation != 0 => id,
            _ => {
                let id = self.link.client_id().await?;
                self.client = Some((self.link.generation().await, id));
                id
            }
        };
        self.abandoned = true;
        let mut reply = std::pin::pin!(self.link.send(command));
        let value = tokio::select! {
            biased;
            value = &mut reply => value,
            () = waker.0.notified() => loop {
                // The server may not have begun to block yet; then there is nothing to end, and we ask again.
                let mut unblock = redis::cmd("CLIENT");
                unblock.arg("UNBLOCK").arg(client);
                let ended = matches!(side.run(&unblock).await, Ok(Value::Int(1)));
                let patience = if ended { Duration::from_secs(1) } else { Duration::from_millis(1) };
                if let Ok(value) = tokio::time::timeout(patience, &mut reply).await {
                    break value;
                }
            },
        };
        self.abandoned = false;
        match value? {
            Value::ServerError(error) => Err(self.link.refusal(error, "XREAD".into())),
            value => Ok(value),
        }
    }
}
